"""What the approval pages read: the waiting requests, who may answer them, and how they ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Case, IntegerField, QuerySet, Value, When

from approvals.eligibility import Eligibility, Reviewer, may_review
from approvals.models import ApprovalRequest
from approvals.selectors import pending_for, question_of, reviewer_of
from governance.admin.access import Visit
from governance.admin.names import names_of
from governance.admin.words import RISKS

MOST_PENDING = 200
REASONS = {
    "reviewer_is_agent": "Only a person may decide.",
    "not_a_reviewer": "Your roles do not include deciding this request.",
    "self_review": "You own this agent; another approver must decide.",
    "conflict": "You have answered already; the request waits for another person.",
}
ABOUT_RULES = "policy_activation"
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
    """One request as the visitor sees it. `may_answer` counts a code that is still to be typed."""

    request: ApprovalRequest
    subject: str
    wish: str
    agent: str
    owner: str
    why: str
    resource: str
    allows: int
    may_answer: bool
    reason: str


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


def items(visit: Visit, requests: Sequence[ApprovalRequest]) -> list[InboxItem]:
    """Return the requests with names and the visitor's standing; queries do not grow with their number.

    The requests must come with their reviews prefetched.
    """
    names = names_of(one for row in requests for one in (row.requester_id, row.requester_owner_id))
    kinds = {(row.subject_type, row.workspace_id) for row in requests}
    reviewers = {kind: _reviewer(visit, *kind) for kind in kinds}
    return [
        _item(row, names, _standing(row, reviewers[row.subject_type, row.workspace_id], visit.now))
        for row in requests
    ]


def standing(visit: Visit, request: ApprovalRequest) -> Standing:
    """Return what the visitor may do with one request now; the service asks again."""
    reviewer = _reviewer(visit, request.subject_type, request.workspace_id)
    return _standing(request, reviewer, visit.now)


def subject_name(request: ApprovalRequest) -> str:
    """Return `fs.write` of `tool:fs.write`."""
    return request.subject_label.partition(":")[2] or request.subject_label


def wish_of(request: ApprovalRequest) -> str:
    """Return what the requester wants to do with the subject."""
    return "wants to put in force" if request.subject_type == ABOUT_RULES else "wants to run"


def reason_for(request: ApprovalRequest, code: str) -> str:
    """Return the sentence for somebody who may not answer; empty for everybody else."""
    return (REASONS_ABOUT_RULES if request.subject_type == ABOUT_RULES else REASONS).get(code, "")


def _reviewer(visit: Visit, subject_type: str, workspace_id: str) -> Reviewer:
    return reviewer_of(
        visit.principal,
        subject_type=subject_type,
        workspace_id=workspace_id,
        otp_verified_at=visit.code_at,
        now=visit.now,
    )


def _standing(request: ApprovalRequest, reviewer: Reviewer, now: datetime) -> Standing:
    found: Eligibility = may_review(reviewer, question_of(request), now)
    needs_code = found.code == "step_up_required"
    is_alone = found.single_operator or (needs_code and reviewer.sole_holder)
    return Standing(found.ok or needs_code, needs_code, reason_for(request, found.code), is_alone)


def _item(request: ApprovalRequest, names: dict[str, str], stand: Standing) -> InboxItem:
    context = request.context
    return InboxItem(
        request=request,
        subject=subject_name(request),
        wish=wish_of(request),
        agent=names.get(request.requester_id, request.requester_id),
        owner=names.get(request.requester_owner_id, request.requester_owner_id),
        why=str((context.get("policy") or {}).get("text") or context.get("summary") or ""),
        resource=str(context.get("resource") or ""),
        allows=sum(review.verdict == "allow" for review in request.reviews.all()),
        may_answer=stand.may_answer,
        reason=stand.reason,
    )
