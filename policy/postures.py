"""Writes of posture overrides. Each raises the epoch first and leaves an entry that can be undone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType

from identity.models import Agent, Workspace
from identity.roles import Permission
from kernel.errors import (
    ConflictError,
    Detail,
    InvalidError,
    NotFoundError,
    PreconditionFailedError,
    PreconditionRequiredError,
)
from kernel.record import Actor, Record
from policy.authority import require_governance
from policy.catalog import short_name
from policy.epoch import raise_epoch
from policy.models import PostureEvent, PostureOverride
from policy.posture import (
    GLOBAL,
    MAX_REASON,
    Place,
    check_loosening,
    live_rows,
    loosens,
    require_code,
    require_unshadowed,
)
from policy.posture_rows import (
    Act,
    Wanted,
    enter,
    is_live,
    row_at,
    rows_of,
    version_tag,
    write_row,
)
from policy.selectors import lock_reasons, tool_named
from policy.types import EntityRef, PostureState, ScopeKind, ToolFacts

ANY_VERSION = "*"
"""In place of what a caller saw: whatever stands there now."""
NO_LOCKS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class OverrideInput:
    """What a person sets: the state for one tool in one scope. `scope_id` is empty only for global.

    A session's scope also names its agent, or the caller hands over the `place` it has looked up.
    `otp_verified_at` is when the person last proved a one-time code. `seen` is the `version_tag` of the
    row the person saw, None for none.
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
    seen: str | None = ANY_VERSION
    place: Place | None = None

    @property
    def wanted(self) -> Wanted:
        return Wanted(self.state, self.reason, self.source, self.overridable, self.expires_at)


@dataclass(frozen=True, slots=True)
class Asking:
    """Who asks for a change, and the facts it is judged by.

    `host_locks` says by tool why no host can run it; the caller knows the hosts.
    """

    actor: Actor
    now: datetime
    record: Record
    otp_verified_at: datetime | None = None
    host_locks: Mapping[str, str] = field(default_factory=dict)
    reason: str = ""


def set_posture(
    *,
    override: OverrideInput,
    actor: Actor,
    now: datetime,
    record: Record,
    host_locks: Mapping[str, str] = NO_LOCKS,
) -> PostureOverride:
    """Write an override, replacing what stood in its place. Needs `posture.manage`.

    Raises NotFoundError for an unknown tool, workspace or agent; ConflictError `posture_locked` for
    anything but disabled on a tool that a lock switches off, and `posture_shadowed` for a row that could
    never count; InvalidError `posture_too_loose` as `check_loosening` says; AuthenticationError
    `step_up_required` when the tool becomes freer and no fresh code was proved; PreconditionRequiredError
    and PreconditionFailedError by `seen`.
    """
    place = override.place or place_of(override.scope_kind, override.scope_id, override.agent_id)
    asking = Asking(actor, now, record, override.otp_verified_at, host_locks, override.reason)
    require_posture_authority(asking, override.tool, place)
    tool = require_tool(override.tool)
    _check_fields(override, now)
    raise_epoch()
    _require_seen(override.seen, row_at(tool.name, place), now)
    check_row(tool, place, override.wanted, asking)
    change = write_row(tool.name, place, override.wanted, actor, now)
    enter(
        Act(
            event="posture.override_set",
            place=place,
            source=override.source,
            reason=override.reason,
            actor=actor,
            now=now,
            record=record,
            tool=tool.name,
        ),
        (change,),
    )
    return PostureOverride.objects.get(tool=tool.name, scope_kind=place.kind, scope_id=place.id)


