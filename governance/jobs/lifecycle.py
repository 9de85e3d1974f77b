"""States of a job and their table."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum

WORKER_PATIENCE = timedelta(seconds=60)
"""A running job without a heartbeat for so long has lost its worker."""

WORKER_LOST = "job.worker_lost"
WORKER_STOPPING = "job.worker_stopping"
CANCELLED = "job.cancelled"
FAILED = "job.failed"


class JobState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


ALLOWED: dict[str, frozenset[str]] = {
    JobState.QUEUED: frozenset({JobState.RUNNING, JobState.FAILED, JobState.CANCELLED}),
    JobState.RUNNING: frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED}),
}
OPEN = frozenset({JobState.QUEUED, JobState.RUNNING})
