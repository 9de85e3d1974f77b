"""What identity answers about people, agents and their rights. Reads only; nothing is cached."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import datetime

from django.db.models import Q, QuerySet
from django.db.models.functions import Coalesce

from identity.access import Registry, Standing, safe_permissions, safe_roles
from identity.flags import registry
from identity.lifecycle import AgentState
from identity.models import Agent, ApiToken, Membership, TotpFactor, User, Workspace
from identity.roles import (
    AGENT_PERMISSIBLE,
    Permission,
    WorkspaceRole,
    known_roles,
    narrowed,
    permissions_of,
)
from identity.types import AuthStrength, Principal, PrincipalKind, Surface
from kernel.errors import NotFoundError

INSTANCE = "instance"
DEFAULT = "default"
logger = logging.getLogger(__name__)


def workspace_by_slug(slug: str) -> Workspace:
    """Return the live workspace of this slug, or raise NotFoundError."""
    workspace = Workspace.objects.filter(slug=slug, archived_at__isnull=True).first()
    if workspace is None:
        raise NotFoundError("not_found", "No such workspace.")
    return workspace


def user_by_name(username: str) -> User | None:
    """Return the person of this name, whatever its case."""
    return User.objects.filter(username=username.lower()).first()


def standings(
    *, user_ids: Iterable[str], workspace_id: str, now: datetime, flags: Registry | None = None
) -> dict[str, Standing]:
    """Return the roles each of these people holds here and in `instance`, directly or by a team.

    One query. Somebody inactive or without a role stands for nothing. In safe mode (flag `rbac` off)
    owners stay owners and everybody else is a viewer.
    """
    wanted, flags = frozenset(user_ids), flags or registry()
    direct, by_team = Q(user_id__in=wanted), Q(team__members__user_id__in=wanted)
    here = Q(workspace_id=workspace_id) | Q(workspace__slug=INSTANCE)
    found: dict[str, tuple[set[str], set[str]]] = {person: (set(), set()) for person in wanted}
    for person, role, place, slug in _live_roles(now, here, direct | by_team):
        if person not in found:
            continue
        if place == workspace_id:
            found[person][0].add(role)
        if slug == INSTANCE:
            found[person][1].add(role)
    return {
        person: Standing(safe_roles(flags, _known(local)), safe_roles(flags, _known(wide)))
        for person, (local, wide) in found.items()
    }


def standing_of(*, user_id: str, workspace_id: str, now: datetime, flags: Registry | None = None) -> Standing:
    """Return the roles one person holds here and in `instance`."""
    return standings(user_ids=(user_id,), workspace_id=workspace_id, now=now, flags=flags)[user_id]


def roles_of(*, user_id: str, workspace_id: str, now: datetime) -> frozenset[WorkspaceRole]:
    """Return the roles an active person holds by membership in this very workspace."""
    return standing_of(user_id=user_id, workspace_id=workspace_id, now=now).local


def instance_roles_of(*, user_id: str, now: datetime) -> frozenset[WorkspaceRole]:
    """Return the roles an active person holds in the workspace `instance`; they reach everywhere."""
    return standing_of(user_id=user_id, workspace_id="", now=now).wide


def effective_roles(*, user_id: str, workspace_id: str, now: datetime) -> frozenset[WorkspaceRole]:
    """Return the roles that count in this workspace: its own and those of `instance`."""
    standing = standing_of(user_id=user_id, workspace_id=workspace_id, now=now)
    return standing.local | standing.wide


def people_in(*, workspace_id: str, now: datetime) -> frozenset[str]:
    """Return everybody who has effective roles in this workspace. One query."""
    here = Q(workspace_id=workspace_id) | Q(workspace__slug=INSTANCE)
    return frozenset(person for person, role, _, _ in _live_roles(now, here) if _known({role}))


def permissions_of_user(*, user_id: str, workspace_id: str, now: datetime) -> frozenset[Permission]:
    """Return what this person may do in this workspace now; nothing for an inactive person."""
    return permissions_at(standing_of(user_id=user_id, workspace_id=workspace_id, now=now))


def permissions_at(standing: Standing) -> frozenset[Permission]:
    """Return what these roles hold together."""
    local = permissions_of(standing.local, in_instance=False)
    return local | permissions_of(standing.wide, in_instance=True)


def holders(permission: Permission, now: datetime) -> frozenset[str]:
    """Return the people who are active, can log in and hold `permission` anywhere in the instance."""
    flags = registry()
    can = Q(user__can_log_in=True) | Q(team__members__user__can_log_in=True)
    return frozenset(
        person
        for person, role, _, slug in _live_roles(now, can)
        if permission in permissions_of(safe_roles(flags, _known({role})), in_instance=slug == INSTANCE)
    )


def instance_holders(permission: Permission, now: datetime) -> frozenset[str]:
    """Return those of `holders` whose roles in `instance` give the permission: it reaches everywhere."""
    return frozenset(
        person
        for person in holders(permission, now)
        if permission in permissions_of_user(user_id=person, workspace_id="", now=now)
    )


def sole_holder(permission: Permission, now: datetime) -> str | None:
    """Return the one person who holds `permission`, or None when nobody or several do.

    Whoever acts alone because of this answer writes `single_operator: true`.
    """
    found = holders(permission, now)
    return next(iter(found)) if len(found) == 1 else None


def agent_owner(agent_id: str) -> str | None:
    """Return the `usr_` id of the human answerable for this agent."""
    return Agent.objects.filter(pk=agent_id).values_list("owner_id", flat=True).first()


def has_factor(user_id: str) -> bool:
    """Tell whether this person has a confirmed authenticator."""
    return bool(TotpFactor.objects.filter(user_id=user_id, confirmed=True).exists())


def principal_of_user(
    *,
    user: User,
    workspace_id: str,
    strength: AuthStrength,
    client_ip: str,
    request_id: str,
    authenticated_at: datetime,
    now: datetime,
    surface: Surface = Surface.API,
    session_digest: str | None = None,
    token: ApiToken | None = None,
) -> Principal:
    """Return the person as a principal in `workspace_id`, bounded by the scopes of `token` if any."""
    flags = registry()
    minter = token.minted_by if token else user.pk
    found = standings(user_ids=(user.pk, minter), workspace_id=workspace_id, now=now, flags=flags)
    own = found[user.pk]
    held = permissions_at(own)
    return Principal(
        kind=PrincipalKind.USER,
        id=user.pk,
        owner_id=user.pk,
        workspace_id=workspace_id,
        roles=own.local,
        permissions=held if token is None else narrowed(held, token.scopes),
        auth_strength=strength,
        client_ip=client_ip,
        request_id=request_id,
        authenticated_at=authenticated_at,
        token_id=token.pk if token else None,
        session_digest=session_digest,
        surface=surface,
        instance_roles=own.wide,
        active=user.is_active,
        vouching=found[minter],
        flags=flags,
    )


def principal_of_agent(
    *,
    agent: Agent,
    token: ApiToken | None,
    client_ip: str,
    request_id: str,
    now: datetime,
    surface: Surface = Surface.API,
) -> Principal:
    """Return the agent with token scopes ∩ what an agent may hold ∩ what its owner holds now."""
    flags = registry()
    minter = token.minted_by if token else agent.owner_id
    people = (agent.owner_id, minter)
    found = standings(user_ids=people, workspace_id=agent.workspace_id, now=now, flags=flags)
    own = found[agent.owner_id]
    bounded = safe_permissions(flags, permissions_at(own) & AGENT_PERMISSIBLE)
    return Principal(
        kind=PrincipalKind.AGENT,
        id=agent.pk,
        owner_id=agent.owner_id,
        workspace_id=agent.workspace_id,
        roles=own.local | own.wide,
        permissions=bounded if token is None else narrowed(bounded, token.scopes),
        auth_strength=AuthStrength.TOKEN if token else AuthStrength.NONE,
        client_ip=client_ip,
        request_id=request_id,
        authenticated_at=now,
        token_id=token.pk if token else None,
        surface=surface,
        active=agent_is_live(agent),
        vouching=found[minter],
        flags=flags,
    )


def agent_is_live(agent: Agent) -> bool:
    """Tell whether agent, owner and workspace are all in use."""
    return agent.state == AgentState.ACTIVE and agent.owner.is_active and agent.workspace.archived_at is None


def principal_of_service(
    *, token: ApiToken, client_ip: str, request_id: str, now: datetime, surface: Surface = Surface.API
) -> Principal:
    """Return the service behind a `svc` token: bounded like an agent by what its person holds now.

    Its id is that of the first token of the line, so that a rotation leaves it the same principal.
    """
    flags, person = registry(), token.principal_user_id or ""
    people = (person, token.minted_by)
    found = standings(user_ids=people, workspace_id=token.workspace_id, now=now, flags=flags)
    own = found[person]
    held = safe_permissions(flags, permissions_at(own) & AGENT_PERMISSIBLE)
    return Principal(
        kind=PrincipalKind.SERVICE,
        id=token.family,
        owner_id=person,
        workspace_id=token.workspace_id,
        roles=own.local | own.wide,
        permissions=narrowed(held, token.scopes),
        auth_strength=AuthStrength.TOKEN,
        client_ip=client_ip,
        request_id=request_id,
        authenticated_at=now,
        token_id=token.pk,
        surface=surface,
        vouching=found[token.minted_by],
        flags=flags,
    )


def _live_roles(now: datetime, *conditions: Q) -> QuerySet[Membership, tuple[str, str, str, str]]:
    """Memberships in force as (person, role, workspace id, slug); a team's once for each member.

    The conditions may speak of `team__members`; they must stand in this one `filter` to mean the same
    member as the answer does.
    """
    active = Q(user__is_active=True) | Q(team__members__user__is_active=True)
    lasting = Q(expires_at__isnull=True) | Q(expires_at__gt=now)
    rows = Membership.objects.filter(lasting, active, *conditions, workspace__archived_at__isnull=True)
    named = rows.annotate(holder=Coalesce("user_id", "team__members__user_id"))
    return named.values_list("holder", "role", "workspace_id", "workspace__slug")


def _known(texts: Iterable[str]) -> frozenset[WorkspaceRole]:
    named = frozenset(texts)
    roles = known_roles(named)
    if len(roles) != len(named):
        logger.error("a membership holds a role that does not exist; it grants nothing")
    return roles
