"""Verbs on workspaces and on who holds which role in them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from django.db import transaction

from governance import authority, idempotency
from governance.authority import needs
from governance.idempotency import Ticket
from governance.journal.ledger import record
from identity import invitations, memberships, shares, teams, workspaces
from identity.authorization import strength_of
from identity.inserting import invalid
from identity.invitations import Invited
from identity.lifecycle import AgentState
from identity.models import Agent, Invitation, Membership, ResourceShare, Team, User, Workspace
from identity.reach import TEAM_MODE, reaches, require_workspace
from identity.roles import Permission, WorkspaceRole
from identity.selectors import INSTANCE, workspace_by_slug
from identity.types import AuthStrength, Principal, PrincipalKind
from kernel.errors import AuthenticationError, NotFoundError, RefusedError
from policy import services as policy
from policy.models import Tool
from sandbox.skills.models import Skill

MEMBERSHIPS = Permission.WORKSPACE_MEMBERSHIPS_MANAGE


@needs(Permission.WORKSPACE_MANAGE)
def create(
    *,
    principal: Principal,
    slug: str,
    name: str,
    now: datetime,
    ticket: Ticket | None = None,
    render: Callable[[Workspace], object] | None = None,
) -> Workspace:
    """Create a workspace with the default limits and make the principal its first owner."""
    with transaction.atomic(durable=True):
        instance = workspace_by_slug(INSTANCE)
        authority.require_verb(principal, Permission.WORKSPACE_MANAGE, instance.pk, now)
        workspace = workspaces.create_workspace(
            slug=slug,
            name=name,
            owner=_myself(principal),
            actor=principal.actor(),
            now=now,
            record=record,
        )
        policy.prepare_limits(workspace_id=workspace.pk)
        idempotency.store_rendered(ticket, render, workspace, status=201, object_id=workspace.pk)
    return workspace


@needs(Permission.WORKSPACE_MANAGE)
def archive(
    *,
    principal: Principal,
    workspace_id: str,
    now: datetime,
    ticket: Ticket | None = None,
    render: Callable[[Workspace], object] | None = None,
) -> Workspace:
    """Put a workspace out of use for good; agents and tokens there stop."""
    with transaction.atomic(durable=True):
        require_workspace(principal, workspace_id)
        authority.require_verb(principal, Permission.WORKSPACE_MANAGE, workspace_id, now)
        workspace = workspaces.archive_workspace(
            workspace_id=workspace_id, actor=principal.actor(), now=now, record=record
        )
        idempotency.store_rendered(ticket, render, workspace, status=200, object_id=workspace_id)
    return workspace


@needs(Permission.WORKSPACE_MEMBERSHIPS_MANAGE)
def grant(
    *,
    principal: Principal,
    workspace_id: str,
    user_id: str | None = None,
    team_id: str | None = None,
    role: WorkspaceRole,
    expires_at: datetime | None = None,
    now: datetime,
    ticket: Ticket | None = None,
    render: Callable[[Membership], object] | None = None,
) -> Membership:
    """Give a person or a team one more role. Outside the built-in workspaces this needs `team_mode`."""
    with transaction.atomic(durable=True):
        workspace = require_workspace(principal, workspace_id)
        authority.require_verb(principal, MEMBERSHIPS, workspace_id, now)
        if team_id is not None or workspace.slug not in workspaces.BUILT_IN:
            authority.require_feature(principal, TEAM_MODE, workspace_id)
        membership = memberships.grant_membership(
            user=None if user_id is None else _person(user_id),
            team=None if team_id is None else _team_of(workspace, team_id),
            workspace=workspace,
            role=role,
            expires_at=expires_at,
            actor=principal.actor(),
            now=now,
            record=record,
        )
        idempotency.store_rendered(ticket, render, membership, status=201, object_id=membership.pk)
    return membership


@needs(Permission.WORKSPACE_MEMBERSHIPS_MANAGE)
def remove(
    *, principal: Principal, membership_id: str, workspace_id: str | None = None, now: datetime
) -> Membership:
    """Take a role away. An own role is dropped without any right, with a fresh code.

    With `workspace_id` only a membership of that workspace is found.
    """
    with transaction.atomic(durable=True):
        found = _membership_in_reach(principal, membership_id, workspace_id)
        if memberships.is_own(found, principal.actor()):
            _require_strength(principal, AuthStrength.FRESH_MFA, now)
        else:
            authority.require_verb(principal, MEMBERSHIPS, found.workspace_id, now)
        return memberships.remove_membership(
            membership_id=membership_id, actor=principal.actor(), now=now, record=record
        )


@needs(Permission.WORKSPACE_MEMBERSHIPS_MANAGE)
def create_team(
    *,
    principal: Principal,
    workspace_id: str,
    name: str,
    now: datetime,
    ticket: Ticket | None = None,
    render: Callable[[Team], object] | None = None,
) -> Team:
    """Create an empty team without any role."""
    with transaction.atomic(durable=True):
        _require_team_right(principal, workspace_id, now)
        team = teams.create_team(
            workspace_id=workspace_id, name=name, actor=principal.actor(), now=now, record=record
        )
        idempotency.store_rendered(ticket, render, team, status=201, object_id=team.pk)
    return team


@needs(Permission.WORKSPACE_MEMBERSHIPS_MANAGE)
def add_team_member(
    *,
    principal: Principal,
    workspace_id: str,
    team_id: str,
    user_id: str,
    now: datetime,
    ticket: Ticket | None = None,
    render: Callable[[Team], object] | None = None,
) -> Team:
    """Put a person into a team, and so into its roles."""
    with transaction.atomic(durable=True):
        workspace = _require_team_right(principal, workspace_id, now)
        team = _team_of(workspace, team_id)
        teams.add_team_member(
            team_id=team.pk, user=_person(user_id), actor=principal.actor(), now=now, record=record
        )
        idempotency.store_rendered(ticket, render, team, status=201, object_id=team_id)
    return team


@needs(Permission.WORKSPACE_MEMBERSHIPS_MANAGE)
def remove_team_member(
    *, principal: Principal, workspace_id: str, team_id: str, user_id: str, now: datetime
) -> Team:
    """Take a person out of a team. Oneself leaves without any right, with a fresh code."""
    with transaction.atomic(durable=True):
        _team_of(require_workspace(principal, workspace_id), team_id)
        if principal.kind is PrincipalKind.USER and principal.id == user_id:
            _require_strength(principal, AuthStrength.FRESH_MFA, now)
        else:
            _require_team_right(principal, workspace_id, now)
        return teams.remove_team_member(
            team_id=team_id, user_id=user_id, actor=principal.actor(), now=now, record=record
        )


@needs(Permission.INVITATIONS_MANAGE)
def invite(
    *,
    principal: Principal,
    workspace_id: str,
    email: str,
    role: WorkspaceRole,
    expires_in_days: int = 7,
    now: datetime,
    ticket: Ticket | None = None,
    render: Callable[[Invited], object] | None = None,
) -> Invited:
    """Offer a role to whoever holds the text; it is in the answer and nowhere else."""
    with transaction.atomic(durable=True):
        require_workspace(principal, workspace_id)
        authority.require_verb(principal, Permission.INVITATIONS_MANAGE, workspace_id, now)
        invited = invitations.create_invitation(
            workspace_id=workspace_id,
            email=email,
            role=role,
            expires_in_days=expires_in_days,
            actor=principal.actor(),
            now=now,
            record=record,
        )
        idempotency.store_rendered(ticket, render, invited, status=201, object_id=invited.invitation.pk)
    return invited


@needs(Permission.INVITATIONS_MANAGE)
def revoke_invitation(
    *, principal: Principal, workspace_id: str, invitation_id: str, now: datetime
) -> Invitation:
    """Withdraw an offer."""
    with transaction.atomic(durable=True):
        require_workspace(principal, workspace_id)
        authority.require_verb(principal, Permission.INVITATIONS_MANAGE, workspace_id, now)
        if not Invitation.objects.filter(pk=invitation_id, workspace_id=workspace_id).exists():
            raise NotFoundError("not_found", "There is no such invitation.")
        return invitations.revoke_invitation(
            invitation_id=invitation_id, actor=principal.actor(), now=now, record=record
        )


@needs(None)
def accept_invitation(
    *,
    principal: Principal,
    text: str,
    now: datetime,
    ticket: Ticket | None = None,
    render: Callable[[Membership], object] | None = None,
) -> Membership:
    """Take up an offer, once. Any person who logged in with a second factor may."""
    with transaction.atomic(durable=True):
        person = _myself(principal)
        _require_strength(principal, AuthStrength.MFA, now)
        authority.require_feature(principal, TEAM_MODE, invitations.place_of(text))
        membership = invitations.accept_invitation(
            text=text, user=person, actor=principal.actor(), now=now, record=record
        )
        idempotency.store_rendered(ticket, render, membership, status=201, object_id=membership.pk)
    return membership


@needs(Permission.WORKSPACE_SHARING_MANAGE)
def share(
    *,
    principal: Principal,
    workspace_id: str,
    resource_kind: str,
    resource_id: str,
    access: str,
    now: datetime,
    ticket: Ticket | None = None,
    render: Callable[[ResourceShare], object] | None = None,
) -> ResourceShare:
    """Open an object to another workspace, which need not be in reach: its id is enough.

    An agent is at home in its workspace; tools and skills belong to the whole instance.
    """
    with transaction.atomic(durable=True):
        home_id = _home_of(principal, resource_kind, resource_id)
        authority.require_verb(principal, Permission.WORKSPACE_SHARING_MANAGE, home_id, now)
        made = shares.share_resource(
            kind=resource_kind,
            resource_id=resource_id,
            home_id=home_id,
            workspace_id=workspace_id,
            access=access,
            actor=principal.actor(),
            now=now,
            record=record,
        )
        idempotency.store_rendered(ticket, render, made, status=201, object_id=made.pk)
    return made


@needs(Permission.WORKSPACE_SHARING_MANAGE)
def unshare(*, principal: Principal, workspace_id: str, share_id: str, now: datetime) -> ResourceShare:
    """Close a share of this workspace, given or received."""
    with transaction.atomic(durable=True):
        require_workspace(principal, workspace_id)
        authority.require_verb(principal, Permission.WORKSPACE_SHARING_MANAGE, workspace_id, now)
        return shares.unshare_resource(
            share_id=share_id, workspace_id=workspace_id, actor=principal.actor(), now=now, record=record
        )


def _require_team_right(principal: Principal, workspace_id: str, now: datetime) -> Workspace:
    workspace = require_workspace(principal, workspace_id)
    authority.require_verb(principal, MEMBERSHIPS, workspace_id, now)
    authority.require_feature(principal, TEAM_MODE, workspace_id)
    return workspace


def _require_strength(principal: Principal, strength: AuthStrength, now: datetime) -> None:
    if strength_of(principal, now) < strength:
        raise AuthenticationError("step_up_required", "This needs a one-time code.")


def _membership_in_reach(principal: Principal, membership_id: str, workspace_id: str | None) -> Membership:
    found = Membership.objects.filter(pk=membership_id).first()
    within = found is not None and workspace_id in (None, found.workspace_id)
    if found is None or not within or not reaches(principal, found.workspace_id):
        raise NotFoundError("not_found", "There is no such membership.")
    return found


def _team_of(workspace: Workspace, team_id: str) -> Team:
    team = Team.objects.filter(pk=team_id, workspace=workspace).first()
    if team is None:
        raise NotFoundError("not_found", "There is no such team.")
    return team


def _person(user_id: str) -> User:
    user = User.objects.filter(pk=user_id).first()
    if user is None:
        raise invalid("/user", "unknown", "There is no such person.")
    return user


def _myself(principal: Principal) -> User:
    if principal.kind is not PrincipalKind.USER:
        raise RefusedError("role_required", "Only a person holds roles.")
    return User.objects.get(pk=principal.id)


def _home_of(principal: Principal, kind: str, resource_id: str) -> str:
    """Return the workspace of an object that exists, or raise InvalidError."""
    if kind == "agent":
        agent = Agent.objects.filter(pk=resource_id).exclude(state=AgentState.ARCHIVED).first()
        if agent is not None and reaches(principal, agent.workspace_id):
            return agent.workspace_id
    elif _is_in_catalog(kind, resource_id):
        return workspace_by_slug(INSTANCE).pk
    raise invalid("/resource_id", "unknown", "There is no such object of yours.")


def _is_in_catalog(kind: str, name: str) -> bool:
    rows = Tool.objects.filter(name=name) if kind == "tool" else Skill.objects.filter(skill_id=name)
    return rows.exists()
