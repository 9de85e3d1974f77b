"""Events as trees: a call with its stages, and what happened in a run beside its calls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from governance.admin.event_lines import Line

STAGES = ("Proposal", "Decision", "Approval", "Execution", "Outcome")
_BY_TYPE = {
    "tool_call.proposed": "Proposal",
    "tool_call.proposed_again": "Proposal",
    "tool_call.closed": "Outcome",
    "tool_call.resolved": "Outcome",
    "tool_call.superseded": "Outcome",
    "reservation.settled": "Outcome",
    "reservation.released": "Outcome",
}
_BY_FAMILY = {"approval": "Approval", "grant": "Approval", "execution": "Execution", "attestation": "Outcome"}


@dataclass(frozen=True, slots=True)
class Stage:
    """One step on the path of a call, with its events in the order in which they happened."""

    name: str
    lines: list[Line] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Branch:
    """A call with its stages; or, without a call, one event of the run itself."""

    call_id: str
    tool: str
    stages: tuple[Stage, ...] = ()
    line: Line | None = None


def branches_of(lines: Sequence[Line]) -> list[Branch]:
    """Return the trees of these lines, which come newest first; the tree that moved last comes first."""
    calls: dict[str, list[Line]] = {}
    found: list[Branch | str] = []
    for line in lines:
        call = line.call_id
        if not call:
            found.append(Branch("", "", line=line))
            continue
        if call not in calls:
            calls[call] = []
            found.append(call)
        calls[call].append(line)
    return [one if isinstance(one, Branch) else _branch(one, calls[one]) for one in found]


def stage_of(name: str) -> str:
    """Return the stage that an event of a call belongs to; what has no other is part of the decision."""
    return _BY_TYPE.get(name) or _BY_FAMILY.get(name.partition(".")[0], "Decision")


def _branch(call_id: str, lines: Sequence[Line]) -> Branch:
    stages = {name: Stage(name) for name in STAGES}
    for line in sorted(lines, key=lambda one: one.event.run_seq or 0):
        stages[stage_of(line.event.type)].lines.append(line)
    tool = next((line.tool for line in lines if line.tool), "")
    return Branch(call_id, tool, tuple(stage for stage in stages.values() if stage.lines))
