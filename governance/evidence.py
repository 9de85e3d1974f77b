"""What the attestation of a call says: facts from the rows, in the words of the journal part §3.10."""

from __future__ import annotations

from datetime import datetime

from approvals.models import ApprovalRequest, Grant
from governance.journal.attestations import record_attestation
from governance.models import Reservation, ToolCall
from governance.results import input_digest, output_digest
from kernel.ids import new_id
from kernel.record import Actor
from sandbox.attestation import (
    ApprovalUse,
    AttestedExecutor,
    BackendFacts,
    BudgetUse,
    ExecutionFacts,
    GateResult,
    SandboxEnforcement,
    SkillIdentity,
    ToolIdentity,
)
from sandbox.models import Execution
from sandbox.types import Outcome

ENFORCED_KEYS = ("userns", "pidns", "netns", "ipcns", "utsns", "cgroupns", "nnp", "seccomp", "caps")


def attest(
    call: ToolCall,
    execution: Execution | None,
    *,
    stage: str | None,
    outcome: str,
    actor: Actor,
    now: datetime,
    ran: Outcome | None = None,
) -> None:
    """Sign and store the one attestation of a call, in the transaction that ends it.

    `stage` names who refused a call that did not run; `ran` is what a finished run gave.
    """
    facts = ExecutionFacts(
        attestation_id=new_id("att", now),
        call_id=call.id,
        run_id=call.run_id,
        tool=ToolIdentity(call.tool_name, call.tool_version, call.definition_digest),
        principal=call.principal_id,
        verdict="allow" if call.effect == "allow" and stage is None else "deny",
        reason_code=_reason_code(call, stage),
        outcome=outcome,
        executor=AttestedExecutor(stage or (execution.backend if execution else "sweeper")),
        sandbox_enforcement=_enforcement(ran),
        input_digest=input_digest(call),
        output_digest=None if stage else output_digest(call),
        error_code=_error_code(call),
        timed_out=outcome == "timed_out",
        exit_code=execution.exit_code if execution else None,
        started_at=execution.started_at if execution else None,
        executed_at=ran.finished_at if ran else now,
        gates=tuple(GateResult(row["gate"], row["verdict"], row["reason_code"]) for row in call.gates),
        policy_set_hash=(call.policy_set or {}).get("hash"),
        determining_policies=tuple(policy["id"] for policy in call.determining_policies),
        approvals=_approvals(call),
        backend=_backend(execution),
        limits=execution.spec if execution else None,
        usage=dict(ran.usage) if ran else {},
        budget=_budget(call),
        skill=_skill(call),
    )
    record_attestation(facts=facts, execution_id=execution.id if execution else None, actor=actor, now=now)


def _reason_code(call: ToolCall, stage: str | None) -> str:
    return _error_code(call) or call.reason_code if stage else call.reason_code


def _error_code(call: ToolCall) -> str | None:
    if call.error is None:
        return None
    code = call.error.get("detail", {}).get("code") or call.error.get("kind")
    return str(code) if code else None


def _enforcement(ran: Outcome | None) -> SandboxEnforcement:
    return SandboxEnforcement(ran.sandbox_enforcement) if ran else SandboxEnforcement.NONE


def _approvals(call: ToolCall) -> tuple[ApprovalUse, ...]:
    grant = Grant.objects.filter(id=call.grant_id).first() if call.grant_id else None
    answered = call.approval_id or (grant.request_id if grant else None)
    request = ApprovalRequest.objects.filter(id=answered).first() if answered else None
    if request is None:
        return ()
    reviewers = request.reviews.order_by("id").values_list("reviewer_id", flat=True)
    return (
        ApprovalUse(
            id=request.id,
            grant=grant.id if grant else None,
            scope=grant.scope if grant else None,
            reviewers=tuple(reviewers),
            quorum=request.quorum,
        ),
    )


def _backend(execution: Execution | None) -> BackendFacts | None:
    if execution is None or not execution.enforcement:
        return None
    effective = execution.enforcement.get("effective", {})
    return BackendFacts(
        tier=execution.tier,
        version=(effective.get("bwrap") or {}).get("version"),
        capabilities=(),
        enforced=tuple(key for key in ENFORCED_KEYS if effective.get(key)),
        not_enforced=tuple(execution.enforcement.get("degraded", ())),
    )


def _budget(call: ToolCall) -> tuple[BudgetUse, ...]:
    held = Reservation.objects.filter(call_id=call.id).first()
    if held is None:
        return ()
    amount = str(held.amount)
    settled = {"settled": amount, "released": "0"}.get(held.state)
    return (BudgetUse(reservation=held.id, unit=held.metric, reserved=amount, settled=settled),)


def _skill(call: ToolCall) -> SkillIdentity | None:
    if not call.skill or call.skill.get("payload_digest") is None:
        return None
    skill = call.skill
    return SkillIdentity(skill["skill_id"], skill["version"], skill["payload_digest"])
