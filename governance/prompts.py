"""What an approver is shown, and what a caller is told: composed by the server from typed fields."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from approvals.models import ApprovalRequest
from approvals.types import ApprovalObligation, NewRequest
from governance.calls import action_digest_of, verdict_of
from governance.gates import GateLog, GateRow
from governance.journal.redact import is_secret_name
from governance.obligations import as_json
from governance.proposals import Draft, Found, Placement, Target
from governance.safety.secrets import mask
from governance.safety.visible import visible
from identity.parties import parties_to
from kernel.canonical import canonical
from kernel.clock import wire_time

MAX_TEXT = 2_048
MAX_VIEW = 16_384
MAX_SUMMARY = 1_024
NARROWER = (512, 128, 32)
"""To how many bytes every string is cut when the whole view would be too large."""


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
    return NewRequest(
        subject_type="skill" if target.skill else "tool",
        subject_id=draft.call_id,
        subject_label=f"skill:{target.name}@{target.version}" if target.skill else f"tool:{target.name}",
        action_digest=action_digest_of(draft.principal, target),
        policy_set_hash=explanation.policy_set.hash if explanation else "",
        tool_definition_hash=target.definition_digest,
        obligation=obligation,
        requester_kind=draft.principal.kind.value,
        requester_id=draft.principal.id,
        requester_owner_id=draft.principal.owner_id,
        minter_id=parties.minter,
        parties=parties.others,
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
    )


def context_of(
    draft: Draft, target: Target, found: Found, placement: Placement, risk: str
) -> dict[str, object]:
    """Return PendingToolApproval (approvals part §3.2): masked first, then truncated."""
    decision = found.decision
    view, warnings = parameters_view(target.input)
    policies = decision.explanation.determining_policies if decision else ()
    return {
        "title": f"Run {target.name}",
        "summary": _summary(draft, target),
        "risk": risk,
        "risk_reasons": _risk_reasons(target),
        "tool": {
            "name": target.name,
            "version": target.version,
            "definition_hash": target.definition_digest,
            "description": visible(target.description),
            "capabilities": sorted(target.capabilities),
        },
        "execution": {
            "tier": placement.tier,
            "backend": placement.executor,
            "egress_mode": placement.spec.egress_mode,
            "egress_hosts": list(placement.spec.egress_hosts),
            "timeout_ms": placement.spec.wall_timeout_ms,
            "workspace_mode": placement.spec.workspace_mode,
            "limits": {
                "memory_bytes": placement.spec.memory_limit_bytes,
                "cpu_ms": placement.spec.cpu_time_limit_ms,
                "processes": placement.spec.max_processes,
                "output_bytes": placement.spec.max_output_bytes,
            },
        },
        "parameters_view": view,
        "warnings": warnings,
        "secrets_used": [],
        "policy": {
            "set_hash": decision.explanation.policy_set.hash if decision else None,
            "determining": [policy.id for policy in policies],
            "reason_code": decision.reason_code if decision else None,
            "text": decision.reason if decision else "",
        },
        "posture": found.posture.state if found.posture else None,
        "budget": {"calls_used": draft.run.calls_used + 1, "calls_limit": draft.run.max_calls},
        "requester": {
            "kind": draft.principal.kind.value,
            "id": draft.principal.id,
            "owner": draft.principal.owner_id,
            "run": draft.run.id,
            "session": draft.run.session_id,
            "purpose": _shown(draft.run.purpose),
        },
        "resource": _shown(target.resource or "") or None,
    }


def parameters_view(parameters: Mapping[str, object]) -> tuple[object, list[str]]:
    """Return the parameters as an approver may see them, and a warning for each thing made visible."""
    warnings: set[str] = set()
    masked = _masked(dict(parameters), warnings)
    for limit in (MAX_TEXT, *NARROWER):
        shown = _cut(masked, limit)
        if len(canonical(shown)) <= MAX_VIEW:
            return shown, sorted(warnings)
    return _mark(canonical(masked)), sorted(warnings | {"The parameters are too large to be shown."})


def masked(parameters: object) -> object:
    """Return parameters for readers other than their sender: secrets masked, nothing cut."""
    return _masked(parameters, set())


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


def _summary(draft: Draft, target: Target) -> str:
    where = f" on {_shown(target.resource)}" if target.resource else ""
    return f"{draft.principal.kind.value} {draft.principal.id} wants to run {target.name}{where}."[
        :MAX_SUMMARY
    ]


def _risk_reasons(target: Target) -> list[str]:
    reasons = [f"The tool is rated {target.risk}."]
    return reasons + [f"It holds the capability {name}." for name in sorted(target.capabilities)]


def _shown(text: str) -> str:
    """Return text without secrets and with nothing invisible in it."""
    return visible(mask(text).text)


def _masked(value: object, warnings: set[str]) -> object:
    if isinstance(value, dict):
        return _masked_members(value, warnings)
    if isinstance(value, list):
        return [_masked(item, warnings) for item in value]
    if not isinstance(value, str):
        return value
    return _noted(value, warnings)


def _masked_members(value: Mapping[str, object], warnings: set[str]) -> dict[str, object]:
    """Two names that look alike keep a member each: neither may hide the other."""
    members: dict[str, object] = {}
    for name, item in value.items():
        shown = _noted(name, warnings)
        while shown in members:
            warnings.add("Two names look alike; the later one carries a mark.")
            shown += "⟦again⟧"
        members[shown] = "[masked]" if is_secret_name(name) else _masked(item, warnings)
    return members


def _noted(text: str, warnings: set[str]) -> str:
    masked = mask(text)
    if masked.count:
        warnings.add("Words with the shape of a secret are masked; each mark says how long it is.")
    shown = visible(masked.text)
    if shown != masked.text:
        warnings.add("Invisible characters are shown as marks.")
    return shown


def _cut(value: object, limit: int) -> object:
    if isinstance(value, dict):
        return {name: _cut(item, limit) for name, item in value.items()}
    if isinstance(value, list):
        return [_cut(item, limit) for item in value]
    if isinstance(value, str) and len(value.encode()) > limit:
        return {"_head": value.encode()[:limit].decode(errors="ignore"), **_mark(value.encode())}
    return value


def _mark(data: bytes) -> dict[str, object]:
    return {"_truncated": True, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
