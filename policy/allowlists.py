"""Writes of a workspace's allowlists."""

from __future__ import annotations

import re
from datetime import datetime

from identity.models import Workspace
from identity.roles import Permission
from kernel.errors import Detail, InvalidError, NotFoundError
from kernel.ids import is_id
from kernel.record import Actor, Record
from policy.authority import require_governance
from policy.catalog import short_name
from policy.epoch import raise_epoch
from policy.models import AllowlistEntry, Tool
from policy.types import AllowlistKind, EntityRef

_PLAIN = re.compile(r"[^\x00-\x20\x7f]{1,128}")


def allowlist(
    *, workspace_id: str, kind: str, value: str, actor: Actor, now: datetime, record: Record
) -> AllowlistEntry:
    """Permit one tool, skill version, principal or channel in a workspace; repeating it changes nothing.

    Needs `policy.edit`. A tool must be in the catalog, a skill is named by its `skl_` id; anything
    else is an InvalidError.
    """
    require_governance(actor, Permission.POLICY_EDIT, EntityRef("Workspace", workspace_id), workspace_id, now)
    _require_workspace(workspace_id)
    normal = _normal(kind, value)
    _require_known(kind, normal)
    raise_epoch()
    entry, created = AllowlistEntry.objects.get_or_create(workspace_id=workspace_id, kind=kind, value=normal)
    if created:
        _record(entry, present=True, actor=actor, now=now, record=record)
    return entry


def remove_from_allowlist(
    *, workspace_id: str, kind: str, value: str, actor: Actor, now: datetime, record: Record
) -> None:
    """Take one entry off. Needs `policy.edit`; raises NotFoundError when it is not there."""
    require_governance(actor, Permission.POLICY_EDIT, EntityRef("Workspace", workspace_id), workspace_id, now)
    raise_epoch()
    rows = AllowlistEntry.objects.filter(workspace_id=workspace_id, kind=kind, value=_normal(kind, value))
    entry = rows.first()
    if entry is None:
        raise NotFoundError("not_found", "There is no such entry.")
    rows.delete()
    _record(entry, present=False, actor=actor, now=now, record=record)


def _normal(kind: str, value: str) -> str:
    if kind not in set(AllowlistKind):
        raise _invalid("/kind", "must be a kind of allowlist")
    if kind == AllowlistKind.TOOL:
        return short_name(value)
    return value.strip().lower() if kind == AllowlistKind.SKILL else value.strip()


def _require_known(kind: str, normal: str) -> None:
    if not _PLAIN.fullmatch(normal):
        raise _invalid("/value", "must be 1 to 128 printable characters without blanks")
    if kind == AllowlistKind.TOOL and not Tool.objects.filter(name=normal).exists():
        raise _invalid("/value", "must be a tool of the catalog")
    if kind == AllowlistKind.SKILL and not is_id("skl", "skl_" + normal.removeprefix("skl_").upper()):
        raise _invalid("/value", "must be the id of a skill version")


def _require_workspace(workspace_id: str) -> None:
    if not Workspace.objects.filter(pk=workspace_id).exists():
        raise NotFoundError("not_found", "No such workspace.")


def _invalid(pointer: str, sentence: str) -> InvalidError:
    return InvalidError("invalid", f"{pointer} {sentence}.", errors=(Detail(pointer, "value", sentence),))


def _record(entry: AllowlistEntry, *, present: bool, actor: Actor, now: datetime, record: Record) -> None:
    data: dict[str, object] = {
        "workspace": entry.workspace_id,
        "kind": entry.kind,
        "value": entry.value,
        "present": present,
    }
    record(event="allowlist.changed", actor=actor, subject=entry.workspace_id, now=now, data=data)
