"""Writes of jobs, each inside the caller's transaction. What a kind does is in `kinds`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from governance.jobs.lifecycle import ALLOWED, CANCELLED, OPEN, WORKER_LOST, WORKER_PATIENCE, JobState
from governance.models import Job
from kernel.errors import ConflictError
from kernel.ids import new_id
from kernel.record import Actor, Record
from kernel.state import transition

MAX_CODE = 64
MAX_MESSAGE = 500
MOST_OPEN = 5
"""Jobs of one actor that wait or run at once: workers take them in order, and others wait behind."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a job ended. `error_code` is empty for one that succeeded."""

    state: JobState
    error_code: str = ""
    message: str = ""
    result: dict[str, object] | None = None


def queue_job(
    *, kind: str, subject: str, workspace_id: str, total: int | None, actor: Actor, now: datetime
) -> Job:
    """Add a job for a worker to find. The event is that of its start.

    ConflictError `conflict` while as many of this actor as may wait or run at once do.
    """
    if Job.objects.filter(started_by=actor.id, state__in=OPEN).count() >= MOST_OPEN:
        raise ConflictError("conflict", f"{MOST_OPEN} jobs of yours wait or run; cancel one or wait for it.")
    return Job.objects.create(
        id=new_id("job", now),
        kind=kind,
        subject=subject,
        workspace_id=workspace_id,
        total=total,
        started_by=actor.id,
        created_at=now,
    )


def claim_job(*, job_id: str, worker_id: str, actor: Actor, now: datetime, record: Record) -> Job:
    """Make a queued job this worker's. ConflictError `state_changed`: another worker has it."""
    rows = Job.objects.filter(pk=job_id)
    transition(
        rows,
        ALLOWED,
        source=JobState.QUEUED,
        target=JobState.RUNNING,
        worker_id=worker_id,
        heartbeat_at=now,
        started_at=now,
    )
    job = rows.get()
    record(
        event="job.started",
        actor=actor,
        subject=job.id,
        now=now,
        data={"kind": job.kind, "on": job.subject, "by": job.started_by, "worker": worker_id},
    )
    return job


def beat(*, job_id: str, worker_id: str, now: datetime, done: int | None = None) -> bool:
    """Prove that the worker lives. False: the job is no longer its own, and nothing may be written."""
    changes = {"heartbeat_at": now} | ({} if done is None else {"done": done})
    rows = Job.objects.filter(pk=job_id, state=JobState.RUNNING, worker_id=worker_id)
    return rows.update(**changes) == 1


def require_own(*, job_id: str, worker_id: str, now: datetime, done: int) -> None:
    """As `beat`, but raises ConflictError `state_changed`, so that the transaction around it is undone."""
    if not beat(job_id=job_id, worker_id=worker_id, now=now, done=done):
        raise ConflictError("state_changed", "The job is no longer this worker's.")


def end_job(
    *,
    job_id: str,
    source: JobState,
    ended: Ended,
    actor: Actor,
    now: datetime,
    record: Record,
    worker_id: str | None = None,
    silent_since: datetime | None = None,
) -> Job:
    """End a job that is in `source`, and record how. ConflictError `state_changed` when it is not.

    With `worker_id` it must be that worker's, with `silent_since` its last heartbeat must be older.
    """
    rows = Job.objects.filter(pk=job_id)
    narrowed = rows if worker_id is None else rows.filter(worker_id=worker_id)
    transition(
        narrowed if silent_since is None else narrowed.filter(heartbeat_at__lt=silent_since),
        ALLOWED,
        source=source,
        target=ended.state,
        finished_at=now,
        error_code=ended.error_code[:MAX_CODE],
        message=ended.message[:MAX_MESSAGE],
        result=ended.result,
    )
    job = rows.get()
    _record_end(job, actor, now, record)
    return job


def ask_to_cancel(*, job: Job, actor: Actor, now: datetime, record: Record) -> Job:
    """Cancel a queued job at once; ask the worker of a running one to stop.

    ConflictError `state_changed` when it has ended.
    """
    if job.state == JobState.QUEUED:
        ended = Ended(JobState.CANCELLED, CANCELLED)
        return end_job(
            job_id=job.id, source=JobState.QUEUED, ended=ended, actor=actor, now=now, record=record
        )
    if not Job.objects.filter(pk=job.id, state=JobState.RUNNING).update(cancel_asked=True):
        raise ConflictError("state_changed", "The job has ended.")
    return Job.objects.get(pk=job.id)


def cancel_asked(job_id: str) -> bool:
    """Tell whether somebody asked the worker to stop."""
    return Job.objects.filter(pk=job_id, cancel_asked=True).exists()


def queued_ids(limit: int) -> tuple[str, ...]:
    """Return jobs that wait for a worker, oldest first."""
    rows = Job.objects.filter(state=JobState.QUEUED).order_by("pk")
    return tuple(rows.values_list("pk", flat=True)[:limit])


def lost_ids(now: datetime, limit: int) -> tuple[str, ...]:
    """Return running jobs whose worker gave no sign of life for a minute."""
    rows = Job.objects.filter(state=JobState.RUNNING, heartbeat_at__lt=now - WORKER_PATIENCE)
    return tuple(rows.values_list("pk", flat=True)[:limit])


def lost() -> Ended:
    """Return the end of a job whose worker is gone; what it did besides is not known."""
    return Ended(JobState.FAILED, WORKER_LOST, "The worker gave no sign of life for a minute.")


def _record_end(job: Job, actor: Actor, now: datetime, record: Record) -> None:
    data: dict[str, object] = {
        "kind": job.kind,
        "on": job.subject,
        "state": job.state,
        "error_code": job.error_code,
    }
    given = {"actor": actor, "subject": job.id, "now": now, "data": data}
    if job.error_code == WORKER_LOST:
        record(event="job.worker_lost", **given)  # type: ignore[arg-type]  # the three ends differ by name only
    elif job.state == JobState.CANCELLED:
        record(event="job.cancelled", **given)  # type: ignore[arg-type]  # as above
    else:
        record(event="job.finished", **given)  # type: ignore[arg-type]  # as above


def is_open(job: Job) -> bool:
    """Tell whether a job has not ended."""
    return job.state in OPEN
