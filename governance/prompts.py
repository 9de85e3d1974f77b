"""What an approver is shown, and what a caller is told: composed by the server from typed fields."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db.models import Count

from approvals.eligibility import EDITOR, EDITS_COUNT
from approvals.models import ApprovalRequest
from approvals.types import ApprovalObligation, NewRequest, RequestStatus
from governance.calls import action_digest_of, verdict_of
from governance.effects import effects_of
from governance.enforcement import enforcement_of
from governance.gates import GateLog, GateRow
from governance.input_schemas import schema_of_target
from governance.obligations import as_json
from governance.parameter_views import (
    MAX_TEXT as MAX_TEXT,
    MAX_VIEW as MAX_VIEW,
    masked as masked,
    one_line,
    parameters_view as parameters_view,
    shown_text,
)
from governance.proposals import Draft, Found, Placement, Target
from governance.subjects import assess_call, subject_of
from identity.parties import parties_to
from kernel.clock import wire_time

MAX_SUMMARY = 1_024
HISTORY = timedelta(days=30)
_TITLES = {
    "browser_action": "Act in a browser with {}",
    "channel_send": "Send through {}",
    "node_capability": "Act on a device with {}",
    "secret_access": "Use a secret with {}",
    "skill": "Run the skill {}",
}


def new_request(
    draft: Draft,
    target: Target,
    found: Found,
    placement: Placement,
    obligation: ApprovalObligation,
    risk: str,
) -> NewRequest:
    """Return the question for gate 9, bound to action digest, policy set and tool definition."""
    explanation = found.decision.explanation if found.decision else None
    parties = parties_to(draft.principal)
    subject = subject_of(target)
    return NewRequest(
        subject_type=subject.type,
        subject_id=draft.call_id,
        subject_label=subject.label,
        action_digest=action_digest_of(draft.principal, target),
        policy_set_hash=explanation.policy_set.hash if explanation else "",
        tool_definition_hash=target.definition_digest,
        obligation=obligation,
        requester_kind=draft.principal.kind.value,
        requester_id=draft.principal.id,
        requester_owner_id=draft.principal.owner_id,
        minter_id=parties.minter,
        parties={**parties.others, **_earlier_editors(draft, risk)},
        workspace_id=draft.run.workspace_id,
        run_id=draft.run.id,
        session_id=draft.run.session_id,
        context=context_of(draft, target, found, placement, risk),
        risk=risk,
        timeout_s=obligation.timeout_s,
        call_id=draft.call_id,
        device_id=draft.run.device_id,
        channel=draft.run.channel,
        tool=target.name,
        skill_id=target.skill.skill_id if target.skill else "",
        skill_digest=target.definition_digest if target.skill else "",
        edited_from_id=draft.edit.request_id if draft.edit is not None else "",
        edited_by_id=draft.edit.by.id if draft.edit is not None else "",
    )


def _earlier_editors(draft: Draft, risk: str) -> dict[str, str]:
    """Return who wrote a part of the arguments, where that keeps them from answering."""
    if draft.edit is None or risk in EDITS_COUNT:
        return {}
    return dict.fromkeys(draft.edit.earlier, EDITOR)


def context_of(
    draft: Draft, target: Target, found: Found, placement: Placement, risk: str
) -> dict[str, object]:
    """Return PendingToolApproval (approvals part §3.2): masked first, then truncated.

    Nothing in it goes stale while the question waits; `shown_context` adds what may.
    """
    view, warnings = parameters_view(target.input, schema_of_target(target))
    subject = subject_of(target)
    return {
        "title": _TITLES.get(subject.type, "Run {}").format(target.name),
        "summary": _summary(draft, target, placement),
        "risk": risk,
        "risk_reasons": list(_reasons(draft, target, found, placement)),
        "tool": {
            "name": target.name,
            "version": target.version,
            "definition_hash": target.definition_digest,
            "description": shown_text(target.description),
            "capabilities": sorted(target.capabilities),
        },
        "execution": _execution(draft, placement),
        "parameters_view": view,
        "warnings": warnings,
        "effects": effects_of(target, placement),
        "secrets_used": [slot.slot for slot in target.tool.secrets] if target.tool else [],
        "skill": _skill(target),
        "policy": _policy(found),
        "posture": found.posture.state if found.posture else None,
        "budget": _budget(draft),
        "requester": {
            "kind": draft.principal.kind.value,
            "id": draft.principal.id,
            "agent": draft.principal.id if draft.principal.kind == "agent" else None,
            "owner": draft.principal.owner_id,
            "device": draft.run.device_id or None,
            "channel": draft.run.channel or None,
            "run": draft.run.id,
            "session": draft.run.session_id,
        },
        "history": _history(draft, subject.label),
        "said_by_agent": {"purpose": shown_text(draft.run.purpose) or None},
        "resource": one_line(target.resource or "") or None,
    }


def shown_context(request: ApprovalRequest) -> dict[str, Any]:
    """Return the stored context with what may have changed since: how many identical calls wait now."""
    context = request.context
    calls = len(request.calls.all())
    return {**context, "identical_calls": calls} if calls else context


def preview(gates: GateLog, found: Found, denial: GateRow | None) -> dict[str, object]:
    """Return what would be decided; nothing of it was recorded."""
    effect, code, reason = verdict_of(found, gates, denial)
    decision = found.decision
    return {
        "object": "tool_call_preview",
        "decision": {
            "effect": effect,
            "reason_code": code,
            "reason": reason,
            "gates": gates.complete(),
            "obligations": as_json(decision.obligations) if decision else [],
            "determining_policies": [policy.id for policy in decision.explanation.determining_policies]
            if decision
            else [],
        },
    }


def outcome(request: ApprovalRequest) -> dict[str, object]:
    """Return how a request ended, for whoever came too late."""
    return {"outcome": {"decision": request.status, "resolved_at": wire_time(request.resolved_at)}}


def _summary(draft: Draft, target: Target, placement: Placement) -> str:
    """One sentence of the server's own words; names and the resource cannot break its line."""
    where = f" on {one_line(target.resource)}" if target.resource else ""
    tier = "without a sandbox" if placement.tier == "none" else f"in tier {placement.tier}"
    return f"{draft.principal.kind.value} {draft.principal.id} wants to run {target.name}{where}, {tier}."[
        :MAX_SUMMARY
    ]


