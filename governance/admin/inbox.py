"""What the approval pages read: the waiting requests, who may answer them, and how they ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from django.db.models import Case, IntegerField, QuerySet, Value, When, prefetch_related_objects

from approvals.eligibility import Eligibility, Question, Reviewer, could_answer, may_review
from approvals.models import ApprovalRequest
from approvals.selectors import pending_for, question_now, question_of, reviewer_of, visible_to
from approvals.types import RequestStatus, SubjectType
from governance.admin.access import Visit
from governance.admin.approval_words import ending, wish
from governance.admin.names import names_of
from governance.admin.words import RISKS
from identity.models import Agent, User
from kernel.ids import is_id

MOST_PENDING = 200
MOST_LEFT = 20
STAYS_NOTED = timedelta(minutes=10)
TOGETHER_UP_TO = frozenset({"low", "medium"})
"""The risks at which several requests may be answered with one decision."""
REASONS = {
    "reviewer_is_agent": "Only a person may decide.",
    "not_a_reviewer": "Your roles do not include deciding this request.",
    "self_review": "You own this agent; another approver must decide.",
    "conflict": "You have answered already; the request waits for another person.",
}
PARTS = {
    "owner": "You own this agent; another approver must decide.",
    "requester": "You asked for this yourself; another approver must decide.",
    "minter": "You minted a token that could ask for this; another approver must decide.",
    "registrant": "You registered this agent; another approver must decide.",
    "former_owner": "This agent was yours; another approver must decide.",
    "on_behalf_of": "This is asked on your behalf; another approver must decide.",
    "editor": "You edited the arguments; at this risk another approver must decide.",
    "starter": "You started this pairing; another person must approve it.",
}
"""Why somebody who has a part in a question does not answer it."""
ABOUT_RULES = SubjectType.POLICY_ACTIVATION.value
REASONS_ABOUT_RULES = {
    **REASONS,
    "not_a_reviewer": "Your roles do not include putting rules in force.",
    "self_review": "You asked for this or wrote some of it; somebody else must decide.",
}
_RANK = Case(
    *(When(risk=risk, then=Value(-rank)) for rank, risk in enumerate(RISKS)),
    default=Value(-len(RISKS)),
    output_field=IntegerField(),
)


@dataclass(frozen=True, slots=True)
class InboxItem:
    """One request as the visitor sees it. `may_answer` counts a code that is still to be typed.

    `others` are requests for the same action that are folded into this one. `waiting` is how many calls
    hang on this request.
    """

    request: ApprovalRequest
    subject: str
    wish: str
    agent: str
    owner: str
    why: str
    resource: str
    allows: int
    waiting: int
    may_answer: bool
    reason: str
    outcome: str = ""
    others: tuple[ApprovalRequest, ...] = ()

    @property
    def together(self) -> bool:
        """Whether it may be answered in one decision with others of its agent and tool."""
        asked = self.request
        return self.may_answer and asked.risk in TOGETHER_UP_TO and bool(asked.tool)

    @property
    def count(self) -> int:
        return 1 + len(self.others)


@dataclass(frozen=True, slots=True)
class Standing:
    """Whether the visitor may answer, whether a code is due for it, and the sentence when not."""

    may_answer: bool
    needs_code: bool
    reason: str
    is_alone: bool


def pending(visit: Visit) -> QuerySet[ApprovalRequest]:
    """Return what waits, the highest risk first, then what expires soonest."""
    return pending_for(visit.principal, visit.now).order_by(_RANK, "expires_at", "pk")


def filtered(rows: QuerySet[ApprovalRequest], filters: dict[str, str]) -> QuerySet[ApprovalRequest]:
    """Return the requests that every given filter keeps; an empty one keeps all."""
    if filters["risk"]:
        rows = rows.filter(risk=filters["risk"])
    if filters["subject"]:
        rows = rows.filter(subject_type=filters["subject"])
    if filters["tool"]:
        rows = rows.filter(subject_label__icontains=filters["tool"])
    if filters["agent"]:
        named = Agent.objects.filter(name__icontains=filters["agent"])
        rows = rows.filter(requester_id__in=named.values("pk"))
    if filters["owner"]:
        people = User.objects.filter(username__icontains=filters["owner"])
        rows = rows.filter(requester_owner_id__in=people.values("pk"))
    if filters["run"]:
        rows = rows.filter(run_id=filters["run"]) if is_id("run", filters["run"]) else rows.none()
    return rows


def folded(items: Sequence[InboxItem]) -> list[InboxItem]:
    """Return the items with those for the same action put into the first of them."""
    first: dict[tuple[str, str], InboxItem] = {}
    for item in items:
        key = (item.request.requester_id, item.request.action_digest)
        held = first.get(key)
        first[key] = replace(held, others=(*held.others, item.request)) if held else item
    return list(first.values())


def items(visit: Visit, requests: Sequence[ApprovalRequest]) -> list[InboxItem]:
    """Return the requests with names and the visitor's standing; queries do not grow with their number."""
    prefetch_related_objects(list(requests), "reviews", "calls")
    names = names_of(
        one
        for row in requests
        for one in (
            row.requester_id,
            row.requester_owner_id,
            *(answer.reviewer_id for answer in row.reviews.all()),
        )
    )
    reviewers = {kind: _reviewer(visit, *kind) for kind in {kind_of(row) for row in requests}}
    return [
        _item(visit, row, names, _standing(row, reviewers[kind_of(row)], question_of(row), visit.now))
        for row in requests
    ]


