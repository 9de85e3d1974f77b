"""Tools, limits and lists as they travel."""

from __future__ import annotations

from typing import Any

from governance.callable_tools import CallableTools
from governance.catalog import ToolEntry
from governance.tool_views import ToolView
from kernel.clock import wire_time
from policy.limits import BOUNDS, FIXED, SWITCHES
from policy.models import AllowlistEntry, SensitiveRule, ToolCallConfig
from policy.types import EffectivePosture, ToolFacts


def render_tool(tool: ToolEntry) -> dict[str, Any]:
    """Return one catalog entry as lists show it, without its schemas."""
    return {
        "name": tool.name,
        "object": "tool",
        "version": tool.version,
        "kind": tool.kind,
        "description": tool.description,
        "tier": tool.tier,
        "executor": tool.executor,
        "capabilities": sorted(tool.capabilities),
        "risk": tool.risk,
        "sensitive": tool.sensitive,
        "posture": tool.posture,
        "enabled": tool.enabled,
        "runtime_supported": tool.runtime_supported,
        "definition_digest": tool.definition_digest,
    }


def render_view(view: ToolView) -> dict[str, Any]:
    """Return a tool in full: its definition, its versions, its posture here and whether its tier is there."""
    current = view.current
    return render_tool(view.entry) | {
        "input_schema": view.entry.input_schema,
        "definition": _definition(view.entry.tool) if view.entry.tool else None,
        "cedar_fragment": current.cedar_fragment if current else None,
        "allowlisted": view.allowlisted,
        "posture_chain": _chain(view.entry.effective),
        "tier_state": {
            "available": view.unbacked is None and view.entry.runtime_supported,
            "reason_code": view.unbacked[0] if view.unbacked else None,
            "reason": view.unbacked[1] if view.unbacked else None,
        },
        "versions": [
            {
                "version": row.version,
                "definition_digest": row.definition_digest,
                "registered_by": row.registered_by,
                "created_at": wire_time(row.created_at),
            }
            for row in view.versions
        ],
        "edit_version": view.edit_version,
    }


def _definition(tool: ToolFacts) -> dict[str, Any]:
    return {
        "argv_template": None if tool.argv_template is None else list(tool.argv_template),
        "output_schema": tool.output_schema,
        "resource_template": tool.resource_template,
        "adds_labels": sorted(tool.adds_labels),
        "sinks": sorted(tool.sinks),
        "units": [rule.as_json() for rule in tool.units],
        "secrets": [slot.as_json() for slot in tool.secrets],
        "egress_hosts": list(tool.egress_hosts),
        "parallelism": tool.parallelism,
        "projection": tool.projection,
        "max_input_bytes": tool.max_input_bytes,
        "timeout_ms": tool.timeout_ms,
    }


def _chain(posture: EffectivePosture) -> dict[str, Any]:
    return {
        "state": posture.state,
        "default_state": posture.default_state,
        "source_scope": posture.source_scope,
        "lock_reason": posture.lock_reason or None,
        "editable": posture.editable,
        "explicit": posture.explicit,
        "rows": [
            {
                "scope_kind": row.scope_kind,
                "scope_id": row.scope_id,
                "state": row.state,
                "overridable": row.overridable,
                "expires_at": wire_time(row.expires_at),
            }
            for row in posture.chain
        ],
    }


def render_catalog(found: CallableTools) -> dict[str, Any]:
    return {
        "object": "tool_catalog",
        "data": [render_tool(entry) | {"input_schema": entry.input_schema} for entry in found.tools],
        "filtered": [
            {
                "name": one.name,
                "reason_code": one.reason_code,
                "reason": one.reason,
                "repair": one.repair,
            }
            for one in found.filtered
        ],
        "catalog_digest": found.catalog_digest,
    }


def render_limits(row: ToolCallConfig, tools: tuple[str, ...]) -> dict[str, Any]:
    """Return the limits of a workspace; `allowed_tools` are those of its allowlist."""
    numbers = {name: getattr(row, name) for name in (*BOUNDS, *SWITCHES, *FIXED)}
    return {
        "id": row.workspace_id,
        "object": "tool_call_config",
        "workspace_id": row.workspace_id,
        "allowed_tools": list(tools),
        **numbers,
        "version": row.version,
    }


def render_listed(entry: AllowlistEntry) -> dict[str, Any]:
    return {
        "id": str(entry.pk),
        "object": "allowlist_entry",
        "workspace_id": entry.workspace_id,
        "kind": entry.kind,
        "value": entry.value,
    }


def render_rule(rule: SensitiveRule) -> dict[str, Any]:
    return {
        "id": str(rule.pk),
        "object": "sensitive_rule",
        "workspace_id": rule.workspace_id,
        "kind": rule.kind,
        "value": rule.value,
    }
