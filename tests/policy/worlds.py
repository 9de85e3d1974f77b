"""Plain facts for tests of the pure parts: the shipped rules, the built-in tools, one agent."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from policy.catalog import BUILTINS
from policy.compilation import CompiledSet, SourceFile, compile_set
from policy.engine import evaluate
from policy.installation import baseline_files
from policy.schema import CedarSchema, build_schema
from policy.snapshot import tool_entity
from policy.types import (
    AgentFacts,
    ApprovalFacts,
    EntityRef,
    PolicyDecision,
    PolicyEvaluationConfig,
    PolicyRequest,
    PolicyRequestContext,
    SkillFacts,
    ToolFacts,
    UserFacts,
    World,
)
from tests.policy.inputs import good_input

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
TOOLS: dict[str, ToolFacts] = {tool.name: tool.facts() for tool in BUILTINS}
SCHEMA: CedarSchema = build_schema({name: tool.input_schema for name, tool in TOOLS.items()})
OWNER = UserFacts(id="usr_owner", active=True, member=True, roles=frozenset({"operator"}))
AGENT = AgentFacts(id="agt_one", active=True, member=True, owner=OWNER)
SKILL = SkillFacts("skl_A", "local.echo", "1.0.0", "sha256:0", "local", "active", "low", False)
INPUTS: dict[str, dict[str, object]] = {
    name: good_input(tool.input_schema) for name, tool in TOOLS.items()
} | {
    "echo": {"text": "hello"},
    "sleep": {"duration_ms": 5},
    "fs.read": {"path": "a.md"},
    "fs.list": {"path": "."},
    "fs.write": {"path": "a.md", "content": "x"},
    "process.run": {"command": "ls", "args": ["-la"]},
    "http.fetch": {"url": "https://a.example/x"},
    "plugin.run": {"skill_id": "a", "skill_version": "1"},
}
ALL_TOOLS = PolicyEvaluationConfig(allowlisted_tools=frozenset(TOOLS))
APPROVAL = ApprovalFacts(
    "apr_1", "once", "critical", 5, frozenset({"owner", "approver"}), frozenset({"usr_two"})
)


def compiled(*texts: str, schema: CedarSchema = SCHEMA) -> CompiledSet:
    """Compile these texts, or the baseline when there are none."""
    files = [SourceFile(f"f{index}.cedar", text) for index, text in enumerate(texts)] or baseline_files()
    result = compile_set(files, schema)
    assert isinstance(result, CompiledSet), result
    return result


BASELINE = compiled()


def ask_tool(
    name: str,
    *,
    config: PolicyEvaluationConfig = ALL_TOOLS,
    policies: CompiledSet = BASELINE,
    principal: UserFacts | AgentFacts | None = AGENT,
    approval: ApprovalFacts | None = None,
    tool: ToolFacts | None = None,
    tool_input: dict[str, object] | None = None,
    context: PolicyRequestContext | None = None,
) -> PolicyDecision:
    """Ask to execute one tool as the agent."""
    facts = tool or TOOLS[name]
    base = context or PolicyRequestContext(now=NOW)
    return evaluate(
        request=PolicyRequest(ref_of(principal), "tool.execute", EntityRef("Tool", name)),
        context=replace(
            base, approval=approval, tool_input=INPUTS[name] if tool_input is None else tool_input
        ),
        config=config,
        world=World(workspace_id="wsp_one", principal=principal, tool=tool_entity(facts)),
        policies=policies,
    )


def ask(
    action: str,
    resource: EntityRef,
    *,
    principal: UserFacts | AgentFacts | None = AGENT,
    policies: CompiledSet = BASELINE,
    config: PolicyEvaluationConfig = ALL_TOOLS,
    context: PolicyRequestContext | None = None,
    skill: SkillFacts | None = None,
) -> PolicyDecision:
    """Ask for any other action."""
    return evaluate(
        request=PolicyRequest(ref_of(principal), action, resource),
        context=context or PolicyRequestContext(now=NOW),
        config=config,
        world=World(workspace_id="wsp_one", principal=principal, skill=skill),
        policies=policies,
    )


def ref_of(principal: UserFacts | AgentFacts | None) -> EntityRef:
    """Return the entity of a principal."""
    if principal is None:
        return EntityRef("Agent", "agt_nobody")
    return EntityRef("User" if isinstance(principal, UserFacts) else "Agent", principal.id)


def deciding(decision: PolicyDecision) -> list[str]:
    """Return the ids of the rules that decided."""
    return [policy.id for policy in decision.explanation.determining_policies]
