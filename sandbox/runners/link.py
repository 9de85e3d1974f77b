"""The worker's end of a launcher: starting it and exchanging messages with it."""

from __future__ import annotations

import array
import contextlib
import json
import os
import select
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox.types import ErrorKind, SandboxRefusal

DEFAULT_UID = 61_184
MESSAGE_BYTES = 65_536
START_SECONDS = 20.0
_LAUNCHER = Path(__file__).with_name("launcher.py")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerOptions:
    """Where the sandbox's parts are. `uid` counts only when the worker is root."""

    bwrap: str = "/usr/bin/bwrap"
    interpreter: str = sys.executable
    launcher: Path = _LAUNCHER
    uid: int = DEFAULT_UID

    @property
    def sandbox_uid(self) -> int:
        """The uid that sandboxes have on the host."""
        return self.uid if os.geteuid() == 0 else os.geteuid()


class LauncherDiedError(Exception):
    """The launcher closed its socket; with it everything that it had started was killed."""


class Launcher:
    """One launcher process. It serves one job at a time; the caller keeps it to one thread.

    It dies with the *thread* that created it (that is how the kernel defines the parent-death signal),
    so create it on a thread that lives as long as the worker.
    """

    def __init__(self, options: RunnerOptions) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            number = theirs.fileno()
            arguments = [str(options.launcher), str(number), str(options.uid), str(os.getpid())]
            try:
                self._process = subprocess.Popen(
                    [options.interpreter, "-I", "-S", *arguments],
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
                raise _not_started() from error
        self._socket = ours
        self._await_ready()

    def _await_ready(self) -> None:
        ready, _, _ = select.select([self._socket], [], [], START_SECONDS)
        try:
            if not ready or self.receive()["op"] != "ready":
                raise _not_started()
        except LauncherDiedError as error:
            raise _not_started() from error
        except SandboxRefusal:
            self.close()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, message: dict[str, Any], fds: Sequence[int] = ()) -> None:
        """Send one message; the descriptors are duplicated into the launcher."""
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        try:
            self._socket.sendmsg([json.dumps(message).encode()], rights)
        except OSError as error:
            raise LauncherDiedError from error

    def receive(self) -> dict[str, Any]:
        """Wait for the next message; raises LauncherDiedError at the end of the stream."""
        try:
            data = self._socket.recv(MESSAGE_BYTES)
        except OSError as error:
            raise LauncherDiedError from error
        if not data:
            raise LauncherDiedError
        message: dict[str, Any] = json.loads(data)
        return message

    def usable(self) -> bool:
        """Tell whether the process lives and the connection was not closed."""
        return self._socket.fileno() >= 0 and self._process.poll() is None

    def close(self) -> None:
        """Kill the launcher, and with it whatever still runs."""
        self._socket.close()
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait()


def _not_started() -> SandboxRefusal:
    return SandboxRefusal(
        ErrorKind.BACKEND_UNAVAILABLE, "sandbox.launcher_failed", "The sandbox launcher did not start."
    )
