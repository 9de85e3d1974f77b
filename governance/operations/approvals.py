"""Verbs on approval requests: answer one or many, force one, say afterwards whether that was justified."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime

from django.db import transaction

from approvals import break_glass as glass, selectors
from approvals.eligibility import could_answer
from approvals.models import ApprovalRequest, BreakGlassReview
from approvals.reviewing import is_repeated
from approvals.services import ReviewOutcome
from approvals.types import RequestStatus, ReviewInput, Risk, Verdict
from governance import authority, idempotency, pipeline
from governance.authority import needs
from governance.idempotency import Ticket
from governance.journal.ledger import record
from governance.operations import refusals, signing_in
from identity.authorization import FRESH_CODE_SECONDS, strength_of
from identity.roles import Permission
from identity.types import AuthStrength, Principal, PrincipalKind
from kernel.errors import (
    AuthenticationError,
    Detail,
    InvalidError,
    NotFoundError,
    PalyraError,
    RefusedError,
)
from policy.types import EntityRef

MOST_AT_ONCE = 50
RISKS_AT_ONCE = frozenset({Risk.LOW, Risk.MEDIUM})
Render = Callable[[ReviewOutcome], tuple[int, object]]


@dataclass(frozen=True, slots=True)
class Chosen:
    """One request of many, as it was at `seen_version`; without one only its first call is covered."""

    request_id: str
    seen_version: int | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """What became of one request of many: its outcome, or the refusal that concerns it alone."""

    request_id: str
    outcome: ReviewOutcome | None = None
    refusal: PalyraError | None = None


@needs(Permission.APPROVALS_DECIDE)
def decide(
    *,
    request_id: str,
    principal: Principal,
    answer: ReviewInput,
    otp: str | None = None,
    now: datetime,
    ticket: Ticket | None = None,
    render: Render | None = None,
) -> ReviewOutcome:
    """Take one answer, with a one-time code for it if one was typed. Raises as `pipeline.review`.

    The same answer again needs no code and uses none up: it changes nothing.
    """
    if otp and principal.kind is PrincipalKind.USER and not is_repeated(request_id, principal.id, answer):
        verified = signing_in.step_up(principal=principal, code=otp, now=now)
        answer = replace(answer, otp_verified_at=verified)
    return pipeline.review(
        request_id=request_id, principal=principal, answer=answer, now=now, ticket=ticket, render=render
    )


@needs(Permission.APPROVALS_DECIDE)
def decide_many(
    *,
    principal: Principal,
    chosen: Sequence[Chosen],
    verdict: str,
    comment: str = "",
    otp_verified_at: datetime | None = None,
    surface: str = "api",
    now: datetime,
) -> tuple[Row, ...]:
    """Give up to 50 requests of one agent and one tool the same answer, each in a transaction of its own.

    Scope `once` and nothing wider, risk medium at most, one code not older than five minutes for all. A
    request that cannot be answered has its refusal in its row and keeps no other waiting; what the
    principal may not see is `not_found` there. Raises InvalidError, and before anything is decided.
    """
    authority.require_permission(principal, Permission.APPROVALS_DECIDE, principal.workspace_id, now)
    seen = _require_one_kind(principal, chosen, now)
    _require_code(principal, otp_verified_at, now)
    answer = ReviewInput(
        verdict=verdict,
        scope="once" if verdict == Verdict.ALLOW else None,
        comment=comment,
        otp_verified_at=otp_verified_at,
        surface=surface,
    )
    return tuple(
        _decided(one, principal, answer, now) if one.request_id in seen else _unseen(one) for one in chosen
    )


@needs(Permission.APPROVALS_BREAK_GLASS)
def break_glass(
    *,
    request_id: str,
    principal: Principal,
    comment: str,
    otp: str | None = None,
    otp_verified_at: datetime | None = None,
    seen_version: int | None = None,
    surface: str = "api",
    now: datetime,
    ticket: Ticket | None = None,
    render: Render | None = None,
) -> ReviewOutcome:
    """Allow alone in an emergency: once, with a code for this very decision, and a reason.

    Raises RefusedError `feature_disabled`, `role_required` or `insufficient_scope`, and as
    `pipeline.review`. What policy denies stays denied.
    """
    try:
        _require_may_force(principal, request_id, now)
    except PalyraError as refusal:
        refusals.record_refusal(principal, request_id, refusal, now)
        raise
    answer = ReviewInput(
        verdict=Verdict.ALLOW,
        scope="once",
        comment=comment,
        seen_version=seen_version,
        otp_verified_at=otp_verified_at,
        surface=surface,
        break_glass=True,
    )
    return decide(
        request_id=request_id,
        principal=principal,
        answer=answer,
        otp=otp,
        now=now,
        ticket=ticket,
        render=render,
    )


@needs(Permission.APPROVALS_DECIDE)
def review_break_glass(
    *,
    review_id: str,
    principal: Principal,
    finding: str,
    comment: str,
    now: datetime,
    ticket: Ticket | None = None,
    render: Callable[[BreakGlassReview], object] | None = None,
) -> BreakGlassReview:
    """Say whether a forced decision was justified. Raises as `break_glass.record_finding`."""
    try:
        with transaction.atomic(durable=True):
            review = glass.record_finding(
                review_id=review_id,
                principal=principal,
                finding=finding,
                comment=comment,
                now=now,
                record=record,
            )
            request = review.request
            resource = EntityRef("ApprovalRequest", request.id)
            authority.require_policy(
                principal, Permission.APPROVALS_DECIDE, resource, request.workspace_id, now
            )
            idempotency.store_rendered(ticket, render, review, status=200, object_id=review.pk)
    except PalyraError as refusal:
        refusals.record_refusal(principal, review_id, refusal, now)
        raise
    return review


@needs(Permission.APPROVALS_READ)
def note_seen(*, request_id: str, principal: Principal, now: datetime) -> bool:
    """Note that somebody who may answer has opened a waiting request; tell whether that was the first time.

    Whoever may not answer leaves no mark: nobody is reminded of a request that an approver has seen.
    """
    with transaction.atomic(durable=True):
        request = _visible(principal, request_id, now)
        waits = request.status == RequestStatus.PENDING and now < request.expires_at
        if request.seen_at is not None or not waits:
            return False
        if not could_answer(selectors.eligibility_of(request=request, principal=principal, now=now)):
            return False
        unseen = ApprovalRequest.objects.filter(pk=request.pk, seen_at__isnull=True)
        return unseen.update(seen_at=now) == 1


def _visible(principal: Principal, request_id: str, now: datetime) -> ApprovalRequest:
    found = selectors.visible_to(principal, now).filter(pk=request_id).first()
    if found is None:
        raise NotFoundError("not_found", "There is no such approval request.")
    return found


def _require_may_force(principal: Principal, request_id: str, now: datetime) -> None:
    """Ask for the permission and its feature; the rules, and how fresh the code is, the decision asks."""
    request = _visible(principal, request_id, now)
    if principal.kind is not PrincipalKind.USER:
        raise RefusedError("reviewer_is_agent", "Only a person answers.")
    with suppress(AuthenticationError):
        authority.require_permission(principal, Permission.APPROVALS_BREAK_GLASS, request.workspace_id, now)


def _require_one_kind(principal: Principal, chosen: Sequence[Chosen], now: datetime) -> frozenset[str]:
    """Return those that exist for the principal; nothing else is decided, whatever appears meanwhile."""
    ids = [one.request_id for one in chosen]
    if not 1 <= len(ids) <= MOST_AT_ONCE or len(set(ids)) != len(ids):
        raise _invalid(f"Choose 1 to {MOST_AT_ONCE} requests, each once.")
    found = list(selectors.visible_to(principal, now).filter(pk__in=ids))
    if len({(row.requester_id, row.subject_type, row.subject_label) for row in found}) > 1:
        raise _invalid("The requests must be of one agent and one tool.")
    if any(row.risk not in RISKS_AT_ONCE for row in found):
        raise _invalid("Requests of high or critical risk are answered one by one.")
    return frozenset(row.pk for row in found)


def _unseen(one: Chosen) -> Row:
    return Row(one.request_id, refusal=NotFoundError("not_found", "There is no such approval request."))


def _require_code(principal: Principal, verified_at: datetime | None, now: datetime) -> None:
    age = None if verified_at is None else (now - verified_at).total_seconds()
    typed = age is not None and 0 <= age <= FRESH_CODE_SECONDS
    if not typed and strength_of(principal, now) < AuthStrength.FRESH_MFA:
        raise AuthenticationError("step_up_required", "Answering many at once needs a one-time code.")


def _decided(one: Chosen, principal: Principal, answer: ReviewInput, now: datetime) -> Row:
    try:
        outcome = pipeline.review(
            request_id=one.request_id,
            principal=principal,
            answer=replace(answer, seen_version=one.seen_version),
            now=now,
        )
    except PalyraError as refusal:
        return Row(one.request_id, refusal=refusal)
    return Row(one.request_id, outcome)


def _invalid(sentence: str) -> InvalidError:
    return InvalidError("invalid", sentence, errors=(Detail("/requests", "invalid", sentence),))
