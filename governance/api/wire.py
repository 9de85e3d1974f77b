"""Objects as they travel (API part §3.6): absent values are null, never missing."""

from __future__ import annotations

from typing import Any

from django.conf import settings

from approvals.eligibility import Eligibility
from approvals.lifecycle import decision_of
from approvals.models import ApprovalRequest, Review
from approvals.services import ReviewOutcome
from governance.input_schemas import input_of, schema_of_tool
from governance.journal.attestations import sealed_at
from governance.models import Run, ToolCall
from governance.prompts import masked, shown_context
from governance.runs.selectors import RunView
from governance.selectors import CallView
from identity.types import Principal, PrincipalKind
from kernel.canonical import canonical, digest_bytes
from kernel.clock import wire_time
from sandbox.models import Execution

MAX_SHOWN_BYTES = 8 * 1024


def render_call(view: CallView, principal: Principal) -> dict[str, Any]:
    """Return the tool call object. Input and answer are shown in full to the principal that sent it."""
    call = view.call
    own = call.principal_id == principal.id
    return {
        "id": call.id,
        "object": "tool_call",
        "run_id": call.run_id,
        "parent_call_id": call.parent_call_id,
        "tool": {
            "name": call.tool_name,
            "version": call.tool_version,
            "definition_digest": call.definition_digest,
        },
        "input": call.input if own else shorten(_masked_input(call)),
        "input_redacted": not own,
        "resource": call.resource,
        "action_digest": call.action_digest,
        "state": view.state.value,
        "superseded_by": call.superseded_by_id,
        "edited": call.edited_from_id is not None,
        "edited_from": call.edited_from_id,
        "principal": {"type": call.principal_kind, "id": call.principal_id, "owner": call.owner_id},
        "decision": _decision(view),
        "approval": render_approval_brief(view.approval),
        "execution": _execution(view.execution),
        "result": call.result if own else _masked_result(call),
        "error": call.error if own else masked(call.error),
        "finding": _finding(call, principal),
        "attestation": _attestation(view),
        "budget": _budget(view),
        "traceparent": call.traceparent,
        "created_at": wire_time(call.created_at),
        "updated_at": wire_time(call.updated_at),
        "links": {
            "self": f"/api/v1/tool-calls/{call.id}",
            "events": f"/api/v1/runs/{call.run_id}/events",
            "evidence": f"/api/v1/tool-calls/{call.id}/evidence" if view.attestation else None,
        },
    }


def _masked_input(call: ToolCall) -> object:
    return masked(input_of(call), schema_of_tool(call.tool_name, call.input))


def _masked_result(call: ToolCall) -> dict[str, Any] | None:
    """An answer may repeat what was masked in the input. Its digest is that of what is stored."""
    return {**call.result, "output": masked(call.result["output"])} if call.result else call.result


def render_call_row(view: CallView) -> dict[str, Any]:
    """Return a call as lists show it: without input and result."""
    call = view.call
    return {
        "id": call.id,
        "object": "tool_call",
        "run_id": call.run_id,
        "tool": {"name": call.tool_name, "version": call.tool_version},
        "resource": call.resource,
        "state": view.state.value,
        "reason_code": call.reason_code,
        "principal": {"type": call.principal_kind, "id": call.principal_id, "owner": call.owner_id},
        "approval_id": call.approval_id,
        "created_at": wire_time(call.created_at),
        "updated_at": wire_time(call.updated_at),
    }


def render_run(run: Run) -> dict[str, Any]:
    return {
        "id": run.id,
        "object": "run",
        "state": run.state,
        "agent": run.principal_id,
        "owner": run.owner_id,
        "session_id": run.session_id,
        "purpose": run.purpose,
        "labels": run.labels,
        "origin": run.origin,
        "origin_run_id": run.origin_run_id or None,
        "approval_channel": run.approval_channel,
        "calls_used": run.calls_used,
        "calls_limit": run.max_calls,
        "opened_at": wire_time(run.opened_at),
        "expires_at": wire_time(run.deadline_at),
        "closed_at": wire_time(run.closed_at),
        "close_code": run.close_code or None,
    }


def render_run_view(view: RunView) -> dict[str, Any]:
    """Return a run with its calls counted by state."""
    counts = {state.value: number for state, number in view.counts.items()}
    return render_run(view.run) | {"phase": view.phase.value, "calls": counts}


def render_approval_brief(request: ApprovalRequest | None) -> dict[str, Any] | None:
    """Return what a caller sees of the request behind its own call."""
    if request is None:
        return None
    return {
        "id": request.id,
        "state": request.status,
        "risk": request.risk,
        "expires_at": wire_time(request.expires_at),
        "console_url": f"{settings.PALYRA_PUBLIC_URL}/admin/approvals/{request.id}/",
    }


