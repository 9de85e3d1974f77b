"""Ringing the workers. The row is the job; a lost ring only costs the sweeper's next look."""

from __future__ import annotations

import logging

from celery import current_app

log = logging.getLogger(__name__)

TASK = "governance.tasks.work"


def ring() -> None:
    """Tell a worker that the queue is not empty. A broker that is down is logged, never raised.

    The row is committed already, and transports fail in many ways (their own errors, the driver's, a
    torn file): none of them may reach a caller or end the sweeper.
    """
    try:
        current_app.send_task(TASK, ignore_result=True)
    except Exception as error:
        log.warning("the broker did not take the wake-up: %s", type(error).__name__)
