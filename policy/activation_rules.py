"""What must hold before a policy set comes into force: one pure check over plain facts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from policy.lifecycle import SetState

SIMULATION_LIFE = timedelta(hours=24)
SIMULATED_RECORDS = 1_000
DIRECT_ROLLBACK = timedelta(hours=24)
SHORTEST_REASON = 10
LONGEST_REASON = 500
_FILTERS = ("since", "agent", "tool", "workspace")


@dataclass(frozen=True, slots=True)
class SimulationFacts:
    """A stored simulation. `asked` holds its filters, `available` how many records there were to replay."""

    number: int
    state: str
    draft_hash: str
    against_set: str | None
    against_hash: str
    asked: Mapping[str, object]
    available: int
    total: int
    loosened: int
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class Candidate:
    """The set that is to come into force. `base` is the set that was in force when it was drafted."""

    state: str
    hash: str
    base: str | None


@dataclass(frozen=True, slots=True)
class InForce:
    """The set in force, empty texts while there is none."""

    id: str = ""
    hash: str = ""


@dataclass(frozen=True, slots=True)
class Objection:
    """Why a set may not come into force: a problem code and a sentence."""

    code: str
    detail: str


def objection_to(
    candidate: Candidate,
    in_force: InForce,
    simulation: SimulationFacts | None,
    acknowledged_loosened: int,
    now: datetime,
) -> Objection | None:
    """Return the first thing that keeps the candidate out of force, or None (policy part §3.5)."""
    if candidate.state != SetState.VALIDATED:
        return Objection("conflict", f"The set is {candidate.state}; only a validated one is activated.")
    if (candidate.base or "") != in_force.id:
        return Objection("policy_base_moved", "Another set came into force since this one was drafted.")
    found = _staleness(candidate, in_force, simulation, now)
    if found is None and simulation is not None and acknowledged_loosened != simulation.loosened:
        found = f"The simulation loosens {simulation.loosened} decisions, not {acknowledged_loosened}."
    return None if found is None else Objection("simulation_stale", found)


def _staleness(
    candidate: Candidate, in_force: InForce, simulation: SimulationFacts | None, now: datetime
) -> str | None:
    if simulation is None:
        return "There is no such simulation of this set."
    if simulation.state != "succeeded" or simulation.finished_at is None:
        return "The simulation did not succeed."
    if simulation.draft_hash != candidate.hash:
        return "The simulation was of another text."
    if ((simulation.against_set or ""), simulation.against_hash) != (in_force.id, in_force.hash):
        return "The simulation was against another set than the one in force."
    if not timedelta(0) <= now - simulation.finished_at <= SIMULATION_LIFE:
        return "The simulation is older than 24 hours."
    if any(simulation.asked.get(name) for name in _FILTERS):
        return "The simulation looked at a part of the records only."
    if simulation.total < min(SIMULATED_RECORDS, simulation.available):
        return "The simulation replayed too few records."
    return None


def is_direct_rollback(
    target: str, predecessor: str | None, activated_at: datetime | None, now: datetime
) -> bool:
    """Tell whether one person may go back alone: to the direct predecessor, within a day."""
    if predecessor is None or activated_at is None or target != predecessor:
        return False
    return timedelta(0) <= now - activated_at <= DIRECT_ROLLBACK
