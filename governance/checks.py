"""What each of the nine gates asks its stage. Facts cross between stages here, as plain values."""

from __future__ import annotations

from datetime import datetime

from approvals import selectors as approval_selectors, services as approvals
from approvals.denials import remembered_denial
from approvals.limits import TooMuch, asks_too_much
from approvals.lookup import GrantProposal, resolve_cached_tool_approval_for_proposal
from governance import freezes, grants, labelling, stepped_clock
from governance.budgets.calls import Exhausted, reserve_call
from governance.calls import action_digest_of
from governance.catalog import WASM_OFF
from governance.freeze_scopes import FROZEN
from governance.gates import Finding, asks, denied, passed
from governance.labelling import Reading
from governance.obligations import approval_needed, build_obligation
from governance.placement import place
from governance.prompts import new_request
from governance.proposals import Answer, Draft, Found, Placement, Target
from identity.authorization import authorize
from identity.roles import Permission
from kernel.canonical import digest
from kernel.record import Record
from policy import selectors as policy_selectors, services as policy_services
from policy.types import (
    ApprovalFacts,
    DecisionFacts,
    Effect,
    EffectivePosture,
    EntityRef,
    PolicyDecision,
    SkillFacts,
    ToolFacts,
)
from sandbox.skills import selectors as skill_selectors
from sandbox.skills.types import SkillGateDecision, SkillTool, Verdict as SkillVerdict
from sandbox.types import SandboxRefusal

PERSON_ASKED = "A person has to allow this call."


def authenticate(draft: Draft) -> Finding[bool]:
    """Gate 1: the principal still holds `tools.propose` in the run's workspace."""
    verdict = authorize(
        draft.principal,
        Permission.TOOLS_PROPOSE,
        workspace_id=draft.run.workspace_id,
        flags=draft.principal.flags,
        now=draft.now,
    )
    if not verdict.allowed:
        return denied(f"identity.{verdict.reason}", "The principal may not propose tool calls here.")
    return passed(True, "identity.permitted")


def run_is_open(draft: Draft, *, queued_at: datetime | None = None) -> Finding[bool]:
    """Gate 2: the run is open, in time and the principal's own, and no freeze stops the call.

    `queued_at` is since when the call has waited to be claimed. No freeze is set until the transaction ends.
    """
    run = draft.run
    if run.principal_id != draft.principal.id:
        return denied("run.not_owned", "The run belongs to another principal.")
    if run.state != "open" or run.deadline_at <= draft.now:
        return denied("run.closed", "The run is closed.", "Open a new run.")
    freezes.hold_off_freezes()
    return unfrozen(draft, queued_at=queued_at)


def unfrozen(draft: Draft, *, queued_at: datetime | None = None) -> Finding[bool]:
    """No freeze stops the call, as it stands now; only a caller who holds off freezes may act on it."""
    freeze = freezes.freeze_over(
        run=draft.run,
        agent_id=draft.principal.id,
        tool=draft.proposal.tool,
        raw_input=draft.proposal.input,
        since=queued_at,
    )
    if freeze is not None:
        return denied(FROZEN, f"A freeze of {freeze.words} is in force.", "Wait until a person lifts it.")
    return passed(True, "run.open")


def schema(draft: Draft) -> Finding[Target]:
    """Gate 3: the tool is known and enabled, and the input fits its schema and size."""
    name, raw = draft.proposal.tool, draft.proposal.input
    check = policy_selectors.resolve_tool(name=name, raw_input=raw, workspace_id=draft.run.workspace_id)
    if check.reason_code == "schema.tool_unknown":
        return _skill_target(name, raw)
    if not check.ok or check.tool is None or check.input is None:
        return denied(check.reason_code, check.reason, check.remediation)
    return passed(tool_target(check.tool, check.input, check.resource), check.reason_code)


def tool_target(tool: ToolFacts, given: dict[str, object], resource: str | None) -> Target:
    """Return a tool of the catalog as the later gates look at it."""
    return Target(
        name=tool.name,
        version=str(tool.version),
        definition_digest=tool.definition_digest,
        operation="tool.execute",
        risk=tool.risk,
        description=tool.description,
        capabilities=tool.capabilities,
        requires_approval=tool.requires_approval,
        input=given,
        resource=resource,
        tool=tool,
    )


def skill_target(skill: SkillTool, given: dict[str, object]) -> Target:
    """Return a skill's tool as the later gates look at it."""
    return Target(
        name=skill.id,
        version=skill.version,
        definition_digest=skill.payload_digest,
        operation="skill.execute",
        risk=skill.risk,
        description=skill.description,
        capabilities=frozenset(),
        requires_approval=skill.requires_approval or skill.default_sensitive,
        input=given,
        resource=f"skill:{skill.skill_id}@{skill.version}",
        skill=skill,
    )


