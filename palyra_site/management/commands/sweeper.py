"""The sweeper process: does every few seconds what nobody waits for."""

from __future__ import annotations

import logging
import signal
import threading
from typing import Any

from django.core.management.base import BaseCommand
from django.db import DatabaseError, close_old_connections

from governance import operations
from kernel.clock import utc_now

log = logging.getLogger(__name__)

PAUSE_SECONDS = 5.0


class Command(BaseCommand):
    """Expire requests, notice lost runs, refuse what waited too long, ring for what is queued."""

    help = "Run the sweeper until it is told to stop."

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument("--once", action="store_true", help="sweep one time and end")

    def handle(self, *args: Any, **options: Any) -> None:
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        while True:
            sweep_once()
            if options["once"] or stop.wait(PAUSE_SECONDS):
                return


def sweep_once() -> None:
    """Sweep; a database that is away is tried again at the next turn."""
    close_old_connections()
    try:
        done = operations.sweep(utc_now())
    except DatabaseError:
        log.exception("the sweep failed")
        return
    if any(done.values()):
        log.info("swept %s", {name: count for name, count in done.items() if count})
