"""Writes of a workspace's limits for tool calls: within bounds, against the version that was seen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType

from django.db import transaction

from identity.models import Workspace
from identity.roles import Permission
from kernel.errors import Detail, InvalidError, NotFoundError, PreconditionFailedError
from kernel.record import Actor, Record
from policy.allowlists import allow_only
from policy.authority import require_governance
from policy.epoch import raise_epoch
from policy.models import AllowlistEntry, ToolCallConfig
from policy.types import AllowlistKind, EntityRef

MIB = 1024 * 1024
BOUNDS: Mapping[str, tuple[int, int]] = MappingProxyType(
    {
        "max_calls_per_run": (1, 1_000),
        "soft_calls_per_run": (1, 1_000),
        "execution_timeout_ms": (100, 600_000),
        "process_cpu_ms": (100, 600_000),
        "process_memory_bytes": (16 * MIB, 65_536 * MIB),
        "process_output_bytes": (1_024, 16 * MIB),
        "wasm_module_bytes": (1_024, 8 * MIB),
        "wasm_fuel": (1_000, 1_000_000_000_000),
        "wasm_memory_bytes": (64 * 1024, 1_024 * MIB),
        "wasm_table_elements": (1, 100_000),
        "wasm_instances": (1, 256),
    }
)
"""Every number with its smallest and largest value. Times in milliseconds, sizes in bytes."""

SWITCHES = ("process_runner_enabled", "wasm_enabled")
FIXED: Mapping[str, object] = MappingProxyType(
    {"process_runner_tier": "C", "process_egress_mode": "strict", "wasm_inline_modules": False}
)
"""Settings with one permitted value: nothing weaker is built, so nothing weaker can be asked for."""

PRESETS: Mapping[str, Mapping[str, object]] = MappingProxyType(
    {
        "default": MappingProxyType(
            {name: getattr(ToolCallConfig(), name) for name in (*BOUNDS, *SWITCHES, *FIXED)}
        ),
        "minimal": MappingProxyType(
            {
                "max_calls_per_run": 4,
                "soft_calls_per_run": 4,
                "execution_timeout_ms": 750,
                "process_runner_enabled": False,
                "wasm_enabled": False,
            }
        ),
    }
)
SHORTEST_REASON = 3
LONGEST_REASON = 500


@dataclass(frozen=True, slots=True)
class LimitsChange:
    """What a person wants: a preset first, then single values over it. None leaves the tools alone."""

    workspace_id: str
    reason: str
    seen_version: int | None
    preset: str | None = None
    values: Mapping[str, object] = field(default_factory=dict)
    allowed_tools: tuple[str, ...] | None = None


def change_limits(*, change: LimitsChange, actor: Actor, now: datetime, record: Record) -> ToolCallConfig:
    """Change a workspace's limits. `allowed_tools` are the tools of its allowlist, and no second list.

    Needs `tools.manage` there. Raises NotFoundError, PreconditionFailedError when they changed since,
    and InvalidError with every value that is out of bounds. What is queued keeps the bounds it was
    decided with; a runner that was switched off stops it at its claim.
    """
    where = EntityRef("Workspace", change.workspace_id)
    require_governance(actor, Permission.TOOLS_MANAGE, where, change.workspace_id, now)
    raise_epoch()
    row = ToolCallConfig.objects.filter(workspace_id=change.workspace_id).first()
    if row is None:
        raise NotFoundError("not_found", "The workspace has no limits for tool calls.")
    if change.seen_version is not None and change.seen_version != row.version:
        raise PreconditionFailedError("precondition_failed", "The limits changed meanwhile.")
    wanted = _wanted(change)
    errors = tuple(_problems(change, row, wanted))
    if errors:
        raise InvalidError("invalid", "The limits are not acceptable.", errors=errors)
    changed = {name: value for name, value in wanted.items() if getattr(row, name) != value}
    tools = _change_tools(change, actor, now, record)
    if changed or tools:
        _write(row, changed, tools, change.reason, actor, now, record)
    return row


def prepare_limits(*, workspace_id: str) -> ToolCallConfig:
    """Give a workspace the default limits when it has none; without them nothing can be called there.

    The caller creates the workspace, under its own authority and event.
    """
    return ToolCallConfig.objects.get_or_create(workspace=Workspace.objects.get(pk=workspace_id))[0]


def limits_of(workspace_id: str) -> tuple[ToolCallConfig, tuple[str, ...]]:
    """Return the limits of a workspace and the tools it allows, by name; NotFoundError without limits."""
    with transaction.atomic():
        row = ToolCallConfig.objects.filter(workspace_id=workspace_id).first()
        if row is None:
            raise NotFoundError("not_found", "The workspace has no limits for tool calls.")
        listed = AllowlistEntry.objects.filter(workspace_id=workspace_id, kind=AllowlistKind.TOOL)
        return row, tuple(listed.order_by("value").values_list("value", flat=True))


def _wanted(change: LimitsChange) -> dict[str, object]:
    preset = PRESETS.get(change.preset or "", {})
    return {**preset, **change.values}


def _problems(change: LimitsChange, row: ToolCallConfig, wanted: Mapping[str, object]) -> Iterator[Detail]:
    if not SHORTEST_REASON <= len(change.reason) <= LONGEST_REASON or "\0" in change.reason:
        yield Detail("/reason", "length", f"must have {SHORTEST_REASON} to {LONGEST_REASON} characters")
    if change.preset is not None and change.preset not in PRESETS:
        yield Detail("/preset", "unknown", f"must be one of {', '.join(PRESETS)}")
    if not wanted and change.allowed_tools is None:
        yield Detail("", "required", "nothing to change was given")
    for name, value in wanted.items():
        sentence = _problem(name, value)
        if sentence:
            yield Detail(f"/{name}", "range", sentence)
    most, soft = (
        wanted.get(name, getattr(row, name)) for name in ("max_calls_per_run", "soft_calls_per_run")
    )
    if isinstance(most, int) and isinstance(soft, int) and soft > most:
        yield Detail("/soft_calls_per_run", "range", "must not exceed max_calls_per_run")


def _problem(name: str, value: object) -> str:
    if name in FIXED:
        return "" if value == FIXED[name] else f"can only be {FIXED[name]}"
    if name in SWITCHES:
        return "" if isinstance(value, bool) else "must be true or false"
    if name not in BOUNDS:
        return "is no limit"
    low, high = BOUNDS[name]
    fits = isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
    return "" if fits else f"must be a whole number from {low} to {high}"


def _change_tools(change: LimitsChange, actor: Actor, now: datetime, record: Record) -> tuple[str, ...]:
    if change.allowed_tools is None:
        return ()
    return allow_only(
        workspace_id=change.workspace_id, tools=change.allowed_tools, actor=actor, now=now, record=record
    )


def _write(
    row: ToolCallConfig,
    changed: Mapping[str, object],
    tools: tuple[str, ...],
    reason: str,
    actor: Actor,
    now: datetime,
    record: Record,
) -> None:
    told: dict[str, object] = {
        name: {"before": getattr(row, name), "after": value} for name, value in changed.items()
    }
    if tools:
        told["allowed_tools"] = list(tools)
    for name, value in changed.items():
        setattr(row, name, value)
    row.version += 1
    row.save(update_fields=(*changed, "version"))
    data = {"workspace": row.workspace_id, "version": row.version, "changed": told, "reason": reason}
    record(event="tool_call_config.changed", actor=actor, subject=row.workspace_id, now=now, data=data)