def _reasons(draft: Draft, target: Target, found: Found, placement: Placement) -> tuple[str, ...]:
    obligations = found.decision.obligations if found.decision else ()
    asked = tuple(item.risk for item in obligations if item.kind == "approval")
    return assess_call(target, placement, channel=draft.run.channel, asked=asked).reasons


def _execution(draft: Draft, placement: Placement) -> dict[str, object]:
    spec = placement.spec
    enforcement = enforcement_of(spec, draft.now)
    return {
        "tier": placement.tier,
        "backend": placement.executor,
        "egress_mode": spec.egress_mode,
        "egress_hosts": list(spec.egress_hosts),
        "timeout_ms": spec.wall_timeout_ms,
        "workspace_mode": spec.workspace_mode,
        "limits": {
            "memory_bytes": spec.memory_limit_bytes,
            "cpu_ms": spec.cpu_time_limit_ms,
            "processes": spec.max_processes,
            "output_bytes": spec.max_output_bytes,
        },
        "enforced": list(enforcement.enforced),
        "not_enforced": list(enforcement.not_enforced),
    }


def _skill(target: Target) -> dict[str, object] | None:
    skill = target.skill
    if skill is None:
        return None
    return {
        "id": skill.skill_id,
        "version": skill.version,
        "publisher": skill.publisher,
        "trust": skill.trust,
    }


def _policy(found: Found) -> dict[str, object]:
    decision = found.decision
    return {
        "set_hash": decision.explanation.policy_set.hash if decision else None,
        "determining": [policy.id for policy in decision.explanation.determining_policies]
        if decision
        else [],
        "reason_code": decision.reason_code if decision else None,
        "text": shown_text(decision.reason) if decision else "",
    }


def _budget(draft: Draft) -> dict[str, object]:
    """The call itself is reserved by now: the run's row was read before that."""
    used = draft.run.calls_used + 1
    return {
        "reserved": [{"metric": "calls", "amount": "1"}],
        "calls_used": used,
        "calls_limit": draft.run.max_calls,
        "remaining_after": draft.run.max_calls - used,
    }


def _history(draft: Draft, label: str) -> dict[str, object]:
    """How the last 30 days of asking for this tool or skill ended for whoever asks."""
    rows = ApprovalRequest.objects.filter(
        requester_id=draft.principal.id, subject_label=label, requested_at__gte=draft.now - HISTORY
    )
    counted: dict[str, int] = dict(rows.values_list("status").annotate(Count("id")).order_by())
    ended = {
        "allowed": RequestStatus.ALLOWED,
        "denied": RequestStatus.DENIED,
        "expired": RequestStatus.EXPIRED,
    }
    return {
        "days": HISTORY.days,
        "asked": sum(counted.values()),
        **{name: counted.get(status, 0) for name, status in ended.items()},
    }
