"""Writes of the tool catalog: a definition that changes becomes a new version, never an edit."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import partial

from identity.authority import ANYWHERE
from identity.roles import Permission
from identity.selectors import instance_holders
from kernel.errors import (
    ConflictError,
    Detail,
    InvalidError,
    NotFoundError,
    PreconditionFailedError,
    RefusedError,
)
from kernel.record import Actor, Record
from policy.authority import require_governance
from policy.catalog import requires_approval, short_name, with_digest
from policy.cedar_types import UnrepresentableError, record_type
from policy.compilation import compile_set
from policy.definitions import check_definition
from policy.epoch import raise_epoch
from policy.models import Tool, ToolVersion
from policy.postures import end_loose_postures
from policy.runtime import active_files, load_tools
from policy.schema import build_schema
from policy.types import EntityRef, Finding, ToolDefinition, ToolFacts

WEAK_TIER = "B"
SHORTEST_REASON = 3
LONGEST_REASON = 500
LONGEST_DESCRIPTION = 2000


@dataclass(frozen=True, slots=True)
class ToolChange:
    """What a person wants of a tool that stays as it is defined; None leaves a part alone.

    `seen_version` is the edit version they saw, None where nothing was shown.
    """

    name: str
    reason: str
    enabled: bool | None = None
    description: str | None = None
    seen_version: int | None = None


def register_tool(
    *,
    definition: ToolDefinition,
    actor: Actor,
    now: datetime,
    record: Record,
    is_new: bool | None = None,
) -> Tool:
    """Add a custom tool in version 1, or a new version of one whose definition changed.

    Needs `tools.manage`. Raises InvalidError `schema_invalid` with every finding, ConflictError when
    the name belongs to a tool of another kind, and `policy_schema_break` when the rules in force
    would stop validating. Registering the same definition again changes nothing. `is_new` True
    refuses a name that is taken, False one that is not (ConflictError, NotFoundError).
    """
    require_tools_authority(actor, definition.name, now)
    errors = tuple(check_definition(definition))
    if errors:
        raise InvalidError("schema_invalid", "The tool's definition is not acceptable.", errors=errors)
    raise_epoch()
    stored = Tool.objects.filter(name=definition.name).first()
    if stored is not None and stored.kind != "custom":
        raise ConflictError("conflict", "The name belongs to a tool that is not custom.")
    if stored is not None and is_new is True:
        raise ConflictError("conflict", "A tool of this name exists; register a new version of it.")
    if stored is None and is_new is False:
        raise NotFoundError("tool_not_found", "There is no such tool.")
    facts = custom_facts(definition)
    _refuse_schema_break(facts)
    return store_tool(facts, actor=actor, now=now, record=record)


def store_tool(facts: ToolFacts, *, actor: Actor, now: datetime, record: Record) -> Tool:
    """Write a tool whose definition was checked; the caller has raised the epoch.

    A tool that asks for the weak tier B is switched off until a second person switches it on. Postures
    that the changed tool may not have end.
    """
    stored = Tool.objects.filter(name=facts.name).first()
    columns = _columns(facts) | ({"enabled": False} if facts.tier == WEAK_TIER else {})
    if stored is None:
        stored = Tool.objects.create(name=facts.name, current_version=1, **columns)
        _add_version(stored, facts, 1, actor, now)
        record_tool("tool.registered", stored, facts.definition_digest, actor=actor, now=now, record=record)
        return stored
    current = stored.versions.get(version=stored.current_version)
    if current.definition_digest == facts.definition_digest:
        return stored
    version = stored.current_version + 1
    _add_version(stored, facts, version, actor, now)
    Tool.objects.filter(pk=stored.pk).update(
        current_version=version, edit_version=stored.edit_version + 1, **columns
    )
    stored.refresh_from_db()
    record_tool("tool.changed", stored, facts.definition_digest, actor=actor, now=now, record=record)
    end_loose_postures(tool=facts, actor=actor, now=now, record=record)
    return stored


def change_tool(
    *, change: ToolChange, actor: Actor, now: datetime, record: Record
) -> tuple[Tool, ToolVersion]:
    """Switch a tool on or off, or describe it anew; whatever defines it is a new version instead.

    Needs `tools.manage`. Raises NotFoundError, PreconditionFailedError when the tool was changed
    since, InvalidError, and RefusedError `four_eyes_required` when a tier B tool is switched on by
    whoever registered it, unless nobody else holds the permission. Queued and waiting calls of a tool
    that is off are refused at their claim.
    """
    name = short_name(change.name)
    require_tools_authority(actor, name, now)
    _check_change(change)
    raise_epoch()
    tool = Tool.objects.filter(name=name).first()
    if tool is None:
        raise NotFoundError("tool_not_found", "There is no such tool.")
    if change.seen_version is not None and change.seen_version != tool.edit_version:
        raise PreconditionFailedError("precondition_failed", "The tool changed meanwhile.")
    version = tool.versions.get(version=tool.current_version)
    alone = change.enabled is True and not tool.enabled and _acts_alone(tool, version, actor, now)
    described, switched = _apply(tool, change)
    tell = partial(
        record_tool,
        tool=tool,
        digest=version.definition_digest,
        actor=actor,
        now=now,
        record=record,
        reason=change.reason,
        single_operator=alone,
    )
    if described:
        tell(event="tool.changed")
    if switched:
        tell(event="tool.enabled" if tool.enabled else "tool.disabled")
    return tool, version


def custom_facts(definition: ToolDefinition) -> ToolFacts:
    """Return a definition as the plain value of its first version, with its digest."""
    return with_digest(
        ToolFacts(
            name=definition.name,
            kind="custom",
            version=1,
            definition_digest="",
            description=definition.description,
            tier=definition.tier,
            executor=f"sandbox_tier_{definition.tier.lower()}",
            capabilities=definition.capabilities,
            sensitive=definition.sensitive,
            risk=definition.risk,
            adds_labels=definition.adds_labels,
            sinks=definition.sinks,
            argv_template=definition.argv_template,
            input_schema=definition.input_schema,
            max_input_bytes=definition.max_input_bytes,
            timeout_ms=definition.timeout_ms,
            requires_approval=requires_approval(definition.sensitive, definition.capabilities),
            resource_template=definition.resource_template,
            units=definition.units,
            secrets=definition.secrets,
            egress_hosts=tuple(sorted(set(definition.egress_hosts))),
            parallelism=definition.parallelism,
            projection=definition.projection,
            output_schema=definition.output_schema,
        )
    )


def schema_breaks(facts: ToolFacts) -> tuple[Finding, ...]:
    """Return why the rules in force would not validate with this tool in the catalog; empty is good."""
    reference, files = active_files()
    inputs = {name: tool.input_schema for name, tool in load_tools().items()}
    try:
        schema = build_schema(inputs | {facts.name: facts.input_schema})
        compiled = compile_set(files, schema, ref=reference)
    except (UnrepresentableError, ValueError) as error:
        return (Finding("error", "type_error", "", "", str(error)),)
    return compiled if isinstance(compiled, tuple) else ()


def _refuse_schema_break(facts: ToolFacts) -> None:
    findings = schema_breaks(facts)
    if findings:
        errors = tuple(
            Detail(f"/files/{finding.file}", finding.code, f"{finding.policy_id}: {finding.message}"[:500])
            for finding in findings[:20]
        )
        message = "The rules in force would no longer validate."
        raise ConflictError("policy_schema_break", message, errors=errors)


def require_tools_authority(actor: Actor, name: str, now: datetime) -> None:
    """Raise RefusedError unless this actor may manage tools and Cedar permits it on this one."""
    require_governance(actor, Permission.TOOLS_MANAGE, EntityRef("Tool", name[:128] or "-"), ANYWHERE, now)


def _check_change(change: ToolChange) -> None:
    errors = []
    if not SHORTEST_REASON <= len(change.reason) <= LONGEST_REASON or "\0" in change.reason:
        sentence = f"must have {SHORTEST_REASON} to {LONGEST_REASON} characters"
        errors.append(Detail("/reason", "length", sentence))
    description = change.description
    if description is not None and (not 1 <= len(description) <= LONGEST_DESCRIPTION or "\0" in description):
        errors.append(Detail("/description", "length", f"must have 1 to {LONGEST_DESCRIPTION} characters"))
    if change.enabled is None and description is None:
        errors.append(Detail("/enabled", "required", "nothing to change was given"))
    if errors:
        raise InvalidError("invalid", "The change is not acceptable.", errors=tuple(errors))


def _acts_alone(tool: Tool, version: ToolVersion, actor: Actor, now: datetime) -> bool:
    """Tell whether the sole operator switches on what needs a second person; RefusedError otherwise."""
    if tool.tier != WEAK_TIER or version.registered_by != actor.id:
        return False
    if instance_holders(Permission.TOOLS_MANAGE, now) == {actor.id}:
        return True
    raise RefusedError("four_eyes_required", "Somebody other than who registered it switches it on.")


def _apply(tool: Tool, change: ToolChange) -> tuple[bool, bool]:
    """Write what differs; return whether the tool was described anew, and whether it was switched."""
    described = change.description is not None and change.description != tool.description
    switched = change.enabled is not None and change.enabled != tool.enabled
    if described and tool.kind != "custom":
        raise ConflictError("immutable", "The description of a built-in comes with the release.")
    if change.description is not None:
        tool.description = change.description
    if change.enabled is not None:
        tool.enabled = change.enabled
    if described or switched:
        tool.edit_version += 1
        tool.save(update_fields=("description", "enabled", "edit_version"))
    return described, switched


def _columns(facts: ToolFacts) -> dict[str, object]:
    return {
        "kind": facts.kind,
        "description": facts.description,
        "tier": facts.tier,
        "executor": facts.executor,
        "capabilities": sorted(facts.capabilities),
        "default_sensitive": facts.sensitive,
        "risk": facts.risk,
        "adds_labels": sorted(facts.adds_labels),
        "sinks": sorted(facts.sinks),
        "units": [rule.as_json() for rule in facts.units],
        "secrets": [slot.as_json() for slot in facts.secrets],
        "egress_hosts": sorted(facts.egress_hosts),
        "parallelism": facts.parallelism,
        "projection": facts.projection,
        "max_input_bytes": facts.max_input_bytes,
        "timeout_ms": facts.timeout_ms,
        "runtime_supported": facts.runtime_supported,
    }


def _add_version(tool: Tool, facts: ToolFacts, version: int, actor: Actor, now: datetime) -> None:
    ToolVersion.objects.create(
        tool=tool,
        version=version,
        input_schema=facts.input_schema,
        output_schema=facts.output_schema,
        cedar_fragment=record_type(facts.input_schema),
        argv_template=None if facts.argv_template is None else list(facts.argv_template),
        resource_template=facts.resource_template,
        definition_digest=facts.definition_digest,
        registered_by=actor.id,
        created_at=now,
    )


def record_tool(
    event: str,
    tool: Tool,
    digest: str,
    *,
    actor: Actor,
    now: datetime,
    record: Record,
    reason: str = "",
    single_operator: bool = False,
) -> None:
    """Record what happened to a tool; `digest` is that of its current version."""
    data: dict[str, object] = {
        "tool": tool.name,
        "kind": tool.kind,
        "version": tool.current_version,
        "definition_digest": digest,
        "enabled": tool.enabled,
        "reason": reason,
        "single_operator": single_operator,
    }
    record(event=event, actor=actor, subject=tool.name, now=now, data=data)
