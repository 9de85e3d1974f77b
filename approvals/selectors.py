"""What approvals answers about requests and grants. Reads only."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from django.db.models import Q, QuerySet

from approvals.eligibility import (
    DECIDED_WITH,
    INSTANCE_WIDE,
    Eligibility,
    Question,
    Reviewer,
    has_every_role,
    may_break_glass,
    may_review,
    relation_to,
)
from approvals.lifecycle import DECISIONS, ApprovalOutcome
from approvals.models import ApprovalCall, ApprovalRequest, Grant, Review
from approvals.types import ERROR_CODES, NewRequest, RequestStatus, Risk, SubjectType, Verdict
from identity.access import Standing
from identity.authorization import authorize, strength_of
from identity.parties import MINTER, parties_of_agent
from identity.roles import Permission
from identity.selectors import (
    agent_owner,
    effective_roles,
    holders,
    instance_holders,
    permissions_at,
    permissions_of_user,
    standings,
)
from identity.types import AuthStrength, Principal, PrincipalKind

MOST_SIMILAR = 10


@dataclass(frozen=True, slots=True)
class ApprovalClaim:
    """What a claim reads of the answer: who allowed, in which roles, and what may be consumed.

    `count` is the number of distinct people in `deciders`; `single_operator` says that one of them
    stands for the whole quorum, by the sole-operator rule or by breaking the glass; `alone_now` that
    this person still is the only one who may decide.
    """

    request: ApprovalRequest
    grant: Grant | None
    roles: frozenset[str]
    deciders: frozenset[str]
    count: int
    single_operator: bool
    alone_now: bool


def facts_for_claim(request_id: str, now: datetime) -> ApprovalClaim | None:
    """Return the facts of a request, or None when there is none of this id.

    Counts the allows of people who may still decide at `now`; the grant is present whatever its
    state, `consume_grant` has the last word on it.
    """
    request = ApprovalRequest.objects.prefetch_related("reviews").filter(pk=request_id).first()
    if request is None:
        return None
    allows = [review for review in request.reviews.all() if review.verdict == Verdict.ALLOW]
    stand = _standings_of(request, allows, now)
    counted = _still_deciding(request, allows, stand)
    counting = [review for review in allows if review.reviewer_id in counted]
    alone = any(review.single_operator or review.break_glass for review in counting)
    return ApprovalClaim(
        request=request,
        grant=request.grants.first(),
        roles=frozenset[str]().union(
            *(_texts_at(stand[review.reviewer_id]).intersection(review.roles) for review in counting)
        ),
        deciders=counted,
        count=len(counted),
        single_operator=alone,
        alone_now=alone and sole_decider(request.subject_type, now) in counted,
    )


def outcome_of_call(call_id: str) -> ApprovalOutcome | None:
    """Return how the question of one waiting call stands, or None when it never asked.

    A call that waited on an allowed request but was not covered by the answer is `cancelled`.
    """
    waiting = ApprovalCall.objects.select_related("request").filter(call_id=call_id).first()
    if waiting is None:
        return None
    status = waiting.request.status
    if status == RequestStatus.ALLOWED and waiting.grant_id is None:
        status = RequestStatus.CANCELLED
    return ApprovalOutcome(str(status), waiting.request_id, waiting.grant_id)


def waiting_call_ids(request_id: str) -> tuple[str, ...]:
    """Return all calls attached to a request, in order of arrival."""
    rows = ApprovalCall.objects.filter(request_id=request_id).order_by("position")
    return tuple(rows.values_list("call_id", flat=True))


def due_for_expiry(now: datetime, limit: int) -> tuple[str, ...]:
    """Return up to `limit` pending requests whose time is over, the oldest first."""
    due = ApprovalRequest.objects.filter(status=RequestStatus.PENDING, expires_at__lte=now)
    return tuple(due.order_by("expires_at").values_list("pk", flat=True)[:limit])


def visible_to(principal: Principal, now: datetime) -> QuerySet[ApprovalRequest]:
    """Return the requests this principal may know of; the rest do not exist for it."""
    own = Q(requester_id=principal.id)
    if principal.kind is not PrincipalKind.USER:
        return ApprovalRequest.objects.filter(own)
    own |= Q(requester_owner_id=principal.id)
    if _reads(principal, principal.workspace_id, now):
        own |= Q(workspace_id=principal.workspace_id)
    if principal.instance_roles and _reads(principal, "", now):
        return ApprovalRequest.objects.all()
    return ApprovalRequest.objects.filter(own)


def may_see(principal: Principal, request: ApprovalRequest, now: datetime) -> bool:
    """Tell whether `request` is among what `visible_to` gives this principal."""
    if principal.id == request.requester_id:
        return True
    if principal.kind is not PrincipalKind.USER:
        return False
    return principal.id == request.requester_owner_id or _reads(principal, request.workspace_id, now)


def similar_to(request: ApprovalRequest, principal: Principal, now: datetime) -> list[ApprovalRequest]:
    """Return the latest closed requests of the same agent about the same subject; nothing for an agent."""
    if principal.kind is not PrincipalKind.USER:
        return []
    alike = visible_to(principal, now).filter(
        requester_id=request.requester_id, subject_label=request.subject_label
    )
    closed = alike.exclude(status=RequestStatus.PENDING).exclude(pk=request.pk)
    return list(closed.order_by("-requested_at", "-pk")[:MOST_SIMILAR])


def decided_as(words: Collection[str]) -> Q:
    """Return the WHERE clause of the wire's `decision`: allow, deny, expired, cancelled or error."""
    failed = Q(close_code__in=ERROR_CODES)
    wanted = Q(close_code__in=ERROR_CODES) if "error" in words else Q(pk__in=())
    for status, word in DECISIONS.items():
        if word in words:
            wanted |= Q(status=status) & ~failed
    return wanted


