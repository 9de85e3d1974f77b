"""Asking for an erasure. It happens when a second person allows it: `governance.erasures`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from django.db import transaction

from approvals.models import ApprovalRequest
from governance import authority, erasures, idempotency
from governance.authority import needs
from governance.idempotency import Ticket
from governance.journal import erase, scrubbing
from governance.journal.erase import Reach
from governance.operations import refusals, signing_in
from identity.roles import Permission
from identity.types import AuthStrength, Principal, PrincipalKind
from kernel.errors import AuthenticationError, NotFoundError, PalyraError, RefusedError
from policy.types import EntityRef

Render = Callable[[ApprovalRequest], object]


@needs(Permission.JOURNAL_ERASE)
def ask_to_erase(
    *,
    principal: Principal,
    subject: str,
    reason: str,
    otp: str | None = None,
    now: datetime,
    ticket: Ticket | None = None,
    render: Render | None = None,
) -> ApprovalRequest:
    """Ask a second person to let a run, an agent or a person be erased, and return the request.

    `otp` is a code for this very wish; without one the principal needs a fresh one. Raises NotFoundError
    for what does not exist or lies where the principal has nothing to say, ConflictError
    `erasure_still_active` or `legal_hold`, RefusedError `four_eyes_required`, InvalidError for the reason.
    A refusal leaves `request.refused`.
    """
    try:
        wish = erasures.wish_for(subject, reason)
        _require_eraser(principal, erase.reach_of(subject), now, code_follows=bool(otp))
        if otp:
            at = signing_in.step_up(principal=principal, code=otp, now=now)
            principal = replace(principal, auth_strength=AuthStrength.FRESH_MFA, authenticated_at=at)
        with transaction.atomic(durable=True):
            reach = erase.hold(erase.reach_of(subject), now)
            _require_eraser(principal, reach, now)
            resource = EntityRef("Workspace", reach.workspace_id)
            authority.require_policy(principal, Permission.JOURNAL_ERASE, resource, reach.workspace_id, now)
            request = erasures.ask(wish, reach, principal, now)
            idempotency.store_rendered(ticket, render, request, status=202, object_id=request.pk)
    except PalyraError as refusal:
        refusals.record_refusal(principal, subject, refusal, now)
        raise
    return request


@needs(None)
def scrub(now: datetime) -> int:
    """Take what was erased lately out of the database's own log; return 1 when there was something to do."""
    return int(scrubbing.is_due(now) and scrubbing.scrub())


def _require_eraser(principal: Principal, reach: Reach, now: datetime, *, code_follows: bool = False) -> None:
    """Whoever may not erase where it lies is told nothing of it, unless that is where they are."""
    if principal.kind is not PrincipalKind.USER:
        raise RefusedError("role_required", "Only a person erases.")
    try:
        authority.require_permission(principal, Permission.JOURNAL_ERASE, reach.workspace_id, now)
    except AuthenticationError:
        if not code_follows:
            raise
    except RefusedError:
        authority.require_permission(principal, Permission.JOURNAL_ERASE, principal.workspace_id, now)
        raise NotFoundError("not_found", "There is nothing of this id that could be erased.") from None
