"""Answering: one person's review, the count, and the grant of an allowed request."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.utils.crypto import constant_time_compare, salted_hmac

from approvals.answers import AskedCall, checked_answer, refuse, same_answer
from approvals.break_glass import forced_answer, note_broken
from approvals.denials import remember_denial
from approvals.eligibility import Eligibility
from approvals.ending import already_decided, close, expire_now
from approvals.grants import create_grant, record_created
from approvals.lifecycle import CountedReview, Tally, TallyState, decision_of, tally
from approvals.models import ApprovalRequest, Grant, Review
from approvals.selectors import eligibility_of, eligible_now, may_see
from approvals.types import CloseCode, RequestStatus, ReviewInput, Scope, SubjectType, Verdict
from identity.selectors import effective_roles
from identity.types import Principal
from kernel.errors import Detail, InvalidError, NotFoundError, PreconditionFailedError
from kernel.record import Actor, Record


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


def record_review(
    *,
    request_id: str,
    principal: Principal,
    review: ReviewInput,
    now: datetime,
    record: Record,
    asked: AskedCall | None = None,
    no_earlier_than: datetime | None = None,
) -> ReviewOutcome:
    """Take one person's answer; close the request when the count is reached or somebody denies.

    In this order: NotFoundError for what the principal may not see; `repeated` for the same answer
    again; ConflictError `already_decided` with the outcome; `expired` as a fact; PreconditionFailedError
    for an outdated `seen_version`; InvalidError `sas_mismatch`; the refusals of `may_review`, or of
    `forced_answer` for a broken glass; the limits of scope, ttl, comment and pattern. `asked` is the call
    that the request is about; without it an answer covers the waiting calls, once. Expiry counts by
    `no_earlier_than` where that is later than `now`: the caller knows of a clock that was set back.
    """
    request = ApprovalRequest.objects.select_for_update().filter(pk=request_id).first()
    if request is None or not may_see(principal, request, now):
        raise NotFoundError("not_found", "No such approval request.")
    earlier = _same_before(request.pk, principal.id, review)
    if earlier is not None:
        return _repeated(request, earlier)
    if request.status != RequestStatus.PENDING:
        raise already_decided(request)
    if max(now, no_earlier_than or now) >= request.expires_at:
        expire_now(request, now, record)
        return ReviewOutcome("expired", request)
    if review.seen_version is not None and review.seen_version != request.version:
        raise PreconditionFailedError("precondition_failed", "The request changed since it was shown.")
    _require_same_device(request, review)
    if review.break_glass:
        answer, eligibility = forced_answer(request, principal, review, now), Eligibility(True)
    else:
        eligibility = _require_eligible(request, principal, review, now)
        answer = checked_answer(
            review,
            risk=request.risk,
            comment_asked=bool(request.obligations["comment"]),
            max_scope=request.obligations["max_scope"] if asked is not None else Scope.ONCE,
            subject_type=request.subject_type,
            call=asked,
        )
    stored = _store_review(request, principal, answer, eligibility, now)
    _record_review(request, stored, principal.actor(), now, record)
    if stored.break_glass:
        note_broken(request, principal, now, record)
    return _count(request, stored, principal.actor(), now, record, asked)


def is_repeated(request_id: str, person_id: str, review: ReviewInput) -> bool:
    """Tell whether this person has given this very answer before; then it changes nothing."""
    return _same_before(request_id, person_id, review) is not None


def _same_before(request_id: str, person_id: str, review: ReviewInput) -> Review | None:
    earlier = Review.objects.filter(request_id=request_id, reviewer_id=person_id).first()
    if earlier is None or earlier.break_glass != review.break_glass:
        return None
    return earlier if same_answer(earlier, review) else None


def _require_same_device(request: ApprovalRequest, review: ReviewInput) -> None:
    """Whoever lets a device in has compared the short string it shows; a deny needs none."""
    if request.subject_type != SubjectType.DEVICE_PAIRING or review.verdict != Verdict.ALLOW:
        return
    if not request.sas or not constant_time_compare(request.sas, review.sas):
        detail = Detail("/sas", "sas_mismatch", "must be the string that the device shows")
        raise InvalidError("sas_mismatch", "The device shows another string.", errors=(detail,))


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
        pattern=answer.pattern,
        comment=answer.comment,
        surface=answer.surface,
        auth_method=principal.actor().auth,
        step_up_at=answer.otp_verified_at,
        seen_version=answer.seen_version,
        roles=sorted(role.value for role in roles),
        single_operator=eligibility.single_operator,
        break_glass=answer.break_glass,
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
            "break_glass": review.break_glass,
            "step_up": review.step_up_at is not None,
        },
        run=request.run_id or None,
    )


def _count(
    request: ApprovalRequest,
    review: Review,
    actor: Actor,
    now: datetime,
    record: Record,
    asked: AskedCall | None,
) -> ReviewOutcome:
    """Close the request if this review decides it. The quorum is counted among people eligible now."""
    reviews = list(request.reviews.all())
    counted = [CountedReview(item.reviewer_id, item.verdict) for item in reviews]
    quorum = 1 if review.single_operator or review.break_glass else request.quorum
    result: Tally = tally(counted, quorum, eligible_now(request, reviews, now))
    if result.state is TallyState.OPEN:
        return ReviewOutcome("open", request, single_operator=review.single_operator)
    if result.state is TallyState.DENIED:
        close(request, RequestStatus.DENIED, CloseCode.DENIED, now)
        remember_denial(request, now)
        _record_decided(request, review, None, actor=actor, now=now, record=record)
        waiting = tuple(request.calls.order_by("position").values_list("call_id", flat=True))
        return ReviewOutcome(
            "denied", request, uncovered_call_ids=waiting, single_operator=review.single_operator
        )
    return _allow(request, reviews, review=review, asked=asked, actor=actor, now=now, record=record)


def _allow(
    request: ApprovalRequest,
    reviews: list[Review],
    *,
    review: Review,
    asked: AskedCall | None,
    actor: Actor,
    now: datetime,
    record: Record,
) -> ReviewOutcome:
    seen = min(item.seen_version or 1 for item in reviews)
    calls = list(request.calls.order_by("position"))
    covered = tuple(call.call_id for call in calls if call.version <= seen)
    grant = create_grant(request, reviews, covered=covered, asked=asked, now=now) if calls else None
    close(request, RequestStatus.ALLOWED, CloseCode.DECIDED, now)
    _record_decided(request, review, grant, actor=actor, now=now, record=record)
    if grant is None:
        return ReviewOutcome("allowed", request, single_operator=review.single_operator)
    record_created(grant, actor, now, record)
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
