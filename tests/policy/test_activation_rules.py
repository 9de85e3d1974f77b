"""The pure check before an activation: each fact alone can stop it, and nothing else lets it through."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, strategies as st

from policy.activation_rules import (
    Candidate,
    InForce,
    SimulationFacts,
    is_direct_rollback,
    objection_to,
)

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
IN_FORCE = InForce("pol_1", "sha256:old")
CANDIDATE = Candidate("validated", "sha256:new", "pol_1")
SIMULATION = SimulationFacts(
    number=1,
    state="succeeded",
    draft_hash="sha256:new",
    against_set="pol_1",
    against_hash="sha256:old",
    asked={},
    available=5000,
    total=1000,
    loosened=3,
    finished_at=NOW - timedelta(hours=1),
)


def objection(
    candidate: Candidate = CANDIDATE,
    simulation: SimulationFacts | None = SIMULATION,
    acknowledged: int = 3,
    in_force: InForce = IN_FORCE,
) -> str | None:
    found = objection_to(candidate, in_force, simulation, acknowledged, NOW)
    return found.code if found else None


def test_a_validated_set_with_a_fresh_simulation_and_the_right_number_may_come_into_force() -> None:
    assert objection() is None


@pytest.mark.parametrize("state", ["draft", "active", "superseded", "discarded", "?"])
def test_nothing_but_a_validated_set_is_activated(state: str) -> None:
    assert objection(replace(CANDIDATE, state=state)) == "conflict"


@pytest.mark.parametrize("base", [None, "pol_0"])
def test_a_set_drafted_from_other_rules_is_refused(base: str | None) -> None:
    assert objection(replace(CANDIDATE, base=base)) == "policy_base_moved"


def test_the_first_set_of_a_domain_has_no_base_and_needs_none() -> None:
    first = replace(CANDIDATE, base=None)
    simulation = replace(SIMULATION, against_set=None, against_hash="")
    assert objection(first, simulation, in_force=InForce()) is None
    assert objection(CANDIDATE, simulation, in_force=InForce()) == "policy_base_moved"


@pytest.mark.parametrize(
    "changes",
    [
        {"state": "queued"},
        {"state": "running"},
        {"state": "failed"},
        {"state": "cancelled"},
        {"finished_at": None},
        {"finished_at": NOW - timedelta(hours=24, seconds=1)},
        {"finished_at": NOW + timedelta(seconds=1)},
        {"draft_hash": "sha256:other"},
        {"against_set": "pol_0"},
        {"against_set": None},
        {"against_hash": "sha256:other"},
        {"total": 999},
        {"available": 40, "total": 39},
        {"asked": {"tool": "echo"}},
        {"asked": {"agent": "agt_1"}},
        {"asked": {"workspace": "wsp_1"}},
        {"asked": {"since": "2026-03-02T00:00:00Z"}},
        {"loosened": 4},
        {"loosened": 2},
    ],
)
def test_a_simulation_that_does_not_stand_for_this_activation_is_stale(changes: dict[str, object]) -> None:
    assert objection(simulation=replace(SIMULATION, **changes)) == "simulation_stale"  # type: ignore[arg-type]  # the point


def test_no_simulation_at_all_is_stale_too() -> None:
    assert objection(simulation=None, acknowledged=0) == "simulation_stale"


@pytest.mark.parametrize("available", [0, 1, 999, 1000, 60_000])
def test_all_records_are_enough_where_there_are_few(available: int) -> None:
    simulation = replace(SIMULATION, available=available, total=min(available, 1000))
    assert objection(simulation=simulation) is None


@given(st.integers(-10, 10), st.integers(0, 10))
def test_the_acknowledged_number_is_the_loosened_number(acknowledged: int, loosened: int) -> None:
    found = objection(simulation=replace(SIMULATION, loosened=loosened), acknowledged=acknowledged)
    assert (found is None) is (acknowledged == loosened)


@pytest.mark.parametrize(
    ("target", "age", "direct"),
    [
        ("pol_1", timedelta(0), True),
        ("pol_1", timedelta(hours=24), True),
        ("pol_1", timedelta(hours=24, seconds=1), False),
        ("pol_1", timedelta(seconds=-1), False),
        ("pol_0", timedelta(hours=1), False),
    ],
)
def test_one_person_goes_back_alone_to_the_predecessor_within_a_day(
    target: str, age: timedelta, direct: bool
) -> None:
    assert is_direct_rollback(target, "pol_1", NOW - age, NOW) is direct


def test_what_has_no_predecessor_is_never_gone_back_from_alone() -> None:
    assert not is_direct_rollback("pol_1", None, NOW, NOW)
    assert not is_direct_rollback("pol_1", "pol_1", None, NOW)
