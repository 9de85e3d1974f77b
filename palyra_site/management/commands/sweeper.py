"""The sweeper process: does every few seconds what nobody waits for, and seals the journal beside it."""

from __future__ import annotations

import logging
import signal
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import close_old_connections

from governance.operations import sweeping
from kernel.clock import utc_now
from palyra_site import broker, checks, journal_settings
from palyra_site.sealing_loop import seal_all, sealing_loop

log = logging.getLogger(__name__)

PAUSE_SECONDS = 5.0
STOP_SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT})


class Command(BaseCommand):
    """Expire requests, notice lost runs, refuse what waited too long, ring for what is queued; seal."""

    help = "Run the sweeper until it is told to stop."
    requires_system_checks = ()  # `check` reads the whole web side, which this command never needs

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument("--once", action="store_true", help="sweep one time and end")

    def handle(self, *args: Any, **options: Any) -> None:
        faults = journal_settings.faults(checks.of_journal())
        if faults:
            raise CommandError(" ".join(f"{fault.sentence}: {fault.hint}" for fault in faults))
        if options["once"]:
            sweep_once()
            seal_all()
            return
        # Blocked, a signal waits until the sweep is done and then ends the pause.
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        with sealing_loop(settings.PALYRA_JOURNAL_SEAL_SECONDS):
            while True:
                sweep_once()
                if signal.sigtimedwait(STOP_SIGNALS, PAUSE_SECONDS) is not None:
                    return


def sweep_once() -> None:
    """Sweep; whatever fails is logged and tried again at the next turn, because the rest depends on it."""
    close_old_connections()
    now = utc_now()
    try:
        done = sweeping.sweep(now) | {"messages_deleted": broker.sweep_processed(now)}
    except Exception:
        log.exception("the sweep failed")
        return
    if any(done.values()):
        log.info("swept %s", {name: count for name, count in done.items() if count})
