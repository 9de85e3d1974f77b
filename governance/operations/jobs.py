"""Verbs on jobs: a person stops one; workers and the sweeper move them, each step its own transaction."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from django.db import transaction

from governance import authority, idempotency
from governance.authority import needs
from governance.idempotency import Ticket
from governance.jobs import services
from governance.jobs.kinds import KINDS
from governance.jobs.lifecycle import WORKER_PATIENCE, JobState
from governance.jobs.selectors import require_job
from governance.jobs.services import Ended
from governance.journal.ledger import record
from governance.models import Job
from identity.types import Principal
from kernel.record import Actor, system_actor

WORKER = Actor(kind="system", id="worker", auth="none", surface="worker")


@needs(None)
def cancel(
    *,
    principal: Principal,
    job_id: str,
    now: datetime,
    ticket: Ticket | None = None,
    render: Callable[[Job], tuple[int, object]] | None = None,
) -> Job:
    """Cancel a job that waits, or ask the worker of a running one to stop.

    Asks for the permission of the job's kind. NotFoundError for a job out of sight, ConflictError
    `state_changed` for one that has ended.
    """
    with transaction.atomic(durable=True):
        job = require_job(principal, job_id)
        kind = KINDS[job.kind]
        authority.require_verb(principal, kind.permission, principal.workspace_id, now)
        job = services.ask_to_cancel(job=job, actor=principal.actor(), now=now, record=record)
        if job.state == JobState.CANCELLED:
            kind.abandon(job, JobState.CANCELLED, job.error_code, now)
        if ticket is not None and render is not None:
            status, body = render(job)
            idempotency.store(ticket, status=status, body=body, object_id=job.id)
    return job


@needs(None)
def claim(*, job_id: str, worker_id: str, now: datetime) -> Job:
    """Make a queued job this worker's; ConflictError when it is not queued any more."""
    with transaction.atomic(durable=True):
        return services.claim_job(job_id=job_id, worker_id=worker_id, actor=WORKER, now=now, record=record)


@needs(None)
def advance(*, job: Job, done: int, write: Callable[[], None], now: datetime) -> None:
    """Write one step of a job and its count; ConflictError, and nothing written, when it is not ours."""
    with transaction.atomic(durable=True):
        services.require_own(job_id=job.id, worker_id=job.worker_id, now=now, done=done)
        write()


@needs(None)
def beat(*, job: Job, now: datetime) -> bool:
    """Prove that the job's worker lives; False when the job is no longer its own."""
    with transaction.atomic(durable=True):
        return services.beat(job_id=job.id, worker_id=job.worker_id, now=now)


@needs(None)
def conclude(*, job: Job, now: datetime) -> Job:
    """End a job that did all its work; ConflictError, and nothing written, when it is not ours."""
    with transaction.atomic(durable=True):
        services.require_own(job_id=job.id, worker_id=job.worker_id, now=now, done=_done(job))
        result = KINDS[job.kind].conclude(job, WORKER, now, record)
        return _end(job, Ended(JobState.SUCCEEDED, result=result), WORKER, now)


@needs(None)
def abandon(*, job: Job, ended: Ended, now: datetime) -> Job:
    """End a running job that failed or was stopped; ConflictError when it is not this worker's."""
    with transaction.atomic(durable=True):
        _undo(job, ended, now)
        return _end(job, ended, WORKER, now)


@needs(None)
def lose(*, job_id: str, now: datetime) -> None:
    """Fail a running job whose worker gave no sign of life for a minute; ConflictError when it has since."""
    with transaction.atomic(durable=True):
        job, ended = Job.objects.get(pk=job_id), services.lost()
        services.end_job(
            job_id=job_id,
            source=JobState.RUNNING,
            ended=ended,
            actor=system_actor("sweeper"),
            now=now,
            record=record,
            silent_since=now - WORKER_PATIENCE,
        )
        _undo(job, ended, now)


def _end(job: Job, ended: Ended, actor: Actor, now: datetime) -> Job:
    return services.end_job(
        job_id=job.id,
        source=JobState.RUNNING,
        ended=ended,
        actor=actor,
        now=now,
        record=record,
        worker_id=job.worker_id,
    )


def _undo(job: Job, ended: Ended, now: datetime) -> None:
    kind = KINDS.get(job.kind)
    if kind is not None:
        kind.abandon(job, ended.state, ended.error_code, now)


def _done(job: Job) -> int:
    return int(Job.objects.values_list("done", flat=True).get(pk=job.id))
