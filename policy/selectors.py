"""What policy answers about tools, inputs and postures. Reads only."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from django.db import DatabaseError, connection, transaction

from kernel.errors import Detail, InvalidError, NotFoundError
from policy.argv_template import expand
from policy.catalog import short_name
from policy.models import PostureOverride, ToolCallConfig, ToolVersion
from policy.posture import effective_posture, scope_chain, unavailable
from policy.runtime import EpochMissingError, config_for, current
from policy.tool_input import check_input
from policy.types import Code, EffectivePosture, PostureRow, ToolCapability, ToolCheck, ToolFacts

__all__ = ["check_input"]

MAX_SKILL_INPUT_BYTES = 448 * 1024
MAX_RESOURCE = 1100
_SLOT = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")


@dataclass(frozen=True, slots=True)
class CallLimits:
    """ToolCallConfig of one workspace as a plain value. Times in milliseconds, sizes in bytes."""

    max_calls_per_run: int
    soft_calls_per_run: int
    execution_timeout_ms: int
    process_runner_enabled: bool
    process_runner_tier: str
    process_egress_mode: str
    process_cpu_ms: int
    process_memory_bytes: int
    process_output_bytes: int
    wasm_enabled: bool
    wasm_inline_modules: bool
    wasm_module_bytes: int
    wasm_fuel: int
    wasm_memory_bytes: int
    wasm_table_elements: int
    wasm_instances: int


@dataclass(frozen=True, slots=True)
class PostureQuestion:
    """One name whose posture is asked; a skill's has no `tool` and brings its own locks."""

    name: str
    requires_approval: bool
    tool: ToolFacts | None = None
    locks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Here:
    """What a workspace says of tools."""

    limits: CallLimits
    allowlisted_tools: frozenset[str]


@contextmanager
def reading() -> Iterator[None]:
    """Keep a failed read from breaking the caller's transaction."""
    if not connection.in_atomic_block:
        yield
        return
    with transaction.atomic():
        yield


def resolve_tool(*, name: str, raw_input: object, workspace_id: str) -> ToolCheck:
    """Answer the schema gate: is the tool known, switched on and executable, and does the input fit.

    Database errors pass through; the caller must not go on without an answer.
    """
    tool = tool_named(name)
    if tool is None:
        return _refused(Code.TOOL_UNKNOWN, "There is no such tool.", "List the tools and use one of them.")
    if not tool.enabled:
        return _refused(Code.TOOL_DISABLED, "The tool is switched off.", "Ask an administrator.", tool)
    if not tool.runtime_supported:
        remediation = "Use another tool."
        return _refused(Code.RUNTIME_UNSUPPORTED, "Nothing can run this tool here.", remediation, tool)
    check = check_input(schema=tool.input_schema, raw_input=raw_input, max_bytes=tool.max_input_bytes)
    errors = check.errors if check.input is None else _argv_errors(tool, check.input)
    if check.input is None or errors:
        code = check.reason_code if check.errors else Code.INPUT_INVALID
        return _refused(code, _sentence(errors), "Correct the input.", tool, errors)
    return ToolCheck(
        ok=True,
        reason_code=Code.SCHEMA_OK,
        reason="The input fits the tool's schema.",
        remediation="",
        errors=(),
        tool=tool,
        input=check.input,
        resource=_resource(tool, check.input),
    )


def tool_named(name: str) -> ToolFacts | None:
    """Return the tool of this name or of its `palyra.` alias, or None."""
    try:
        return current().tools.get(short_name(name))
    except EpochMissingError:
        return None


def input_schema_of(definition_digest: str) -> Mapping[str, object] | None:
    """Return what a tool takes in the version of this digest, whether or not it is the current one."""
    rows = ToolVersion.objects.filter(definition_digest=definition_digest)
    return rows.values_list("input_schema", flat=True).first()


def list_tools(workspace_id: str) -> tuple[ToolFacts, ...]:
    """Return the whole catalog by name; the same for every workspace."""
    try:
        return tuple(tool for _, tool in sorted(current().tools.items()))
    except EpochMissingError:
        return ()


def has_active_set() -> bool:
    """Tell whether decisions can be made: a set is active and compiles."""
    try:
        return current().engine is not None
    except EpochMissingError:
        return False


def posture(
    *,
    tool: ToolFacts | None,
    default_requires_approval: bool,
    tool_name: str,
    workspace_id: str,
    agent_id: str | None,
    session_id: str | None,
    locks: tuple[str, ...],
    now: datetime,
) -> EffectivePosture:
    """Return the effective posture of a tool, or of a skill's tool when `tool` is None.

    `locks` are facts the caller knows, such as a missing backend. When overrides or limits cannot
    be read, the answer is disabled with the lock `posture.unavailable`.
    """
    chain = scope_chain(workspace_id=workspace_id, agent_id=agent_id, session_id=session_id)
    try:
        with reading():
            rows = _overrides(tool_name)
            found = locks if tool is None else (*locks, *lock_reasons(tool, workspace_id))
    except (DatabaseError, EpochMissingError, NotFoundError):
        return unavailable(default_requires_approval)
    return effective_posture(
        requires_approval=default_requires_approval, chain=chain, overrides=rows, locks=found, now=now
    )


