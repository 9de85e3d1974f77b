"""How a worker stops: no new claims, half a minute for what runs, then an end that is known.

The moment is shared by all processes of a worker, because Celery tells only the first of them.
"""

from __future__ import annotations

import mmap
import struct
import time

DRAIN_SECONDS = 30.0
REASON = "worker_stopping"
_MOMENT = struct.Struct("d")


class Drain:
    """The moment at which running tools are killed, 0 while nobody asked the worker to stop.

    Lies in memory that forked processes share: create it before the fork. The clock is
    `time.monotonic`, which all processes of a host read alike.
    """

    def __init__(self) -> None:
        self._shared = mmap.mmap(-1, _MOMENT.size)

    def begin(self, seconds: float = DRAIN_SECONDS) -> None:
        """Start draining. Asking again changes nothing."""
        if not self.begun:
            _MOMENT.pack_into(self._shared, 0, time.monotonic() + seconds)

    @property
    def begun(self) -> bool:
        """Tell whether this worker was asked to stop; then it claims nothing more."""
        return self._until() > 0

    @property
    def over(self) -> bool:
        """Tell whether what still runs must end now."""
        return self.begun and time.monotonic() >= self._until()

    def _until(self) -> float:
        moment: float = _MOMENT.unpack_from(self._shared)[0]
        return moment


drain = Drain()
