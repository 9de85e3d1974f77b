"""Ringing the workers. The row is the job; a lost ring only costs the sweeper's next look."""

from __future__ import annotations

import logging

from celery import current_app
from kombu.exceptions import OperationalError

log = logging.getLogger(__name__)

TASK = "governance.tasks.work"


def ring() -> None:
    """Tell a worker that the queue is not empty. A broker that is down is logged, never raised."""
    try:
        current_app.send_task(TASK, ignore_result=True)
    except (OperationalError, OSError) as error:
        log.warning("the broker did not take the wake-up: %s", type(error).__name__)
