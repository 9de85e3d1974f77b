"""Changing the arguments of a call that waits for a person."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from django.db import transaction

from approvals.editing import EditInput
from approvals.eligibility import DECIDED_WITH
from approvals.services import already_decided, edit_arguments
from approvals.types import RequestStatus
from governance import authority, idempotency, stepped_clock, wakeup
from governance.authority import needs
from governance.editing import Edited, replace_call
from governance.idempotency import Ticket
from governance.journal.ledger import record
from governance.operations import refusals
from governance.runs.turns import hold_run_of_request
from identity.roles import Permission
from identity.types import Principal
from kernel.errors import PalyraError
from policy.types import EntityRef


@needs(Permission.APPROVALS_DECIDE)
def edit_request(
    *,
    request_id: str,
    new_input: object,
    edit: EditInput,
    principal: Principal,
    now: datetime,
    ticket: Ticket | None = None,
    render: Callable[[Edited], tuple[int, object]] | None = None,
) -> Edited:
    """Put a call with other arguments in the place of one that waits, as `replace_call` says.

    Needs what an allow of the request needs, and a comment. Raises ConflictError `already_decided` for a
    request that is closed or has expired. A refusal leaves everything as it was, and `request.refused` in
    the journal.
    """
    edited: Edited | None = None
    try:
        with transaction.atomic(durable=True):
            hold_run_of_request(request_id)
            asked = edit_arguments(
                request_id=request_id,
                principal=principal,
                edit=edit,
                now=now,
                record=record,
                no_earlier_than=stepped_clock.no_earlier_than(now),
            )
            if asked.status != RequestStatus.EXPIRED:
                authority.require_policy(
                    principal,
                    DECIDED_WITH[asked.subject_type],
                    EntityRef("ApprovalRequest", asked.id),
                    asked.workspace_id,
                    now,
                )
                edited = replace_call(asked, new_input, edit, principal, now)
                if ticket is not None and render is not None:
                    status, body = render(edited)
                    idempotency.store(ticket, status=status, body=body, object_id=request_id)
            transaction.on_commit(wakeup.ring, robust=True)
    except PalyraError as refusal:
        refusals.record_refusal(principal, request_id, refusal, now)
        raise
    if edited is None:
        raise already_decided(asked)
    return edited
