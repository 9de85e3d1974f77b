"""What a run is doing, derived from its calls and from what stops agents; never stored."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from governance.call_state import CallState


class Phase(StrEnum):
    IDLE = "idle"
    RUNNING = "running"
    WAITING_FOR_APPROVAL = "waiting_for_approval"
    FROZEN = "frozen"


def phase_of(counts: Mapping[CallState, int], *, is_open: bool, frozen: bool) -> Phase:
    """Return the phase of a run from the number of its calls in each state.

    A tool that runs comes first, in a frozen run too until it has stopped; what is queued counts as
    running, unless a freeze keeps it from starting. A closed run is idle once nothing of it runs.
    """
    if counts.get(CallState.RUNNING, 0):
        return Phase.RUNNING
    if is_open and frozen:
        return Phase.FROZEN
    if counts.get(CallState.QUEUED, 0):
        return Phase.RUNNING
    if counts.get(CallState.AWAITING_APPROVAL, 0):
        return Phase.WAITING_FOR_APPROVAL
    return Phase.IDLE
