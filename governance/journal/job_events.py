"""The fields of the events about replaying decisions, errors of the engine, and jobs."""

from __future__ import annotations

from governance.journal.event_names import EventName as E
from governance.journal.event_register import event


@event(E.POLICY_SIMULATED)
class PolicySimulated:
    version: int
    number: int
    draft_hash: str
    against_hash: str
    records: int
    loosened: int
    tightened: int
    reason_only: int


@event(E.POLICY_SHADOW_CHANGED)
class PolicyShadowChanged:
    version: int
    hash: str
    enabled: bool


@event(E.POLICY_ENGINE_ERROR)
class PolicyEngineError:
    """`errors` are sentences of this server: no text of the engine, which may repeat an argument."""

    reason_code: str
    policy_set: str | None
    policy_ids: list[str]
    errors: list[str]


@event(E.JOB_STARTED)
class JobStarted:
    """`by` is who asked for it; the actor is the worker that took it."""

    kind: str
    on: str
    by: str
    worker: str


@event(E.JOB_FINISHED, E.JOB_CANCELLED, E.JOB_WORKER_LOST)
class JobEnded:
    kind: str
    on: str
    state: str
    error_code: str
