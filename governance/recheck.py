"""The claim: what may have changed since the decision is asked again, in the run's own transaction."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from approvals import selectors as approval_selectors, services as approvals
from approvals.grants import is_covered, why_unusable
from approvals.matching import GrantProposal
from approvals.models import Grant
from approvals.selectors import ApprovalClaim
from governance import checks, closing, grants, labelling, stepped_clock
from governance.budgets.calls import is_held
from governance.calls import action_digest_of
from governance.gates import Finding, Gate, GateDenied, GateLog, denied, passed
from governance.journal.ledger import record
from governance.models import ToolCall
from governance.obligations import approval_needed, build_obligation
from governance.proposals import Claim, Draft, Found, Placement, Proposal, Target
from governance.recording import record_fault
from governance.runner import Worker
from governance.runs.turns import hold_run_of_execution
from identity.liveness import principal_live
from identity.types import Principal
from kernel.canonical import digest
from kernel.errors import ConflictError
from kernel.record import Actor
from policy.types import PolicyDecision
from sandbox import services as sandbox
from sandbox.lifecycle import ExecutionState
from sandbox.models import Execution
from sandbox.selection import select
from sandbox.spec import SandboxSpec
from sandbox.types import SandboxRefusal

POLICY_CHANGED = "approval.policy_changed"
"""More is asked for than people approved: the call is refused, and they are asked anew."""


@dataclass(frozen=True, slots=True)
class Looked:
    """What the claim found once more; the last two are there for a call that runs by an answer."""

    target: Target
    approval: ApprovalClaim | None = None
    proposal: GrantProposal | None = None


def claim(execution_id: str, worker: Worker, now: datetime) -> Claim | None:
    """Claim a queued execution, or record its refusal and return None.

    Raises ConflictError when it is not queued any more: another worker has it, or it was cancelled.
    """
    hold_run_of_execution(execution_id)
    execution = _queued(execution_id)
    call = ToolCall.objects.select_related("run").get(id=execution.call_id)
    log, found = GateLog(now), Found()
    try:
        looked = look_again(call, execution, worker, log, found, now)
    except GateDenied as refusal:
        if refusal.row.gate is Gate.POLICY:
            record_fault(
                code=found.decision.reason_code if found.decision else refusal.row.reason_code,
                decision=found.decision,
                subject=call.id,
                run=call.run_id,
                actor=worker.actor(),
                now=now,
                record=record,
            )
            _record_policy_refusal(call, found, refusal.row.reason_code, worker, now)
        closing.close_refused(call, refusal.row, worker.actor(), now)
        return None
    labelling.add_labels_of(call, looked.target.tool, actor=worker.actor(), now=now, record=record)
    claimed = sandbox.claim_execution(
        execution_id=execution_id,
        worker_id=worker.worker_id,
        boot_id=worker.boot_id,
        actor=worker.actor(),
        now=now,
        record=record,
    )
    if call.grant_id is not None:
        _use_grant(call.grant_id, looked, found, execution_id, worker.actor(), now)
    return Claim(call, claimed, looked.target, SandboxSpec.from_json(claimed.spec))


def _use_grant(
    grant_id: str, looked: Looked, found: Found, execution_id: str, actor: Actor, now: datetime
) -> None:
    """Use the grant up by one. Another policy set than people allowed under leaves both hashes."""
    proposal, approval = looked.proposal, looked.approval
    if proposal is None or approval is None:
        raise ValueError("a call with a grant was held against it")
    approvals.consume_grant(
        grant_id=grant_id, proposal=proposal, execution_id=execution_id, actor=actor, now=now, record=record
    )
    in_force = found.decision.explanation.policy_set.hash if found.decision else ""
    if in_force != approval.request.policy_set_hash:
        record(
            event="approval.revalidated",
            actor=actor,
            subject=approval.request.pk,
            now=now,
            data={
                "grant": grant_id,
                "allowed_under": approval.request.policy_set_hash,
                "in_force": in_force,
            },
            run=proposal.run_id,
            call=proposal.call_id,
        )


def _record_policy_refusal(call: ToolCall, found: Found, code: str, worker: Worker, now: datetime) -> None:
    """Leave the hash of the set that decided and of the one that refused: another may be in force now."""
    refused_by = found.decision.explanation.policy_set.hash if found.decision else ""
    data = {"code": code, "decided_by": (call.policy_set or {}).get("hash") or "", "refused_by": refused_by}
    record(
        event="policy.revalidated",
        actor=worker.actor(),
        subject=call.id,
        now=now,
        data=data,
        run=call.run_id,
        call=call.id,
    )


def look_again(
    call: ToolCall, execution: Execution, worker: Worker, log: GateLog, found: Found, now: datetime
) -> Looked:
    """Ask every gate again that could answer otherwise now; raises GateDenied with the row that does."""
    principal = log.take(Gate.AUTHENTICATE, lambda: _live(call, now))
    draft = _draft(call, principal, now)
    log.take(Gate.RUN, lambda: checks.run_is_open(draft, queued_at=execution.queued_at))
    approval = _answer_behind(call, now)
    target = found.target = log.take(Gate.SCHEMA, lambda: _same_target(draft, call, execution, approval))
    log.take(Gate.SKILL, lambda: checks.skill(draft, target, found))
    found.posture = log.take(Gate.POSTURE, lambda: checks.posture(draft, target))
    log.take(Gate.BACKEND, lambda: _same_backend(execution, worker))
    spec = SandboxSpec.from_json(execution.spec)
    found.placement = Placement(spec.tier.value, spec.executor.value, spec)
    log.take(Gate.POLICY, lambda: _still_permitted(draft, target, found, approval))
    log.take(Gate.BUDGET, lambda: _still_held(call))
    if call.approval_id is None and call.grant_id is None:
        log.take(Gate.APPROVAL, lambda: _still_unasked(found, target))
        return Looked(target)
    proposal = log.take(Gate.APPROVAL, lambda: _grant_usable(call, draft, target, found, approval))
    return Looked(target, approval, proposal)


def _answer_behind(call: ToolCall, now: datetime) -> ApprovalClaim | None:
    """Return the answer that lets the call run: to its own question, or to an earlier one."""
    request_id = call.approval_id
    if request_id is None and call.grant_id is not None:
        request_id = Grant.objects.filter(pk=call.grant_id).values_list("request_id", flat=True).first()
    return approval_selectors.facts_for_claim(request_id, now) if request_id else None


def _queued(execution_id: str) -> Execution:
    execution = Execution.objects.filter(id=execution_id).first()
    if execution is None or execution.state != ExecutionState.QUEUED:
        raise ConflictError("state_changed", "The execution is not queued.")
    return execution


def to_ask_again(execution_id: str) -> ToolCall | None:
    """Return the call of a refused execution if people have to be asked about it anew, else None.

    A call that a person edited is not: what its editor had a part in, they propose again themselves.
    """
    rows = ToolCall.objects.filter(edited_by_id__isnull=True, superseded_by_id__isnull=True)
    call = rows.filter(execution_id=execution_id).first()
    code = ((call.error or {}).get("detail") or {}).get("code") if call is not None else None
    return call if code == POLICY_CHANGED else None


def principal_of_call(call: ToolCall, now: datetime) -> Principal | None:
    """Return who proposed a call, as they may act now; None when they no longer may."""
    return principal_live(
        kind=call.principal_kind,
        principal_id=call.principal_id,
        workspace_id=call.workspace_id,
        token_id=call.token_id,
        now=now,
    )


def _live(call: ToolCall, now: datetime) -> Finding[Principal]:
    principal = principal_of_call(call, now)
    if principal is None:
        return denied("identity.principal_not_live", "The principal may no longer propose tool calls.")
    return passed(principal, "identity.permitted")


def _draft(call: ToolCall, principal: Principal, now: datetime) -> Draft:
    proposal = Proposal.of_call(call)
    return Draft(call.id, proposal, principal, call.run, now)


def _same_target(
    draft: Draft, call: ToolCall, execution: Execution, approval: ApprovalClaim | None
) -> Finding[Target]:
    finding = checks.schema(draft)
    target = finding.value
    if target is None:
        return finding
    if target.definition_digest != call.definition_digest:
        code = "approval.tool_changed" if approval else "schema.definition_drift"
        return denied(code, "The tool's definition changed since the decision.", "Propose the call again.")
    fresh = action_digest_of(draft.principal, target)
    bound = {fresh, call.action_digest, execution.action_digest}
    if approval is not None and call.approval_id is not None:
        bound.add(approval.request.action_digest)
    specs = {digest(call.spec), digest(execution.spec), execution.spec_digest}
    if len(bound) != 1 or len(specs) != 1:
        return denied("approval.digest_mismatch", "The action is not the one that was decided about.")
    return finding


def _same_backend(execution: Execution, worker: Worker) -> Finding[bool]:
    refusal = select(SandboxSpec.from_json(execution.spec), worker.probe())
    if isinstance(refusal, SandboxRefusal):
        return denied(refusal.code, refusal.message)
    return passed(True, "sandbox.available")


def _still_permitted(
    draft: Draft, target: Target, found: Found, approval: ApprovalClaim | None
) -> Finding[PolicyDecision]:
    finding = checks.policy(draft, target, found, approval=grants.approval_facts(approval))
    if finding.verdict == "deny":
        return denied("policy.changed", f"Policy no longer permits the call ({finding.code}).")
    if finding.verdict == "ask":
        code = POLICY_CHANGED if approval else "policy.changed"
        return denied(code, "Policy asks for more than was approved.")
    return finding


def _still_held(call: ToolCall) -> Finding[bool]:
    if not is_held(call.id):
        return denied("budget.exceeded", "The call no longer stands against its run's allowance.")
    return passed(True, "budget.reserved")


def _still_unasked(found: Found, target: Target) -> Finding[bool]:
    if found.decision is None or found.posture is None:
        raise ValueError("gate 9 stands behind gates 5 and 7")
    if approval_needed(found.decision, found.posture, target):
        return denied(POLICY_CHANGED, "The call now asks for a person.")
    return passed(True, "approval.not_required")


def _grant_usable(
    call: ToolCall, draft: Draft, target: Target, found: Found, approval: ApprovalClaim | None
) -> Finding[GrantProposal]:
    """Hold the call against its grant, which nobody ends or uses until the transaction does."""
    held = Grant.objects.select_for_update(of=("self",)).select_related("request")
    grant = held.filter(pk=call.grant_id, request_id=approval.request.pk).first() if approval else None
    if grant is None or approval is None:
        return denied("approval.grant_revoked", "There is no grant for this call.")
    code = why_unusable(grant, stepped_clock.no_earlier_than(draft.now))
    if code is not None:
        return denied(code, "The approval can no longer be used.")
    if found.decision is None or found.posture is None or found.placement is None:
        raise ValueError("gate 9 stands behind gates 5, 6 and 7")
    obligation, risk = build_obligation(
        found.decision, target, found.placement, found.posture, channel=draft.run.channel
    )
    proposal = grants.proposal_of(draft, target, found.placement, risk=risk, obligations_digest=None)
    proposal = replace(proposal, parties=proposal.parties | {call.edited_by_id or ""})
    if not is_covered(grant, proposal):
        return denied("approval.digest_mismatch", "The call is not what was allowed.")
    again = call.approval_id is None
    if not grants.is_satisfied(obligation, risk, approval, parties=proposal.parties, again=again):
        return denied(POLICY_CHANGED, "More is asked for now than was approved.")
    return passed(proposal, "approval.allowed")
