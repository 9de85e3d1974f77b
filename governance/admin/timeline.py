"""One call as steps in time, from proposal to attestation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.utils.safestring import SafeString

from approvals.models import Review
from governance.admin.charts import thin_bar
from governance.admin.visible import size_in_words
from governance.admin.words import NOTHING, look, milliseconds
from governance.selectors import CallView
from sandbox.models import Execution


@dataclass(frozen=True, slots=True)
class Step:
    """One line of the timeline. `kind` picks the details that the template puts below."""

    kind: str
    tone: str
    icon: str
    title: str
    text: str
    moment: datetime | None


@dataclass(frozen=True, slots=True)
class LimitUse:
    """How much of a limit a run used, in words and as a bar."""

    name: str
    words: str
    bar: SafeString


def steps_of(view: CallView, reviews: Sequence[Review], names: Mapping[str, str]) -> list[Step]:
    """Return the steps that happened, in order; what did not happen has no step."""
    call = view.call
    who = names.get(call.principal_id, call.principal_id)
    steps = [Step("proposed", "info", "agent", "Proposed", f"by {who}", call.created_at), _decision(view)]
    if view.approval is not None:
        steps.append(_asked(view))
        steps.extend(_answered(row, names) for row in reviews)
    if view.execution is not None:
        steps.append(_execution(view.execution))
    if view.attestation is not None:
        executor = view.attestation.executor
        steps.append(Step("attested", "ok", "seal", "Attested", f"signed by the {executor} path", None))
    return steps


def _decision(view: CallView) -> Step:
    call = view.call
    denying = next((row for row in call.gates if row["verdict"] == "deny"), None)
    asking = any(row["verdict"] == "ask" for row in call.gates)
    state = "deny" if denying else "ask" if asking else "allow"
    word = {"deny": "Denied by a gate", "ask": "Allowed only with approval", "allow": "Allowed"}[state]
    shape = look(state)
    return Step("gates", shape.tone, shape.icon, word, "", call.decided_at)


def _asked(view: CallView) -> Step:
    request = view.approval
    assert request is not None
    shape = look(request.status)
    title = "Waiting for a person" if request.status == "pending" else f"Approval {shape.word.lower()}"
    return Step("approval", shape.tone, shape.icon, title, "", request.resolved_at or request.requested_at)


def _answered(row: Review, names: Mapping[str, str]) -> Step:
    shape = look(row.verdict)
    who = names.get(row.reviewer_id, row.reviewer_id)
    alone = ", alone by the sole-operator rule" if row.single_operator else ""
    said = f"{shape.word} by {who} on the {row.surface}{alone}"
    return Step("review", shape.tone, shape.icon, said, row.comment, row.created_at)


def _execution(execution: Execution) -> Step:
    shape = look(execution.state)
    moment = execution.finished_at or execution.started_at or execution.queued_at
    return Step("execution", shape.tone, shape.icon, f"Execution {shape.word.lower()}", "", moment)


@dataclass(frozen=True, slots=True)
class Property:
    """One property of the isolation: what was asked for and what the launcher read back."""

    name: str
    requested: str
    effective: str


@dataclass(frozen=True, slots=True)
class Isolation:
    rows: tuple[Property, ...]
    degraded: tuple[str, ...]


def isolation_of(execution: Execution | None) -> Isolation | None:
    """Return requested beside effective isolation, property by property, or None before a run."""
    if execution is None or not execution.enforcement:
        return None
    requested, effective = (_flat(execution.enforcement.get(side)) for side in ("requested", "effective"))
    names = sorted(set(requested) | set(effective))
    rows = tuple(Property(name, requested.get(name, NOTHING), effective.get(name, NOTHING)) for name in names)
    return Isolation(rows, tuple(str(word) for word in execution.enforcement.get("degraded", ())))


def _flat(values: object, prefix: str = "") -> dict[str, str]:
    if not isinstance(values, Mapping):
        return {}
    found: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = _said(value)
    return found


def _said(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(str(item) for item in value) or "none"
    return NOTHING if value is None else str(value)


def limits_used(execution: Execution | None) -> list[LimitUse]:
    """Return each measured usage beside the limit that bounds it."""
    if execution is None or not execution.usage:
        return []
    usage, spec = execution.usage, execution.spec
    pairs = (
        ("Wall time", usage.get("wall_ms"), spec.get("wall_timeout_ms"), milliseconds),
        ("CPU time", usage.get("cpu_ms"), spec.get("cpu_time_limit_ms"), milliseconds),
        ("Memory", usage.get("max_rss"), spec.get("memory_limit_bytes"), size_in_words),
        ("Output", usage.get("output_bytes"), spec.get("max_output_bytes"), size_in_words),
        ("Fuel", usage.get("fuel"), spec.get("fuel"), lambda value: f"{value:,}"),
    )
    return [_use(name, used, limit, say) for name, used, limit, say in pairs if used is not None and limit]


def _use(name: str, used: int, limit: int, say: Any) -> LimitUse:
    part = used / limit
    tone = "bad" if part >= 0.95 else "warn" if part >= 0.75 else "info"
    words = f"{say(used)} of {say(limit)}"
    return LimitUse(name, words, thin_bar(part, tone=tone, label=f"{name}: {words}"))
