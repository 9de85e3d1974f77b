"""Every write to the roles of people."""

from __future__ import annotations

from datetime import datetime

from identity.authority import require_authority
from identity.inserting import insert, invalid
from identity.models import Membership, User, Workspace
from identity.roles import Permission, WorkspaceRole
from identity.selectors import effective_roles
from kernel.errors import RefusedError
from kernel.ids import new_id
from kernel.record import Actor, Record

_GRANTABLE: dict[WorkspaceRole, frozenset[WorkspaceRole]] = {
    WorkspaceRole.OWNER: frozenset(WorkspaceRole),
    WorkspaceRole.ADMIN: frozenset(
        {WorkspaceRole.OPERATOR, WorkspaceRole.APPROVER, WorkspaceRole.AUDITOR, WorkspaceRole.VIEWER}
    ),
}


def grant_membership(
    *,
    user: User,
    workspace: Workspace,
    role: WorkspaceRole,
    expires_at: datetime | None = None,
    actor: Actor,
    now: datetime,
    record: Record,
) -> Membership:
    """Give a person one more role. Nobody grants a role they do not outrank, nobody to themselves."""
    require_authority(actor, Permission.WORKSPACE_MEMBERSHIPS_MANAGE, workspace.pk, now)
    _require_outranked(actor, workspace, role, now)
    if actor.id == user.pk:
        raise RefusedError("role_required", "Nobody changes their own roles.")
    if expires_at is not None and expires_at <= now:
        raise invalid("/expires_at", "past", "The end lies in the past.")
    membership = Membership(
        id=new_id("mbr", now),
        workspace=workspace,
        user=user,
        role=role,
        granted_by=actor.id,
        granted_at=now,
        expires_at=expires_at,
    )
    insert(membership, "This person holds the role already.")
    _raise_epoch(user)
    record(
        event="membership.granted",
        actor=actor,
        subject=membership.pk,
        now=now,
        data={"user": user.pk, "team": None, "workspace": workspace.pk, "role": role.value},
    )
    return membership


def _require_outranked(actor: Actor, workspace: Workspace, role: WorkspaceRole, now: datetime) -> None:
    if actor.kind == "system":
        return
    own = effective_roles(user_id=actor.id, workspace_id=workspace.pk, now=now)
    if not any(role in _GRANTABLE.get(held, frozenset()) for held in own):
        raise RefusedError("role_required", f"The role {role} is not outranked by the granting person's.")


def _raise_epoch(user: User) -> None:
    locked = User.objects.select_for_update().get(pk=user.pk)
    locked.authority_epoch += 1
    locked.save(update_fields=["authority_epoch"])
