"""Writes of the tool catalog: a definition that changes becomes a new version, never an edit."""

from __future__ import annotations

from datetime import datetime

from identity.authority import ANYWHERE
from identity.roles import Permission
from kernel.errors import ConflictError, Detail, InvalidError
from kernel.record import Actor, Record
from policy.authority import require_governance
from policy.catalog import requires_approval, with_digest
from policy.cedar_types import UnrepresentableError
from policy.compilation import compile_set
from policy.definitions import check_definition
from policy.epoch import raise_epoch
from policy.models import Tool, ToolVersion
from policy.runtime import active_files, load_tools
from policy.schema import build_schema
from policy.types import EntityRef, Finding, ToolDefinition, ToolFacts


def register_tool(*, definition: ToolDefinition, actor: Actor, now: datetime, record: Record) -> Tool:
    """Add a custom tool in version 1, or a new version of one whose definition changed.

    Needs `tools.manage`. Raises InvalidError `schema_invalid` with every finding, ConflictError when
    the name belongs to a tool of another kind, and `policy_schema_break` when the rules in force
    would stop validating. Registering the same definition again changes nothing.
    """
    resource = EntityRef("Tool", definition.name[:128] or "-")
    require_governance(actor, Permission.TOOLS_MANAGE, resource, ANYWHERE, now)
    errors = tuple(check_definition(definition))
    if errors:
        raise InvalidError("schema_invalid", "The tool's definition is not acceptable.", errors=errors)
    raise_epoch()
    stored = Tool.objects.filter(name=definition.name).first()
    if stored is not None and stored.kind != "custom":
        raise ConflictError("conflict", "The name belongs to a tool that is not custom.")
    facts = custom_facts(definition)
    _refuse_schema_break(facts)
    return store_tool(facts, actor=actor, now=now, record=record)


def store_tool(facts: ToolFacts, *, actor: Actor, now: datetime, record: Record) -> Tool:
    """Write a tool whose definition was checked; the caller has raised the epoch."""
    stored = Tool.objects.filter(name=facts.name).first()
    if stored is None:
        stored = Tool.objects.create(name=facts.name, current_version=1, **_columns(facts))
        _add_version(stored, facts, 1, now)
        _record("tool.registered", stored, facts, actor=actor, now=now, record=record)
        return stored
    current = stored.versions.get(version=stored.current_version)
    if current.definition_digest == facts.definition_digest:
        return stored
    version = stored.current_version + 1
    _add_version(stored, facts, version, now)
    Tool.objects.filter(pk=stored.pk).update(current_version=version, **_columns(facts))
    stored.refresh_from_db()
    _record("tool.changed", stored, facts, actor=actor, now=now, record=record)
    return stored


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
            executor="sandbox_tier_c",
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
        "max_input_bytes": facts.max_input_bytes,
        "timeout_ms": facts.timeout_ms,
        "runtime_supported": facts.runtime_supported,
    }


def _add_version(tool: Tool, facts: ToolFacts, version: int, now: datetime) -> None:
    ToolVersion.objects.create(
        tool=tool,
        version=version,
        input_schema=facts.input_schema,
        argv_template=None if facts.argv_template is None else list(facts.argv_template),
        resource_template=facts.resource_template,
        definition_digest=facts.definition_digest,
        created_at=now,
    )


def _record(event: str, tool: Tool, facts: ToolFacts, *, actor: Actor, now: datetime, record: Record) -> None:
    data: dict[str, object] = {
        "tool": tool.name,
        "kind": tool.kind,
        "version": tool.current_version,
        "definition_digest": facts.definition_digest,
    }
    record(event=event, actor=actor, subject=tool.name, now=now, data=data)
