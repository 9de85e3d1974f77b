"""Asking people for more calls than a run was opened with."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from django.db import transaction

from approvals.models import ApprovalRequest
from governance import allowances, authority, idempotency
from governance.authority import needs
from governance.idempotency import Ticket
from governance.models import Run
from governance.runs.turns import hold_run
from governance.selectors import require_proposable_run
from identity.roles import Permission
from identity.types import Principal
from kernel.errors import RefusedError


@needs(Permission.TOOLS_PROPOSE)
def request_raise(
    *,
    run_id: str,
    max_calls: int,
    reason: str,
    principal: Principal,
    now: datetime,
    ticket: Ticket | None = None,
    render: Callable[[ApprovalRequest], object] | None = None,
) -> ApprovalRequest:
    """Ask for a run of one's own, as `allowances.ask_for_more` says. `reason` is the agent's word."""
    with transaction.atomic(durable=True):
        run = hold_run(require_proposable_run(principal, run_id).id)
        _require_own(run, principal)
        authority.require_permission(principal, Permission.TOOLS_PROPOSE, run.workspace_id, now)
        asked = allowances.ask_for_more(run, max_calls, reason, principal, now)
        if render is not None:
            idempotency.store(ticket, status=202, body=render(asked), object_id=asked.id)
    return asked


def _require_own(run: Run, principal: Principal) -> None:
    if run.principal_id != principal.id:
        raise RefusedError("role_required", "Only whoever works in the run asks for more of it.")
