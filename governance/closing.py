"""How a call goes on after its question, and how it ends. Every end settles the budget and is attested."""

from __future__ import annotations

from datetime import datetime

from approvals.models import ApprovalRequest
from approvals.services import ReviewOutcome
from governance import labelling
from governance.budgets.calls import is_held, release_call, settle_call
from governance.call_state import call_state
from governance.calls import queue_call, record_decision
from governance.evidence import attest
from governance.gates import Gate, GateRow, Verdict
from governance.journal.ledger import record
from governance.models import ToolCall
from governance.proposals import Claim, Found, Placement
from governance.results import error_of, must_redact, output_digest, result_of
from governance.runs.turns import hold_run, hold_run_of_execution
from kernel.errors import ConflictError
from kernel.record import Actor
from sandbox import services as sandbox
from sandbox.lifecycle import ExecutionState
from sandbox.models import Execution
from sandbox.spec import SandboxSpec
from sandbox.types import Outcome

STAGE_OF: dict[str, str] = {
    Gate.AUTHENTICATE: "tool_intake",
    Gate.RUN: "tool_intake",
    Gate.SCHEMA: "tool_intake",
    Gate.SKILL: "skill_gate",
    Gate.POSTURE: "policy",
    Gate.BACKEND: "policy",
    Gate.POLICY: "policy",
    Gate.BUDGET: "budget",
    Gate.APPROVAL: "approval",
}
"""The refusing stage that an attestation names (journal part §3.10)."""

CLOSED_BY = {
    "denied": ("approval.denied", "A person said no."),
    "expired": ("approval.expired", "Nobody answered in time."),
    "cancelled": ("approval.cancelled", "The request was cancelled."),
    "allowed": ("approval.cancelled", "The answer did not cover this call; propose it again."),
}


def close_denied(call: ToolCall, found: Found, denial: GateRow, actor: Actor, now: datetime) -> None:
    """End a call that a gate denied: nothing ran and nothing is charged."""
    detail: dict[str, object] = {"code": denial.reason_code}
    if denial.retry_after is not None:
        detail["retry_after_seconds"] = denial.retry_after
    call.error = {"kind": "Denied", "message": denial.reason, "detail": detail}
    call.save(update_fields=["error"])
    _record_closed(call, actor, now)
    if found.reservation_id is not None:
        release_call(call_id=call.id, actor=actor, now=now, record=record)
    attest(call, None, stage=STAGE_OF[denial.gate], outcome="denied", actor=actor, now=now)


def allow_call(call: ToolCall, outcome: ReviewOutcome, actor: Actor, now: datetime) -> None:
    """Let a call go on that a person just allowed."""
    resume_call(call, outcome.grant.id if outcome.grant else None, actor, now)


def resume_call(call: ToolCall, grant_id: str | None, actor: Actor, now: datetime) -> None:
    """Queue a call that waited and is allowed, with the spec that was decided about.

    Raises ConflictError when it does not wait any more, so that it is queued once.
    """
    call.grant_id = grant_id
    _answer(call, "allow", call.reason_code, call.reason, "approval.allowed", Verdict.PASS, now)
    record_decision(call, final=True, actor=actor, record=record)
    spec = SandboxSpec.from_json(call.spec or {})
    queue_call(call, Placement(call.tier or "", call.executor or "", spec), actor, now, record)


def close_answered(call: ToolCall, code: str, reason: str, actor: Actor, now: datetime) -> None:
    """End a waiting call that was denied, expired or cancelled before anything ran."""
    _answer(call, "deny", code, reason, code, Verdict.DENY, now)
    call.error = {"kind": "Denied", "message": reason, "detail": {"code": code}}
    call.save(update_fields=["error"])
    record_decision(call, final=True, actor=actor, record=record)
    _record_closed(call, actor, now)
    release_call(call_id=call.id, actor=actor, now=now, record=record)
    attest(call, None, stage="approval", outcome=code.removeprefix("approval."), actor=actor, now=now)


def close_waiting(request_id: str, actor: Actor, now: datetime) -> None:
    """End every call that still waits on a request that is closed."""
    request = ApprovalRequest.objects.get(id=request_id)
    code, reason = CLOSED_BY[request.status]
    waiting = ToolCall.objects.filter(approval_id=request_id, effect="require_approval")
    for call in waiting.order_by("id"):
        close_answered(call, code, reason, actor, now)


def close_refused(call: ToolCall, row: GateRow, actor: Actor, now: datetime) -> None:
    """End a queued call whose re-check failed at the claim: nothing ran and nothing is charged."""
    execution = sandbox.refuse_execution(
        execution_id=call.execution_id or "",
        kind="Refused",
        code=row.reason_code,
        actor=actor,
        now=now,
        record=record,
    )
    stage = "sweeper" if row.reason_code == "sandbox.queue_timeout" else STAGE_OF[row.gate]
    _close_unrun(call, execution, row.reason_code, row.reason, stage, actor, now)


