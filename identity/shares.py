"""Every write to shares: opening one object of a workspace to another workspace, and closing it."""

from __future__ import annotations

from datetime import datetime

from identity.authority import require_authority
from identity.inserting import insert, invalid
from identity.models import ResourceShare
from identity.owners import hold_workspace
from identity.roles import Permission
from kernel.errors import NotFoundError
from kernel.ids import new_id
from kernel.record import Actor, Record

KINDS = ("agent", "tool", "skill")
ACCESSES = ("read", "use")


def share_resource(
    *,
    kind: str,
    resource_id: str,
    home_id: str,
    workspace_id: str,
    access: str,
    actor: Actor,
    now: datetime,
    record: Record,
) -> ResourceShare:
    """Open an object of the workspace `home_id` to `workspace_id`.

    Whoever shares manages sharing where the object is at home. An agent that is shared can be looked at
    there; its runs are opened by its owner at home only, so `use` adds nothing to `read` yet. Tools and
    skills stand in the catalog of every workspace, shared or not. Raises NotFoundError, ConflictError for
    what is shared there already, InvalidError for a workspace with itself.
    """
    workspace = hold_workspace(workspace_id)
    require_authority(actor, Permission.WORKSPACE_SHARING_MANAGE, home_id, now)
    if kind not in KINDS or access not in ACCESSES:
        raise invalid("/access", "unknown", "A share is of an agent, tool or skill, to read or to use.")
    if home_id == workspace_id:
        raise invalid("/resource_id", "at_home", "It belongs to this workspace already.")
    share = ResourceShare(
        id=new_id("shr", now),
        resource_kind=kind,
        resource_id=resource_id,
        home_id=home_id,
        workspace=workspace,
        access=access,
        shared_by=actor.id,
        created_at=now,
    )
    insert(share, "It is shared with this workspace already.")
    _record_change(share, True, actor, now, record)
    return share


def unshare_resource(
    *, share_id: str, workspace_id: str, actor: Actor, now: datetime, record: Record
) -> ResourceShare:
    """Close a share, on the word of whoever manages sharing in `workspace_id`: its home or the other side.

    Raises NotFoundError for a share that `workspace_id` has no part in, RefusedError.
    """
    share = ResourceShare.objects.select_for_update().filter(pk=share_id).first()
    if share is None or workspace_id not in (share.home_id, share.workspace_id):
        raise NotFoundError("not_found", "There is no such share.")
    require_authority(actor, Permission.WORKSPACE_SHARING_MANAGE, workspace_id, now)
    _record_change(share, False, actor, now, record)
    ResourceShare.objects.filter(pk=share_id).delete()
    return share


def _record_change(share: ResourceShare, present: bool, actor: Actor, now: datetime, record: Record) -> None:
    record(
        event="share.changed",
        actor=actor,
        subject=share.pk,
        now=now,
        data={
            "kind": share.resource_kind,
            "resource": share.resource_id,
            "workspace": share.workspace_id,
            "access": share.access,
            "present": present,
        },
    )
