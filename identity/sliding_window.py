"""Exact limits over a rolling minute: counts by whole second, the present one and the sixty before it.

Any sixty seconds lie within 61 such buckets, so no rolling minute ever holds more than the limit.
There is no burst beside it: from idle the whole limit may be used at once. Times are milliseconds
since the epoch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

SPAN = 60
"""Seconds before the present one that still count."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """Whether one request may pass, and what is left after it.

    `reset_ms` is when the oldest counted request stops counting; `retry_after_ms` is when one more
    would fit, 0 while one does.
    """

    admitted: bool
    limit: int
    remaining: int
    reset_ms: int
    retry_after_ms: int

    @property
    def reset_seconds(self) -> int:
        return -(-self.reset_ms // 1000)

    @property
    def retry_after_seconds(self) -> int:
        """Whole seconds, at least one: an answer of 0 would invite a client to ask again at once."""
        return max(1, -(-self.retry_after_ms // 1000))


def admit(counts: Mapping[int, int], *, limit: int, now_ms: int) -> tuple[dict[int, int], Allowance]:
    """Decide on one request; return the counts to keep and the answer. Pure and total.

    A refused request is not counted. What is kept is to be stored whenever it differs from `counts`,
    after a refusal too: time goes on from it when the clock was set back.
    """
    kept, second = _standing(counts, now_ms // 1000)
    total = sum(kept.values())
    admitted = total < limit
    if admitted:
        kept[second] = kept.get(second, 0) + 1
        total += 1
    return kept, Allowance(
        admitted=admitted,
        limit=limit,
        remaining=max(0, limit - total),
        reset_ms=_wait_for(kept, 1, now_ms),
        retry_after_ms=_wait_for(kept, total - limit + 1, now_ms),
    )


def _standing(counts: Mapping[int, int], present: int) -> tuple[dict[int, int], int]:
    """Return what still counts and the second to count in, which never lies before one counted.

    A request that waited for its turn comes with an older time than the one before it: it counts as
    coming now. A clock that was set back further than the span must neither forget what was counted
    nor hold everybody up until it has caught up: all of it counts as of now.
    """
    newest = max(counts, default=present)
    second = max(present, newest)
    kept = {at: count for at, count in counts.items() if at >= second - SPAN and count > 0}
    if newest - present <= SPAN:
        return kept, second
    return {present: sum(kept.values())}, present


def _wait_for(kept: Mapping[int, int], leaving: int, now_ms: int) -> int:
    """Return how long until `leaving` requests have stopped counting."""
    if leaving <= 0:
        return 0
    for at in sorted(kept):
        leaving -= kept[at]
        if leaving <= 0:
            return max(0, (at + SPAN + 1) * 1000 - now_ms)
    return 0
