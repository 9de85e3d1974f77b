"""Verbs on the tool catalog: register, define anew, describe, switch on and off."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from django.db import transaction

from governance import authority, idempotency
from governance.authority import needs
from governance.idempotency import Ticket
from governance.journal.ledger import record
from governance.tool_views import ToolView, tool_view
from identity.roles import Permission
from identity.types import Principal
from kernel.errors import ConflictError
from policy import services as policy
from policy.catalog import short_name
from policy.tools import ToolChange
from policy.types import ToolDefinition
from sandbox.skills import selectors as skill_selectors

Render = Callable[[ToolView], object]


@needs(Permission.TOOLS_MANAGE)
def register(
    *,
    principal: Principal,
    definition: ToolDefinition,
    now: datetime,
    ticket: Ticket | None = None,
    render: Render | None = None,
) -> ToolView:
    """Register a custom tool under a name that neither a tool nor a skill has."""
    with transaction.atomic(durable=True):
        _require(principal, now)
        if skill_selectors.resolve(definition.name) is not None:
            raise ConflictError("conflict", "The name belongs to a skill.")
        return _defined(principal, definition, now, ticket, render, is_new=True)


@needs(Permission.TOOLS_MANAGE)
def add_version(
    *,
    principal: Principal,
    definition: ToolDefinition,
    now: datetime,
    ticket: Ticket | None = None,
    render: Render | None = None,
) -> ToolView:
    """Define a custom tool anew. What is queued or waits under the old definition is refused at its claim."""
    with transaction.atomic(durable=True):
        _require(principal, now)
        return _defined(principal, definition, now, ticket, render, is_new=False)


@needs(Permission.TOOLS_MANAGE)
def change(
    *,
    principal: Principal,
    name: str,
    reason: str,
    seen_version: int | None,
    enabled: bool | None = None,
    description: str | None = None,
    now: datetime,
) -> ToolView:
    """Switch a tool on or off, or describe it anew, as it was at `seen_version`."""
    with transaction.atomic(durable=True):
        _require(principal, now)
        wanted = ToolChange(
            name=name, reason=reason, enabled=enabled, description=description, seen_version=seen_version
        )
        policy.change_tool(change=wanted, actor=principal.actor(), now=now, record=record)
        return tool_view(principal, short_name(name), now)


def _require(principal: Principal, now: datetime) -> None:
    authority.require_permission(principal, Permission.TOOLS_MANAGE, principal.workspace_id, now)
    authority.require_fresh_code(principal, now)


def _defined(
    principal: Principal,
    definition: ToolDefinition,
    now: datetime,
    ticket: Ticket | None,
    render: Render | None,
    *,
    is_new: bool,
) -> ToolView:
    policy.register_tool(
        definition=definition, actor=principal.actor(), now=now, record=record, is_new=is_new
    )
    view = tool_view(principal, definition.name, now)
    idempotency.store_rendered(ticket, render, view, status=201, object_id=definition.name)
    return view
