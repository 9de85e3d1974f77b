"""Allowing alone in an emergency, and what somebody else says about it afterwards."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from django.db.models import Q, QuerySet

from approvals.answers import checked_comment, refuse
from approvals.eligibility import relation_to
from approvals.models import ApprovalRequest, BreakGlassReview
from approvals.selectors import glass_breaking_of, may_see, question_now, reviewer_of, visible_to
from approvals.types import ReviewFinding, ReviewInput, Scope, Verdict
from identity.types import Principal, PrincipalKind
from kernel.clock import wire_time
from kernel.errors import ConflictError, Detail, InvalidError, NotFoundError, PalyraError, RefusedError
from kernel.ids import new_id
from kernel.record import Actor, Record

TERM = timedelta(hours=24)
SHORTEST_REASON = 20


def forced_answer(
    request: ApprovalRequest, principal: Principal, review: ReviewInput, now: datetime
) -> ReviewInput:
    """Return the answer of somebody who may force this request, or raise the first fault.

    As `may_break_glass`; RefusedError `review_overdue` while somebody still waits for an account of an
    earlier one; an allow of scope `once` and no other; a comment of at least 20 characters.
    """
    eligibility = glass_breaking_of(
        request=request, principal=principal, otp_verified_at=review.otp_verified_at, now=now
    )
    if not eligibility.ok:
        raise refuse(eligibility)
    if overdue(principal.id, now).exists():
        raise RefusedError("review_overdue", "An earlier break-glass decision of yours waits for its review.")
    if review.verdict != Verdict.ALLOW:
        raise _invalid("/decision", "invalid", "Only an allow is ever forced.")
    if review.scope not in (None, Scope.ONCE):
        raise RefusedError("scope_not_offered", "Only the scope once is offered.")
    if review.ttl_ms is not None:
        raise _invalid("/ttl_ms", "ttl_not_allowed", "The scope once takes no duration.")
    if review.pattern is not None:
        raise _invalid("/pattern", "invalid", "What is forced is exactly what was asked.")
    return replace(
        review,
        scope=Scope.ONCE,
        comment=checked_comment(review.comment, required=True, shortest=SHORTEST_REASON),
    )


def note_broken(
    request: ApprovalRequest, principal: Principal, now: datetime, record: Record
) -> BreakGlassReview:
    """Mark the request and ask for an account of it within a day."""
    request.break_glass = True
    request.save(update_fields=["break_glass"])
    opened = BreakGlassReview.objects.create(
        id=new_id("bgr", now), request=request, by=principal.id, created_at=now, due_at=now + TERM
    )
    record(
        event="approval.break_glass",
        actor=principal.actor(),
        subject=request.pk,
        now=now,
        data={"review": opened.pk, "due_at": wire_time(opened.due_at), "quorum": request.quorum},
        run=request.run_id or None,
    )
    return opened


def overdue(person_id: str, now: datetime) -> QuerySet[BreakGlassReview]:
    """Return the decisions this person forced whose review is due and was not given."""
    return BreakGlassReview.objects.filter(by=person_id, reviewed_at__isnull=True, due_at__lte=now)


def visible_reviews(principal: Principal, now: datetime) -> QuerySet[BreakGlassReview]:
    """Return what people may know of; an agent learns nothing of it."""
    rows = BreakGlassReview.objects.select_related("request")
    if principal.kind is not PrincipalKind.USER:
        return rows.none()
    return rows.filter(request__in=visible_to(principal, now))


def in_state(states: list[str], now: datetime) -> Q:
    """Return the WHERE clause of open, overdue and reviewed."""
    open_ = Q(reviewed_at__isnull=True)
    clauses = {
        "open": open_ & Q(due_at__gt=now),
        "overdue": open_ & Q(due_at__lte=now),
        "reviewed": ~open_,
    }
    wanted = Q(pk__in=())
    for state in states:
        wanted |= clauses[state]
    return wanted


def state_of(review: BreakGlassReview, now: datetime) -> str:
    """Return open, overdue or reviewed."""
    if review.reviewed_at is not None:
        return "reviewed"
    return "overdue" if review.due_at <= now else "open"


def record_finding(
    *, review_id: str, principal: Principal, finding: str, comment: str, now: datetime, record: Record
) -> BreakGlassReview:
    """Say whether a forced decision was justified. Once, and never by who forced it or had a part in it.

    Raises NotFoundError, RefusedError `reviewer_is_agent`, `not_a_reviewer` or `self_review`, ConflictError
    when it was reviewed already, InvalidError `invalid` or `comment_required`.
    """
    review = BreakGlassReview.objects.select_for_update().filter(pk=review_id).first()
    if review is None or not may_see(principal, review.request, now):
        raise NotFoundError("not_found", "There is no such review.")
    _require_may_review(review, principal, now)
    if review.reviewed_at is not None:
        raise ConflictError("conflict", "This was reviewed already.")
    if finding not in frozenset(ReviewFinding):
        raise _invalid("/finding", "invalid", "The finding is justified or unjustified.")
    review.comment = checked_comment(comment, required=True)
    review.finding, review.reviewed_by, review.reviewed_at = finding, principal.id, now
    review.save(update_fields=["finding", "comment", "reviewed_by", "reviewed_at"])
    _record_finding(review, principal.actor(), now, record)
    return review


def _require_may_review(review: BreakGlassReview, principal: Principal, now: datetime) -> None:
    request = review.request
    if principal.kind is not PrincipalKind.USER:
        raise RefusedError("reviewer_is_agent", "Only a person reviews this.")
    person = reviewer_of(
        principal,
        subject_type=request.subject_type,
        workspace_id=request.workspace_id,
        otp_verified_at=None,
        now=now,
    )
    if not person.permitted or not person.second_factor:
        raise RefusedError("not_a_reviewer", "This person may not review the decision.")
    relation = "breaker" if principal.id == review.by else relation_to(principal.id, question_now(request))
    if relation is not None:
        extra: dict[str, object] = {"relation": relation}
        raise RefusedError("self_review", "Somebody without a part in it reviews this.", extra=extra)


def _record_finding(review: BreakGlassReview, actor: Actor, now: datetime, record: Record) -> None:
    record(
        event="approval.break_glass_reviewed",
        actor=actor,
        subject=review.request_id,
        now=now,
        data={"review": review.pk, "finding": review.finding, "comment": review.comment},
        run=review.request.run_id or None,
    )


def _invalid(pointer: str, code: str, detail: str) -> PalyraError:
    return InvalidError(code, detail, errors=(Detail(pointer, code, detail),))
