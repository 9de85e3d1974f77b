"""The tools a principal could propose: the catalog and the active skills, with their posture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from identity.types import Principal
from kernel.errors import NotFoundError
from policy import selectors as policy_selectors
from policy.catalog import short_name
from policy.selectors import PostureQuestion
from policy.types import EffectivePosture, ToolFacts
from sandbox.skills import selectors as skill_selectors
from sandbox.skills.types import SkillTool

WASM_OFF = "WebAssembly is switched off."


@dataclass(frozen=True, slots=True)
class ToolEntry:
    """One proposable name, whether a catalog tool or a skill's tool.

    `effective` is its posture for the principal; either `tool` or `skill` is set.
    """

    name: str
    version: str
    kind: str
    description: str
    tier: str
    executor: str
    capabilities: frozenset[str]
    risk: str
    sensitive: bool
    effective: EffectivePosture
    enabled: bool
    runtime_supported: bool
    definition_digest: str
    input_schema: dict[str, Any]
    tool: ToolFacts | None = None
    skill: SkillTool | None = None

    @property
    def posture(self) -> str:
        return self.effective.state


def tool_entries(principal: Principal, now: datetime) -> list[ToolEntry]:
    """Return all entries by name. Posture is the effective one for this principal."""
    tools = policy_selectors.list_tools(principal.workspace_id)
    skills = skill_selectors.active_tools()
    asked = (*map(_question_of_tool, tools), *_questions_of_skills(skills, principal))
    postures = policy_selectors.postures(
        asked, workspace_id=principal.workspace_id, agent_id=principal.id, now=now
    )
    entries = (
        *(_entry_of_tool(tool, postures[tool.name]) for tool in tools),
        *(_entry_of_skill(skill, postures[skill.id]) for skill in skills),
    )
    return sorted(entries, key=lambda entry: entry.name)


def entry_named(principal: Principal, name: str, now: datetime) -> ToolEntry:
    """Return one entry by its name or an alias of it; NotFoundError when there is none."""
    wanted = short_name(name)
    found = next((entry for entry in tool_entries(principal, now) if entry.name == wanted), None)
    if found is None:
        raise NotFoundError("tool_not_found", "There is no such tool.")
    return found


def _question_of_tool(tool: ToolFacts) -> PostureQuestion:
    return PostureQuestion(tool.name, tool.requires_approval, tool)


def _questions_of_skills(skills: Sequence[SkillTool], principal: Principal) -> Iterator[PostureQuestion]:
    locks = () if not skills or _runs_skills(principal.workspace_id) else (WASM_OFF,)
    for skill in skills:
        yield PostureQuestion(skill.id, skill.requires_approval or skill.default_sensitive, locks=locks)


def _runs_skills(workspace_id: str) -> bool:
    try:
        return policy_selectors.tool_call_config(workspace_id).wasm_enabled
    except NotFoundError:
        return False


def _entry_of_tool(tool: ToolFacts, posture: EffectivePosture) -> ToolEntry:
    return ToolEntry(
        name=tool.name,
        version=str(tool.version),
        kind=tool.kind,
        description=tool.description,
        tier=tool.tier,
        executor=tool.executor,
        capabilities=tool.capabilities,
        risk=tool.risk,
        sensitive=tool.sensitive,
        effective=posture,
        enabled=tool.enabled,
        runtime_supported=tool.runtime_supported,
        definition_digest=tool.definition_digest,
        input_schema=tool.input_schema,
        tool=tool,
    )


def _entry_of_skill(skill: SkillTool, posture: EffectivePosture) -> ToolEntry:
    return ToolEntry(
        name=skill.id,
        version=skill.version,
        kind="skill",
        description=skill.description,
        tier="A",
        executor="sandbox_tier_a",
        capabilities=frozenset(),
        risk=skill.risk,
        sensitive=skill.default_sensitive,
        effective=posture,
        enabled=skill.status == "active",
        runtime_supported=True,
        definition_digest=skill.payload_digest,
        input_schema=dict(skill.input_schema),
        skill=skill,
    )
