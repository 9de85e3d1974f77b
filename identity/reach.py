"""Which workspaces, agents and shares a principal can know of. Whatever lies beyond answers as unknown."""

from __future__ import annotations

from collections.abc import Iterable

from django.db.models import Q, QuerySet

from identity.access import decide
from identity.models import (
    Agent,
    Invitation,
    Membership,
    ResourceShare,
    Team,
    TotpFactor,
    User,
    Workspace,
)
from identity.types import Principal, PrincipalKind
from kernel.errors import NotFoundError

TEAM_MODE = "team_mode"


def reaches(principal: Principal, workspace_id: str) -> bool:
    """Tell whether objects of this workspace exist for the principal: their own, or all by `instance`."""
    return workspace_id == principal.workspace_id or reaches_all(principal)


def reaches_all(principal: Principal) -> bool:
    """Tell whether the principal is a person with a role in `instance`."""
    return principal.kind is PrincipalKind.USER and bool(principal.instance_roles)


def visible_workspaces(principal: Principal) -> QuerySet[Workspace]:
    """Return the workspaces in use and in reach."""
    rows = Workspace.objects.filter(archived_at__isnull=True)
    return rows if reaches_all(principal) else rows.filter(pk=principal.workspace_id)


def require_workspace(principal: Principal, workspace_id: str) -> Workspace:
    """Return a workspace in use and in reach, or raise NotFoundError."""
    workspace = visible_workspaces(principal).filter(pk=workspace_id).first()
    if workspace is None:
        raise NotFoundError("not_found", "There is no such workspace.")
    return workspace


def visible_agents(principal: Principal) -> QuerySet[Agent]:
    """Return the agents in reach, and those that other workspaces share with the principal's own."""
    rows = Agent.objects.select_related("owner", "workspace")
    if reaches_all(principal):
        return rows
    return rows.filter(Q(workspace_id=principal.workspace_id) | Q(pk__in=shared_ids(principal, "agent")))


def require_agent(principal: Principal, agent_id: str) -> Agent:
    """Return a visible agent, or raise NotFoundError."""
    agent = visible_agents(principal).filter(pk=agent_id).first()
    if agent is None:
        raise NotFoundError("not_found", "There is no such agent.")
    return agent


def shared_ids(principal: Principal, kind: str, *, access: str | None = None) -> frozenset[str]:
    """Return the objects of this kind that are open to the principal's workspace.

    With `access="use"` only those that may be used. Empty while `team_mode` is off there.
    """
    if not team_mode_is_on(principal, principal.workspace_id):
        return frozenset()
    rows = ResourceShare.objects.filter(workspace_id=principal.workspace_id, resource_kind=kind)
    rows = rows.filter(home__archived_at__isnull=True)
    return frozenset((rows.filter(access=access) if access else rows).values_list("resource_id", flat=True))


def team_mode_is_on(principal: Principal, workspace_id: str) -> bool:
    """Tell whether there are more workspaces than the built-in ones for this principal."""
    standing = principal.vouching
    return decide(principal.flags, TEAM_MODE, workspace_id=workspace_id, standing=standing).enabled


def require_user(user_id: str) -> User:
    """Return a person of the instance, or raise NotFoundError."""
    user = User.objects.filter(pk=user_id).first()
    if user is None:
        raise NotFoundError("not_found", "There is no such person.")
    return user


def with_factor(user_ids: Iterable[str]) -> frozenset[str]:
    """Return those of these people who have a confirmed authenticator."""
    rows = TotpFactor.objects.filter(user_id__in=tuple(user_ids), confirmed=True)
    return frozenset(rows.values_list("user_id", flat=True))


def memberships_in(workspace_id: str) -> QuerySet[Membership]:
    """Return the roles held in a workspace, those that ended too."""
    return Membership.objects.filter(workspace_id=workspace_id).select_related("user", "team")


def invitations_to(workspace_id: str) -> QuerySet[Invitation]:
    """Return the offers of a workspace, those that ended too."""
    return Invitation.objects.filter(workspace_id=workspace_id)


def shares_about(workspace_id: str) -> QuerySet[ResourceShare]:
    """Return what is shared with a workspace and what it shares with others."""
    return ResourceShare.objects.filter(Q(workspace_id=workspace_id) | Q(home_id=workspace_id))


def teams_in(workspace_id: str) -> QuerySet[Team]:
    """Return the teams of a workspace."""
    return Team.objects.filter(workspace_id=workspace_id).prefetch_related("members")
