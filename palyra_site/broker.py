"""The queues between web and workers: they exist before anybody uses them, and leftovers are swept."""

from __future__ import annotations

import os
from datetime import datetime, timedelta
from pathlib import Path

from celery import current_app
from django.conf import settings
from kombu.exceptions import OperationalError

PROCESSED_LIFE = timedelta(hours=1)
SWEEP_LIMIT = 2_000
JOBS_QUEUE = "jobs"
NOTIFICATIONS_QUEUE = "notifications"
_FOLDERS = ("data_folder_in", "processed_folder", "control_folder")


class BrokerDownError(Exception):
    """The broker cannot be reached; the text names it without its password."""


def declare() -> None:
    """Make the queues and their folders before several processes would make them at once.

    The folder transport writes its table of queues without guarding the first write.
    """
    make_folders()
    with current_app.connection_for_write() as connection:
        try:
            connection.ensure_connection(max_retries=1, interval_start=1, timeout=5)
            for name in (current_app.conf.task_default_queue, JOBS_QUEUE, NOTIFICATIONS_QUEUE):
                current_app.amqp.queues[name](connection.default_channel).declare()
        except (OperationalError, OSError) as error:
            raise BrokerDownError(f"{connection.as_uri()}: {error}") from error


def make_folders() -> None:
    """Make the folders of the folder transport, closed to other users; with Redis there are none."""
    if settings.PALYRA_REDIS_URL:
        return
    for name in _FOLDERS:
        Path(str(settings.CELERY_BROKER_TRANSPORT_OPTIONS[name])).mkdir(
            parents=True, exist_ok=True, mode=0o700
        )


def sweep_processed(now: datetime) -> int:
    """Delete taken messages older than an hour, at most `SWEEP_LIMIT` at a time; return how many."""
    folder = settings.CELERY_BROKER_TRANSPORT_OPTIONS.get("processed_folder")
    if not isinstance(folder, str) or not Path(folder).is_dir():
        return 0
    oldest, deleted = (now - PROCESSED_LIFE).timestamp(), 0
    with os.scandir(folder) as entries:
        for entry in entries:
            if deleted == SWEEP_LIMIT:
                break
            deleted += _delete_if_older(entry, oldest)
    return deleted


def _delete_if_older(entry: os.DirEntry[str], oldest: float) -> bool:
    """Two sweepers may meet at the same file, and a file may not be ours to delete: neither stops a sweep."""
    try:
        if not entry.name.endswith(".msg") or entry.stat(follow_symlinks=False).st_mtime >= oldest:
            return False
        os.unlink(entry.path)
    except OSError:
        return False
    return True
