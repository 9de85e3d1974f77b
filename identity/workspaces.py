"""Every write to workspaces."""

from __future__ import annotations

import re
from datetime import datetime

from identity.authority import ANYWHERE, require_authority
from identity.inserting import insert, invalid
from identity.memberships import holders_of, place_membership
from identity.models import Membership, User, Workspace
from identity.owners import hold_workspace, raise_epochs
from identity.roles import Permission, WorkspaceRole
from identity.selectors import DEFAULT, INSTANCE, workspace_by_slug
from identity.texts import require_name
from kernel.errors import ConflictError, RefusedError
from kernel.ids import new_id
from kernel.record import Actor, Record

BUILT_IN = frozenset({INSTANCE, DEFAULT})
RESERVED = BUILT_IN | {"admin", "api"}
LONGEST_NAME = 120
_SLUG = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


def create_workspaces(*, actor: Actor, now: datetime, record: Record) -> tuple[Workspace, Workspace]:
    """Make the two built-in workspaces if they are missing; return (`instance`, `default`)."""
    if actor.kind != "system":
        raise RefusedError("role_required", "Only the instance makes its built-in workspaces.")
    instance = _built_in(INSTANCE, "Instance", actor, now, record)
    return instance, _built_in(DEFAULT, "Default", actor, now, record)


def create_workspace(
    *, slug: str, name: str, owner: User, actor: Actor, now: datetime, record: Record
) -> Workspace:
    """Create a workspace and make `owner`, who asked for it, its first owner.

    Needs `workspace.manage` in the whole instance. Raises InvalidError for a slug that is malformed or
    reserved, ConflictError for a taken one; the slug of an archived workspace stays taken.
    """
    hold_workspace(workspace_by_slug(INSTANCE).pk)
    require_authority(actor, Permission.WORKSPACE_MANAGE, ANYWHERE, now)
    if not _SLUG.fullmatch(slug):
        raise invalid("/slug", "pattern", "Lower-case letters, digits and inner dashes; at most 63.")
    if slug in RESERVED:
        raise invalid("/slug", "reserved", "This slug is reserved.")
    workspace = Workspace(
        id=new_id("wsp", now), slug=slug, name=require_name("/name", name, LONGEST_NAME), created_at=now
    )
    insert(workspace, "This slug is taken.")
    _record_change(workspace, "created", actor, now, record)
    place_membership(
        user=owner, workspace=workspace, role=WorkspaceRole.OWNER, actor=actor, now=now, record=record
    )
    return workspace


def archive_workspace(*, workspace_id: str, actor: Actor, now: datetime, record: Record) -> Workspace:
    """Put a workspace out of use for good: its roles, tokens and agents stop counting at once.

    Raises ConflictError for a built-in one, NotFoundError for one that is archived.
    """
    workspace = hold_workspace(workspace_id)
    require_authority(actor, Permission.WORKSPACE_MANAGE, workspace_id, now)
    if workspace.slug in BUILT_IN:
        raise ConflictError("conflict", "The built-in workspaces stay.")
    workspace.archived_at = now
    workspace.save(update_fields=["archived_at"])
    held = Membership.objects.filter(workspace=workspace)
    raise_epochs({person for membership in held for person in holders_of(membership)})
    _record_change(workspace, "archived", actor, now, record)
    return workspace


def _built_in(slug: str, name: str, actor: Actor, now: datetime, record: Record) -> Workspace:
    workspace, created = Workspace.objects.get_or_create(
        slug=slug, defaults={"id": new_id("wsp", now), "name": name, "created_at": now}
    )
    if created:
        _record_change(workspace, "created", actor, now, record)
    return workspace


def _record_change(workspace: Workspace, change: str, actor: Actor, now: datetime, record: Record) -> None:
    record(
        event="workspace.changed",
        actor=actor,
        subject=workspace.pk,
        now=now,
        data={"change": change, "slug": workspace.slug},
    )
