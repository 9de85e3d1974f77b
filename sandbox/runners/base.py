"""The protocol that every tier's runner follows."""

from __future__ import annotations

import threading
from typing import Protocol

from sandbox.types import Executor, Outcome, SandboxJob


class CancelToken:
    """Ends a run from another thread. Once cancelled it stays cancelled; the first reason is kept."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._reason = ""

    def cancel(self, reason: str = "caller") -> None:
        if not self._event.is_set():
            self._reason = reason
            self._event.set()

    @property
    def cancelled(self) -> bool:
        return self._event.is_set()

    @property
    def reason(self) -> str:
        return self._reason

    def wait(self, seconds: float) -> bool:
        """Wait at most `seconds`; return whether the token is cancelled."""
        return self._event.wait(seconds)


class OutputSink(Protocol):
    """Watches output as it comes. `stream` is stdout or stderr; it must not block."""

    def write(self, stream: str, data: bytes) -> None: ...


class NoSink:
    """Drops live output; the outcome still holds it."""

    def write(self, stream: str, data: bytes) -> None:
        """Accept and forget."""


class Runner(Protocol):
    """Runs jobs of one executor.

    `deadline` is on the `time.monotonic` clock and may only shorten the spec's wall timeout. A runner
    returns an Outcome for everything that happens after it began and raises only SandboxRefusal,
    before anything ran.
    """

    @property
    def executor(self) -> Executor: ...

    def run(self, job: SandboxJob, *, deadline: float, cancel: CancelToken, sink: OutputSink) -> Outcome: ...
