"""What people want mail about."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction

from governance.authority import needs
from governance.journal.ledger import record
from governance.notifications import subscriptions
from governance.notifications.subscriptions import Wishes
from identity.selectors import permissions_of_user
from identity.types import Principal, PrincipalKind
from kernel.errors import RefusedError


@needs(None)
def subscribe(*, principal: Principal, wishes: Wishes, now: datetime) -> Wishes:
    """Put the principal's own wishes for its workspace in place of the ones before.

    For people with a role there only: RefusedError `role_required` for agents, services and strangers.
    """
    with transaction.atomic(durable=True):
        require_person(principal=principal, now=now)
        return subscriptions.subscribe(
            user_id=principal.id,
            workspace_id=principal.workspace_id,
            wishes=wishes,
            actor=principal.actor(),
            now=now,
            record=record,
        )


@needs(None)
def require_person(*, principal: Principal, now: datetime) -> None:
    """Raise RefusedError `role_required` for whoever is no person with a role in their workspace."""
    standing = principal.kind is PrincipalKind.USER and permissions_of_user(
        user_id=principal.id, workspace_id=principal.workspace_id, now=now
    )
    if not standing:
        raise RefusedError("role_required", "Mail goes to people with a role here.")
