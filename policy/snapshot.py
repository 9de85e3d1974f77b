"""Reads people and agents as the plain facts that policies judge. Unknown means None."""

from __future__ import annotations

from datetime import datetime

from identity.models import Agent, User
from identity.selectors import agent_is_live, effective_roles, permissions_of_user
from identity.types import AuthStrength, Principal, PrincipalKind
from policy.types import AgentFacts, EntityRef, ToolEntity, ToolFacts, UserFacts

_TYPES = {PrincipalKind.USER: "User", PrincipalKind.AGENT: "Agent"}


def principal_ref(kind: str, identifier: str) -> EntityRef:
    """Return the entity of a principal; a kind without rows of its own gets a type nobody is."""
    return EntityRef(
        _TYPES.get(PrincipalKind(kind), "Unknown") if kind in set(PrincipalKind) else "Unknown", identifier
    )


def principal_facts(
    kind: str, identifier: str, workspace_id: str, now: datetime
) -> UserFacts | AgentFacts | None:
    """Return the person or agent as seen from one workspace, or None when there is none."""
    if "\0" in identifier:  # PostgreSQL cannot be asked for such an id
        return None
    if kind == PrincipalKind.USER:
        user = User.objects.filter(pk=identifier).first()
        return None if user is None else user_facts(user, workspace_id, now)
    if kind == PrincipalKind.AGENT:
        agent = Agent.objects.select_related("owner", "workspace").filter(pk=identifier).first()
        return None if agent is None else _agent_facts(agent, workspace_id, now)
    return None


def user_facts(user: User, workspace_id: str, now: datetime) -> UserFacts:
    """Return a person with the roles and permissions that reach into this workspace."""
    roles = effective_roles(user_id=user.pk, workspace_id=workspace_id, now=now)
    permissions = permissions_of_user(user_id=user.pk, workspace_id=workspace_id, now=now)
    return UserFacts(
        id=user.pk,
        active=user.is_active,
        member=bool(roles),
        permissions=frozenset(permission.value for permission in permissions),
        roles=frozenset(role.value for role in roles),
    )


def governing_facts(principal: Principal, workspace_id: str, now: datetime) -> UserFacts | AgentFacts | None:
    """Return the principal of a governance verb: stored facts, never more than its credential has."""
    stored = principal_facts(principal.kind, principal.id, workspace_id, now)
    if not isinstance(stored, UserFacts):
        return stored
    held = {permission.value for permission in principal.permissions}
    return UserFacts(
        id=stored.id,
        active=stored.active,
        mfa=principal.auth_strength >= AuthStrength.MFA,
        member=stored.member,
        permissions=frozenset(held & stored.permissions),
        roles=stored.roles,
    )


def tool_entity(tool: ToolFacts) -> ToolEntity:
    """Return the attributes of a tool that policies read."""
    return ToolEntity(
        name=tool.name,
        capabilities=tool.capabilities,
        tier=tool.tier,
        risk=tool.risk,
        sensitive=tool.sensitive,
        enabled=tool.enabled,
        runtime_supported=tool.runtime_supported,
    )


def _agent_facts(agent: Agent, workspace_id: str, now: datetime) -> AgentFacts:
    return AgentFacts(
        id=agent.pk,
        active=agent_is_live(agent),
        member=agent.workspace_id == workspace_id,
        owner=user_facts(agent.owner, workspace_id, now),
    )