def clear_posture(*, tool: str, place: Place, asking: Asking, seen: str | None = ANY_VERSION) -> PostureEvent:
    """Delete an override; raises NotFoundError when there is none. Needs `posture.manage`.

    Asks for a fresh code when the tool becomes freer by it, and for what was seen as `set_posture` does.
    """
    require_posture_authority(asking, tool, place)
    facts = require_tool(tool)
    check_reason(asking.reason)
    raise_epoch()
    row = row_at(facts.name, place)
    if row is None:
        raise NotFoundError("not_found", "There is no such override.")
    _require_seen(seen, row, asking.now)
    check_row(facts, place, None, asking)
    change = write_row(facts.name, place, None, asking.actor, asking.now)
    return enter(
        Act(
            event="posture.override_cleared",
            place=place,
            source=row.source,
            reason=asking.reason,
            actor=asking.actor,
            now=asking.now,
            record=asking.record,
            tool=facts.name,
        ),
        (change,),
    )


def expire_postures(*, actor: Actor, now: datetime, record: Record) -> int:
    """Delete the overrides whose end has come and return how many; they stopped counting by themselves."""
    rows = list(PostureOverride.objects.filter(expires_at__lte=now).order_by("pk"))
    if not rows:
        return 0
    raise_epoch()
    rows = list(PostureOverride.objects.filter(expires_at__lte=now).order_by("pk"))
    for row in rows:
        _expire(row, actor, now, record)
    return len(rows)


def _expire(row: PostureOverride, actor: Actor, now: datetime, record: Record) -> None:
    place = _place_of_row(row)
    change = write_row(row.tool, place, None, actor, now)
    enter(
        Act(
            event="posture.override_expired",
            place=place,
            source=row.source,
            reason=row.reason,
            actor=actor,
            now=now,
            record=record,
            tool=row.tool,
        ),
        (change,),
    )


def end_loose_postures(*, tool: ToolFacts, actor: Actor, now: datetime, record: Record) -> int:
    """Take away each always_allow that a tool defined like this may not have, and return how many.

    For a definition that changed. Whoever changed it has raised the epoch and need not manage postures:
    nothing becomes freer.
    """
    rows = PostureOverride.objects.filter(tool=tool.name, state=PostureState.ALWAYS_ALLOW).order_by("pk")
    loose = [row for row in rows if is_live(row, now) and _is_too_loose(row, tool, now)]
    for row in loose:
        place = _place_of_row(row)
        change = write_row(row.tool, place, None, actor, now)
        enter(
            Act(
                event="posture.override_cleared",
                place=place,
                source=row.source,
                reason=f"The tool is of {tool.risk} risk now.",
                actor=actor,
                now=now,
                record=record,
                tool=row.tool,
            ),
            (change,),
        )
    return len(loose)


def _is_too_loose(row: PostureOverride, tool: ToolFacts, now: datetime) -> bool:
    try:
        check_loosening(
            state=row.state,
            risk=tool.risk,
            capabilities=tool.capabilities,
            reason=row.reason,
            expires_at=row.expires_at,
            otp_verified_at=now,
            now=now,
        )
    except InvalidError:
        return True
    return False


def place_of(kind: str, scope_id: str, agent_id: str | None = None) -> Place:
    """Return where a scope lies. A session lies at `agent_id`, which the caller looked up.

    InvalidError for what is no scope, NotFoundError for a workspace or agent that does not exist.
    """
    if kind not in set(ScopeKind) or bool(scope_id) is (kind == ScopeKind.GLOBAL) or not _is_plain(scope_id):
        raise _invalid("/scope_kind", "must be a scope with the id it needs")
    if kind == ScopeKind.GLOBAL:
        return GLOBAL
    if kind == ScopeKind.WORKSPACE:
        if not Workspace.objects.filter(pk=scope_id).exists():
            raise NotFoundError("not_found", "There is no such workspace.")
        return Place(kind, scope_id, scope_id)
    agent = scope_id if kind == ScopeKind.AGENT else agent_id
    workspace_id = Agent.objects.filter(pk=agent).values_list("workspace_id", flat=True).first()
    if agent is None or workspace_id is None:
        raise NotFoundError("not_found", "There is no such agent.")
    return Place(kind, scope_id, workspace_id, agent)


