"""One confined process from its spawn to the proof that it is gone."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import selectors
import struct
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from kernel.canonical import parse
from kernel.errors import MalformedError
from sandbox.runners.base import CancelToken
from sandbox.runners.seccomp import Filters
from sandbox.runners.wasm_abi import Stopped
from sandbox.runners.wasm_plan import ChildFiles, bubblewrap_arguments, host_command
from sandbox.types import ErrorKind, SandboxRefusal

log = logging.getLogger(__name__)

GRACE_SECONDS = 0.25
SURVIVOR_SECONDS = 5.0
POLL_SECONDS = 0.02
MAX_HELLO = 65_536
_CHUNK = 1 << 16


@dataclass(frozen=True, slots=True)
class Host:
    """What this machine offers to Tier A. `sandbox_uid` is None when the worker is not root."""

    bubblewrap: str
    filters: Filters
    files: ChildFiles
    sandbox_uid: int | None
    stage_point: str


@dataclass(frozen=True, slots=True)
class Confinement:
    """What child and kernel said before any foreign byte was sent."""

    hello: Mapping[str, object]
    host_uid: int
    foreign_namespaces: frozenset[str]


class Child:
    """Use as a context manager: whatever happens, leaving it ends the process."""

    def __init__(self, host: Host) -> None:
        self._process, self._status = _spawn(host)
        self._stdin, self._stdout = _pipe(self._process.stdin), _pipe(self._process.stdout)
        self._received = bytearray()
        self._pending = memoryview(b"")
        self._open = True

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def greet(self, deadline: float) -> Confinement:
        """Return how the child is confined, or raise SandboxRefusal `SpawnFailed` when it never came up."""
        body, _ = self.exchange(b"", MAX_HELLO, deadline, CancelToken())
        try:
            hello = cast("dict[str, Any]", parse(body or b""))
            return Confinement(hello, *_seen_from_outside(self._status, hello["namespaces"]))
        except (MalformedError, OSError, AttributeError, LookupError, TypeError, ValueError) as error:
            log.warning("a Tier A child did not start: %s", self._last_words())
            raise SandboxRefusal(
                ErrorKind.SPAWN_FAILED, "sandbox.spawn_failed", "The sandbox of the skill did not start."
            ) from error

    def exchange(
        self, message: bytes, limit: int, deadline: float, cancel: CancelToken
    ) -> tuple[bytes | None, Stopped]:
        """Send `message`, return the next frame and who stopped the wait.

        At the deadline or a cancellation the child is interrupted, and killed after a grace of 250 ms.
        None: it ended, was killed, or its frame was longer than `limit`.
        """
        self._pending, stopped, kill_at = memoryview(message), Stopped.NO, 0.0
        while True:
            now = time.monotonic()
            if stopped is Stopped.NO and (stopped := _stop_reason(now, deadline, cancel)) is not Stopped.NO:
                self._interrupt()
                kill_at = now + GRACE_SECONDS
            body = self._next_frame(limit)
            if body is not None:
                return body, stopped
            if not self._open or (stopped is not Stopped.NO and now >= kill_at):
                return None, stopped
            self._pump(limit)

    def end(self) -> bool:
        """Kill what is left and tell whether all of it is gone.

        Every process of the sandbox holds the write end of stdout, so its end of file is the proof.
        """
        if self._process.poll() is None:
            self._process.kill()
        give_up = time.monotonic() + SURVIVOR_SECONDS
        while self._open and time.monotonic() < give_up:
            self._received.clear()
            self._pump(limit=0)
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr, self._status):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=SURVIVOR_SECONDS)
        return not self._open and self._process.returncode is not None

    def _interrupt(self) -> None:
        self._pending = memoryview(b"")
        if self._process.stdin is not None:
            self._process.stdin.close()

    def _next_frame(self, limit: int) -> bytes | None:
        if len(self._received) < 4:
            return None
        (length,) = struct.unpack_from(">I", self._received)
        if length > limit:
            self._open = False
            return None
        if len(self._received) < 4 + length:
            return None
        body = bytes(self._received[4 : 4 + length])
        del self._received[: 4 + length]
        return body

    def _pump(self, limit: int) -> None:
        with selectors.DefaultSelector() as ready:
            ready.register(self._stdout, selectors.EVENT_READ)
            if self._pending:
                ready.register(self._stdin, selectors.EVENT_WRITE)
            for key, _ in ready.select(POLL_SECONDS):
                if key.fd == self._stdout:
                    self._read()
                else:
                    self._write()

    def _read(self) -> None:
        chunk = os.read(self._stdout, _CHUNK)
        self._received += chunk
        self._open = bool(chunk)

    def _write(self) -> None:
        try:
            self._pending = self._pending[os.write(self._stdin, self._pending[:_CHUNK]) :]
        except BrokenPipeError:
            self._pending = memoryview(b"")

    def _last_words(self) -> str:
        if self._process.stderr is None:
            return ""
        os.set_blocking(self._process.stderr.fileno(), False)
        return (self._process.stderr.read(2_000) or b"").decode("utf-8", "replace").strip()


def _stop_reason(now: float, deadline: float, cancel: CancelToken) -> Stopped:
    if cancel.cancelled:
        return Stopped.CANCELLED
    return Stopped.DEADLINE if now >= deadline else Stopped.NO


def _pipe(stream: IO[bytes] | None) -> int:
    assert stream is not None
    os.set_blocking(stream.fileno(), False)
    return stream.fileno()


class _Feeds:
    """Pipes that already hold what the child will read; a context manager over the worker's ends."""

    def __init__(self) -> None:
        self.descriptors: list[int] = []
        self._stack = ExitStack()

    def __enter__(self) -> _Feeds:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def add(self, data: bytes) -> int:
        """Return the descriptor from which the child reads `data` (less than a pipe's 64 KiB)."""
        reader, writer = os.pipe()
        self._keep(reader)
        with os.fdopen(writer, "wb") as stream:
            stream.write(data)
        return reader

    def listen(self) -> tuple[int, IO[bytes]]:
        """Return the descriptor that the child writes to, and the worker's end."""
        reader, writer = os.pipe()
        self._keep(writer)
        return writer, os.fdopen(reader, "rb", buffering=0)

    def _keep(self, descriptor: int) -> None:
        self.descriptors.append(descriptor)
        self._stack.callback(os.close, descriptor)