def shorten(value: Any) -> Any:
    """Replace strings over 8 KiB by their digest, size and beginning."""
    if isinstance(value, dict):
        return {key: shorten(item) for key, item in value.items()}
    if isinstance(value, list):
        return [shorten(item) for item in value]
    if isinstance(value, str) and len(canonical(value)) > MAX_SHOWN_BYTES:
        data = value.encode()
        return {"$digest": digest_bytes(data), "bytes": len(data), "excerpt": value[:256]}
    return value


def _decision(view: CallView) -> dict[str, Any]:
    call = view.call
    return {
        "effect": call.effect,
        "reason_code": call.reason_code,
        "reason": call.reason,
        "determining_policies": call.determining_policies,
        "policy_set": call.policy_set,
        "gates": call.gates,
        "obligations": call.obligations,
        "decided_at": wire_time(call.decided_at),
    }


def _finding(call: ToolCall, principal: Principal) -> dict[str, Any] | None:
    """What a person found out about an ambiguous call. An agent is not told who."""
    if call.finding is None or principal.kind is PrincipalKind.USER:
        return call.finding
    return {**call.finding, "by": "operator"}


def _execution(execution: Execution | None) -> dict[str, Any] | None:
    if execution is None:
        return None
    return {
        "id": execution.id,
        "state": execution.state,
        "backend": {"tier": execution.tier, "executor": execution.backend},
        "egress_mode": execution.spec["egress_mode"],
        "enforcement": execution.enforcement,
        "usage": execution.usage,
        "exit_code": execution.exit_code,
        "signal": execution.signal,
        "started_at": wire_time(execution.started_at),
        "finished_at": wire_time(execution.finished_at),
    }


def _attestation(view: CallView) -> dict[str, Any] | None:
    attestation = view.attestation
    if attestation is None:
        return None
    return {
        "attestation_id": attestation.id,
        "execution_sha256": attestation.execution_sha256,
        "executor": attestation.executor,
        "sandbox_enforcement": attestation.sandbox_enforcement,
        "journal_seq": sealed_at(attestation),
        "url": f"/api/v1/tool-calls/{view.call.id}/attestation",
    }


def _budget(view: CallView) -> dict[str, Any] | None:
    held = view.reservation
    if held is None:
        return None
    amount = [{"metric": held.metric, "amount": str(held.amount)}]
    return {
        "reservation_id": held.id,
        "held": amount if held.state == "held" else [],
        "settled": amount if held.state == "settled" else None,
    }


def render_approval(
    request: ApprovalRequest, eligibility: Eligibility, principal: Principal
) -> dict[str, Any]:
    """Return a request as its readers see it; `context` was masked when it was stored."""
    reviews = list(request.reviews.all())
    decision = decision_of(request.status, request.close_code)
    allowed = sum(review.verdict == "allow" for review in reviews)
    return {
        "id": request.id,
        "object": "approval",
        "state": request.status,
        "decision": decision,
        "decided_by": [_decider(review, principal) for review in reviews if review.verdict == decision],
        "version": request.version,
        "subject_type": request.subject_type,
        "subject_label": request.subject_label,
        "action_digest": request.action_digest,
        "risk": request.risk,
        "quorum": {"needed": request.quorum, "allowed": allowed},
        "run_id": request.run_id or None,
        "call_ids": [waiting.call_id for waiting in request.calls.all()],
        "requester": {
            "kind": request.requester_kind,
            "id": request.requester_id,
            "owner": request.requester_owner_id,
        },
        "edited_from": request.edited_from_id or None,
        "edited_by": _editor(request, principal),
        "context": shown_context(request),
        "eligible": eligibility.ok,
        "ineligible_reason": eligibility.code or None,
        "requested_at": wire_time(request.requested_at),
        "expires_at": wire_time(request.expires_at),
        "resolved_at": wire_time(request.resolved_at),
    }


def _editor(request: ApprovalRequest, principal: Principal) -> str | None:
    if not request.edited_by_id:
        return None
    return request.edited_by_id if principal.kind is PrincipalKind.USER else "approver"


def _decider(review: Review, principal: Principal) -> str:
    """People see who decided; an agent learns only that a person did."""
    return review.reviewer_id if principal.kind is PrincipalKind.USER else "approver"


def render_outcome(outcome: ReviewOutcome) -> dict[str, Any]:
    """Return what an answer led to."""
    request, grant = outcome.request, outcome.grant
    request.refresh_from_db()
    executions = Execution.objects.filter(call_id__in=outcome.covered_call_ids)
    return {
        "id": request.id,
        "object": "approval",
        "state": request.status,
        "decision": decision_of(request.status, request.close_code),
        "quorum": {
            "needed": request.quorum,
            "allowed": request.reviews.filter(verdict="allow").count(),
        },
        "single_operator": outcome.single_operator,
        "grant": None
        if grant is None
        else {
            "id": grant.id,
            "scope": grant.scope,
            "expires_at": wire_time(grant.expires_at),
            "uses_allowed": grant.uses_allowed,
        },
        "queued": list(executions.order_by("id").values_list("id", flat=True)),
    }
