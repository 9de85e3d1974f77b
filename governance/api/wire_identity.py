"""People, workspaces and agents as they travel: absent values are null, never missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from django.conf import settings

from governance.operations.people import CreatedUser
from identity.agent_limits import limits_from
from identity.invitations import Invited, state_of
from identity.models import Agent, Invitation, Membership, ResourceShare, Team, User, Workspace
from identity.owners import is_live
from identity.reach import with_factor
from identity.workspaces import BUILT_IN
from kernel.clock import wire_time


def render_users(users: Sequence[User]) -> list[dict[str, Any]]:
    """Return many people in one query more, whatever their number."""
    proved = with_factor(user.pk for user in users)
    return [_user(user, user.pk in proved) for user in users]


def render_user(user: User) -> dict[str, Any]:
    return render_users([user])[0]


def render_created_user(made: CreatedUser, *, shown: bool) -> dict[str, Any]:
    """Return a person with the link that sets their password, or without it in a repeated answer."""
    link = made.address(settings.PALYRA_PUBLIC_URL) if shown else None
    return render_user(made.user) | {"setup_link": link, "secret_withheld": not shown}


def render_agent(agent: Agent) -> dict[str, Any]:
    return {
        "id": agent.pk,
        "object": "agent",
        "workspace_id": agent.workspace_id,
        "name": agent.name,
        "purpose": agent.purpose,
        "owner": agent.owner_id,
        "limits": asdict(limits_from(agent.limits)),
        "state": str(agent.state),
        "version": agent.version,
        "created_at": wire_time(agent.created_at),
    }


def render_workspace(workspace: Workspace) -> dict[str, Any]:
    return {
        "id": workspace.pk,
        "object": "workspace",
        "slug": workspace.slug,
        "name": workspace.name,
        "built_in": workspace.slug in BUILT_IN,
        "created_at": wire_time(workspace.created_at),
        "archived_at": wire_time(workspace.archived_at),
    }


def render_membership(membership: Membership, now: datetime) -> dict[str, Any]:
    user, team = membership.user, membership.team
    return {
        "id": membership.pk,
        "object": "membership",
        "workspace_id": membership.workspace_id,
        "user": user and {"id": user.pk, "username": user.username, "display_name": user.display_name},
        "team": team and {"id": team.pk, "name": team.name},
        "role": str(membership.role),
        "state": "live" if is_live(membership, now) else "expired",
        "granted_by": membership.granted_by,
        "granted_at": wire_time(membership.granted_at),
        "expires_at": wire_time(membership.expires_at),
    }


def render_invitation(invitation: Invitation, now: datetime) -> dict[str, Any]:
    return {
        "id": invitation.pk,
        "object": "invitation",
        "workspace_id": invitation.workspace_id,
        "email": invitation.email,
        "role": str(invitation.role),
        "state": state_of(invitation, now),
        "invited_by": invitation.invited_by,
        "created_at": wire_time(invitation.created_at),
        "expires_at": wire_time(invitation.expires_at),
        "accepted_by": invitation.accepted_by,
    }


def render_invited(invited: Invited, now: datetime, *, shown: bool) -> dict[str, Any]:
    """Return a new invitation with its text, or without it in a repeated answer."""
    secret = {"token": invited.text if shown else None, "secret_withheld": not shown}
    return render_invitation(invited.invitation, now) | secret


def render_share(share: ResourceShare) -> dict[str, Any]:
    return {
        "id": share.pk,
        "object": "share",
        "resource_kind": share.resource_kind,
        "resource_id": share.resource_id,
        "home_workspace_id": share.home_id,
        "workspace_id": share.workspace_id,
        "access": share.access,
        "shared_by": share.shared_by,
        "created_at": wire_time(share.created_at),
    }


def render_team(team: Team) -> dict[str, Any]:
    return {
        "id": team.pk,
        "object": "team",
        "workspace_id": team.workspace_id,
        "name": team.name,
        "members": sorted(member.user_id for member in team.members.all()),
        "created_at": wire_time(team.created_at),
    }


def _user(user: User, has_factor: bool) -> dict[str, Any]:
    state = "active" if user.can_log_in else "no_login"
    return {
        "id": user.pk,
        "object": "user",
        "username": user.username,
        "display_name": user.display_name,
        "email": user.email,
        "state": state if user.is_active else "disabled",
        "has_factor": has_factor,
        "version": user.version,
        "created_at": wire_time(user.created_at),
    }
