"""Writes of posture overrides."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.db.models import F

from identity.authority import ANYWHERE
from identity.models import Agent
from identity.roles import Permission
from kernel.errors import ConflictError, Detail, InvalidError, NotFoundError
from kernel.record import Actor, Record
from policy.authority import require_governance
from policy.catalog import short_name
from policy.epoch import raise_epoch
from policy.models import PostureOverride, Tool
from policy.posture import MAX_REASON, Scope, check_loosening, is_shadowed, live_rows
from policy.types import EntityRef, PostureRow, PostureState, ScopeKind


@dataclass(frozen=True, slots=True)
class OverrideInput:
    """What a person sets: the state for one tool in one scope. `scope_id` is empty only for global.

    A session's scope also names its agent. `otp_verified_at` is when the person last proved a
    one-time code.
    """

    tool: str
    scope_kind: str
    scope_id: str
    state: str
    reason: str
    agent_id: str | None = None
    overridable: bool = True
    expires_at: datetime | None = None
    otp_verified_at: datetime | None = None
    source: str = "manual"


def set_posture(*, override: OverrideInput, actor: Actor, now: datetime, record: Record) -> PostureOverride:
    """Write an override, replacing what stood in its place. Needs `posture.manage`.

    Raises NotFoundError for an unknown tool or agent, ConflictError `posture_shadowed` for a looser
    row below a disabled one, InvalidError `posture_too_loose` and AuthenticationError
    `step_up_required` as `check_loosening` says.
    """
    name = short_name(override.tool)
    ancestors = _ancestors(override)
    workspace_id = _workspace_of((*ancestors, (override.scope_kind, override.scope_id)))
    resource = EntityRef("Posture", name[:128] or "-")
    require_governance(actor, Permission.POSTURE_MANAGE, resource, workspace_id, now)
    tool = Tool.objects.filter(name=name).first()
    if tool is None:
        raise NotFoundError("tool_not_found", "There is no such tool.")
    _check_fields(override, now)
    check_loosening(
        state=override.state,
        risk=tool.risk,
        capabilities=frozenset(tool.capabilities),
        reason=override.reason,
        expires_at=override.expires_at,
        otp_verified_at=override.otp_verified_at,
        now=now,
    )
    raise_epoch()
    if is_shadowed(override.state, live_rows(ancestors, _rows(name), now)):
        raise ConflictError("posture_shadowed", "A broader scope switches this tool off.")
    return _store(name, override, actor, now, record)


def clear_posture(
    *, tool: str, scope_kind: str, scope_id: str, actor: Actor, now: datetime, record: Record
) -> None:
    """Delete an override; raises NotFoundError when there is none. Needs `posture.manage`."""
    name = short_name(tool)
    where = scope_id if scope_kind == ScopeKind.WORKSPACE else ANYWHERE
    require_governance(actor, Permission.POSTURE_MANAGE, EntityRef("Posture", name[:128] or "-"), where, now)
    raise_epoch()
    row = PostureOverride.objects.filter(tool=name, scope_kind=scope_kind, scope_id=scope_id).first()
    if row is None:
        raise NotFoundError("not_found", "There is no such override.")
    row.delete()
    _record("posture.override_cleared", row, (row.state, ""), actor=actor, now=now, record=record)


def expire_postures(*, actor: Actor, now: datetime, record: Record) -> int:
    """Delete the overrides whose end has come and return how many; they stopped counting by themselves."""
    rows = list(PostureOverride.objects.filter(expires_at__lte=now).order_by("pk"))
    if rows:
        raise_epoch()
    for row in rows:
        PostureOverride.objects.filter(pk=row.pk).delete()
        _record("posture.override_expired", row, (row.state, ""), actor=actor, now=now, record=record)
    return len(rows)


def _ancestors(override: OverrideInput) -> tuple[Scope, ...]:
    """Return the broader scopes of this one, broadest first."""
    kind, scope_id = override.scope_kind, override.scope_id
    if kind not in set(ScopeKind) or bool(scope_id) is (kind == ScopeKind.GLOBAL) or len(scope_id) > 128:
        raise _invalid("/scope_kind", "must be a scope with the id it needs")
    if kind == ScopeKind.GLOBAL:
        return ()
    if kind == ScopeKind.WORKSPACE:
        return ((ScopeKind.GLOBAL, ""),)
    agent_id = scope_id if kind == ScopeKind.AGENT else override.agent_id
    workspace_id = Agent.objects.filter(pk=agent_id).values_list("workspace_id", flat=True).first()
    if agent_id is None or workspace_id is None:
        raise NotFoundError("not_found", "No such agent.")
    outer: tuple[Scope, ...] = ((ScopeKind.GLOBAL, ""), (ScopeKind.WORKSPACE, workspace_id))
    return outer if kind == ScopeKind.AGENT else (*outer, (ScopeKind.AGENT, agent_id))


def _workspace_of(scopes: tuple[Scope, ...]) -> str:
    return next((scope_id for kind, scope_id in scopes if kind == ScopeKind.WORKSPACE), ANYWHERE)


def _check_fields(override: OverrideInput, now: datetime) -> None:
    if override.state not in set(PostureState):
        raise _invalid("/state", "must be always_allow, ask_each_time or disabled")
    if len(override.reason) > MAX_REASON or "\0" in override.reason:
        raise _invalid("/reason", f"must be at most {MAX_REASON} characters")
    if override.expires_at is not None and override.expires_at <= now:
        raise _invalid("/expires_at", "must be in the future")


def _invalid(pointer: str, sentence: str) -> InvalidError:
    return InvalidError("invalid", f"{pointer} {sentence}.", errors=(Detail(pointer, "value", sentence),))


def _rows(tool: str) -> list[PostureRow]:
    return [
        PostureRow(row.scope_kind, row.scope_id, row.state, row.overridable, row.expires_at)
        for row in PostureOverride.objects.filter(tool=tool)
    ]


def _store(
    tool: str, override: OverrideInput, actor: Actor, now: datetime, record: Record
) -> PostureOverride:
    place = {"tool": tool, "scope_kind": override.scope_kind, "scope_id": override.scope_id}
    values = {
        "state": override.state,
        "overridable": override.overridable,
        "reason": override.reason,
        "source": override.source,
        "actor": actor.id,
        "created_at": now,
        "expires_at": override.expires_at,
    }
    before = PostureOverride.objects.filter(**place).values_list("state", flat=True).first()
    if before is None:
        row = PostureOverride.objects.create(**place, **values)
    else:
        PostureOverride.objects.filter(**place).update(version=F("version") + 1, **values)
        row = PostureOverride.objects.get(**place)
    _record("posture.override_set", row, (before or "", row.state), actor=actor, now=now, record=record)
    return row


def _record(
    event: str,
    row: PostureOverride,
    states: tuple[str, str],
    *,
    actor: Actor,
    now: datetime,
    record: Record,
) -> None:
    data: dict[str, object] = {
        "tool": row.tool,
        "scope_kind": row.scope_kind,
        "scope_id": row.scope_id,
        "before": states[0],
        "after": states[1],
        "source": row.source,
        "reason": row.reason,
    }
    record(event=event, actor=actor, subject=row.tool, now=now, data=data)
