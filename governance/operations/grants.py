"""Taking back what people granted, and forgetting what they denied."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from django.db import transaction

from approvals import services as approvals
from approvals.grant_selectors import visible_denials, visible_grants
from approvals.models import DenialMemory, Grant
from governance import authority, idempotency
from governance.authority import needs
from governance.idempotency import Ticket
from governance.journal.ledger import record
from governance.operations.refusals import record_refusal
from governance.runs.turns import hold_run_of_grant
from identity.roles import Permission
from identity.types import Principal
from kernel.errors import NotFoundError, RefusedError
from policy.types import EntityRef


@needs(Permission.GRANTS_REVOKE)
def revoke(
    *,
    principal: Principal,
    grant_id: str,
    comment: str,
    now: datetime,
    ticket: Ticket | None = None,
    render: Callable[[Grant], object] | None = None,
) -> Grant:
    """Take a grant back: no execution that starts after the commit uses it.

    Raises NotFoundError for one the principal may not know of, InvalidError `comment_required`,
    ConflictError `conflict` for one that has ended. A refusal leaves `request.refused` in the journal.
    """
    try:
        with transaction.atomic(durable=True):
            hold_run_of_grant(grant_id)
            found = visible_grants(principal, now).filter(pk=grant_id).first()
            if found is None:
                raise NotFoundError("not_found", "There is no such grant.")
            _require(principal, EntityRef("Grant", found.pk), found.workspace_id, now)
            grant = approvals.revoke_grant(
                grant_id=grant_id, comment=comment, actor=principal.actor(), now=now, record=record
            )
            idempotency.store_rendered(ticket, render, grant, status=200, object_id=grant_id)
    except RefusedError as refusal:
        record_refusal(principal, grant_id, refusal, now)
        raise
    return grant


@needs(Permission.GRANTS_REVOKE)
def forget(*, principal: Principal, denial_id: str, comment: str, now: datetime) -> DenialMemory:
    """Let an action that was denied be asked about again before its day is over.

    Raises NotFoundError for a denial the principal may not know of or that is over, InvalidError
    `comment_required`. A refusal leaves `request.refused` in the journal.
    """
    try:
        with transaction.atomic(durable=True):
            rows = visible_denials(principal, now).select_related("request")
            found = rows.filter(pk=denial_id).first()
            if found is None:
                raise NotFoundError("not_found", "There is no such denial.")
            request = found.request
            _require(principal, EntityRef("ApprovalRequest", request.pk), request.workspace_id, now)
            return approvals.forget_denial(
                denial_id=denial_id,
                comment=comment,
                actor=principal.actor(),
                now=now,
                record=record,
            )
    except RefusedError as refusal:
        record_refusal(principal, denial_id, refusal, now)
        raise


def _require(principal: Principal, resource: EntityRef, workspace_id: str, now: datetime) -> None:
    authority.require_verb(principal, Permission.GRANTS_REVOKE, workspace_id, now, resource=resource)
