"""Why a call would be decided as it is: the gates before policy, and what policy says to the same facts.

An explanation asks the functions the gates ask, in their order, and writes nothing. What a reader may
not know of, he cannot ask about: it answers like what does not exist.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TypeVar

from governance import checks, labelling
from governance.authority import require_permission
from governance.gates import Finding, Gate, Verdict, guarded
from governance.models import Run, ToolCall
from governance.proposals import Draft, Found, Target
from governance.recording import redacted_input
from governance.selectors import require_call
from governance.supposing import (
    Supposed,
    draft_for,
    draft_of_call,
    is_execution,
    plain_facts,
    run_of,
    supposing,
)
from identity.roles import Permission
from identity.types import Principal
from policy import selectors as policy_selectors
from policy.engine import refuse
from policy.explain_selectors import (
    Ground,
    Recorded,
    explained,
    ground_named,
    question_of,
    recorded_decision,
)
from policy.explaining import Explained
from policy.labels import labels_of
from policy.lifecycle import SetState
from policy.posture import unavailable
from policy.set_selectors import ACTIVE
from policy.types import Asked, Code, EffectivePosture, PolicyDecision

log = logging.getLogger(__name__)
T = TypeVar("T")

RECORDED = "recorded"
"""In place of a set's id: the set that decided the call which is explained."""
_WERE_IN_FORCE = frozenset({SetState.ACTIVE, SetState.SUPERSEDED})


@dataclass(frozen=True, slots=True)
class Stop:
    """What a gate before policy says that is not `pass`."""

    gate: str
    verdict: str
    reason_code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """The answer. `explained` is what policy says; `stops` what the gates before it say.

    `labels` names the calls that added each label the rules saw. `recorded` is the decision as it was
    made, for a recorded call. `exact` is False when facts of the recorded decision were not kept, so that
    present ones stand in.
    """

    explained: Explained
    ground: Ground
    asked: Asked | None
    stops: tuple[Stop, ...] = ()
    labels: Mapping[str, list[str]] = field(default_factory=dict)
    call: ToolCall | None = None
    recorded: Recorded | None = None
    exact: bool = True

    @property
    def outcome(self) -> tuple[str, str]:
        """Effect and reason code of all that was asked together: the first gate that denies, then policy."""
        for stop in self.stops:
            if stop.verdict == Verdict.DENY:
                return "deny", stop.reason_code
        decision = self.explained.decision
        asking = next((stop for stop in self.stops if stop.verdict == Verdict.ASK), None)
        if asking is not None and decision.effect == "allow":
            return "require_approval", asking.reason_code
        return decision.effect.value, str(decision.reason_code)


def explain_question(
    *, supposed: Supposed, policy_set: str, principal: Principal, now: datetime
) -> Explanation:
    """Explain a question that nobody has asked yet.

    Raises NotFoundError for a principal, run, workspace or set that this reader does not know of, and
    InvalidError for one that is written wrongly.
    """
    require_permission(principal, Permission.POLICY_READ, principal.workspace_id, now)
    draft = draft_for(supposed, run_of(supposed, principal, now), now)
    ground = ground_named(policy_set)
    if is_execution(supposed):
        return _explain_draft(draft, supposed, ground)
    asked = question_of(plain_facts(draft, supposed))
    return Explanation(explained(asked, ground), ground, asked)


def explain_call(*, call_id: str, policy_set: str, principal: Principal, now: datetime) -> Explanation:
    """Explain a recorded call: what was asked then, by the set of this name or the one that decided it.

    Without a kept decision the call is asked again with the facts as they are now, and `exact` is False.
    Rules that were never in force see the input without its secrets: whoever writes them could spell one
    out, a letter at a time.
    Raises NotFoundError for a call or set that this reader does not know of.
    """
    require_permission(principal, Permission.POLICY_READ, principal.workspace_id, now)
    call = require_call(principal, call_id).call
    recorded = recorded_decision(call.id)
    ground = ground_named(_set_of(call, recorded) if policy_set == RECORDED else policy_set)
    trusted = ground.state in _WERE_IN_FORCE
    if recorded is None:
        draft = draft_of_call(call, now)
        found = _explain_draft(draft if trusted else _without_secrets(draft), None, ground)
        return replace(found, call=call, exact=False)
    asked, exact = _with_input(recorded, call) if trusted else (recorded.asked, recorded.exact)
    labels = _labels(call.run, asked.context.labels, now)
    stops = tuple(_stored_stops(call))
    return Explanation(
        explained(asked, ground),
        ground,
        asked,
        stops=stops,
        labels=labels,
        call=call,
        recorded=recorded,
        exact=exact,
    )


