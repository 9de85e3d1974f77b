"""One selector loop per run: the tool's three pipes, the launcher's messages, cancel and two quotas."""

from __future__ import annotations

import contextlib
import os
import selectors
import time
from dataclasses import dataclass, field
from typing import Any

from sandbox.runners.base import CancelToken, OutputSink
from sandbox.runners.link import Launcher, LauncherDiedError
from sandbox.runners.pump import Capture
from sandbox.runners.room import Room

CHUNK = 65_536
GRACE_MS = 250
FLOOD_FACTOR = 8
CANCEL_POLL = 0.05
DRAIN_SECONDS = 0.1


@dataclass(slots=True)
class Ending:
    """What the launcher said. `done` stays None when it died; `going` tells whether the tool may have run."""

    going: bool = False
    done: dict[str, Any] | None = None


@dataclass(slots=True)
class Streams:
    """The worker's ends of the pipes; -1 where there is none."""

    stdout: int
    stderr: int = -1
    stdin: int = -1
    pending: memoryview = field(default_factory=lambda: memoryview(b""))


class Supervision:
    """Moves bytes both ways until the launcher reports the end of the whole tree."""

    def __init__(
        self,
        launcher: Launcher,
        streams: Streams,
        capture: Capture,
        *,
        cap: int,
        give_up: float,
        cancel: CancelToken,
        sink: OutputSink,
        room: Room | None = None,
    ) -> None:
        self._launcher = launcher
        self._streams = streams
        self._capture = capture
        self._cap = cap
        self._give_up = give_up
        self._cancel = cancel
        self._sink = sink
        self._room = room
        self._ordered = False
        self._selector = selectors.DefaultSelector()
        both = {streams.stdout: "stdout", streams.stderr: "stderr"}
        self._names = {fd: name for fd, name in both.items() if fd >= 0}

    def run(self) -> Ending:
        """Return how it ended. After `give_up` (monotonic) a silent launcher is killed with its tree."""
        ending = Ending()
        with self._selector:
            self._register()
            try:
                while ending.done is None:
                    self._step(ending)
                    if time.monotonic() > self._give_up:
                        self._launcher.close()
                        return ending
            except LauncherDiedError:
                self._launcher.close()
                return ending
            self._drain()
        return ending

    def _register(self) -> None:
        self._selector.register(self._launcher, selectors.EVENT_READ)
        for fd in self._names:
            os.set_blocking(fd, False)
            self._selector.register(fd, selectors.EVENT_READ)
        if self._streams.stdin >= 0:
            os.set_blocking(self._streams.stdin, False)
            self._selector.register(self._streams.stdin, selectors.EVENT_WRITE)

    def _step(self, ending: Ending) -> None:
        for key, _ in self._selector.select(CANCEL_POLL):
            if key.fileobj is self._launcher:
                message = self._launcher.receive()
                ending.going = ending.going or message["op"] == "going"
                if message["op"] == "done":
                    ending.done = message
            elif key.fd == self._streams.stdin:
                self._feed()
            else:
                self._read(key.fd)
        self._order()

    def _order(self) -> None:
        if self._ordered:
            return
        if self._cancel.cancelled:
            self._kill("cancel", GRACE_MS)
        elif self._capture.total > FLOOD_FACTOR * self._cap:
            self._kill("output", 0)
        elif self._room is not None and self._room.exceeded_by_now():
            self._kill("workspace", 0)

    def _kill(self, reason: str, grace_ms: int) -> None:
        self._ordered = True
        self._launcher.send({"op": "kill", "reason": reason, "grace_ms": grace_ms})

    def _read(self, fd: int) -> bool:
        try:
            data = os.read(fd, CHUNK)
        except BlockingIOError:
            return False
        if not data:
            with contextlib.suppress(KeyError):
                self._selector.unregister(fd)
            return False
        self._capture.feed(self._names[fd], data)
        self._sink.write(self._names[fd], data)
        return True

    def _feed(self) -> None:
        written = 0
        with contextlib.suppress(BlockingIOError):
            try:
                written = os.write(self._streams.stdin, self._streams.pending[:CHUNK])
            except BrokenPipeError:
                written = len(self._streams.pending)
        self._streams.pending = self._streams.pending[written:]
        if not self._streams.pending:
            self._selector.unregister(self._streams.stdin)
            os.close(self._streams.stdin)
            self._streams.stdin = -1

    def _drain(self) -> None:
        """The tree is dead, so what is left lies in the pipes."""
        deadline = time.monotonic() + DRAIN_SECONDS
        for fd in self._names:
            while time.monotonic() < deadline and self._read(fd):
                pass
