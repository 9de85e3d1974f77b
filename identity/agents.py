"""Every write to agents."""

from __future__ import annotations

from datetime import datetime

from identity.authority import require_authority
from identity.inserting import insert, invalid
from identity.lifecycle import AGENT_ALLOWED, AgentState
from identity.models import Agent, User, Workspace
from identity.roles import Permission
from identity.selectors import permissions_of_user
from kernel.errors import NotFoundError
from kernel.ids import new_id
from kernel.record import Actor, Record
from kernel.state import transition


def register_agent(
    *,
    owner: User,
    workspace: Workspace,
    name: str,
    purpose: str = "",
    actor: Actor,
    now: datetime,
    record: Record,
) -> Agent:
    """Register a program under a human owner who has at least one live role in the workspace."""
    require_authority(actor, Permission.AGENTS_MANAGE, workspace.pk, now)
    if not name.strip() or len(name) > 80:
        raise invalid("/name", "length", "A name has 1 to 80 characters.")
    if not permissions_of_user(user_id=owner.pk, workspace_id=workspace.pk, now=now):
        raise invalid("/owner", "no_role", "The owner has no live role in this workspace.")
    agent = Agent(
        id=new_id("agt", now), owner=owner, workspace=workspace, name=name, purpose=purpose, created_at=now
    )
    insert(agent, "An agent of this name exists in the workspace.")
    record(
        event="agent.registered",
        actor=actor,
        subject=agent.pk,
        now=now,
        data={"name": name, "owner": owner.pk, "workspace": workspace.pk},
    )
    return agent


def suspend_agent(*, agent_id: str, reason: str, actor: Actor, now: datetime, record: Record) -> Agent:
    """Stop an agent: its next call fails to authenticate and its queued calls are refused at claim."""
    agent = _move_agent(agent_id, AgentState.ACTIVE, AgentState.SUSPENDED, actor, now)
    record(event="agent.suspended", actor=actor, subject=agent_id, now=now, data={"reason": reason})
    return agent


def resume_agent(*, agent_id: str, reason: str, actor: Actor, now: datetime, record: Record) -> Agent:
    """Let a suspended agent act again."""
    agent = _move_agent(agent_id, AgentState.SUSPENDED, AgentState.ACTIVE, actor, now)
    record(event="agent.resumed", actor=actor, subject=agent_id, now=now, data={"reason": reason})
    return agent


def _move_agent(agent_id: str, source: AgentState, target: AgentState, actor: Actor, now: datetime) -> Agent:
    agent = Agent.objects.select_for_update().filter(pk=agent_id).first()
    if agent is None:
        raise NotFoundError("not_found", "No such agent.")
    require_authority(actor, Permission.AGENTS_MANAGE, agent.workspace_id, now)
    transition(
        Agent.objects.filter(pk=agent_id),
        AGENT_ALLOWED,
        source=source,
        target=target,
        authority_epoch=agent.authority_epoch + 1,
    )
    agent.refresh_from_db()
    return agent
