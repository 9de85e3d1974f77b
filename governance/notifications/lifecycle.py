"""States of a delivery, when it is tried again, and when it is given up."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum

RETRY_SECONDS = (5, 30, 120, 600, 3_600, 21_600, 86_400)
MOST_ATTEMPTS = len(RETRY_SECONDS) + 1
SPREAD = 0.1
GONE = 410


class DeliveryState(StrEnum):
    """`failed` cannot arrive any more, `abandoned` was tried as often as it is."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"
    ABANDONED = "abandoned"


ENDED = frozenset({DeliveryState.DELIVERED, DeliveryState.FAILED, DeliveryState.ABANDONED})
ALLOWED: dict[str, frozenset[str]] = {
    DeliveryState.PENDING: frozenset(ENDED),
    # A person sends an ended delivery again, under its old id.
    **dict.fromkeys(ENDED, frozenset({DeliveryState.PENDING})),
}


def delay_after(attempt: int, spread: float) -> timedelta | None:
    """Return how long to wait after the failed attempt number `attempt` (from 1); None: no more.

    `spread` in [-1, 1] moves it by up to a tenth, so that many deliveries do not come back at once.
    """
    if not 1 <= attempt < MOST_ATTEMPTS:
        return None
    bounded = max(-1.0, min(1.0, spread))
    return timedelta(seconds=RETRY_SECONDS[attempt - 1] * (1 + SPREAD * bounded))


def is_delivered(status: int | None) -> bool:
    return status is not None and 200 <= status < 300
