"""The one verb on session labels."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from django.db import transaction

from governance import authority, idempotency
from governance.authority import needs
from governance.idempotency import Ticket
from governance.journal.ledger import record
from governance.label_selectors import require_conversation
from identity.roles import Permission
from identity.types import Principal
from policy import labels
from policy.label_models import SessionLabel
from policy.types import EntityRef


@needs(Permission.TOOLS_MANAGE)
def declassify(
    *,
    principal: Principal,
    session_id: str,
    label: str,
    reason: str,
    now: datetime,
    ticket: Ticket | None = None,
    render: Callable[[SessionLabel], object] | None = None,
) -> SessionLabel:
    """Take a label away from a session, with a fresh one-time code and a reason.

    Raises NotFoundError for a session or a label that is not there, ConflictError `state_changed` for one
    that was declassified already.
    """
    with transaction.atomic(durable=True):
        found = require_conversation(principal, session_id)
        resource = EntityRef("Session", found.id)
        authority.require_verb(principal, Permission.TOOLS_MANAGE, found.workspace_id, now, resource=resource)
        authority.require_fresh_code(principal, now)
        row = labels.declassify(
            holder_id=found.id, label=label, reason=reason, actor=principal.actor(), now=now, record=record
        )
        idempotency.store_rendered(ticket, render, row, status=200, object_id=found.id)
    return row
