"""Writes to grants: made by an answer, used up by claims."""

from __future__ import annotations

from datetime import datetime

from django.db import IntegrityError, transaction
from django.db.models import F, Q

from approvals.lifecycle import GRANT_ALLOWED
from approvals.models import ApprovalCall, ApprovalRequest, Grant, GrantUse
from approvals.scopes import grant_terms, unusable_because
from approvals.types import GrantStatus
from kernel.canonical import digest
from kernel.errors import ConflictError
from kernel.ids import new_id
from kernel.record import Actor, Record
from kernel.state import transition

EXACT = {"v": 1, "constraints": [], "rest": "equal"}


def create_grant(request: ApprovalRequest, covered: tuple[str, ...], now: datetime) -> Grant:
    """Make the grant of an allowed request and tie the covered calls to it."""
    terms = grant_terms(covered_calls=len(covered), now=now)
    grant = Grant.objects.create(
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
        run_id=request.run_id,
        pattern=EXACT,
        pattern_digest=digest(EXACT),
        rest_digest=request.action_digest,
        risk_ceiling=request.risk,
        uses_allowed=terms.uses_allowed,
        not_before=terms.not_before,
        expires_at=terms.expires_at,
        created_at=now,
    )
    request.calls.filter(call_id__in=covered).update(grant=grant)
    return grant


def consume_grant(
    *, grant_id: str, call_id: str, execution_id: str, actor: Actor, now: datetime, record: Record
) -> None:
    """Use a grant up by one, for a call it covers. It is used or nothing changed.

    Raises ConflictError whose `extra["reason"]` is `approval.grant_expired`, `approval.grant_consumed`,
    `approval.grant_revoked` or `approval.not_covered`.
    """
    with transaction.atomic():
        grant = _used_once_more(grant_id, call_id, now)
        try:
            with transaction.atomic():
                GrantUse.objects.create(grant=grant, call_id=call_id, execution_id=execution_id, used_at=now)
        except IntegrityError:
            raise _unusable("approval.grant_consumed") from None
        run = grant.run_id or None
        record(
            event="grant.used",
            actor=actor,
            subject=grant.pk,
            now=now,
            data={"execution": execution_id, "uses": grant.uses},
            run=run,
            call=call_id,
        )
        if grant.uses == grant.uses_allowed:
            _finish_grant(grant, actor, now, record)


def _used_once_more(grant_id: str, call_id: str, now: datetime) -> Grant:
    if not ApprovalCall.objects.filter(call_id=call_id, grant_id=grant_id).exists():
        raise _unusable("approval.not_covered")
    rows = Grant.objects.filter(pk=grant_id)
    hit = rows.filter(
        Q(uses_allowed__isnull=True) | Q(uses__lt=F("uses_allowed")),
        status=GrantStatus.ACTIVE,
        not_before__lte=now,
        expires_at__gt=now,
    ).update(uses=F("uses") + 1)
    grant = rows.get()
    if hit != 1:
        reason = unusable_because(
            status=grant.status,
            not_before=grant.not_before,
            expires_at=grant.expires_at,
            uses=grant.uses,
            uses_allowed=grant.uses_allowed,
            now=now,
        )
        raise _unusable(reason or "approval.grant_consumed")
    return grant


def _unusable(reason: str) -> ConflictError:
    return ConflictError("conflict", "The grant cannot be used.", extra={"reason": reason})


def _finish_grant(grant: Grant, actor: Actor, now: datetime, record: Record) -> None:
    transition(
        Grant.objects.filter(pk=grant.pk),
        GRANT_ALLOWED,
        source=GrantStatus.ACTIVE,
        target=GrantStatus.CONSUMED,
        column="status",
    )
    record(
        event="grant.consumed",
        actor=actor,
        subject=grant.pk,
        now=now,
        data={"uses": grant.uses},
        run=grant.run_id or None,
    )