def replace_refused(before: ToolCall, after: ToolCall, actor: Actor, now: datetime) -> None:
    """Name the call that was proposed anew in the place of a refused one."""
    ToolCall.objects.filter(id=before.id).update(superseded_by_id=after.id, updated_at=now)
    record(
        event="tool_call.proposed_again",
        actor=actor,
        subject=before.id,
        now=now,
        data={"by": after.id, "action_digest": after.action_digest},
        run=after.run_id,
        call=after.id,
    )


def close_cancelled(call: ToolCall, execution: Execution, actor: Actor, now: datetime) -> None:
    """End a call whose queued execution was cancelled; the row is already so."""
    _close_unrun(call, execution, "run.cancelled", "The call was cancelled.", "sweeper", actor, now)


def close_executed(claim: Claim, outcome: Outcome, actor: Actor, now: datetime) -> None:
    """Write what a run did: result, error, marks, output digest, settled budget, attestation, events."""
    hold_run(claim.call.run_id)
    call = ToolCall.objects.get(id=claim.call.id)
    call.result, call.error = result_of(outcome, redact=must_redact(call)), error_of(outcome)
    call.updated_at = now
    call.save(update_fields=["result", "error", "updated_at"])
    execution = sandbox.finish_execution(
        execution_id=claim.claimed.execution_id,
        fence=claim.claimed.fence,
        outcome=outcome,
        output_digest=output_digest(call),
        actor=actor,
        now=now,
        record=record,
    )
    labelling.mark_result(call, claim.target.tool, actor=actor, now=now, record=record)
    settle_call(call_id=call.id, actor=actor, now=now, record=record)
    attest(call, execution, stage=None, outcome=execution.state, actor=actor, now=now, ran=outcome)


def close_lost(execution_id: str, actor: Actor, now: datetime, *, proven_dead: bool = False) -> None:
    """Declare a run ambiguous whose worker is gone: charged, attested, never repeated."""
    hold_run_of_execution(execution_id)
    execution = sandbox.mark_lost(
        execution_id=execution_id, proven_dead=proven_dead, actor=actor, now=now, record=record
    )
    call = ToolCall.objects.get(id=execution.call_id)
    call.error = {
        "kind": "Ambiguous",
        "message": "The worker was lost while the tool ran; what it did is not known.",
        "detail": {"code": "sandbox.worker_lost"},
    }
    call.updated_at = now
    call.save(update_fields=["error", "updated_at"])
    settle_call(call_id=call.id, actor=actor, now=now, record=record)
    attest(call, execution, stage=None, outcome=ExecutionState.AMBIGUOUS.value, actor=actor, now=now)


def _record_closed(call: ToolCall, actor: Actor, now: datetime) -> None:
    """Record the end of a call without an execution: what `execution.finished` is to one that ran."""
    state = call_state(effect=call.effect, reason_code=call.reason_code, execution_state=None)
    record(
        event="tool_call.closed",
        actor=actor,
        subject=call.id,
        now=now,
        data={"state": state.value, "reason_code": call.reason_code},
        run=call.run_id,
        call=call.id,
    )


def _close_unrun(
    call: ToolCall, execution: Execution, code: str, reason: str, stage: str, actor: Actor, now: datetime
) -> None:
    call.error = {"kind": "Refused", "message": reason, "detail": {"code": code}}
    call.updated_at = now
    call.save(update_fields=["error", "updated_at"])
    if is_held(call.id):
        release_call(call_id=call.id, actor=actor, now=now, record=record)
    attest(call, execution, stage=stage, outcome=execution.state, actor=actor, now=now)


def _answer(
    call: ToolCall, effect: str, code: str, reason: str, gate_code: str, verdict: Verdict, now: datetime
) -> None:
    """Write a person's answer, or its absence, into the decision and into gate 9's row.

    Raises ConflictError for a call that does not wait any more.
    """
    waiting = ToolCall.objects.filter(id=call.id, effect="require_approval", execution_id__isnull=True)
    gates = [
        {**row, "verdict": verdict.value, "reason_code": gate_code} if row["gate"] == Gate.APPROVAL else row
        for row in call.gates
    ]
    hit = waiting.update(
        effect=effect,
        reason_code=code,
        reason=reason,
        gates=gates,
        grant_id=call.grant_id,
        decided_at=now,
        updated_at=now,
    )
    if hit != 1:
        raise ConflictError("state_changed", "The call does not wait any more.")
    call.effect, call.reason_code, call.reason, call.gates = effect, code, reason, gates
    call.decided_at = call.updated_at = now
