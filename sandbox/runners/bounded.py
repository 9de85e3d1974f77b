"""Answers of a child process that may take a while, or memory, or its own life, but never the server's.

For work on text from outside that has no bound of its own: the caller gets an answer in time or an
error, and what was asked for too much is killed. The child holds no key and no connection.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path
from threading import Lock, Semaphore

LENGTH = struct.Struct("!I")
READY = b"."
START_SECONDS = 30.0
MAX_ANSWER_BYTES = 64 * 1024 * 1024


class BoundedError(Exception):
    """No answer."""


class TookTooLongError(BoundedError):
    """The time was over; the child was killed."""


class ChildDiedError(BoundedError):
    """The child ended without an answer: out of memory, or a fault in native code."""


class NoTurnError(BoundedError):
    """All children were busy until the time was over."""


class NotStartedError(BoundedError):
    """The child cannot be started on this host."""


class Bench:
    """A few children of one program, started when they are needed. Safe for threads and after a fork."""

    def __init__(self, program: Path, size: int) -> None:
        self._program = program
        self._turns = Semaphore(size)
        self._lock = Lock()
        self._idle: list[_Child] = []

    def ask(self, question: bytes, *, seconds: float) -> bytes:
        """Return an answer, or raise BoundedError.

        A caller waits up to `seconds` for a free child, and the child has `seconds` for the answer; a
        child that has to be started first says when it is ready, which does not count.
        """
        if not self._turns.acquire(timeout=seconds):
            raise NoTurnError
        try:
            child = self._take()
            try:
                answer = child.ask(question, time.monotonic() + seconds)
            except BaseException:
                child.end()
                raise
            with self._lock:
                self._idle.append(child)
            return answer
        finally:
            self._turns.release()

    def close(self) -> None:
        """End the children that wait."""
        with self._lock:
            children, self._idle = self._idle, []
        for child in children:
            child.end()

    def _take(self) -> _Child:
        with self._lock:
            while self._idle:
                child = self._idle.pop()
                if child.is_ours():
                    return child
                child.end()
        return _Child(self._program)


class _Child:
    """One process and the socket to it: a length and bytes, in either direction."""

    def __init__(self, program: Path) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            number = theirs.fileno()
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-I", str(program), str(number)],
                    pass_fds=(number,),
                    env={},
                    cwd="/",
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,
                )
            except OSError as error:
                ours.close()
                raise NotStartedError from error
        self._socket = ours
        self._owner = os.getpid()
        self._await_ready()

    def _await_ready(self) -> None:
        try:
            ready = self._receive(len(READY), time.monotonic() + START_SECONDS) == READY
        except (OSError, BoundedError):
            ready = False
        if not ready:
            self.end()
            raise NotStartedError

    def is_ours(self) -> bool:
        """Tell whether this process started the child and it still runs."""
        return self._owner == os.getpid() and self._process.poll() is None

    def ask(self, question: bytes, deadline: float) -> bytes:
        try:
            self._patience(deadline)
            self._socket.sendall(LENGTH.pack(len(question)) + question)
            (size,) = LENGTH.unpack(self._receive(LENGTH.size, deadline))
            if size > MAX_ANSWER_BYTES:
                raise ChildDiedError
            return self._receive(size, deadline)
        except TimeoutError as error:
            raise TookTooLongError from error
        except OSError as error:
            raise ChildDiedError from error

    def end(self) -> None:
        """Let the child go, and kill it if it is ours and still there."""
        self._socket.close()
        if self._owner == os.getpid():
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            self._process.wait()

    def _receive(self, size: int, deadline: float) -> bytes:
        received = bytearray()
        while len(received) < size:
            self._patience(deadline)
            part = self._socket.recv(min(size - len(received), 65_536))
            if not part:
                raise ChildDiedError
            received += part
        return bytes(received)

    def _patience(self, deadline: float) -> None:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._socket.settimeout(left)