def _skill_target(name: str, raw: object) -> Finding[Target]:
    skill = skill_selectors.resolve(name, raw)
    if skill is None:
        return denied("schema.tool_unknown", f"No tool is called {name[:80]!r}.", "List the tools.")
    check = policy_selectors.check_input(
        schema=dict(skill.input_schema), raw_input=raw, max_bytes=policy_selectors.MAX_SKILL_INPUT_BYTES
    )
    if not check.ok or check.input is None:
        return denied(check.reason_code, "The input does not fit the skill's schema.")
    return passed(skill_target(skill, check.input), check.reason_code)


def skill(draft: Draft, target: Target, found: Found) -> Finding[SkillGateDecision]:
    """Gate 4: a skill's version is active and its bytes are those of its digest. Sets `found.skill`."""
    decision = skill_selectors.gate(
        tool_name=target.name,
        raw_input=target.input,
        workspace_id=draft.run.workspace_id,
        now=draft.now,
    )
    found.skill = decision
    code = decision.code.value
    if decision.verdict is not SkillVerdict.PASS:
        return denied(code, "The skill may not run.")
    if target.skill is not None and decision.payload_digest != target.definition_digest:
        return denied("skill.changed", "The skill changed while it was being looked at.")
    return passed(decision, code)


def posture(draft: Draft, target: Target) -> Finding[EffectivePosture]:
    """Gate 5: what the chain of overrides comes to."""
    found = posture_of(draft, target)
    if found.state == "disabled":
        return denied(found.reason_code, found.lock_reason or "The tool is switched off here.")
    if found.state == "ask_each_time":
        return asks(found, found.reason_code, PERSON_ASKED)
    return passed(found, found.reason_code)


def posture_of(draft: Draft, target: Target) -> EffectivePosture:
    """Return the effective posture of what a draft proposes."""
    return policy_selectors.posture(
        tool=target.tool,
        default_requires_approval=target.requires_approval,
        tool_name=target.name,
        workspace_id=draft.run.workspace_id,
        agent_id=draft.principal.id,
        session_id=draft.run.session_id,
        locks=_locks(draft, target),
        now=draft.now,
    )


def _locks(draft: Draft, target: Target) -> tuple[str, ...]:
    """What switches a skill off in a workspace; for tools of the catalog policy knows it itself."""
    runs = target.skill is None or policy_selectors.tool_call_config(draft.run.workspace_id).wasm_enabled
    return () if runs else (WASM_OFF,)


def backend(draft: Draft, target: Target) -> Finding[Placement]:
    """Gate 6: a live worker has a backend that enforces what this call needs."""
    placement = place(target, agent_id=draft.principal.id, workspace_id=draft.run.workspace_id, now=draft.now)
    if isinstance(placement, SandboxRefusal):
        return denied(
            placement.code, placement.message, str(placement.detail.get("remediation") or "") or None
        )
    return passed(placement, "sandbox.available")


def policy(
    draft: Draft, target: Target, found: Found, *, approval: ApprovalFacts | None
) -> Finding[PolicyDecision]:
    """Gate 7: Cedar, in turn with other calls of the session.

    `found.decision` is set for a denial too, so that the record names its rules.
    """
    reading = labelling.read(
        run=draft.run,
        call_id=draft.call_id,
        tool=target.tool,
        tool_input=target.input,
        spec=found.placement.spec if found.placement else None,
        now=draft.now,
    )
    if reading.overflows:
        return denied("policy.invalid_context", "The session would take on too many labels.")
    decision = policy_services.decide(facts=facts_of(draft, target, found, reading, approval))
    found.decision = decision
    if decision.effect is Effect.ALLOW:
        return passed(decision, decision.reason_code, decision.reason)
    if decision.effect is Effect.REQUIRE_APPROVAL:
        return asks(decision, decision.reason_code, decision.reason)
    return denied(decision.reason_code, decision.reason)


def facts_of(
    draft: Draft, target: Target, found: Found, reading: Reading, approval: ApprovalFacts | None
) -> DecisionFacts:
    """Return what gate 7 knows; an explanation is given the same."""
    return DecisionFacts(
        principal_kind=draft.principal.kind,
        principal_id=draft.principal.id,
        workspace_id=draft.run.workspace_id,
        action=target.operation,
        resource=_resource(target),
        tool=target.tool,
        skill=skill_facts(found.skill),
        input=target.input,
        posture=found.posture,
        run_id=draft.run.id,
        session_id=draft.run.session_id,
        device_id=draft.principal.device_id,
        channel=None,
        calls_in_run=draft.run.calls_used,
        auth_method="token" if draft.principal.token_id else "session",
        source_ip=draft.principal.client_ip or None,
        external_execution=False,
        approval=approval,
        now=draft.now,
        labels=reading.labels,
        adds_labels=reading.flow.adds_labels,
        sinks=reading.flow.sinks,
        tainted_arguments=reading.tainted,
    )


