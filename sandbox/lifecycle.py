"""States of an execution, and the two clocks that end one nobody finishes (sandbox part, §3.12)."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType

HEARTBEAT_TIMEOUT = timedelta(seconds=15)
QUEUE_TIMEOUT = timedelta(minutes=15)


class ExecutionState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    AMBIGUOUS = "ambiguous"
    CANCELLED = "cancelled"
    REFUSED = "refused"


OPEN = frozenset({ExecutionState.QUEUED, ExecutionState.RUNNING})
FINISHED = frozenset(ExecutionState) - OPEN
RUN_ENDS = FINISHED - {ExecutionState.REFUSED}

ALLOWED: MappingProxyType[str, frozenset[str]] = MappingProxyType(
    {
        ExecutionState.QUEUED: frozenset(
            {ExecutionState.RUNNING, ExecutionState.CANCELLED, ExecutionState.REFUSED}
        ),
        ExecutionState.RUNNING: frozenset(RUN_ENDS),
    }
)
"""`transition` table. Nothing leads back to queued: an execution is never run twice."""


def lost_before(now: datetime) -> datetime:
    """Return the instant before which a heartbeat proves that its worker is gone."""
    return now - HEARTBEAT_TIMEOUT


def overdue_before(now: datetime) -> datetime:
    """Return the instant before which a queued row has waited too long."""
    return now - QUEUE_TIMEOUT
