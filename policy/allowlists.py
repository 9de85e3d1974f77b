"""Writes of a workspace's lists: what is allowed there, and what is held to be sensitive besides."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime

from identity.models import Workspace
from identity.roles import Permission
from kernel.errors import Detail, InvalidError, NotFoundError
from kernel.ids import is_id
from kernel.record import Actor, Record
from policy.authority import require_governance
from policy.catalog import short_name
from policy.epoch import raise_epoch
from policy.models import AllowlistEntry, SensitiveRule, Tool
from policy.schema import static_actions
from policy.types import AllowlistKind, EntityRef, SensitiveKind, ToolCapability

_PLAIN = re.compile(r"[^\x00-\x20\x7f]{1,128}")


def allowlist(
    *, workspace_id: str, kind: str, value: str, actor: Actor, now: datetime, record: Record
) -> AllowlistEntry:
    """Permit one tool, skill version, principal or channel in a workspace; repeating it changes nothing.

    Needs `tools.manage`. A tool must be in the catalog, a skill is named by its `skl_` id; anything
    else is an InvalidError.
    """
    _require_authority(actor, workspace_id, now)
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
    _require_authority(actor, workspace_id, now)
    raise_epoch()
    rows = AllowlistEntry.objects.filter(workspace_id=workspace_id, kind=kind, value=_normal(kind, value))
    entry = rows.first()
    if entry is None:
        raise NotFoundError("not_found", "There is no such entry.")
    rows.delete()
    _record(entry, present=False, actor=actor, now=now, record=record)


def allow_only(
    *, workspace_id: str, tools: Iterable[str], actor: Actor, now: datetime, record: Record
) -> tuple[str, ...]:
    """Make these the tools of the workspace's allowlist, and return those that were added or removed.

    Needs `tools.manage`. One name that is no tool is an InvalidError, and nothing changes.
    """
    wanted = {short_name(name): index for index, name in enumerate(tools)}
    known = set(Tool.objects.filter(name__in=wanted).values_list("name", flat=True))
    unknown = [
        Detail(f"/allowed_tools/{index}", "value", "must be a tool of the catalog")
        for name, index in wanted.items()
        if name not in known
    ]
    if unknown:
        raise InvalidError("invalid", "The list names what is no tool.", errors=tuple(unknown[:20]))
    rows = AllowlistEntry.objects.filter(workspace_id=workspace_id, kind=AllowlistKind.TOOL)
    present = set(rows.values_list("value", flat=True))
    for name in sorted(wanted.keys() ^ present):
        change = allowlist if name in wanted else remove_from_allowlist
        change(workspace_id=workspace_id, kind="tool", value=name, actor=actor, now=now, record=record)
    return tuple(sorted(wanted.keys() ^ present))


def hold_sensitive(
    *, workspace_id: str, kind: str, value: str, actor: Actor, now: datetime, record: Record
) -> SensitiveRule:
    """Hold one tool, action or capability to be sensitive; repeating it changes nothing.

    Needs `tools.manage`. What does not exist is an InvalidError.
    """
    _require_authority(actor, workspace_id, now)
    _require_workspace(workspace_id)
    normal = _known_sensitive(kind, value)
    raise_epoch()
    rule, created = SensitiveRule.objects.get_or_create(workspace_id=workspace_id, kind=kind, value=normal)
    if created:
        _record_rule(rule, present=True, actor=actor, now=now, record=record)
    return rule


def release_sensitive(
    *, workspace_id: str, kind: str, value: str, actor: Actor, now: datetime, record: Record
) -> None:
    """Take one rule back; the defaults stay. Needs `tools.manage`; NotFoundError when it is not there."""
    _require_authority(actor, workspace_id, now)
    raise_epoch()
    normal = short_name(value) if kind == SensitiveKind.TOOL else value.strip().lower()
    rows = SensitiveRule.objects.filter(workspace_id=workspace_id, kind=kind, value=normal)
    rule = rows.first()
    if rule is None:
        raise NotFoundError("not_found", "There is no such rule.")
    rows.delete()
    _record_rule(rule, present=False, actor=actor, now=now, record=record)


def _require_authority(actor: Actor, workspace_id: str, now: datetime) -> None:
    where = EntityRef("Workspace", workspace_id)
    require_governance(actor, Permission.TOOLS_MANAGE, where, workspace_id, now)


def _known_sensitive(kind: str, value: str) -> str:
    if kind not in set(SensitiveKind):
        raise _invalid("/kind", "must be tool, action or capability")
    normal = short_name(value) if kind == SensitiveKind.TOOL else value.strip().lower()
    known = (
        Tool.objects.filter(name=normal).exists()
        if kind == SensitiveKind.TOOL and "\0" not in normal
        else normal in set(ToolCapability)
        if kind == SensitiveKind.CAPABILITY
        else normal in {action.name for action in static_actions()}
    )
    if not known:
        raise _invalid("/value", f"must be a {kind} that exists")
    return normal


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


def _record_rule(rule: SensitiveRule, *, present: bool, actor: Actor, now: datetime, record: Record) -> None:
    data: dict[str, object] = {
        "workspace": rule.workspace_id,
        "kind": rule.kind,
        "value": rule.value,
        "present": present,
    }
    record(event="sensitive_rule.changed", actor=actor, subject=rule.workspace_id, now=now, data=data)