def _spawn(host: Host) -> tuple[subprocess.Popen[bytes], IO[bytes]]:
    """Start bubblewrap, through the stage when the worker is root. Arguments travel by descriptor."""
    with _Feeds() as feeds:
        status_fd, status = feeds.listen()
        command = _command(host, feeds, status_fd)
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=feeds.descriptors,
                env={},
                cwd="/",
                start_new_session=True,
                bufsize=0,
            )
        except OSError as error:
            status.close()
            raise SandboxRefusal(
                ErrorKind.SPAWN_FAILED, "sandbox.spawn_failed", "The sandbox of the skill did not start."
            ) from error
    return process, status


def _command(host: Host, feeds: _Feeds, status_fd: int) -> list[str]:
    staged = host.sandbox_uid is not None
    reachable = [
        f"{host.stage_point}/{index}" if staged else source.host
        for index, source in enumerate(host.files.sources)
    ]
    filters = [feeds.add(host.filters.prologue), feeds.add(host.filters.rules)]
    arguments = bubblewrap_arguments(host.files, reachable, filters, status_fd)
    options = feeds.add("\0".join(arguments).encode())
    command = [host.bubblewrap, "--args", str(options), "--", *host_command(host.files)]
    if not staged:
        return command
    order = {
        "uid": host.sandbox_uid,
        "point": host.stage_point,
        "sources": [source.host for source in host.files.sources],
        "argv": command,
    }
    stage = str(Path(__file__).with_name("wasm_stage.py"))
    return [sys.executable, "-I", "-S", "-B", stage, str(feeds.add(json.dumps(order).encode()))]


def _seen_from_outside(status: IO[bytes], inside: Mapping[str, int]) -> tuple[int, frozenset[str]]:
    """Return the child's uid as the host sees it, and which namespaces are not the worker's own."""
    said, _ = json.JSONDecoder().raw_decode(os.read(status.fileno(), _CHUNK).decode())
    with Path(f"/proc/{said['child-pid']}/status").open(encoding="ascii") as lines:
        uid = next(int(line.split()[1]) for line in lines if line.startswith("Uid:"))
    foreign = {name for name, inode in inside.items() if Path(f"/proc/self/ns/{name}").stat().st_ino != inode}
    return uid, frozenset(foreign)
