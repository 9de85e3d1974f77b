"""Every write to the roles of people and teams.

Each function runs inside the caller's transaction, locks the workspace and leaves its event.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from identity.authority import require_authority
from identity.inserting import insert, invalid
from identity.models import Membership, Team, TeamMember, User, Workspace
from identity.owners import hold_workspace, is_live, lasting_ownerships, raise_epochs, require_owner_left
from identity.roles import Permission, WorkspaceRole
from identity.selectors import effective_roles
from kernel.errors import NotFoundError, RefusedError
from kernel.ids import new_id
from kernel.record import Actor, Record

GRANTABLE: dict[WorkspaceRole, frozenset[WorkspaceRole]] = {
    WorkspaceRole.OWNER: frozenset(WorkspaceRole),
    WorkspaceRole.ADMIN: frozenset(
        {WorkspaceRole.OPERATOR, WorkspaceRole.APPROVER, WorkspaceRole.AUDITOR, WorkspaceRole.VIEWER}
    ),
}


def grant_membership(
    *,
    user: User | None = None,
    team: Team | None = None,
    workspace: Workspace,
    role: WorkspaceRole,
    expires_at: datetime | None = None,
    actor: Actor,
    now: datetime,
    record: Record,
) -> Membership:
    """Give one person, or one team, one more role.

    Nobody grants a role they do not outrank, nobody to themselves, alone or in a team. Somebody has to
    own the workspace for good before anybody owns it for a time. A role that has ended may be granted
    again. Raises RefusedError `role_required`, InvalidError, ConflictError for a role that is held.
    """
    hold_workspace(workspace.pk)
    require_authority(actor, Permission.WORKSPACE_MEMBERSHIPS_MANAGE, workspace.pk, now)
    require_outranked(actor, workspace.pk, (role,), now)
    people = _holders(user, team, workspace)
    if actor.id in people:
        raise RefusedError("role_required", "Nobody changes their own roles.")
    _require_end(workspace.pk, role, expires_at, now)
    return place_membership(
        user=user,
        team=team,
        workspace=workspace,
        role=role,
        expires_at=expires_at,
        actor=actor,
        now=now,
        record=record,
    )


def place_membership(
    *,
    user: User | None,
    team: Team | None = None,
    workspace: Workspace,
    role: WorkspaceRole,
    expires_at: datetime | None = None,
    granted_by: str | None = None,
    actor: Actor,
    now: datetime,
    record: Record,
) -> Membership:
    """Store a role that the caller has found to be grantable, under the lock of its workspace."""
    _end_expired(user, team, workspace, role, actor, now, record)
    membership = Membership(
        id=new_id("mbr", now),
        workspace=workspace,
        user=user,
        team=team,
        role=role,
        granted_by=granted_by or actor.id,
        granted_at=now,
        expires_at=expires_at,
    )
    insert(membership, "This role is held already.")
    raise_epochs(holders_of(membership))
    _record_change("membership.granted", membership, actor, now, record)
    return membership


def remove_membership(*, membership_id: str, actor: Actor, now: datetime, record: Record) -> Membership:
    """Take a role away and return what it was.

    A person drops an own role without any right; another's needs the right to manage memberships and a
    role that outranks it. Raises ConflictError `last_owner`, NotFoundError, RefusedError.
    """
    hold_workspace(_found(membership_id).workspace_id)
    membership = _found(membership_id)
    if membership.role == WorkspaceRole.OWNER:
        require_owner_left(membership.workspace_id, lambda one: one.membership == membership_id)
    if not is_own(membership, actor):
        place, role = membership.workspace_id, WorkspaceRole(membership.role)
        require_authority(actor, Permission.WORKSPACE_MEMBERSHIPS_MANAGE, place, now)
        require_outranked(actor, place, (role,), now)
    _take_away(membership, actor, now, record)
    return membership


def is_own(membership: Membership, actor: Actor) -> bool:
    """Tell whether the actor holds this role in person."""
    return actor.kind == "user" and membership.user_id == actor.id


def require_outranked(actor: Actor, workspace_id: str, roles: Iterable[WorkspaceRole], now: datetime) -> None:
    """Raise RefusedError unless one of the actor's own roles outranks each of these.

    Owner outranks all, owners too; admin outranks operator, approver, auditor and viewer.
    """
    if actor.kind == "system":
        return
    own = effective_roles(user_id=actor.id, workspace_id=workspace_id, now=now)
    within = frozenset().union(*(GRANTABLE.get(held, frozenset()) for held in own))
    for role in roles:
        if role not in within:
            raise RefusedError("role_required", f"The role {role} is not outranked by your own.")


def holders_of(membership: Membership) -> frozenset[str]:
    """Return the people whom a membership concerns."""
    if membership.user_id is not None:
        return frozenset({membership.user_id})
    return frozenset(TeamMember.objects.filter(team_id=membership.team_id).values_list("user_id", flat=True))


def _holders(user: User | None, team: Team | None, workspace: Workspace) -> frozenset[str]:
    if (user is None) == (team is None):
        raise invalid("/user", "one_of", "Name one person or one team.")
    if user is not None:
        if not User.objects.filter(pk=user.pk, is_active=True).exists():
            raise invalid("/user", "inactive", "This person is disabled.")
        return frozenset({user.pk})
    if team is None or team.workspace_id != workspace.pk:
        raise invalid("/team", "workspace", "The team belongs to another workspace.")
    return frozenset(team.members.values_list("user_id", flat=True))


def _require_end(place: str, role: WorkspaceRole, expires_at: datetime | None, now: datetime) -> None:
    if expires_at is None:
        return
    if expires_at <= now:
        raise invalid("/expires_at", "past", "The end lies in the past.")
    if role is WorkspaceRole.OWNER and not lasting_ownerships(place):
        raise invalid("/expires_at", "last_owner", "The only owner of a workspace owns it without an end.")


def _end_expired(
    user: User | None,
    team: Team | None,
    workspace: Workspace,
    role: WorkspaceRole,
    actor: Actor,
    now: datetime,
    record: Record,
) -> None:
    """Make room for a role that is granted anew after its end."""
    former = Membership.objects.filter(user=user, team=team, workspace=workspace, role=role).first()
    if former is not None and not is_live(former, now):
        _take_away(former, actor, now, record)


def _take_away(membership: Membership, actor: Actor, now: datetime, record: Record) -> None:
    people = holders_of(membership)
    _record_change("membership.removed", membership, actor, now, record)
    Membership.objects.filter(pk=membership.pk).delete()
    raise_epochs(people)


def _found(membership_id: str) -> Membership:
    membership = Membership.objects.filter(pk=membership_id).first()
    if membership is None:
        raise NotFoundError("not_found", "There is no such membership.")
    return membership


def _record_change(event: str, membership: Membership, actor: Actor, now: datetime, record: Record) -> None:
    record(
        event=event,
        actor=actor,
        subject=membership.pk,
        now=now,
        data={
            "user": membership.user_id,
            "team": membership.team_id,
            "workspace": membership.workspace_id,
            "role": str(membership.role),
        },
    )
