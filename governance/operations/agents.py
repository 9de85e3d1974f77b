"""Verbs on agents."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Protocol

from django.db import transaction

from approvals.types import CloseCode
from governance import authority, ending, idempotency, withdrawals
from governance.authority import needs
from governance.idempotency import Ticket
from governance.journal.ledger import record
from governance.models import Run
from governance.runs.turns import hold_run
from identity import agents
from identity.inserting import invalid
from identity.models import Agent, User, Workspace
from identity.reach import require_agent
from identity.roles import Permission
from identity.types import Principal
from kernel.record import Actor, Record
from policy.types import EntityRef

Render = Callable[[Agent], object]


class _Move(Protocol):
    def __call__(
        self, *, agent_id: str, reason: str, actor: Actor, now: datetime, record: Record
    ) -> Agent: ...


@needs(Permission.AGENTS_MANAGE)
def register(
    *,
    principal: Principal,
    name: str,
    owner_id: str,
    purpose: str = "",
    now: datetime,
    ticket: Ticket | None = None,
    render: Render | None = None,
) -> Agent:
    """Register an agent in the principal's workspace under a person with a role there."""
    with transaction.atomic(durable=True):
        authority.require_verb(principal, Permission.AGENTS_MANAGE, principal.workspace_id, now)
        owner = User.objects.filter(pk=owner_id).first()
        if owner is None:
            raise invalid("/owner", "no_role", "The owner has no live role in this workspace.")
        agent = agents.register_agent(
            owner=owner,
            workspace=Workspace.objects.get(pk=principal.workspace_id),
            name=name,
            purpose=purpose,
            actor=principal.actor(),
            now=now,
            record=record,
        )
        idempotency.store_rendered(ticket, render, agent, status=201, object_id=agent.pk)
    return agent


@needs(Permission.AGENTS_MANAGE)
def change(
    *,
    principal: Principal,
    agent_id: str,
    changes: Mapping[str, object],
    seen_version: int | None = None,
    now: datetime,
) -> Agent:
    """Change `name`, `purpose`, `owner` or `limits` of an agent as it was at `seen_version`."""
    with transaction.atomic(durable=True):
        _require_manageable(principal, agent_id, now)
        return agents.change_agent(
            agent_id=agent_id,
            changes=changes,
            seen_version=seen_version,
            actor=principal.actor(),
            now=now,
            record=record,
        )


@needs(Permission.AGENTS_MANAGE)
def suspend(
    *,
    principal: Principal,
    agent_id: str,
    reason: str,
    now: datetime,
    ticket: Ticket | None = None,
    render: Render | None = None,
) -> Agent:
    """Stop an agent until it is resumed: the next call is refused, queued calls at claim.

    What it asks people is withdrawn.
    """
    with transaction.atomic(durable=True):
        _require_manageable(principal, agent_id, now)
        withdrawals.withdraw_all_of(agent_id, principal.actor(), now)
        agent = _move(agents.suspend_agent, principal, agent_id, reason, now)
        idempotency.store_rendered(ticket, render, agent, status=200, object_id=agent_id)
    return agent


@needs(Permission.AGENTS_MANAGE)
def resume(
    *,
    principal: Principal,
    agent_id: str,
    reason: str,
    now: datetime,
    ticket: Ticket | None = None,
    render: Render | None = None,
) -> Agent:
    """Let a suspended agent act again."""
    with transaction.atomic(durable=True):
        agent = _move(agents.resume_agent, principal, agent_id, reason, now)
        idempotency.store_rendered(ticket, render, agent, status=200, object_id=agent_id)
    return agent


@needs(Permission.AGENTS_MANAGE)
def archive(
    *,
    principal: Principal,
    agent_id: str,
    reason: str,
    now: datetime,
    ticket: Ticket | None = None,
    render: Render | None = None,
) -> Agent:
    """Put an agent out of use for good: its tokens are revoked, its open runs are cancelled."""
    with transaction.atomic(durable=True):
        _require_manageable(principal, agent_id, now)
        _end_runs(agent_id, principal.actor(), now)
        agent = _move(agents.archive_agent, principal, agent_id, reason, now)
        idempotency.store_rendered(ticket, render, agent, status=200, object_id=agent_id)
    return agent


def _move(move: _Move, principal: Principal, agent_id: str, reason: str, now: datetime) -> Agent:
    _require_manageable(principal, agent_id, now)
    return move(agent_id=agent_id, reason=reason, actor=principal.actor(), now=now, record=record)


def _require_manageable(principal: Principal, agent_id: str, now: datetime) -> None:
    """NotFoundError for an agent that is not in reach; one that is shared is seen, and not managed."""
    agent = require_agent(principal, agent_id)
    resource = EntityRef("Agent", agent.pk)
    authority.require_verb(principal, Permission.AGENTS_MANAGE, agent.workspace_id, now, resource=resource)


def _end_runs(agent_id: str, actor: Actor, now: datetime) -> None:
    """Cancel what the agent has open, so that nobody is asked about calls of an agent that is gone.

    All runs are held before the first of them ends, since ending one waits for others' turns.
    """
    mine = Run.objects.filter(principal_id=agent_id, state="open").order_by("id")
    for run in [hold_run(run_id) for run_id in mine.values_list("id", flat=True)]:
        if run.state == "open":
            ending.end_run(run, "cancelled", CloseCode.AGENT_REVOKED, CloseCode.AGENT_REVOKED, actor, now)
