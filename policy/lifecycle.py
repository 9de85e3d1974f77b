"""States of a policy set and their table."""

from __future__ import annotations

from enum import StrEnum


class SetState(StrEnum):
    DRAFT = "draft"
    VALIDATED = "validated"
    ACTIVE = "active"
    SUPERSEDED = "superseded"
    DISCARDED = "discarded"


ALLOWED: dict[str, frozenset[str]] = {
    SetState.DRAFT: frozenset({SetState.VALIDATED, SetState.DISCARDED}),
    SetState.VALIDATED: frozenset({SetState.ACTIVE}),
    SetState.ACTIVE: frozenset({SetState.SUPERSEDED}),
}


class RunState(StrEnum):
    """States of a simulation: those of a job."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


RUN_ALLOWED: dict[str, frozenset[str]] = {
    RunState.QUEUED: frozenset({RunState.RUNNING, RunState.FAILED, RunState.CANCELLED}),
    RunState.RUNNING: frozenset({RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED}),
}
