"""What the attestation of a call says: facts from the rows, in the words of the journal part §3.10."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import datetime

from approvals.models import ApprovalRequest, Grant
from governance.journal.attestations import record_attestation
from governance.journal.models import JournalCheckpoint, JournalEvent, JournalLeaf
from governance.journal.story import Threads, leaves_digest, story_of
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
    JournalledStory,
    SandboxEnforcement,
    SkillIdentity,
    ToolIdentity,
)
from sandbox.models import Execution
from sandbox.types import Outcome

ENFORCED_KEYS = (
    "userns", "pidns", "netns", "ipcns", "utsns", "cgroupns", "mountns", "nnp", "seccomp", "caps",
)  # fmt: skip


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
    asked, grant = answer_behind(call)
    story = list(story_of(threads_of(call, asked, grant)))
    decision = _decision_event(story)
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
        approvals=_approvals(asked, grant),
        backend=_backend(execution),
        limits=execution.spec if execution else None,
        usage=dict(ran.usage) if ran else {},
        budget=_budget(call),
        skill=_skill(call),
        edited_from=call.edited_from_id,
        decision_event=decision,
        decision_checkpoint=_checkpoint_of(decision),
        events=JournalledStory(
            ids=tuple(event.id for event in story),
            leaves_sha256=leaves_digest(bytes(event.envelope) for event in story),
        ),
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


def answer_behind(call: ToolCall) -> tuple[ApprovalRequest | None, Grant | None]:
    """Return what people were asked about a call and the grant that lets it run, as far as there are any."""
    grant = Grant.objects.filter(id=call.grant_id).first() if call.grant_id else None
    answered = call.approval_id or (grant.request_id if grant else None)
    asked = ApprovalRequest.objects.filter(id=answered).first() if answered else None
    return asked, grant


def threads_of(call: ToolCall, asked: ApprovalRequest | None, grant: Grant | None) -> Threads:
    """Return by what the events of a call are found."""
    return Threads(
        call=call.id,
        run=call.run_id,
        answers=tuple(row.pk for row in (asked, grant) if row is not None),
        policy_set=(call.policy_set or {}).get("id"),
    )


def _decision_event(story: Sequence[JournalEvent]) -> str | None:
    """Return the last decision of the call: the final one of a call that ended."""
    decided = [event for event in story if event.type == "tool_call.decided"]
    return max(decided, key=lambda event: event.run_seq or 0).id if decided else None


def _checkpoint_of(event_id: str | None) -> str | None:
    leaf = JournalLeaf.objects.filter(event_id=event_id).first() if event_id else None
    sealed = JournalCheckpoint.objects.filter(tree_size=leaf.checkpoint).first() if leaf else None
    return f"{sealed.tree_size} {base64.b64encode(bytes(sealed.root)).decode()}" if sealed else None


def _approvals(request: ApprovalRequest | None, grant: Grant | None) -> tuple[ApprovalUse, ...]:
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
    spaces = {("mountns" if name == "mnt" else f"{name}ns") for name in effective.get("namespaces", ())}
    return BackendFacts(
        tier=execution.tier,
        version=(effective.get("bwrap") or {}).get("version"),
        capabilities=tuple(effective.get("imports", ())),
        enforced=tuple(key for key in ENFORCED_KEYS if effective.get(key) or key in spaces),
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
