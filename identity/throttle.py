"""How long an address that keeps failing has to wait. Pure.

Ten failures a minute are answered like any other refusal. Each one beyond starts a wait, twice as
long as the last; during it every further failure is turned away and changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from identity import sliding_window

FAILURES_PER_MINUTE = 10
FIRST_WAIT_MS = 2_000
LONGEST_WAIT_MS = 300_000
MEMORY_MS = 600_000
"""After a wait has ended, for how long the next one is still twice as long."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """What is known of one address: recent failures by second, waits so far, and the end of the last."""

    failures: Mapping[int, int] = field(default_factory=dict)
    waits: int = 0
    until_ms: int = 0


@dataclass(frozen=True, slots=True)
class Turn:
    """The answer to one failure: 0 for an ordinary refusal, else the wait that is left.

    `begins` is true for the failure that started this wait.
    """

    wait_ms: int = 0
    begins: bool = False


def fail(trouble: Trouble, *, now_ms: int) -> tuple[Trouble, Turn]:
    """Count one failure; return what to remember and the answer. During a wait nothing changes."""
    left = min(trouble.until_ms - now_ms, wait_of(trouble.waits))
    if left > 0:
        return trouble, Turn(wait_ms=left)
    failures, allowance = sliding_window.admit(trouble.failures, limit=FAILURES_PER_MINUTE, now_ms=now_ms)
    waits = trouble.waits if now_ms - trouble.until_ms <= MEMORY_MS else 0
    if allowance.admitted:
        return Trouble(failures, waits, trouble.until_ms), Turn()
    wait = wait_of(waits + 1)
    return Trouble(failures, waits + 1, now_ms + wait), Turn(wait_ms=wait, begins=True)


def wait_of(number: int) -> int:
    """Return the milliseconds of the wait of this number: 2 s, 4 s, 8 s, … at most 300 s."""
    if number < 1:
        return 0
    return min(FIRST_WAIT_MS << min(number - 1, 16), LONGEST_WAIT_MS)
