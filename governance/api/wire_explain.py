"""An explanation as JSON: what policy says of it is text of the set, never a value of an argument."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from governance.explaining import Explanation
from governance.obligations import as_json
from governance.recording import fault_of
from kernel.clock import wire_time
from policy.clauses import Clause
from policy.explaining import ExplainedRule


def render_explanation(found: Explanation) -> dict[str, Any]:
    """Return the answer of `POST /policy/explain`."""
    explained, (effect, reason_code) = found.explained, found.outcome
    rules = (*explained.determining, *explained.near_misses, *explained.outweighed)
    return {
        "object": "policy_explanation",
        "outcome": {"effect": effect, "reason_code": reason_code},
        "decision": _decision(found),
        "gates": [
            {
                "gate": stop.gate,
                "verdict": stop.verdict,
                "reason_code": stop.reason_code,
                "reason": stop.reason,
            }
            for stop in found.stops
        ],
        "labels": dict(found.labels),
        "tainted_arguments": sorted(found.asked.context.tainted_arguments) if found.asked else [],
        "posture": found.asked.context.posture if found.asked else None,
        "near_misses": [_rule(rule) for rule in explained.near_misses],
        "outweighed": [_rule(rule) for rule in explained.outweighed],
        "clauses": [clause for rule in rules for clause in _clauses(rule)],
        "minimal_change": [list(change) for change in explained.minimal_change],
        "diagnostics_errors": errors_of(found),
        "constructed_entities": [entity.uid for entity in explained.entities],
        "entities": [{"uid": one.uid, "parents": list(one.parents)} for one in explained.entities],
        "complete": explained.complete,
        "exact": found.exact,
        "call_id": found.call.id if found.call else None,
        "recorded": _recorded(found),
    }


def errors_of(found: Explanation) -> list[dict[str, str]]:
    """Return which rules failed and how, in our words: the engine's own may repeat an argument."""
    faults = map(fault_of, found.explained.decision.explanation.diagnostics_errors)
    return [{"policy": name, "error": sentence} for name, sentence in dict.fromkeys(faults)]


def _decision(found: Explanation) -> dict[str, Any]:
    decision, ref = found.explained.decision, found.ground.ref
    return {
        "effect": decision.effect.value,
        "reason_code": str(decision.reason_code),
        "reason": decision.reason,
        "determining_policies": [_rule(rule) for rule in found.explained.determining],
        "obligations": as_json(decision.obligations),
        "policy_set": {"id": ref.id, "version": ref.version, "hash": ref.hash} if ref.id else None,
        "catalog_digest": decision.explanation.catalog_digest,
    }


def _rule(rule: ExplainedRule) -> dict[str, Any]:
    return {
        "id": rule.id,
        "effect": rule.effect,
        "annotations": {name: value for name, value in rule.annotations if name != "id"},
        "file": rule.file,
        "line": rule.line or None,
        "column": rule.column or None,
        "text": rule.text,
        "holds": rule.holds.value,
        "assuming_approval": rule.assuming_approval,
    }


def _clauses(rule: ExplainedRule) -> Iterator[dict[str, Any]]:
    """Yield every operand of a rule's conditions, each behind the one it is part of."""
    for number, condition in enumerate(rule.conditions):
        yield from _flat(rule.id, condition.kind, str(number), "", condition.clause)


def _flat(policy: str, kind: str, path: str, joined_by: str, clause: Clause) -> Iterator[dict[str, Any]]:
    yield {
        "policy": policy,
        "condition": kind,
        "path": path,
        "joined_by": joined_by or None,
        "text": clause.text,
        "value": {"true": True, "false": False}.get(clause.value.value),
    }
    for number, part in enumerate(clause.parts):
        yield from _flat(policy, kind, f"{path}.{number}", clause.joined_by, part)


def _recorded(found: Explanation) -> dict[str, Any] | None:
    if found.call is None:
        return None
    call, kept = found.call, found.recorded
    return {
        "effect": kept.effect if kept else call.effect,
        "reason_code": kept.reason_code if kept else call.reason_code,
        "policy_set": (call.policy_set or {}).get("id") or None,
        "decided_at": wire_time(kept.decided_at if kept else call.decided_at),
    }
