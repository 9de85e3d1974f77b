from __future__ import annotations

import pytest
from hypothesis import given, settings, strategies as st

from governance.call_state import OPEN_STATES, CallState
from governance.runs.phase import Phase, phase_of

C = CallState


@pytest.mark.parametrize(
    ("counts", "frozen", "phase"),
    [
        ({}, False, Phase.IDLE),
        ({C.SUCCEEDED: 3, C.DENIED: 2}, False, Phase.IDLE),
        ({C.AWAITING_APPROVAL: 1, C.SUCCEEDED: 1}, False, Phase.WAITING_FOR_APPROVAL),
        ({C.AWAITING_APPROVAL: 1, C.QUEUED: 1}, False, Phase.RUNNING),
        ({C.AWAITING_APPROVAL: 1, C.RUNNING: 1}, False, Phase.RUNNING),
        ({C.AWAITING_APPROVAL: 1}, True, Phase.FROZEN),
        ({C.QUEUED: 1}, True, Phase.FROZEN),
        ({C.RUNNING: 1}, True, Phase.RUNNING),
        ({}, True, Phase.FROZEN),
    ],
)
def test_an_open_run_is_in_the_phase_of_its_furthest_call(
    counts: dict[CallState, int], frozen: bool, phase: Phase
) -> None:
    assert phase_of(counts, is_open=True, frozen=frozen) is phase


@settings(max_examples=50, deadline=None)
@given(counts=st.dictionaries(st.sampled_from(sorted(C)), st.integers(0, 3)), frozen=st.booleans())
def test_a_closed_run_is_never_frozen_and_idle_once_nothing_is_open(
    counts: dict[CallState, int], frozen: bool
) -> None:
    phase = phase_of(counts, is_open=False, frozen=frozen)
    assert phase is not Phase.FROZEN
    assert (phase is Phase.IDLE) is not any(counts.get(state, 0) for state in OPEN_STATES)
