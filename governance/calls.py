"""Writing down a call: the proposal, the decision and the queued execution."""

from __future__ import annotations

import secrets
from datetime import datetime

from governance import labelling
from governance.gates import Gate, GateLog, GateRow, Verdict
from governance.input_schemas import schema_of_target, schema_or_secret
from governance.models import ToolCall
from governance.obligations import as_json
from governance.parameter_views import without_typed_secrets
from governance.proposals import Draft, Found, Placement, Proposal, Target, action_digest
from governance.recording import keep_decision, record_fault
from identity.types import Principal
from kernel.canonical import canonical, digest_bytes
from kernel.record import Actor, Record
from policy.types import PolicyDecision
from sandbox import services as sandbox

MAX_KEPT_BYTES = 64 * 1024
EXCERPT_BYTES = 256


def write_proposal(draft: Draft, record: Record) -> None:
    """Record that something was proposed, before anything is known about it."""
    given = draft.proposal.input
    data = canonical(given)
    kept = without_typed_secrets(given, schema_or_secret(draft.proposal.tool, given))
    record(
        event="tool_call.proposed",
        actor=draft.actor(),
        subject=draft.call_id,
        now=draft.now,
        data={"tool": draft.proposal.tool, "input_bytes": len(data), "input": kept},
        run=draft.run.id,
        call=draft.call_id,
    )


def write_call(
    draft: Draft, gates: GateLog, found: Found, denial: GateRow | None, record: Record
) -> ToolCall:
    """Insert the call with what every gate said, record the decision, and keep it to be replayed."""
    call = _row(draft, gates, found, denial)
    call.save(force_insert=True)
    if found.skill is not None and found.skill.skill_id is not None:
        _record_skill_gate(draft, found, record)
    actor = draft.actor()
    event_id = record_decision(call, final=call.effect != "require_approval", actor=actor, record=record)
    keep_decision(
        event_id=event_id,
        call_id=call.id,
        workspace_id=call.workspace_id,
        decision=found.decision,
        now=draft.now,
        schema=schema_of_target(found.target) if found.target is not None else {},
    )
    if denial is not None and denial.gate is Gate.POLICY:
        record_fault(
            code=denial.reason_code,
            decision=found.decision,
            subject=call.id,
            run=call.run_id,
            actor=actor,
            now=draft.now,
            record=record,
        )
    return call


def record_decision(call: ToolCall, *, final: bool, actor: Actor, record: Record) -> str:
    """Record `tool_call.decided` and return its id; exactly one of a call's decisions is final."""
    return record(
        event="tool_call.decided",
        actor=actor,
        subject=call.id,
        now=call.decided_at,
        data={
            "effect": call.effect,
            "reason_code": call.reason_code,
            "final": final,
            "gates": [[row["gate"], row["verdict"], row["reason_code"]] for row in call.gates],
            "policy_set": (call.policy_set or {}).get("hash"),
            "determining_policies": [policy["id"] for policy in call.determining_policies],
            "approval": call.approval_id,
        },
        run=call.run_id,
        call=call.id,
    )


def queue_call(
    call: ToolCall, placement: Placement | None, actor: Actor, now: datetime, record: Record
) -> None:
    """Queue the one execution of an allowed call; its spec is frozen here, its labels are added."""
    if placement is None:
        raise ValueError("an allowed call has passed gate 6")
    labelling.add_labels_of(call, labelling.tool_of(call), actor=actor, now=now, record=record)
    execution = sandbox.queue_execution(
        call_id=call.id,
        spec=placement.spec.to_json(),
        action_digest=call.action_digest,
        tier=placement.tier,
        executor=placement.executor,
        run=call.run_id,
        actor=actor,
        now=now,
        record=record,
    )
    call.execution_id = execution.id
    call.updated_at = now
    call.save(update_fields=["execution_id", "updated_at"])


def action_digest_of(principal: Principal, target: Target) -> str:
    """Return the digest that binds decision, approval and execution to one action."""
    return action_digest(
        principal_id=principal.id,
        owner_id=principal.owner_id,
        target=target.as_json(),
        operation=target.operation,
        parameters=target.input,
    )