def _reads(principal: Principal, workspace_id: str, now: datetime) -> bool:
    return authorize(
        principal, Permission.APPROVALS_READ, workspace_id=workspace_id, flags=principal.flags, now=now
    ).allowed


def pending_for(principal: Principal, now: datetime) -> QuerySet[ApprovalRequest]:
    """Return the visible requests that still wait for an answer at `now`."""
    return visible_to(principal, now).filter(status=RequestStatus.PENDING, expires_at__gt=now)


def eligible_reviewers(
    *,
    subject_type: str,
    workspace_id: str,
    role_sets: tuple[frozenset[str], ...],
    requester_id: str,
    requester_owner_id: str,
    excluded: frozenset[str] = frozenset(),
    now: datetime,
) -> frozenset[str]:
    """Return the people who could answer such a request at `now`, by the rules of `may_review`.

    Freshness of a login is not asked. The sole holder of the permission counts for everything.
    """
    permission = DECIDED_WITH[subject_type]
    able = {person for person in holders(permission, now) if _holds(permission, person, workspace_id, now)}
    alone = sole_decider(subject_type, now)
    return frozenset(
        person
        for person in able
        if person == alone
        or (
            person not in {requester_id, requester_owner_id, *excluded}
            and has_every_role(_role_texts(person, workspace_id, now), role_sets)
        )
    )


def has_eligible_reviewer(request: NewRequest, now: datetime) -> bool:
    """Tell whether anybody at all could answer this question."""
    editor = {request.edited_by_id} if request.risk in (Risk.HIGH, Risk.CRITICAL) else set()
    parties = {*request.parties, request.minter_id, request.on_behalf_of_id, *editor}
    return bool(
        eligible_reviewers(
            subject_type=request.subject_type,
            workspace_id=request.workspace_id,
            role_sets=request.obligation.role_sets,
            excluded=request.obligation.excluded | parties,
            requester_id=request.requester_id,
            requester_owner_id=request.requester_owner_id,
            now=now,
        )
    )


def reviewers_of(request: ApprovalRequest, now: datetime) -> frozenset[str]:
    """Return the people who could still answer a stored request at `now`, freshness of login aside."""
    question = question_now(request)
    able = eligible_reviewers(
        subject_type=request.subject_type,
        workspace_id=request.workspace_id,
        role_sets=question.role_sets,
        requester_id=request.requester_id,
        requester_owner_id=request.requester_owner_id,
        now=now,
    )
    alone = sole_decider(request.subject_type, now)
    return frozenset(
        person
        for person in able - question.reviewer_ids
        if person == alone or relation_to(person, question) is None
    )


def sole_decider(subject_type: str, now: datetime) -> str | None:
    """Return the one person who may answer such questions at all, or None when nobody or several may."""
    permission = DECIDED_WITH[subject_type]
    counted = instance_holders if subject_type in INSTANCE_WIDE else holders
    found = counted(permission, now)
    return next(iter(found)) if len(found) == 1 else None


def reviewer_of(
    principal: Principal,
    *,
    subject_type: str,
    workspace_id: str,
    otp_verified_at: datetime | None,
    now: datetime,
) -> Reviewer:
    """Return the person with the authority of this moment: the principal is as old as its request."""
    permission = DECIDED_WITH[subject_type]
    verdict = authorize(principal, permission, workspace_id=workspace_id, flags=principal.flags, now=now)
    held = _holds(permission, principal.id, workspace_id, now)
    return Reviewer(
        is_person=principal.kind is PrincipalKind.USER,
        id=principal.id,
        permitted=held and verdict.reason in ("permitted", "step_up_required"),
        roles=_role_texts(principal.id, workspace_id, now),
        second_factor=strength_of(principal, now) >= AuthStrength.MFA,
        otp_verified_at=otp_verified_at,
        sole_holder=sole_decider(subject_type, now) == principal.id,
        login_code_at=principal.authenticated_at
        if strength_of(principal, now) >= AuthStrength.FRESH_MFA
        else None,
    )


