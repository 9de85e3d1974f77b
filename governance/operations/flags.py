"""Verbs on feature flags."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction

from governance import authority
from governance.authority import needs
from governance.journal.ledger import record
from identity import rollout
from identity.roles import Permission
from identity.rollout import FlagChange, FlagWishes
from identity.types import Principal


@needs(Permission.ROLLOUT_MANAGE)
def change(
    *,
    principal: Principal,
    key: str,
    wishes: FlagWishes,
    seen_version: int,
    now: datetime,
) -> FlagChange:
    """Change one feature flag. The next request of every process finds it changed."""
    with transaction.atomic(durable=True):
        authority.require_verb(
            principal, Permission.ROLLOUT_MANAGE, principal.workspace_id, now, resource=authority.SERVER
        )
        return rollout.change_flag(
            key=key,
            wishes=wishes,
            seen_version=seen_version,
            actor=principal.actor(),
            now=now,
            record=record,
        )
