"""Every write to requests, reviews and grants.

Each function runs inside the caller's transaction; a state changes by compare-and-set only, under a
lock on the request's row (`transaction_mode: IMMEDIATE` on SQLite).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import IntegrityError, transaction
from django.db.models import F
from django.utils.crypto import salted_hmac

from approvals.answers import checked_answer, refuse, same_answer
from approvals.eligibility import DECIDED_WITH, Eligibility
from approvals.grants import consume_grant as consume_grant, create_grant
from approvals.lifecycle import (
    REQUEST_ALLOWED,
    CountedReview,
    Tally,
    TallyState,
    decision_of,
    tally,
)
from approvals.models import ApprovalCall, ApprovalRequest, Grant, Review
from approvals.selectors import eligibility_of, eligible_now, may_see
from approvals.types import (
    CANCEL_CODES,
    ERROR_CODES,
    CloseCode,
    NewRequest,
    RequestStatus,
    ReviewInput,
    Risk,
    SubjectType,
)
from identity.selectors import effective_roles, permissions_of_user
from identity.types import Principal
from kernel.canonical import canonical, digest
from kernel.clock import wire_time
from kernel.errors import ConflictError, InvalidError, NotFoundError, PreconditionFailedError
from kernel.ids import new_id
from kernel.record import Actor, Record, system_actor
from kernel.state import transition

MAX_TIMEOUT_S = 86_400


@dataclass(frozen=True, slots=True)
class ReviewOutcome:
    """What a review led to: `kind` is open, allowed, denied, expired or repeated.

    `expired` is a fact the caller commits before it answers 409 with `already_decided(request)`.
    `covered_call_ids` may run under `grant`; `uncovered_call_ids` waited on the request too and will
    not run by this answer.
    """

    kind: str
    request: ApprovalRequest
    grant: Grant | None = None
    covered_call_ids: tuple[str, ...] = ()
    uncovered_call_ids: tuple[str, ...] = ()
    single_operator: bool = False


def open_request(*, request: NewRequest, actor: Actor, now: datetime, record: Record) -> ApprovalRequest:
    """Ask, or attach the call to an identical question of the same requester, digest and run.

    A question without a call meets its twin and changes nothing. A twin whose time is over is expired
    first and not attached to. Raises ConflictError when the call waits already, InvalidError for values
    no request can have.
    """
    _require_sound(request)
    twin = _pending_twin(request)
    if twin is not None and now >= twin.expires_at:
        _expire(twin, now, record)
        twin = None
    if twin is not None:
        return _attach(twin, request.call_id, actor, now, record)
    try:
        with transaction.atomic():
            created = _insert(request, now)
    except IntegrityError:
        twin = _pending_twin(request)
        if twin is None:
            raise ConflictError("conflict", "The request met another one.") from None
        return _attach(twin, request.call_id, actor, now, record)
    if request.call_id is not None:
        _wait(created, request.call_id, 1, now)
    record(
        event="approval.requested",
        actor=actor,
        subject=created.pk,
        now=now,
        data={
            "subject_type": created.subject_type,
            "subject_label": created.subject_label,
            "action_digest": created.action_digest,
            "risk": created.risk,
            "quorum": created.quorum,
            "expires_at": wire_time(created.expires_at),
        },
        run=created.run_id or None,
        call=request.call_id,
    )
    return created


def _require_sound(request: NewRequest) -> None:
    known = request.risk in frozenset(Risk) and request.subject_type in frozenset(SubjectType)
    quorum, timeout = request.obligation.quorum, min(request.timeout_s, request.obligation.timeout_s)
    if not known or not 1 <= quorum <= 5 or not 1 <= timeout <= MAX_TIMEOUT_S:
        raise InvalidError("invalid", "No such request can be opened.")


def _pending_twin(request: NewRequest) -> ApprovalRequest | None:
    return (
        ApprovalRequest.objects.select_for_update()
        .filter(
            status=RequestStatus.PENDING,
            requester_id=request.requester_id,
            action_digest=request.action_digest,
            run_id=request.run_id or "",
        )
        .first()
    )


def _insert(request: NewRequest, now: datetime) -> ApprovalRequest:
    obligations = request.obligation.as_json()
    timeout = min(request.timeout_s, request.obligation.timeout_s)
    return ApprovalRequest.objects.create(
        id=new_id("apr", now),
        subject_type=request.subject_type,
        subject_id=request.subject_id,
        subject_label=request.subject_label,
        action_digest=request.action_digest,
        policy_set_hash=request.policy_set_hash,
        tool_definition_hash=request.tool_definition_hash,
        obligations=obligations,
        obligations_digest=digest(obligations),
        requester_kind=request.requester_kind,
        requester_id=request.requester_id,
        requester_owner_id=request.requester_owner_id,
        workspace_id=request.workspace_id,
        run_id=request.run_id or "",
        session_id=request.session_id or "",
        context_text=canonical(dict(request.context)).decode(),
        risk=request.risk,
        quorum=request.obligation.quorum,
        requested_at=now,
        expires_at=now + timedelta(seconds=timeout),
    )


def _attach(
    twin: ApprovalRequest, call_id: str | None, actor: Actor, now: datetime, record: Record
) -> ApprovalRequest:
    if call_id is None:
        return twin
    twin.version += 1
    twin.save(update_fields=["version"])
    _wait(twin, call_id, twin.calls.count() + 1, now)
    record(
        event="approval.attached",
        actor=actor,
        subject=twin.pk,
        now=now,
        data={"version": twin.version},
        run=twin.run_id or None,
        call=call_id,
    )
    return twin


def _wait(request: ApprovalRequest, call_id: str, position: int, now: datetime) -> None:
    try:
        with transaction.atomic():
            ApprovalCall.objects.create(
                request=request,
                call_id=call_id,
                attached_at=now,
                position=position,
                version=request.version,
            )
    except IntegrityError:
        raise ConflictError("conflict", "This call waits already.") from None


def record_review(
    *, request_id: str, principal: Principal, review: ReviewInput, now: datetime, record: Record
) -> ReviewOutcome:
    """Take one person's answer; close the request when the count is reached or somebody denies.

    In this order: NotFoundError for what the principal may not see; `repeated` for the same answer
    again; ConflictError `already_decided` with the outcome; `expired` as a fact; PreconditionFailedError
    for an outdated `seen_version`; the refusals of `may_review`; the limits of scope, ttl and comment.
    """
    request = ApprovalRequest.objects.select_for_update().filter(pk=request_id).first()
    if request is None or not may_see(principal, request, now):
        raise NotFoundError("not_found", "No such approval request.")
    earlier = request.reviews.filter(reviewer_id=principal.id).first()
    if earlier is not None and same_answer(earlier, review):
        return _repeated(request, earlier)
    if request.status != RequestStatus.PENDING:
        raise already_decided(request)
    if now >= request.expires_at:
        _expire(request, now, record)
        return ReviewOutcome("expired", request)
    if review.seen_version is not None and review.seen_version != request.version:
        raise PreconditionFailedError("precondition_failed", "The request changed since it was shown.")
    eligibility = _require_eligible(request, principal, review, now)
    answer = checked_answer(review, risk=request.risk, comment_asked=bool(request.obligations["comment"]))
    stored = _store_review(request, principal, answer, eligibility, now)
    _record_review(request, stored, principal.actor(), now, record)
    return _count(request, stored, principal.actor(), now, record)


def already_decided(request: ApprovalRequest) -> ConflictError:
    """Return the 409 for a closed request, with its outcome."""
    outcome = {
        "decision": decision_of(request.status, request.close_code),
        "resolved_at": wire_time(request.resolved_at),
    }
    return ConflictError("already_decided", "The request is closed.", extra={"outcome": outcome})


def _repeated(request: ApprovalRequest, earlier: Review) -> ReviewOutcome:
    grant = request.grants.first()
    covered = tuple(grant.calls.order_by("position").values_list("call_id", flat=True)) if grant else ()
    return ReviewOutcome("repeated", request, grant, covered, single_operator=earlier.single_operator)


def _require_eligible(
    request: ApprovalRequest, principal: Principal, review: ReviewInput, now: datetime
) -> Eligibility:
    eligibility = eligibility_of(
        request=request, principal=principal, otp_verified_at=review.otp_verified_at, now=now
    )
    if not eligibility.ok:
        raise refuse(eligibility)
    return eligibility


def _store_review(
    request: ApprovalRequest,
    principal: Principal,
    answer: ReviewInput,
    eligibility: Eligibility,
    now: datetime,
) -> Review:
    roles = effective_roles(user_id=principal.id, workspace_id=request.workspace_id, now=now)
    return Review.objects.create(
        request=request,
        reviewer_id=principal.id,
        verdict=answer.verdict,
        scope=answer.scope or "",
        ttl_ms=answer.ttl_ms,
        comment=answer.comment,
        surface=answer.surface,
        auth_method=principal.actor().auth,
        step_up_at=answer.otp_verified_at,
        seen_version=answer.seen_version,
        roles=sorted(role.value for role in roles),
        single_operator=eligibility.single_operator,
        ip_digest=salted_hmac("approvals.review", principal.client_ip, algorithm="sha256").hexdigest(),
        created_at=now,
    )


def _record_review(
    request: ApprovalRequest, review: Review, actor: Actor, now: datetime, record: Record
) -> None:
    record(
        event="approval.reviewed",
        actor=actor,
        subject=request.pk,
        now=now,
        data={
            "verdict": review.verdict,
            "scope": review.scope,
            "comment": review.comment,
            "seen_version": review.seen_version,
            "single_operator": review.single_operator,
        },
        run=request.run_id or None,
    )


def _count(
    request: ApprovalRequest, review: Review, actor: Actor, now: datetime, record: Record
) -> ReviewOutcome:
    """Close the request if this review decides it. The quorum is counted among people eligible now."""
    reviews = list(request.reviews.all())
    counted = [CountedReview(item.reviewer_id, item.verdict) for item in reviews]
    quorum = 1 if review.single_operator else request.quorum
    result: Tally = tally(counted, quorum, eligible_now(request, reviews, now))
    if result.state is TallyState.OPEN:
        return ReviewOutcome("open", request, single_operator=review.single_operator)
    if result.state is TallyState.DENIED:
        _close(request, RequestStatus.DENIED, CloseCode.DENIED, now)
        _record_decided(request, review, None, actor=actor, now=now, record=record)
        waiting = tuple(request.calls.order_by("position").values_list("call_id", flat=True))
        return ReviewOutcome(
            "denied", request, uncovered_call_ids=waiting, single_operator=review.single_operator
        )
    return _allow(request, reviews, review=review, actor=actor, now=now, record=record)


def _allow(
    request: ApprovalRequest,
    reviews: list[Review],
    *,
    review: Review,
    actor: Actor,
    now: datetime,
    record: Record,
) -> ReviewOutcome:
    seen = min(item.seen_version or 1 for item in reviews)
    calls = list(request.calls.order_by("position"))
    covered = tuple(call.call_id for call in calls if call.version <= seen)
    grant = create_grant(request, covered, now) if calls else None
    _close(request, RequestStatus.ALLOWED, CloseCode.DECIDED, now)
    _record_decided(request, review, grant, actor=actor, now=now, record=record)
    if grant is None:
        return ReviewOutcome("allowed", request, single_operator=review.single_operator)
    record(
        event="grant.created",
        actor=actor,
        subject=grant.pk,
        now=now,
        data={
            "request": request.pk,
            "scope": grant.scope,
            "uses_allowed": grant.uses_allowed,
            "expires_at": wire_time(grant.expires_at),
        },
        run=request.run_id or None,
    )
    left = tuple(call.call_id for call in calls if call.version > seen)
    return ReviewOutcome("allowed", request, grant, covered, left, review.single_operator)


def _record_decided(
    request: ApprovalRequest,
    review: Review,
    grant: Grant | None,
    *,
    actor: Actor,
    now: datetime,
    record: Record,
) -> None:
    record(
        event="approval.decided",
        actor=actor,
        subject=request.pk,
        now=now,
        data={
            "decision": decision_of(request.status, request.close_code),
            "close_code": request.close_code,
            "grant": grant.pk if grant else None,
            "single_operator": review.single_operator,
        },
        run=request.run_id or None,
    )


def cancel_request(
    *, request_id: str, close_code: str, actor: Actor, now: datetime, record: Record
) -> ApprovalRequest:
    """Withdraw a pending question. The requester, its owner, somebody who may decide, or the instance.

    Raises ConflictError `already_decided` when it is closed, NotFoundError for anybody else.
    """
    if close_code not in CANCEL_CODES:
        raise InvalidError("invalid", "A request is not cancelled for this cause.")
    request = ApprovalRequest.objects.select_for_update().filter(pk=request_id).first()
    if request is None or not _may_cancel(actor, request, now):
        raise NotFoundError("not_found", "No such approval request.")
    if request.status != RequestStatus.PENDING:
        raise already_decided(request)
    _close(request, RequestStatus.CANCELLED, close_code, now)
    failed = close_code in ERROR_CODES
    record(
        event="approval.failed" if failed else "approval.cancelled",
        actor=actor,
        subject=request.pk,
        now=now,
        data={"close_code": close_code},
        run=request.run_id or None,
    )
    return request


def _may_cancel(actor: Actor, request: ApprovalRequest, now: datetime) -> bool:
    if actor.kind == "system" or actor.id in (request.requester_id, request.requester_owner_id):
        return True
    return actor.kind == "user" and DECIDED_WITH[request.subject_type] in permissions_of_user(
        user_id=actor.id, workspace_id=request.workspace_id, now=now
    )


def expire_request(*, request_id: str, now: datetime, record: Record) -> ApprovalRequest:
    """Close a question whose time is over. ConflictError when it is closed or not yet due."""
    request = ApprovalRequest.objects.select_for_update().filter(pk=request_id).first()
    if request is None:
        raise NotFoundError("not_found", "No such approval request.")
    if request.status != RequestStatus.PENDING:
        raise already_decided(request)
    if now < request.expires_at:
        raise ConflictError("conflict", "The request is not due yet.")
    _expire(request, now, record)
    return request


def _expire(request: ApprovalRequest, now: datetime, record: Record) -> None:
    _close(request, RequestStatus.EXPIRED, CloseCode.TIMEOUT, now)
    record(
        event="approval.expired",
        actor=system_actor("sweeper"),
        subject=request.pk,
        now=now,
        data={"close_code": CloseCode.TIMEOUT.value},
        run=request.run_id or None,
    )


def _close(request: ApprovalRequest, target: RequestStatus, close_code: str, now: datetime) -> None:
    transition(
        ApprovalRequest.objects.filter(pk=request.pk),
        REQUEST_ALLOWED,
        source=RequestStatus.PENDING,
        target=target,
        column="status",
        close_code=close_code,
        resolved_at=now,
        version=F("version") + 1,
    )
    request.refresh_from_db()