def _row(draft: Draft, gates: GateLog, found: Found, denial: GateRow | None) -> ToolCall:
    """Everything about the call, whether it was allowed or how far it came."""
    effect, code, reason = verdict_of(found, gates, denial)
    target = found.target or _unresolved(draft.proposal)
    return ToolCall(
        id=draft.call_id,
        run=draft.run,
        parent_call_id=draft.proposal.parent_call_id,
        workspace_id=draft.run.workspace_id,
        principal_kind=draft.principal.kind.value,
        principal_id=draft.principal.id,
        owner_id=draft.principal.owner_id,
        token_id=draft.principal.token_id,
        tool_name=target.name,
        tool_version=target.version or None,
        definition_digest=target.definition_digest or None,
        operation=target.operation,
        risk=target.risk or None,
        tier=found.placement.tier if found.placement else None,
        executor=found.placement.executor if found.placement else None,
        spec=found.placement.spec.to_json() if found.placement else None,
        skill=found.skill.to_json() if found.skill and found.skill.skill_id else None,
        input=target.input,
        input_bytes=len(canonical(draft.proposal.input)),
        resource=target.resource,
        salt=secrets.token_bytes(32),
        action_digest=action_digest_of(draft.principal, target),
        effect=effect,
        reason_code=code,
        reason=reason[:1000],
        gates=gates.complete(),
        **_policy_columns(found.decision),
        approval_id=found.answer.approval_id,
        grant_id=found.answer.grant_id,
        edited_from_id=draft.edit.call_id if draft.edit is not None else None,
        edited_by_id=draft.edit.by.id if draft.edit is not None else None,
        idempotency_key=draft.proposal.idempotency_key,
        traceparent=draft.proposal.traceparent,
        decided_at=draft.now,
        created_at=draft.now,
        updated_at=draft.now,
    )


def verdict_of(found: Found, gates: GateLog, denial: GateRow | None) -> tuple[str, str, str]:
    """Return effect, reason code and reason of what the gates said."""
    if denial is not None:
        return "deny", denial.reason_code, denial.reason
    if found.answer.approval_id is not None:
        asking = next(
            row for row in reversed(gates.rows) if row.verdict is Verdict.ASK and row.gate != "approval"
        )
        return "require_approval", asking.reason_code, asking.reason
    decision = found.decision
    return (
        "allow",
        decision.reason_code if decision else "policy.allowed",
        decision.reason if decision else "",
    )


def _policy_columns(decision: PolicyDecision | None) -> dict[str, object]:
    if decision is None:
        return {}
    explanation = decision.explanation
    return {
        "determining_policies": [
            {
                "id": policy.id,
                "effect": policy.effect,
                "description": policy.description,
                "annotations": dict(policy.annotations),
            }
            for policy in explanation.determining_policies
        ],
        "obligations": as_json(decision.obligations),
        "policy_set": {
            "id": explanation.policy_set.id,
            "version": explanation.policy_set.version,
            "hash": explanation.policy_set.hash,
        },
    }


def _record_skill_gate(draft: Draft, found: Found, record: Record) -> None:
    if found.skill is None:
        return
    explanation = found.decision.explanation if found.decision else None
    decision = {
        **found.skill.to_json(),
        "allowlisted": bool(explanation and explanation.is_allowlisted_skill),
    }
    record(
        event="skill.gate_decided",
        actor=draft.principal.actor(),
        subject=found.skill.skl_id or draft.call_id,
        now=draft.now,
        data={"skill_gate_decision": decision},
        run=draft.run.id,
        call=draft.call_id,
    )


def _unresolved(proposal: Proposal) -> Target:
    """The target of a proposal that did not pass gate 3: what was asked for, as it was asked.

    Nothing pays for such a call, so of a large input only digest, size and beginning are kept.
    """
    return Target(
        name=proposal.tool,
        version="",
        definition_digest="",
        operation="tool.execute",
        risk="",
        description="",
        capabilities=frozenset(),
        requires_approval=False,
        input=_kept(proposal.input),
        resource=None,
    )


def _kept(value: object) -> object:
    data = canonical(value)
    if len(data) <= MAX_KEPT_BYTES:
        return value
    excerpt = data[:EXCERPT_BYTES].decode(errors="ignore")
    return {"$digest": digest_bytes(data), "bytes": len(data), "excerpt": excerpt}