def _set_of(call: ToolCall, recorded: Recorded | None) -> str:
    stored = (call.policy_set or {}).get("id") or ""
    return (recorded.policy_set if recorded else "") or str(stored) or ACTIVE


def _with_input(recorded: Recorded, call: ToolCall) -> tuple[Asked, bool]:
    """Put back what the record redacted: the call keeps its own input."""
    if recorded.exact or not isinstance(call.input, dict):
        return recorded.asked, recorded.exact
    context = replace(recorded.asked.context, tool_input=call.input)
    return replace(recorded.asked, context=context), True


def _without_secrets(draft: Draft) -> Draft:
    given = draft.proposal.input
    if not isinstance(given, dict):
        return draft
    return replace(draft, proposal=replace(draft.proposal, input=dict(redacted_input(given).value)))


def _stored_stops(call: ToolCall) -> list[Stop]:
    """Return what the gates before policy said when the call was decided."""
    before = {Gate.SCHEMA, Gate.SKILL, Gate.POSTURE, Gate.BACKEND}
    return [
        Stop(row["gate"], row["verdict"], row["reason_code"], row["reason"])
        for row in call.gates
        if row["gate"] in before and row["verdict"] in (Verdict.ASK, Verdict.DENY)
    ]


def _explain_draft(draft: Draft, supposed: Supposed | None, ground: Ground) -> Explanation:
    """Ask gates 3 to 7. The rules are asked even of a tool that an earlier gate would stop."""
    found, stops = Found(), _Stops()
    target = found.target = stops.take(Gate.SCHEMA, lambda: checks.schema(draft)) or _stopped_target(draft)
    if target is None:
        (stop,) = stops.rows
        return Explanation(Explained(_refusal(stop)), ground, None, stops=tuple(stops.rows))
    stops.take(Gate.SKILL, lambda: checks.skill(draft, target, found))
    found.posture = stops.take(Gate.POSTURE, lambda: checks.posture(draft, target)) or _posture(draft, target)
    if Code.RUNTIME_UNSUPPORTED not in stops.codes():
        found.placement = stops.take(Gate.BACKEND, lambda: checks.backend(draft, target))
    spec = found.placement.spec if found.placement else None
    reading = labelling.look(
        run=draft.run,
        call_id=draft.call_id,
        tool=target.tool,
        tool_input=target.input,
        spec=spec,
        now=draft.now,
    )
    facts = checks.facts_of(draft, target, found, reading, None)
    asked = question_of(supposing(facts, supposed) if supposed else facts)
    labels = _labels(draft.run, reading.labels, draft.now)
    return Explanation(explained(asked, ground), ground, asked, stops=tuple(stops.rows), labels=labels)


class _Stops:
    """Asks gates one after the other and goes on behind a denial, which the pipeline would not."""

    def __init__(self) -> None:
        self.rows: list[Stop] = []

    def codes(self) -> set[str]:
        return {row.reason_code for row in self.rows}

    def take(self, gate: Gate, check: Callable[[], Finding[T]]) -> T | None:
        """Return what the gate found, None when it denies; what fails denies."""
        finding = guarded(gate, check)
        if finding.verdict is not Verdict.PASS:
            self.rows.append(Stop(gate.value, finding.verdict.value, finding.code, finding.reason))
        return finding.value


def _stopped_target(draft: Draft) -> Target | None:
    """Return the target of a tool that is known and fits, although it is switched off or cannot run."""
    raw = draft.proposal.input
    check = policy_selectors.resolve_tool(
        name=draft.proposal.tool, raw_input=raw, workspace_id=draft.run.workspace_id
    )
    if check.tool is None or check.reason_code not in (Code.TOOL_DISABLED, Code.RUNTIME_UNSUPPORTED):
        return None
    fits = policy_selectors.check_input(
        schema=check.tool.input_schema, raw_input=raw, max_bytes=check.tool.max_input_bytes
    )
    return None if fits.input is None else checks.tool_target(check.tool, fits.input, None)


def _posture(draft: Draft, target: Target) -> EffectivePosture:
    """Return the posture behind a denial of gate 5, which the rules are told all the same."""
    try:
        return checks.posture_of(draft, target)
    except Exception:
        log.exception("the posture could not be explained")
        return unavailable(target.requires_approval)


def _refusal(stop: Stop) -> PolicyDecision:
    """Return the decision about what never comes to the rules: the word of the gate that stops it."""
    return replace(refuse(Code.INVALID_REQUEST, stop.reason), reason_code=stop.reason_code)


def _labels(run: Run, labels: frozenset[str], now: datetime) -> dict[str, list[str]]:
    """Return the calls that added each label, none for one that a person has taken away since."""
    known = labels_of(labelling.holder_of(run).id, now) if labels else {}
    return {label: known.get(label, []) for label in sorted(labels)}