def eligibility_of(
    *, request: ApprovalRequest, principal: Principal, otp_verified_at: datetime | None = None, now: datetime
) -> Eligibility:
    """Return whether this principal could answer now; the service asks again under its lock."""
    reviewer = reviewer_of(
        principal,
        subject_type=request.subject_type,
        workspace_id=request.workspace_id,
        otp_verified_at=otp_verified_at,
        now=now,
    )
    return may_review(reviewer, question_now(request), now)


def glass_breaking_of(
    *, request: ApprovalRequest, principal: Principal, otp_verified_at: datetime | None = None, now: datetime
) -> Eligibility:
    """Return whether this principal could allow alone in an emergency now.

    Needs both permissions: the one that answers such a question and the one to force it.
    """
    reviewer = reviewer_of(
        principal,
        subject_type=request.subject_type,
        workspace_id=request.workspace_id,
        otp_verified_at=otp_verified_at,
        now=now,
    )
    forcing = Permission.APPROVALS_BREAK_GLASS
    verdict = authorize(principal, forcing, workspace_id=request.workspace_id, flags=principal.flags, now=now)
    permitted = verdict.reason in ("permitted", "step_up_required") and _holds(
        forcing, principal.id, request.workspace_id, now
    )
    person = replace(reviewer, permitted=reviewer.permitted and permitted)
    return may_break_glass(person, question_now(request), now)


def eligible_now(request: ApprovalRequest, reviews: list[Review], now: datetime) -> frozenset[str]:
    """Return which of these reviewers may still decide at `now`.

    Somebody who was demoted, or became a party to the question, no longer counts. What the sole-operator
    rule or breaking the glass excused stays excused.
    """
    return _still_deciding(request, reviews, _standings_of(request, reviews, now))


def _standings_of(
    request: ApprovalRequest, reviews: Collection[Review], now: datetime
) -> Mapping[str, Standing]:
    """Return where each reviewer stands now, all in one query."""
    people = {review.reviewer_id for review in reviews}
    return standings(user_ids=people, workspace_id=request.workspace_id, now=now) if people else {}


def _still_deciding(
    request: ApprovalRequest, reviews: Collection[Review], stand: Mapping[str, Standing]
) -> frozenset[str]:
    question = question_now(request)
    permission = DECIDED_WITH[request.subject_type]
    return frozenset(
        review.reviewer_id
        for review in reviews
        if permission in permissions_at(stand[review.reviewer_id])
        and (
            review.single_operator
            or review.break_glass
            or _still_fits(review.reviewer_id, question, _texts_at(stand[review.reviewer_id]))
        )
    )


def question_now(request: ApprovalRequest) -> Question:
    """Return the question with the people who stand behind the requester by now, and not only when it asked.

    Whoever took over an agent, or gave it away, does not answer what it asked before.
    """
    question = question_of(request)
    if request.requester_kind != PrincipalKind.AGENT:
        return question
    since = parties_of_agent(request.requester_id)
    owner = agent_owner(request.requester_id)
    newer = {owner: "owner"} if owner is not None else {}
    return replace(question, parties={**since, **newer, **question.parties})


def question_of(request: ApprovalRequest) -> Question:
    """Return what eligibility reads of a stored request; asks the database nothing but its reviews."""
    minter = {request.minter_id: MINTER} if request.minter_id else {}
    return Question(
        requester_id=request.requester_id,
        requester_owner_id=request.requester_owner_id,
        role_sets=tuple(frozenset(roles) for roles in request.obligations["role_sets"]),
        quorum=request.quorum,
        risk=request.risk,
        step_up=bool(request.obligations["step_up"]),
        reviewer_ids=frozenset(review.reviewer_id for review in request.reviews.all()),
        excluded=frozenset(request.obligations["excluded"]),
        excluded_as="starter" if request.subject_type == SubjectType.DEVICE_PAIRING else "author",
        parties={**minter, **request.parties},
        on_behalf_of_id=request.on_behalf_of_id,
        edited_by_id=request.edited_by_id,
        workspace_id=request.workspace_id,
    )


def _still_fits(person: str, question: Question, roles: frozenset[str]) -> bool:
    return has_every_role(roles, question.role_sets) and relation_to(person, question) is None


def _holds(permission: Permission, person: str, workspace_id: str, now: datetime) -> bool:
    return permission in permissions_of_user(user_id=person, workspace_id=workspace_id, now=now)


def _role_texts(person: str, workspace_id: str, now: datetime) -> frozenset[str]:
    return frozenset(
        role.value for role in effective_roles(user_id=person, workspace_id=workspace_id, now=now)
    )


def _texts_at(standing: Standing) -> frozenset[str]:
    return frozenset(role.value for role in standing.local | standing.wide)
