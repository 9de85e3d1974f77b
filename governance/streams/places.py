"""How many streams one process serves at once, in all and to one principal."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from kernel.errors import UnavailableError

PER_PRINCIPAL = 5
PER_PROCESS = 500
RETRY_AFTER = 5


class Places:
    """Counts open streams. A place is held from the first byte to the end of a stream."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken: Counter[str] = Counter()

    def require_free(self, principal_id: str) -> None:
        """Raise UnavailableError `too_many_streams` when there is no place for this principal."""
        with self._lock:
            self._refuse_beyond(principal_id)

    @contextmanager
    def take(self, principal_id: str) -> Iterator[None]:
        """Hold a place; UnavailableError when others took the last one since it was asked for."""
        with self._lock:
            self._refuse_beyond(principal_id)
            self._taken[principal_id] += 1
        try:
            yield
        finally:
            with self._lock:
                self._taken[principal_id] -= 1
                if not self._taken[principal_id]:
                    del self._taken[principal_id]

    def _refuse_beyond(self, principal_id: str) -> None:
        own, all_ = self._taken[principal_id], self._taken.total()
        if own < PER_PRINCIPAL and all_ < PER_PROCESS:
            return
        sentence = "The server has no place for another stream." if own < PER_PRINCIPAL else _OWN
        raise UnavailableError("too_many_streams", sentence, retry_after=RETRY_AFTER)


_OWN = f"One principal may hold {PER_PRINCIPAL} streams."
PLACES = Places()
