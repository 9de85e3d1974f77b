"""Every write to teams. What a team may do are the memberships granted to it."""

from __future__ import annotations

from datetime import datetime

from identity.authority import require_authority
from identity.inserting import insert, invalid
from identity.memberships import require_outranked
from identity.models import Membership, Team, TeamMember, User
from identity.owners import hold_workspace, raise_epochs, require_owner_left
from identity.roles import Permission, WorkspaceRole
from identity.texts import require_name
from kernel.errors import NotFoundError, RefusedError
from kernel.ids import new_id
from kernel.record import Actor, Record

LONGEST_NAME = 80


def create_team(*, workspace_id: str, name: str, actor: Actor, now: datetime, record: Record) -> Team:
    """Create an empty team without any role. Raises ConflictError for a taken name."""
    workspace = hold_workspace(workspace_id)
    require_authority(actor, Permission.WORKSPACE_MEMBERSHIPS_MANAGE, workspace_id, now)
    wanted = require_name("/name", name, LONGEST_NAME)
    team = Team(id=new_id("tm", now), workspace=workspace, name=wanted, created_at=now)
    insert(team, "A team of this name exists in the workspace.")
    _record_change(team, "created", None, actor, now, record)
    return team


def add_team_member(*, team_id: str, user: User, actor: Actor, now: datetime, record: Record) -> TeamMember:
    """Put a person into a team and so give them its roles, each of which the actor has to outrank.

    Nobody adds themselves. Raises ConflictError for a member, RefusedError, InvalidError, NotFoundError.
    """
    team = _held(team_id)
    require_authority(actor, Permission.WORKSPACE_MEMBERSHIPS_MANAGE, team.workspace_id, now)
    require_outranked(actor, team.workspace_id, _roles_of(team), now)
    if actor.id == user.pk:
        raise RefusedError("role_required", "Nobody changes their own roles.")
    if not User.objects.filter(pk=user.pk, is_active=True).exists():
        raise invalid("/user", "inactive", "This person is disabled.")
    member = TeamMember(team=team, user=user, added_by=actor.id, added_at=now)
    insert(member, "This person is in the team already.")
    raise_epochs((user.pk,))
    _record_change(team, "member_added", user.pk, actor, now, record)
    return member


def remove_team_member(*, team_id: str, user_id: str, actor: Actor, now: datetime, record: Record) -> Team:
    """Take a person out of a team, and its roles from them.

    A person leaves without any right. Raises ConflictError `last_owner`, NotFoundError, RefusedError.
    """
    team = _held(team_id)
    rows = TeamMember.objects.filter(team=team, user_id=user_id)
    if not rows.exists():
        raise NotFoundError("not_found", "This person is not in the team.")
    require_owner_left(team.workspace_id, lambda one: (one.team, one.user) == (team.pk, user_id))
    if not (actor.kind == "user" and actor.id == user_id):
        require_authority(actor, Permission.WORKSPACE_MEMBERSHIPS_MANAGE, team.workspace_id, now)
        require_outranked(actor, team.workspace_id, _roles_of(team), now)
    rows.delete()
    raise_epochs((user_id,))
    _record_change(team, "member_removed", user_id, actor, now, record)
    return team


def _held(team_id: str) -> Team:
    """Return the team under the lock of its workspace."""
    team = Team.objects.filter(pk=team_id).first()
    if team is None:
        raise NotFoundError("not_found", "There is no such team.")
    hold_workspace(team.workspace_id)
    return team


def _roles_of(team: Team) -> tuple[WorkspaceRole, ...]:
    rows = Membership.objects.filter(team=team)
    return tuple(WorkspaceRole(role) for role in rows.values_list("role", flat=True))


def _record_change(
    team: Team, change: str, user_id: str | None, actor: Actor, now: datetime, record: Record
) -> None:
    record(
        event="team.changed",
        actor=actor,
        subject=team.pk,
        now=now,
        data={"change": change, "name": team.name, "workspace": team.workspace_id, "user": user_id},
    )