def require_posture_authority(asking: Asking, tool: str, place: Place) -> None:
    """Raise RefusedError unless the actor may change postures there; global needs the whole instance."""
    resource = EntityRef("Posture", short_name(tool)[:128] or "-")
    require_governance(asking.actor, Permission.POSTURE_MANAGE, resource, place.workspace_id, asking.now)


def require_tool(name: str) -> ToolFacts:
    tool = tool_named(name)
    if tool is None:
        raise NotFoundError("tool_not_found", "There is no such tool.")
    return tool


def check_row(tool: ToolFacts, place: Place, wanted: Wanted | None, asking: Asking) -> None:
    """Refuse a row, or its absence, that the rules of posture forbid. Call it behind `raise_epoch`."""
    stored = rows_of(tool.name)
    broader = live_rows(place.broader, stored, asking.now)
    if wanted is not None:
        _require_unlocked(tool, place, wanted, asking)
        require_unshadowed(wanted.state, broader)
        check_loosening(
            state=wanted.state,
            risk=tool.risk,
            capabilities=tool.capabilities,
            reason=wanted.reason,
            expires_at=wanted.expires_at,
            otp_verified_at=asking.otp_verified_at,
            now=asking.now,
        )
    before = next(iter(live_rows((place.scope,), stored, asking.now)), None)
    if loosens(
        before=before,
        after=None if wanted is None else wanted.at(place),
        place=place,
        broader=broader,
        requires_approval=tool.requires_approval,
        now=asking.now,
    ):
        require_code(asking.otp_verified_at, asking.now)


def _require_unlocked(tool: ToolFacts, place: Place, wanted: Wanted, asking: Asking) -> None:
    if wanted.state == PostureState.DISABLED:
        return
    locks = lock_reasons(tool, place.workspace_id, asking.host_locks.get(tool.name, ""))
    if locks:
        raise ConflictError("posture_locked", locks[0])


def _place_of_row(row: PostureOverride) -> Place:
    """Return where a stored row lies; its history knows the workspace of a session."""
    if row.scope_kind != ScopeKind.SESSION:
        try:
            return place_of(row.scope_kind, row.scope_id)
        except NotFoundError:
            return Place(row.scope_kind, row.scope_id)
    past = PostureEvent.objects.filter(scope_kind=row.scope_kind, scope_id=row.scope_id)
    workspace_id = past.values_list("workspace_id", flat=True).first()
    return Place(row.scope_kind, row.scope_id, workspace_id or "")


def _require_seen(seen: str | None, row: PostureOverride | None, now: datetime) -> None:
    if seen == ANY_VERSION:
        return
    standing = row if row is not None and is_live(row, now) else None
    if seen is None and standing is not None:
        raise PreconditionRequiredError("precondition_required", "Send the ETag you saw as If-Match.")
    if seen is not None and (standing is None or seen != version_tag(standing)):
        raise PreconditionFailedError("precondition_failed", "The override is no longer what was seen.")


def _check_fields(override: OverrideInput, now: datetime) -> None:
    if override.state not in set(PostureState):
        raise _invalid("/state", "must be always_allow, ask_each_time or disabled")
    check_reason(override.reason)
    if override.expires_at is not None and override.expires_at <= now:
        raise _invalid("/expires_at", "must be in the future")


def check_reason(reason: str) -> None:
    """Raise InvalidError for a reason that cannot be stored."""
    if len(reason) > MAX_REASON or "\0" in reason:
        raise _invalid("/reason", f"must be at most {MAX_REASON} characters")


def _is_plain(scope_id: str) -> bool:
    return len(scope_id) <= 128 and "\0" not in scope_id


def _invalid(pointer: str, sentence: str) -> InvalidError:
    return InvalidError("invalid", f"{pointer} {sentence}.", errors=(Detail(pointer, "value", sentence),))
