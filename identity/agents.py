"""Every write to agents.

Each function runs inside the caller's transaction, locks the agent and leaves its event.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from identity.agent_limits import checked_limits
from identity.authority import require_authority
from identity.inserting import insert, invalid, update
from identity.lifecycle import AGENT_ALLOWED, AgentState
from identity.models import Agent, ApiToken, User, Workspace
from identity.parties import FORMER_OWNER, REGISTRANT
from identity.revocation import revoke_token
from identity.roles import Permission
from identity.selectors import permissions_of_user
from identity.texts import require_name, require_note
from kernel.errors import ConflictError, NotFoundError, PreconditionFailedError
from kernel.ids import new_id
from kernel.record import Actor, Record
from kernel.state import transition

LONGEST_NAME = 80
ARCHIVED = "agent_archived"
_TAKEN = "An agent of this name exists in the workspace."


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
    _require_answerable(owner.pk, workspace.pk, now)
    agent = Agent(
        id=new_id("agt", now),
        owner=owner,
        workspace=workspace,
        name=require_name("/name", name, LONGEST_NAME),
        purpose=require_note("/purpose", purpose),
        parties={actor.id: REGISTRANT} if actor.kind == "user" and actor.id != owner.pk else {},
        created_at=now,
    )
    insert(agent, _TAKEN)
    record(
        event="agent.registered",
        actor=actor,
        subject=agent.pk,
        now=now,
        data={"name": agent.name, "owner": owner.pk, "workspace": workspace.pk},
    )
    return agent


def change_agent(
    *,
    agent_id: str,
    changes: Mapping[str, object],
    seen_version: int | None = None,
    actor: Actor,
    now: datetime,
    record: Record,
) -> Agent:
    """Change `name`, `purpose`, `owner` (an id) and `limits`; a new owner needs a live role in the workspace.

    Raises PreconditionFailedError when the agent changed since `seen_version`, ConflictError for a taken
    name or an archived agent, InvalidError, NotFoundError.
    """
    agent = _held(agent_id, actor, now)
    if seen_version is not None and seen_version != agent.version:
        raise PreconditionFailedError("precondition_failed", "The agent was changed meanwhile.")
    if agent.state == AgentState.ARCHIVED:
        raise ConflictError("state_changed", "The agent is archived.")
    wanted = {_column(name): _value(name, given) for name, given in changes.items()}
    changed = {name: value for name, value in wanted.items() if getattr(agent, name) != value}
    if not changed:
        return agent
    if "owner_id" in changed:
        _require_answerable(str(changed["owner_id"]), agent.workspace_id, now)
        agent.authority_epoch += 1
        agent.parties = _parties_after(agent, actor)
    for name, value in changed.items():
        setattr(agent, name, value)
    agent.version += 1
    update(agent, _TAKEN)
    names = sorted(name.removesuffix("_id") for name in changed)
    record(event="agent.changed", actor=actor, subject=agent.pk, now=now, data={"changes": names})
    return agent


def suspend_agent(*, agent_id: str, reason: str, actor: Actor, now: datetime, record: Record) -> Agent:
    """Stop an agent: its next call fails to authenticate and its queued calls are refused at claim."""
    return _moved(agent_id, AgentState.SUSPENDED, "agent.suspended", reason, actor, now, record)


def resume_agent(*, agent_id: str, reason: str, actor: Actor, now: datetime, record: Record) -> Agent:
    """Let a suspended agent act again."""
    return _moved(agent_id, AgentState.ACTIVE, "agent.resumed", reason, actor, now, record)


def archive_agent(*, agent_id: str, reason: str, actor: Actor, now: datetime, record: Record) -> Agent:
    """Put an agent out of use for good and revoke its tokens. Its name may be given again."""
    agent = _moved(agent_id, AgentState.ARCHIVED, "agent.archived", reason, actor, now, record)
    tokens = ApiToken.objects.filter(principal_agent_id=agent_id, revoked_at__isnull=True)
    for token_id in tokens.order_by("pk").values_list("pk", flat=True):
        revoke_token(token_id=token_id, reason=ARCHIVED, actor=actor, now=now, record=record)
    return agent


def _moved(
    agent_id: str,
    target: AgentState,
    event: str,
    reason: str,
    actor: Actor,
    now: datetime,
    record: Record,
) -> Agent:
    """Move an agent to `target` from where it is, or raise ConflictError `state_changed`."""
    agent = _held(agent_id, actor, now)
    why = require_note("/reason", reason)
    if target not in AGENT_ALLOWED[agent.state]:
        raise ConflictError("state_changed", f"The agent is {agent.state}.")
    transition(
        Agent.objects.filter(pk=agent_id),
        AGENT_ALLOWED,
        source=agent.state,
        target=target,
        authority_epoch=agent.authority_epoch + 1,
        version=agent.version + 1,
    )
    agent.refresh_from_db()
    record(event=event, actor=actor, subject=agent_id, now=now, data={"reason": why})
    return agent


def _held(agent_id: str, actor: Actor, now: datetime) -> Agent:
    # Only what points at an agent must not wait: a rotation holds its token and then names the agent.
    agent = Agent.objects.select_for_update(no_key=True).filter(pk=agent_id).first()
    if agent is None:
        raise NotFoundError("not_found", "There is no such agent.")
    require_authority(actor, Permission.AGENTS_MANAGE, agent.workspace_id, now)
    return agent


def _parties_after(agent: Agent, actor: Actor) -> dict[str, str]:
    """Whose an agent was, and who gave it away, is not forgotten when it goes to somebody else."""
    giver = {actor.id: REGISTRANT} if actor.kind == "user" else {}
    before: dict[str, str] = agent.parties
    return giver | before | {agent.owner_id: FORMER_OWNER}


def _require_answerable(owner_id: str, workspace_id: str, now: datetime) -> None:
    if not permissions_of_user(user_id=owner_id, workspace_id=workspace_id, now=now):
        raise invalid("/owner", "no_role", "The owner has no live role in this workspace.")


def _column(name: str) -> str:
    columns = {"name": "name", "purpose": "purpose", "owner": "owner_id", "limits": "limits"}
    if name not in columns:
        raise invalid(f"/{name}", "unknown", "This cannot be changed.")
    return columns[name]


def _value(name: str, given: object) -> object:
    if name == "limits":
        return checked_limits(given if isinstance(given, Mapping) else {"": None})
    text = str(given)
    if name == "name":
        return require_name("/name", text, LONGEST_NAME)
    return require_note("/purpose", text) if name == "purpose" else text
