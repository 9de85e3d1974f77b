"""The thread that seals: beside the sweep, so that neither waits for the other."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from django.db import connection

from governance.journal.models import JournalPending
from governance.operations import sealing
from kernel.clock import utc_now

log = logging.getLogger(__name__)

FULL = 512
"""So many waiting events are sealed at once, without the rest of the pause."""

LOOK_SECONDS = 0.25
SAID_AGAIN_SECONDS = 60.0
STOP_SECONDS = 20.0


@contextmanager
def sealing_loop(seconds: float) -> Iterator[None]:
    """Seal every so many seconds while the block runs, on a connection of its own.

    What fails is logged, the same failure once a minute, and tried again at the next turn.
    """
    loop = _Loop(seconds)
    thread = threading.Thread(target=loop.run, name="sealer", daemon=True)
    thread.start()
    try:
        yield
    finally:
        loop.stop.set()
        thread.join(STOP_SECONDS)


def seal_all() -> None:
    """Seal until nothing waits or another sealer is at it."""
    while sealing.seal_pending(utc_now()) is not None:
        pass


class _Loop:
    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.stop = threading.Event()
        self._said = ("", 0.0)

    def run(self) -> None:
        try:
            self._guarded(lambda: sealing.catch_up(utc_now()))
            while not self.stop.is_set():
                due = time.monotonic() + self.seconds
                self._guarded(self._seal)
                self._pause(due)
        finally:
            connection.close()

    def _seal(self) -> None:
        while sealing.seal_pending(utc_now()) is not None and _is_full() and not self.stop.is_set():
            pass

    def _pause(self, due: float) -> None:
        while (left := due - time.monotonic()) > 0:
            if self.stop.wait(min(left, LOOK_SECONDS)) or self._guarded(_is_full):
                return

    def _guarded(self, work: Callable[[], object]) -> bool:
        try:
            return bool(work())
        except Exception as error:
            self._say(error)
            connection.close()  # a connection that broke is not mended by asking it again
            return False

    def _say(self, error: Exception) -> None:
        text, now = f"{type(error).__name__}: {error}", time.monotonic()
        if text != self._said[0] or now - self._said[1] > SAID_AGAIN_SECONDS:
            self._said = (text, now)
            log.error("the journal cannot be sealed", exc_info=error)


def _is_full() -> bool:
    return JournalPending.objects.order_by("n").values("n")[FULL - 1 :].exists()
