"""Ringing the workers. The row is the job; a lost ring only costs the sweeper's next look."""

from __future__ import annotations

import logging

from celery import current_app

log = logging.getLogger(__name__)

TASK = "governance.tasks.work"
JOBS = "palyra.jobs"
NOTIFICATIONS = "palyra.notifications"


def ring() -> None:
    """Tell a worker that the queue is not empty. A broker that is down is logged, never raised.

    The row is committed already, and transports fail in many ways (their own errors, the driver's, a
    torn file): none of them may reach a caller or end the sweeper.
    """
    _send(TASK)


def ring_jobs() -> None:
    """Tell the worker of jobs that one waits, as `ring` does for calls; its queue is another."""
    _send(JOBS)


def ring_notifications() -> None:
    """Tell the worker of notifications that somebody is to be told; its queue is a third one."""
    _send(NOTIFICATIONS)


def _send(task: str) -> None:
    try:
        current_app.send_task(task, ignore_result=True)
    except Exception as error:
        log.warning("the broker did not take the wake-up: %s", type(error).__name__)
