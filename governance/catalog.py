"""The tools a principal could propose: the catalog and the active skills, with their posture."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from identity.types import Principal
from policy import selectors as policy_selectors
from sandbox.skills import selectors as skill_selectors


@dataclass(frozen=True, slots=True)
class ToolEntry:
    """One proposable name, whether a catalog tool or a skill's tool."""

    name: str
    version: str
    kind: str
    description: str
    tier: str
    executor: str
    capabilities: frozenset[str]
    risk: str
    sensitive: bool
    posture: str
    enabled: bool
    runtime_supported: bool
    definition_digest: str
    input_schema: dict[str, Any]


def tool_entries(principal: Principal, now: datetime) -> list[ToolEntry]:
    """Return all entries by name. Posture is the effective one for this principal."""
    entries = [*_catalog(principal, now), *_skills(principal, now)]
    return sorted(entries, key=lambda entry: entry.name)


def _catalog(principal: Principal, now: datetime) -> list[ToolEntry]:
    return [
        ToolEntry(
            name=tool.name,
            version=str(tool.version),
            kind=tool.kind,
            description=tool.description,
            tier=tool.tier,
            executor=tool.executor,
            capabilities=tool.capabilities,
            risk=tool.risk,
            sensitive=tool.sensitive,
            posture=policy_selectors.posture(
                tool=tool,
                default_requires_approval=tool.requires_approval,
                tool_name=tool.name,
                workspace_id=principal.workspace_id,
                agent_id=principal.id,
                session_id=None,
                locks=(),
                now=now,
            ).state,
            enabled=tool.enabled,
            runtime_supported=tool.runtime_supported,
            definition_digest=tool.definition_digest,
            input_schema=tool.input_schema,
        )
        for tool in policy_selectors.list_tools(principal.workspace_id)
    ]


def _skills(principal: Principal, now: datetime) -> list[ToolEntry]:
    return [
        ToolEntry(
            name=tool.id,
            version=tool.version,
            kind="skill",
            description=tool.description,
            tier="A",
            executor="sandbox_tier_a",
            capabilities=frozenset(),
            risk=tool.risk,
            sensitive=tool.default_sensitive,
            posture=policy_selectors.posture(
                tool=None,
                default_requires_approval=tool.requires_approval or tool.default_sensitive,
                tool_name=tool.id,
                workspace_id=principal.workspace_id,
                agent_id=principal.id,
                session_id=None,
                locks=(),
                now=now,
            ).state,
            enabled=tool.status == "active",
            runtime_supported=True,
            definition_digest=tool.payload_digest,
            input_schema=dict(tool.input_schema),
        )
        for tool in skill_selectors.active_tools()
    ]
