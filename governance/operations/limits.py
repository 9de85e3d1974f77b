"""Verbs on what a workspace allows: its limits, its allowlists, what it holds to be sensitive."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

from django.db import transaction

from governance import authority, idempotency
from governance.authority import needs
from governance.idempotency import Ticket
from governance.journal.ledger import record
from identity.roles import Permission
from identity.types import Principal
from policy import services as policy
from policy.limits import LimitsChange
from policy.models import AllowlistEntry, SensitiveRule, ToolCallConfig


@needs(Permission.TOOLS_MANAGE)
def change(
    *,
    principal: Principal,
    reason: str,
    seen_version: int | None,
    preset: str | None = None,
    values: Mapping[str, object] | None = None,
    allowed_tools: tuple[str, ...] | None = None,
    now: datetime,
) -> ToolCallConfig:
    """Change the limits of the principal's workspace as they were at `seen_version`."""
    with transaction.atomic(durable=True):
        _require(principal, now)
        wanted = LimitsChange(
            workspace_id=principal.workspace_id,
            reason=reason,
            seen_version=seen_version,
            preset=preset,
            values=values or {},
            allowed_tools=allowed_tools,
        )
        return policy.change_limits(change=wanted, actor=principal.actor(), now=now, record=record)


@needs(Permission.TOOLS_MANAGE)
def allow(
    *,
    principal: Principal,
    kind: str,
    value: str,
    now: datetime,
    ticket: Ticket | None = None,
    render: Callable[[AllowlistEntry], object] | None = None,
) -> AllowlistEntry:
    """Put a name on one of the workspace's allowlists; repeating it changes nothing."""
    with transaction.atomic(durable=True):
        _require(principal, now)
        entry = policy.allowlist(
            workspace_id=principal.workspace_id,
            kind=kind,
            value=value,
            actor=principal.actor(),
            now=now,
            record=record,
        )
        idempotency.store_rendered(ticket, render, entry, status=201, object_id=str(entry.pk))
    return entry


@needs(Permission.TOOLS_MANAGE)
def disallow(*, principal: Principal, kind: str, value: str, now: datetime) -> None:
    """Take a name off one of the workspace's allowlists."""
    with transaction.atomic(durable=True):
        _require(principal, now)
        policy.remove_from_allowlist(
            workspace_id=principal.workspace_id,
            kind=kind,
            value=value,
            actor=principal.actor(),
            now=now,
            record=record,
        )


@needs(Permission.TOOLS_MANAGE)
def hold_sensitive(
    *,
    principal: Principal,
    kind: str,
    value: str,
    now: datetime,
    ticket: Ticket | None = None,
    render: Callable[[SensitiveRule], object] | None = None,
) -> SensitiveRule:
    """Hold a tool, action or capability to be sensitive in the workspace."""
    with transaction.atomic(durable=True):
        _require(principal, now)
        rule = policy.hold_sensitive(
            workspace_id=principal.workspace_id,
            kind=kind,
            value=value,
            actor=principal.actor(),
            now=now,
            record=record,
        )
        idempotency.store_rendered(ticket, render, rule, status=201, object_id=str(rule.pk))
    return rule


@needs(Permission.TOOLS_MANAGE)
def release_sensitive(*, principal: Principal, kind: str, value: str, now: datetime) -> None:
    """Take a rule of the workspace back; what is sensitive by default stays so."""
    with transaction.atomic(durable=True):
        _require(principal, now)
        policy.release_sensitive(
            workspace_id=principal.workspace_id,
            kind=kind,
            value=value,
            actor=principal.actor(),
            now=now,
            record=record,
        )


def _require(principal: Principal, now: datetime) -> None:
    authority.require_permission(principal, Permission.TOOLS_MANAGE, principal.workspace_id, now)
    authority.require_fresh_code(principal, now)
