"""What Celery workers do: one kind takes every call that waits, one every job, one tells the outside.

None takes orders.
"""

from __future__ import annotations

import logging

from celery import shared_task

from governance import pipeline
from governance.jobs import runner as job_runner
from governance.notifications import worker as notifier
from governance.runner import Worker, current_worker, worker_name
from governance.stopping import drain
from governance.wakeup import JOBS, NOTIFICATIONS, TASK
from kernel.clock import utc_now
from kernel.errors import ConflictError, UnavailableError
from sandbox.selectors import queued_ids

log = logging.getLogger(__name__)

BATCH = 16


@shared_task(name=TASK, acks_late=False, max_retries=0, ignore_result=True)
def work() -> None:
    """Claim until nothing is left, so that one wake-up empties the queue. Takes no arguments.

    What another worker took, or what cannot be taken, is left alone until the next waking.
    """
    worker, passed = current_worker(), set[str]()
    while waiting := queued_ids(BATCH, besides=passed):
        for execution_id in waiting:
            if drain.begun:
                return
            if not _run_one(execution_id, worker):
                passed.add(execution_id)


@shared_task(name=JOBS, acks_late=False, max_retries=0, ignore_result=True)
def jobs() -> None:
    """Claim jobs until none is left. Takes no arguments, and has a queue of its own.

    So that a long job never stands before a call, another worker process serves it.
    """
    job_runner.work(worker_name(), utc_now)


@shared_task(name=NOTIFICATIONS, acks_late=False, max_retries=0, ignore_result=True)
def notifications() -> None:
    """Send what is due until nothing is. Takes no arguments, and has a queue of its own.

    So that a receiver that hangs never stands before a call or a job.
    """
    notifier.work(utc_now)


def _run_one(execution_id: str, worker: Worker) -> bool:
    """Run one row; False when another worker took it or it cannot be taken."""
    try:
        pipeline.run(execution_id=execution_id, worker=worker, clock=utc_now)
    except ConflictError:
        return False
    except UnavailableError as refusal:
        log.warning("execution %s stays queued: %s", execution_id, refusal)
        return False
    except Exception:
        log.exception("execution %s", execution_id)
        return False
    return True