def postures(
    asked: Sequence[PostureQuestion], *, workspace_id: str, agent_id: str | None, now: datetime
) -> dict[str, EffectivePosture]:
    """Return the effective postures of many tools by name, outside any session; reads three rows in all.

    What cannot be read leaves every one of them unavailable, as `posture` does.
    """
    chain = scope_chain(workspace_id=workspace_id, agent_id=agent_id, session_id=None)
    try:
        with reading():
            rows: dict[str, list[PostureRow]] = {}
            for row in PostureOverride.objects.filter(tool__in=[one.name for one in asked]):
                rows.setdefault(row.tool, []).append(_plain(row))
            here = _here(workspace_id)
    except (DatabaseError, EpochMissingError, NotFoundError):
        return {one.name: unavailable(one.requires_approval) for one in asked}
    return {
        one.name: effective_posture(
            requires_approval=one.requires_approval,
            chain=chain,
            overrides=rows.get(one.name, []),
            locks=_locks(one.tool, here) if one.tool else one.locks,
            now=now,
        )
        for one in asked
    }


def tool_call_config(workspace_id: str) -> CallLimits:
    """Return the limits of a workspace, or raise NotFoundError."""
    row = ToolCallConfig.objects.filter(workspace_id=workspace_id).first()
    if row is None:
        raise NotFoundError("not_found", "The workspace has no limits for tool calls.")
    return CallLimits(**{name: getattr(row, name) for name in CallLimits.__slots__})


def _overrides(tool_name: str) -> list[PostureRow]:
    return [_plain(row) for row in PostureOverride.objects.filter(tool=short_name(tool_name))]


def _plain(row: PostureOverride) -> PostureRow:
    return PostureRow(row.scope_kind, row.scope_id, row.state, row.overridable, row.expires_at)


def lock_reasons(tool: ToolFacts, workspace_id: str, host_lock: str = "") -> tuple[str, ...]:
    """Return why a tool cannot be used at all, most telling first.

    An empty `workspace_id` asks for what holds everywhere. `host_lock` is what the caller knows of the
    hosts. Raises EpochMissingError, and NotFoundError for a workspace without limits.
    """
    return locks_within(workspace_id)(tool, host_lock)


def locks_within(workspace_id: str) -> Callable[[ToolFacts, str], tuple[str, ...]]:
    """Return `lock_reasons` of one workspace for many tools; its limits and allowlist are read once."""
    here = _here(workspace_id) if workspace_id else None
    return lambda tool, host_lock: _locks(tool, here, host_lock)


def _here(workspace_id: str) -> _Here:
    allowed = config_for(current(), workspace_id).allowlisted_tools
    return _Here(tool_call_config(workspace_id), allowed)


def _locks(tool: ToolFacts, here: _Here | None, host_lock: str = "") -> tuple[str, ...]:
    found = (
        *(_locks_of_workspace(tool, here) if here else ()),
        (not tool.enabled, "The tool is switched off."),
        (not tool.runtime_supported, "Nothing can run this tool here."),
        (bool(host_lock), host_lock),
    )
    return tuple(reason for holds, reason in found if holds)


def _locks_of_workspace(tool: ToolFacts, here: _Here) -> tuple[tuple[bool, str], ...]:
    runs_processes = ToolCapability.PROCESS_EXEC in tool.capabilities
    return (
        (tool.name not in here.allowlisted_tools, "The tool is not on the workspace's allowlist."),
        (runs_processes and not here.limits.process_runner_enabled, "The process runner is switched off."),
        (tool.tier == "A" and not here.limits.wasm_enabled, "WebAssembly is switched off."),
    )


def _refused(
    code: str, reason: str, remediation: str, tool: ToolFacts | None = None, errors: tuple[Detail, ...] = ()
) -> ToolCheck:
    return ToolCheck(
        ok=False,
        reason_code=str(code),
        reason=reason,
        remediation=remediation,
        errors=errors,
        tool=tool,
        input=None,
        resource=None,
    )


def _argv_errors(tool: ToolFacts, values: dict[str, object]) -> tuple[Detail, ...]:
    if tool.argv_template is None:
        return ()
    try:
        expand(tool.argv_template, values, tool.input_schema)
    except InvalidError as error:
        return error.errors
    return ()


def _sentence(errors: tuple[Detail, ...]) -> str:
    first = errors[0]
    return f"The input{first.pointer and f' at {first.pointer}'} {first.detail}."


def _resource(tool: ToolFacts, values: dict[str, object]) -> str | None:
    if not tool.resource_template:
        return None
    text = _SLOT.sub(lambda match: str(values.get(match[1], "")), tool.resource_template)
    return text[:MAX_RESOURCE]
