"""What a caller could call now: gates 3 to 7 asked without an input and without a trace."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime

from governance import checks
from governance.catalog import ToolEntry, tool_entries
from governance.placement import backing_refusal
from governance.proposals import Target
from identity.authorization import authorize
from identity.roles import Permission
from identity.types import Principal
from policy import selectors as policy_selectors
from policy.catalog import catalog_digest
from policy.outlook import allowlisted_tools, certain_refusal
from policy.types import Code, DecisionFacts, EffectivePosture, EntityRef, SkillFacts, ToolFacts
from sandbox.skills import selectors as skill_selectors
from sandbox.skills.lifecycle import GateCode
from sandbox.skills.types import SkillTool, Verdict

log = logging.getLogger(__name__)

_REPAIRS = {
    "schema.tool_disabled": "A person with tools.manage switches the tool on.",
    "schema.runtime_unsupported": "Use another tool; this server has nothing that runs it.",
    "posture.disabled": "A person with posture.manage changes the tool's posture.",
    "posture.locked": "A person with tools.manage removes what locks the tool.",
    "policy.tool_not_allowlisted": "A person with tools.manage puts the tool on the workspace's allowlist.",
    "policy.skill_not_allowlisted": "A person with tools.manage puts the skill on the workspace's allowlist.",
    "policy.principal_not_allowlisted": "A person with tools.manage adds the caller to the workspace's list.",
    "policy.channel_not_allowlisted": "A person with tools.manage adds the channel to the workspace's list.",
    "policy.denied": "The policy set in force forbids it; a person with policy.edit can propose a change.",
    "policy.no_permit": "The policy set in force permits it nowhere; a person with policy.edit can.",
    "policy.no_active_set": "An administrator brings a policy set into force.",
    "vault.slot_unbound": "An operator binds a secret to the tool's slot.",
    "sandbox.disabled": "A person with tools.manage switches the runner on in the workspace's limits.",
    "sandbox.backend_unavailable": "An operator starts a worker that provides the tool's tier.",
    "egress.host_not_allowed": "An operator permits the hosts of the tool's definition.",
}
_ASK = "Ask an administrator."


@dataclass(frozen=True, slots=True)
class Filtered:
    """A name the caller cannot call now, the reason code of the gate that says so, and what would help."""

    name: str
    reason_code: str
    reason: str
    repair: str


@dataclass(frozen=True, slots=True)
class CallableTools:
    """What can be called, what cannot, and the digest of all definitions of the catalog."""

    tools: tuple[ToolEntry, ...]
    filtered: tuple[Filtered, ...]
    catalog_digest: str


def callable_tools(principal: Principal, now: datetime) -> CallableTools:
    """Return what this caller could call in its workspace; what cannot be judged is left out."""
    barred = _barred(principal, now)
    judged = [(entry, barred or _refusal(entry, principal, now)) for entry in tool_entries(principal, now)]
    return CallableTools(
        tools=tuple(entry for entry, why in judged if why is None),
        filtered=tuple(_filtered(entry, why) for entry, why in judged if why is not None),
        catalog_digest=catalog_digest(policy_selectors.list_tools(principal.workspace_id)),
    )


def _filtered(entry: ToolEntry, why: tuple[str, str]) -> Filtered:
    code, reason = why
    return Filtered(entry.name, code, reason, _REPAIRS.get(code, _ASK))


def _barred(principal: Principal, now: datetime) -> tuple[str, str] | None:
    """What keeps this caller from any call: it may not propose."""
    here, flags = principal.workspace_id, principal.flags
    verdict = authorize(principal, Permission.TOOLS_PROPOSE, workspace_id=here, flags=flags, now=now)
    if verdict.allowed:
        return None
    return f"identity.{verdict.reason}", "This caller may not propose tool calls."


def _refusal(entry: ToolEntry, principal: Principal, now: datetime) -> tuple[str, str] | None:
    """Return what gates 3 to 7 say in their order; a gate whose own code fails refuses."""
    try:
        if entry.tool is not None:
            return _refusal_of_tool(entry, entry.tool, principal, now)
        if entry.skill is not None:
            return _refusal_of_skill(entry, entry.skill, principal, now)
    except Exception:
        log.exception("a tool could not be judged for the catalog")
    return Code.EVALUATION_FAILED.value, "The tool could not be judged."


def _refusal_of_tool(
    entry: ToolEntry, tool: ToolFacts, principal: Principal, now: datetime
) -> tuple[str, str] | None:
    if not tool.enabled:
        return Code.TOOL_DISABLED.value, "The tool is switched off."
    if not tool.runtime_supported:
        return Code.RUNTIME_UNSUPPORTED.value, "Nothing can run this tool here."
    if tool.name not in allowlisted_tools(principal.workspace_id):
        return Code.TOOL_NOT_ALLOWLISTED.value, "The tool is not on the workspace's allowlist."
    return _later_refusal(entry, checks.tool_target(tool, {}, None), None, principal, now)


def _refusal_of_skill(
    entry: ToolEntry, skill: SkillTool, principal: Principal, now: datetime
) -> tuple[str, str] | None:
    decision = skill_selectors.gate(
        tool_name=skill.id, raw_input={}, workspace_id=principal.workspace_id, now=now
    )
    if decision.verdict is not Verdict.PASS and decision.code is not GateCode.INPUT_INVALID:
        return decision.code.value, "The skill may not run."
    return _later_refusal(entry, checks.skill_target(skill, {}), checks.skill_facts(decision), principal, now)


def _later_refusal(
    entry: ToolEntry, target: Target, skill: SkillFacts | None, principal: Principal, now: datetime
) -> tuple[str, str] | None:
    posture = entry.effective
    if posture.state == "disabled":
        return posture.reason_code, posture.lock_reason or "The tool is switched off here."
    unbacked = backing_refusal(target, workspace_id=principal.workspace_id, now=now)
    if unbacked is not None:
        return unbacked.code, unbacked.message
    refusal = certain_refusal(_facts(target, posture, skill, principal, now))
    return None if refusal is None else (refusal.code, refusal.reason)


def _facts(
    target: Target,
    posture: EffectivePosture,
    skill: SkillFacts | None,
    principal: Principal,
    now: datetime,
) -> DecisionFacts:
    resource = EntityRef("Tool", target.name) if skill is None else EntityRef("Skill", skill.skl_id)
    return DecisionFacts(
        principal_kind=principal.kind,
        principal_id=principal.id,
        workspace_id=principal.workspace_id,
        action=target.operation,
        resource=resource,
        tool=target.tool,
        skill=skill,
        input={},
        posture=posture,
        run_id=None,
        session_id=None,
        device_id=principal.device_id,
        channel=None,
        calls_in_run=0,
        auth_method="token" if principal.token_id else "session",
        source_ip=principal.client_ip or None,
        external_execution=False,
        approval=None,
        now=now,
    )
