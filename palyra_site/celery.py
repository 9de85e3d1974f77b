"""The Celery application and what a worker does at its start."""

from __future__ import annotations

import os
import warnings
from typing import Any

from celery import Celery
from celery.platforms import SecurityWarning  # type: ignore[attr-defined]  # missing in its stubs
from celery.signals import (
    celeryd_after_setup,
    worker_init,
    worker_process_init,
    worker_process_shutdown,
    worker_ready,
    worker_shutdown,
    worker_shutting_down,
)

from palyra_site import folder_transport

QUEUES_WITHOUT_TOOLS = frozenset({"jobs", "notifications"})

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "palyra_site.settings")
# Tools never run with the worker's rights, so the warning about root would only mislead.
warnings.filterwarnings("ignore", category=SecurityWarning)

folder_transport.use()
app = Celery("palyra")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks(["governance"])


@worker_init.connect
def prepare(**_: Any) -> None:
    """Make the queue's folders, for a worker that is started without `manage.py up`."""
    from palyra_site import broker

    broker.make_folders()


_queues: set[str] = set()


@celeryd_after_setup.connect
def choose(instance: Any, **_: Any) -> None:
    """Note which queues this worker serves, before its pool starts: not every one runs tools."""
    _queues.update(instance.app.amqp.queues.consume_from)


def _runs_tools() -> bool:
    return not _queues or not _queues <= QUEUES_WITHOUT_TOOLS


@worker_process_init.connect
def start_runners(**_: Any) -> None:
    """Give each worker process that runs tools its own launcher."""
    if not _runs_tools():
        return
    from governance import runner

    runner.start()


@worker_process_shutdown.connect
def stop_runners(**_: Any) -> None:
    from governance import runner

    runner.stop()


@worker_ready.connect
def announce(**_: Any) -> None:
    """Say what this host can enforce, clean up after an earlier boot, and look at the queue."""
    from governance import presence, wakeup

    wakeup.ring_jobs()
    wakeup.ring_notifications()
    if _runs_tools():
        presence.begin()


@worker_shutting_down.connect
def drain(**_: Any) -> None:
    """Claim nothing more; give what runs its time."""
    from governance import stopping

    stopping.drain.begin()


@worker_shutdown.connect
def leave(**_: Any) -> None:
    from governance import presence

    presence.end()
