"""A worker's side of jobs: it takes what waits, one after the other, and says how far it is."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from django.db import DatabaseError, close_old_connections, connection

from governance.jobs import services
from governance.jobs.kinds import KINDS, Clock
from governance.jobs.lifecycle import CANCELLED, FAILED, WORKER_STOPPING, JobState
from governance.jobs.services import Ended
from governance.models import Job
from governance.operations import jobs
from governance.stopping import drain
from kernel.errors import ConflictError, PalyraError

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 5.0
BATCH = 16


class StoppedError(Exception):
    """The job has to stop; `ended` says how."""

    def __init__(self, ended: Ended) -> None:
        super().__init__(ended.error_code)
        self.ended = ended


class LostError(Exception):
    """The job is no longer this worker's: nothing may be written."""


class Steps:
    """The progress of one job (`kinds.Progress`)."""

    def __init__(self, job: Job, clock: Clock) -> None:
        self._job, self._clock = job, clock

    def step(self, done: int, write: Callable[[], None]) -> None:
        if drain.begun:
            raise StoppedError(Ended(JobState.FAILED, WORKER_STOPPING, "The worker was stopped."))
        if services.cancel_asked(self._job.id):
            raise StoppedError(Ended(JobState.CANCELLED, CANCELLED))
        try:
            jobs.advance(job=self._job, done=done, write=write, now=self._clock())
        except ConflictError as error:
            raise LostError from error


def work(worker_id: str, clock: Clock) -> int:
    """Run jobs until none waits or the worker has to stop; return how many this worker took."""
    taken = 0
    while not drain.begun:
        ran = [run_one(job_id, worker_id, clock) for job_id in services.queued_ids(BATCH) if not drain.begun]
        if not any(ran):
            return taken
        taken += sum(ran)
    return taken


def run_one(job_id: str, worker_id: str, clock: Clock) -> bool:
    """Run one job to its end; False when it was not there to be taken. Raises nothing that is expected."""
    try:
        job = jobs.claim(job_id=job_id, worker_id=worker_id, now=clock())
    except ConflictError:
        return False
    try:
        with _heartbeat(job, clock):
            ended = _run(job, clock)
        _finish(job, ended, clock)
    except (LostError, ConflictError):
        log.warning("job %s is no longer this worker's", job_id)
    except Exception:  # its row stays running without a heartbeat, and the sweeper fails it
        log.exception("the end of job %s could not be written", job_id)
    return True


def _run(job: Job, clock: Clock) -> Ended | None:
    """Do the work; return None when all of it is done, else how the job ends."""
    kind = KINDS.get(job.kind)
    if kind is None:
        return Ended(JobState.FAILED, FAILED, "This version knows no such kind of job.")
    try:
        kind.run(job, Steps(job, clock), clock)
    except StoppedError as stop:
        return stop.ended
    except LostError:
        raise
    except PalyraError as error:
        return Ended(JobState.FAILED, error.code, error.detail)
    except Exception:
        log.exception("job %s", job.id)
        return Ended(JobState.FAILED, FAILED, "The job failed; the server's log says more.")
    return None


def _finish(job: Job, ended: Ended | None, clock: Clock) -> None:
    if ended is None:
        jobs.conclude(job=job, now=clock())
    else:
        jobs.abandon(job=job, ended=ended, now=clock())


@contextmanager
def _heartbeat(job: Job, clock: Clock) -> Iterator[None]:
    """Prove life beside the work, so that a long step is not taken for a death."""
    stop = threading.Event()
    thread = threading.Thread(target=_beat, args=(job, clock, stop), name="job-heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _beat(job: Job, clock: Clock, stop: threading.Event) -> None:
    try:
        while not stop.wait(HEARTBEAT_SECONDS):
            try:
                if not jobs.beat(job=job, now=clock()):
                    return
            except DatabaseError:
                log.exception("heartbeat of %s", job.id)
                close_old_connections()
    finally:
        connection.close()
