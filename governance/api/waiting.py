"""`?wait=N`: hold the answer until the call ends or changes, without holding anything else."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from django.conf import settings
from django.db import connection

from governance.call_state import OPEN_STATES, CallState
from governance.selectors import newest_of, state_of

FIRST_PAUSE = 0.1
LONGEST_PAUSE = 1.0


class _Places:
    """How many requests of this process may wait at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken = 0

    @contextmanager
    def take(self) -> Iterator[bool]:
        with self._lock:
            free = self._taken < settings.PALYRA_MAX_WAITERS
            self._taken += free
        try:
            yield free
        finally:
            with self._lock:
                self._taken -= free


_PLACES = _Places()


def wait_for_change(
    call_id: str, *, seconds: int, shown: CallState, require_live: Callable[[], None]
) -> bool:
    """Wait until the call's state is terminal or differs from `shown`, at most `seconds`.

    A call that a person edits meanwhile is followed into the one that takes its place.

    Returns False when this process has no place left and did not wait at all. `require_live` is asked
    at every look, at least once a second, and ends the wait by raising. Between two looks the database
    connection is closed, so a waiting request costs a sleeping thread only.
    """
    if shown not in OPEN_STATES:
        return True
    return wait_until(lambda: _is_settled(call_id, shown), seconds=seconds, require_live=require_live)


def wait_until(holds: Callable[[], bool], *, seconds: int, require_live: Callable[[], None]) -> bool:
    """Wait until something holds, at most `seconds`; otherwise as `wait_for_change`."""
    if seconds == 0:
        return True
    with _PLACES.take() as free:
        if free:
            _poll(holds, time.monotonic() + seconds, require_live)
        return free


def _poll(holds: Callable[[], bool], deadline: float, require_live: Callable[[], None]) -> None:
    pause = FIRST_PAUSE
    while True:
        left = deadline - time.monotonic()
        if left <= 0:
            return
        if not connection.in_atomic_block:
            connection.close()
        time.sleep(min(pause, left))
        pause = min(pause * 1.5, LONGEST_PAUSE)
        require_live()
        if holds():
            return


def _is_settled(call_id: str, shown: CallState) -> bool:
    """Queued and running are on the way to the answer; only a person's turn is worth an early one."""
    state = state_of(newest_of(call_id))
    if state is None or state not in OPEN_STATES:
        return True
    return state is not shown and state is CallState.AWAITING_APPROVAL