def just_expired(visit: Visit) -> list[ApprovalRequest]:
    """Return what ran out of time in the last minutes, the newest first: nothing leaves silently."""
    rows = visible_to(visit.principal, visit.now).filter(
        status__in=(RequestStatus.PENDING, RequestStatus.EXPIRED),
        expires_at__gt=visit.now - STAYS_NOTED,
        expires_at__lte=visit.now,
    )
    return list(rows.order_by("-expires_at")[:MOST_LEFT])


def standing(visit: Visit, request: ApprovalRequest) -> Standing:
    """Return what the visitor may do with one request now; the service asks again."""
    reviewer = _reviewer(visit, request.subject_type, request.workspace_id)
    return _standing(request, reviewer, question_now(request), visit.now)


def kind_of(request: ApprovalRequest) -> tuple[str, str]:
    """Return what a person's authority over a request depends on."""
    return request.subject_type, request.workspace_id


def subject_name(request: ApprovalRequest) -> str:
    """Return `fs.write` of `tool:fs.write`."""
    return request.subject_label.partition(":")[2] or request.subject_label


def reason_for(request: ApprovalRequest, code: str, relation: object = None) -> str:
    """Return the sentence for somebody who may not answer; empty for everybody else.

    `relation` is the part of theirs that keeps them from it.
    """
    if request.subject_type == ABOUT_RULES:
        return REASONS_ABOUT_RULES.get(code, "")
    return PARTS.get(str(relation), "") or REASONS.get(code, "")


def _reviewer(visit: Visit, subject_type: str, workspace_id: str) -> Reviewer:
    return reviewer_of(
        visit.principal,
        subject_type=subject_type,
        workspace_id=workspace_id,
        otp_verified_at=visit.code_at,
        now=visit.now,
    )


def _standing(request: ApprovalRequest, reviewer: Reviewer, question: Question, now: datetime) -> Standing:
    found: Eligibility = may_review(reviewer, question, now)
    needs_code = found.code == "step_up_required"
    is_alone = found.single_operator or (needs_code and reviewer.sole_holder)
    reason = reason_for(request, found.code, found.relation)
    return Standing(could_answer(found), needs_code, reason, is_alone)


def _item(visit: Visit, request: ApprovalRequest, names: dict[str, str], stand: Standing) -> InboxItem:
    context, answers = request.context, list(request.reviews.all())
    return InboxItem(
        request=request,
        subject=subject_name(request),
        wish=wish(request.subject_type),
        agent=names.get(request.requester_id, request.requester_id),
        owner=names.get(request.requester_owner_id, request.requester_owner_id),
        why=str((context.get("policy") or {}).get("text") or context.get("title") or ""),
        resource=str(context.get("resource") or ""),
        allows=sum(answer.verdict == "allow" for answer in answers),
        waiting=len(request.calls.all()),
        may_answer=stand.may_answer,
        reason=stand.reason,
        outcome=ending(request, answers, names=names, reader_id=visit.principal.id, now=visit.now),
    )