def budget(draft: Draft, record: Record) -> Finding[str]:
    """Gate 8: one more call fits into the run's allowance; it is held until the call ends."""
    held = reserve_call(
        run=draft.run,
        call_id=draft.call_id,
        actor=draft.principal.actor(),
        now=draft.now,
        record=record,
    )
    if isinstance(held, Exhausted):
        return denied("budget.exceeded", f"The run may make {held.limit} calls.", "Open a new run.")
    return passed(held, "budget.reserved")


def approval(
    draft: Draft, target: Target, found: Found, placement: Placement, record: Record
) -> Finding[Answer]:
    """Gate 9: nothing to ask, an earlier answer that covers the call, or a request a person can answer.

    In the order of the approvals part, §3.1. What is asked for was found out by the gates before.
    """
    if found.decision is None or found.posture is None:
        raise ValueError("gate 9 stands behind gates 5 and 7")
    if not approval_needed(found.decision, found.posture, target):
        return passed(Answer(), "approval.not_required")
    obligation, risk = build_obligation(
        found.decision, target, placement, found.posture, channel=draft.run.channel
    )
    if _denied_before(draft, target):
        reason = "A person denied exactly this call within the last day."
        return denied("approval.denied_before", reason, "Propose another call, or have the denial forgotten.")
    call = grants.proposal_of(
        draft, target, placement, risk=risk, obligations_digest=digest(obligation.as_json())
    )
    grant_id = _covering_grant(draft, found, call, record)
    if grant_id is not None:
        return passed(Answer(grant_id=grant_id), "approval.allowed", f"The grant {grant_id} covers the call.")
    if draft.run.approval_channel == "none":
        return denied("approval.channel_unavailable", "The run has nobody to ask.")
    request = new_request(draft, target, found, placement, obligation, risk)
    if not approval_selectors.has_eligible_reviewer(request, draft.now):
        return denied("approval.no_eligible_approver", "No active person may answer this request.")
    excess = asks_too_much(request, draft.now) if draft.edit is None else None
    if excess is not None:
        return _too_many_questions(excess)
    opened = approvals.open_request(request=request, actor=draft.actor(), now=draft.now, record=record)
    return asks(Answer(opened.id), "approval.pending", PERSON_ASKED)


def _too_many_questions(excess: TooMuch) -> Finding[Answer]:
    later = "Ask again later." if excess.retry_after else "Open a new run."
    reason = f"People would be asked too often: {excess.limit} is {excess.most}."
    return denied("approval.rate_limited", reason, later, retry_after=excess.retry_after)


def _denied_before(draft: Draft, target: Target) -> bool:
    action = action_digest_of(draft.principal, target)
    return bool(remembered_denial(principal_id=draft.principal.id, action_digest=action, now=draft.now))


def _covering_grant(draft: Draft, found: Found, call: GrantProposal, record: Record) -> str | None:
    """Return the grant under which policy permits the call; `found.decision` is then that decision.

    A grant that policy does not take would only queue the call to be refused, so a person is asked.
    """
    match = resolve_cached_tool_approval_for_proposal(
        proposal=call,
        now=stepped_clock.no_earlier_than(draft.now),
        alarm=lambda searched: _too_many_grants(draft, call, searched, record),
    )
    facts = grants.approval_facts(match.approval) if match is not None else None
    if match is None or facts is None or found.decision is None:
        return None
    decision = policy_services.decide_again(found.decision, approval=facts)
    if decision.effect is not Effect.ALLOW:
        return None
    found.decision = decision
    return match.grant.pk


def _too_many_grants(draft: Draft, call: GrantProposal, searched: int, record: Record) -> None:
    record(
        event="grant.lookup_exceeded",
        actor=draft.principal.actor(),
        subject=draft.call_id,
        now=draft.now,
        data={"principal": call.principal_id, "tool": call.tool, "searched": searched},
        run=draft.run.id,
        call=draft.call_id,
    )


def skill_facts(decision: SkillGateDecision | None) -> SkillFacts | None:
    """Return gate 4's answer as the plain value that policy reads; None for what is no skill."""
    if decision is None or decision.skl_id is None:
        return None
    return SkillFacts(
        skl_id=decision.skl_id,
        skill_id=decision.skill_id or "",
        version=decision.version or "",
        digest=decision.payload_digest or "",
        publisher=decision.publisher or "",
        status=decision.status or "",
        risk=decision.risk or "critical",
        requires_approval=decision.requires_approval,
    )


def _resource(target: Target) -> EntityRef:
    if target.skill is not None:
        return EntityRef("Skill", target.skill.skl_id)
    return EntityRef("Tool", target.name)
