"""Writes to grants: made by an answer, used up by claims."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from django.db import IntegrityError, transaction
from django.db.models import F, Q

from approvals.answers import AskedCall, bound_pattern
from approvals.grant_ends import end_grant
from approvals.lookup import why_not_covered
from approvals.matching import GrantProposal, misplaced
from approvals.models import ApprovalCall, ApprovalRequest, Grant, GrantUse, Review
from approvals.patterns import EXACT, BoundPattern, breadth
from approvals.scopes import Allow, GrantTerms, grant_terms, narrowest, unusable_because
from approvals.types import GrantStatus, ReviewInput, Scope
from kernel.canonical import digest
from kernel.clock import wire_time
from kernel.errors import ConflictError
from kernel.ids import new_id
from kernel.record import Actor, Record


def create_grant(
    request: ApprovalRequest,
    allows: Sequence[Review],
    *,
    covered: tuple[str, ...],
    asked: AskedCall | None,
    now: datetime,
) -> Grant:
    """Make the grant of an allowed request and tie the covered calls to it.

    It reaches as far as all who allowed agree; ConflictError `run.closed` for a session that is over.
    `asked` is the call as the caller knows it: without it
    nobody can say what another call would have to be like, and the answer is for these calls, once.
    """
    scope, ttl_ms, bound = narrowest([_allow(review, request, asked) for review in allows])
    ends_at = asked.session_ends_at if asked else None
    if scope is Scope.SESSION and ends_at is not None and ends_at <= now:
        raise ConflictError("run.closed", "The run that this session stands for is over.")
    terms = grant_terms(
        scope,
        ttl_ms,
        covered_calls=len(covered),
        max_uses=request.obligations["max_uses"] if scope is not Scope.ONCE else None,
        session_ends_at=ends_at,
        now=now,
    )
    grant = _insert(request, terms, bound, asked, now)
    request.calls.filter(call_id__in=covered).update(grant=grant)
    return grant


def _allow(review: Review, request: ApprovalRequest, asked: AskedCall | None) -> Allow:
    """Return a stored answer as terms. What `checked_answer` let pass cannot fail here."""
    if asked is None:
        only = BoundPattern(EXACT.constraints, EXACT.rest, request.action_digest, {})
        return Allow(Scope.ONCE, None, only)
    said = ReviewInput(verdict=review.verdict, scope=review.scope, pattern=review.pattern)
    return Allow(Scope(review.scope), review.ttl_ms, bound_pattern(said, asked))


def _insert(
    request: ApprovalRequest,
    terms: GrantTerms,
    bound: BoundPattern,
    asked: AskedCall | None,
    now: datetime,
) -> Grant:
    stored = bound.as_json()
    return Grant.objects.create(
        id=new_id("grt", now),
        request=request,
        scope=terms.scope,
        subject_type=request.subject_type,
        subject_label=request.subject_label,
        action_digest=request.action_digest,
        tool_definition_hash=request.tool_definition_hash,
        obligations_digest=request.obligations_digest,
        policy_set_hash=request.policy_set_hash,
        principal_id=request.requester_id,
        workspace_id=request.workspace_id,
        tool=request.tool,
        skill_id=request.skill_id,
        skill_digest=request.skill_digest,
        tier_floor=asked.tier if asked else "",
        egress_mode=asked.egress_mode if asked else "",
        pattern=stored,
        pattern_digest=digest(stored),
        rest_digest=bound.rest_digest,
        breadth=breadth(bound),
        risk_ceiling=request.risk,
        uses_allowed=terms.uses_allowed,
        not_before=terms.not_before,
        expires_at=terms.expires_at,
        created_at=now,
        **_held_fixed(request, terms.scope),
    )


def _held_fixed(request: ApprovalRequest, scope: Scope) -> dict[str, str]:
    """Return where a grant of this scope may be used: a request without a session belongs to its run."""
    fixed = {"channel": request.channel}
    if scope is not Scope.ALWAYS:
        fixed["device_id"] = request.device_id
    if scope is Scope.SESSION:
        fixed["session_id"] = request.session_id
    if scope is Scope.ONCE or (scope is Scope.SESSION and not request.session_id):
        fixed["run_id"] = request.run_id
    return fixed


def record_created(grant: Grant, actor: Actor, now: datetime, record: Record) -> None:
    record(
        event="grant.created",
        actor=actor,
        subject=grant.pk,
        now=now,
        data={
            "request": grant.request_id,
            "scope": grant.scope,
            "pattern_digest": grant.pattern_digest,
            "breadth": grant.breadth,
            "uses_allowed": grant.uses_allowed,
            "expires_at": wire_time(grant.expires_at),
        },
        run=grant.request.run_id or None,
    )


def consume_grant(
    *,
    grant_id: str,
    proposal: GrantProposal,
    execution_id: str,
    actor: Actor,
    now: datetime,
    record: Record,
) -> None:
    """Use a grant up by one, for a call it covers. It is used or nothing changed.

    Covered are the calls that waited for the answer, and calls that match what was granted. Raises
    ConflictError whose `extra["reason"]` is `approval.grant_expired`, `approval.grant_consumed`,
    `approval.grant_revoked` or `approval.not_covered`.
    """
    with transaction.atomic():
        grant = _used_once_more(grant_id, proposal, now)
        try:
            with transaction.atomic():
                GrantUse.objects.create(
                    grant=grant, call_id=proposal.call_id, execution_id=execution_id, used_at=now
                )
        except IntegrityError:
            raise _unusable("approval.grant_consumed") from None
        run = proposal.run_id or None
        record(
            event="grant.used",
            actor=actor,
            subject=grant.pk,
            now=now,
            data={"execution": execution_id, "uses": grant.uses},
            run=run,
            call=proposal.call_id,
        )
        if grant.uses == grant.uses_allowed:
            end_grant(grant.pk, GrantStatus.CONSUMED)
            record(
                event="grant.consumed",
                actor=actor,
                subject=grant.pk,
                now=now,
                data={"uses": grant.uses},
                run=run,
            )


def _used_once_more(grant_id: str, proposal: GrantProposal, now: datetime) -> Grant:
    rows = Grant.objects.filter(pk=grant_id)
    hit = rows.filter(
        Q(uses_allowed__isnull=True) | Q(uses__lt=F("uses_allowed")),
        status=GrantStatus.ACTIVE,
        not_before__lte=now,
        expires_at__gt=now,
    ).update(uses=F("uses") + 1)
    grant = rows.select_related("request").first()
    if grant is None:
        raise _unusable("approval.not_covered")
    if hit != 1:
        raise _unusable(why_unusable(grant, now) or "approval.grant_consumed")
    if not is_covered(grant, proposal):
        raise _unusable("approval.not_covered")
    return grant


def is_covered(grant: Grant, proposal: GrantProposal) -> bool:
    """Tell whether the call waited for the answer that made this grant, or matches what it granted.

    Neither reaches a call that would run in a lesser place than the one that was shown.
    """
    if ApprovalCall.objects.filter(call_id=proposal.call_id, grant=grant).exists():
        return misplaced(grant, proposal) is None
    return why_not_covered(grant, proposal) is None


def why_unusable(grant: Grant, now: datetime) -> str | None:
    """Return the reason code why a grant cannot be used at `now`, or None when it can."""
    return unusable_because(
        status=grant.status,
        not_before=grant.not_before,
        expires_at=grant.expires_at,
        uses=grant.uses,
        uses_allowed=grant.uses_allowed,
        now=now,
    )


def _unusable(reason: str) -> ConflictError:
    return ConflictError("conflict", "The grant cannot be used.", extra={"reason": reason})
