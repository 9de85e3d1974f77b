"""The launcher: a small trusted process that starts sandboxes and watches over them.

Run as `python -I -S launcher.py CONTROL_FD UID PARENT_PID`. It uses the standard library only, has one
thread, no environment and no key, and serves one job at a time over a SOCK_SEQPACKET socket: a JSON
message with descriptors in, JSON messages out. As root it drops to UID without groups before it serves.
When the worker or the socket goes away, everything it started is killed.
"""

from __future__ import annotations

import array
import contextlib
import ctypes
import json
import os
import resource
import select
import signal
import socket
import sys
import time
from collections.abc import Iterable
from typing import Any

if __name__ == "__main__":
    # -I keeps foreign directories out of the path; our own is put back by name.
    sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from sandbox.runners import builtin_fs, procfs

STATUS_FD, BLOCK_FD = 3, 4
ABOVE_ALL_TARGETS = 200
MESSAGE_BYTES = 65_536
MAX_FDS = 128
SETUP_SECONDS = 10.0
SETUP_POLL = 0.0002
STATUS_BYTES = 8_192
NO_NEW_PRIVILEGES = b"\nNoNewPrivs:\t1\n"
NO_CAPABILITIES = b"\nCapEff:\t0000000000000000\n"
TICK = 0.025
FILTER_POLL = 0.0005
DEATH_POLL = 0.0005
SURVIVOR_SECONDS = 5.0
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_CHILD_SUBREAPER = 1, 4, 36
LIBC = ctypes.CDLL(None, use_errno=True)


class StepError(Exception):
    """A step of the set-up failed; the tool never ran."""

    def __init__(self, step: str, message: str) -> None:
        self.step = step
        self.message = message
        super().__init__(step)


class WorkerGoneError(Exception):
    """The worker closed the control socket."""


def prctl(option: int, value: int) -> None:
    if LIBC.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def become(uid: int) -> None:
    """Drop root for good. A sandbox owned by real root would escape the limit on processes."""
    if os.geteuid() == 0:
        if uid == 0:
            raise SystemExit("the sandbox uid must not be 0")
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    os.umask(0o022)
    os.chdir("/")


def harden(parent: int) -> None:
    """Die with the worker and stay closed to other processes of the same uid."""
    prctl(PR_SET_DUMPABLE, 0)
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        raise SystemExit("the worker is gone")


def reserve_targets() -> None:
    """Occupy the numbers that the sandbox is given, so that whatever is opened later lies above them."""
    while (fd := os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)) < ABOVE_ALL_TARGETS:
        pass
    os.close(fd)


class Control:
    """The socket to the worker."""

    def __init__(self, fd: int) -> None:
        self._socket = socket.socket(fileno=fd)
        self._socket.set_inheritable(False)

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, **message: object) -> None:
        try:
            self._socket.send(json.dumps(message).encode())
        except OSError as error:
            raise WorkerGoneError from error

    def receive(self) -> tuple[dict[str, Any], list[int]]:
        """Wait for one message; its descriptors are close-on-exec."""
        size = socket.CMSG_SPACE(MAX_FDS * array.array("i").itemsize)
        data, ancillary, _, _ = self._socket.recvmsg(MESSAGE_BYTES, size, socket.MSG_CMSG_CLOEXEC)
        received = array.array("i")
        for level, kind, payload in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                received.frombytes(payload[: len(payload) - len(payload) % received.itemsize])
        if not data:
            raise WorkerGoneError
        return json.loads(data), received.tolist()


class Task:
    """What every job shares: orders from the worker, a first reason to end, and a complete end."""

    def __init__(self, control: Control, job: dict[str, Any]) -> None:
        self.control = control
        self.job = job
        self.reason: str | None = None
        self.kill_at: float | None = None
        self.tool_fd: int | None = None
        self.main_pid: int | None = None
        self.main_fd = -1
        self.watched: list[int] = []
        self.usage = {"cpu_ms": 0, "max_rss": 0, "processes": 0, "memory": 0}

    def wait(self, fds: Iterable[int], deadline: float) -> bool:
        """Wait for a descriptor or an order of the worker, at most until `deadline`."""
        # select() and not poll(): some waits are shorter than a millisecond.
        wanted = set(fds)
        seconds = max(0.0, deadline - time.monotonic())
        ready = set(select.select([*wanted, self.control.fileno()], [], [], seconds)[0])
        if self.control.fileno() in ready:
            self.take_orders()
        return bool(ready & wanted)

    def take_orders(self) -> None:
        while select.select([self.control.fileno()], [], [], 0)[0]:
            message, fds = self.control.receive()
            for fd in fds:
                os.close(fd)
            if message["op"] == "kill":
                self.order(message["reason"], message["grace_ms"])

    def order(self, reason: str, grace_ms: int) -> None:
        """Begin the end: SIGTERM to the tool, SIGKILL to everything after the grace. First reason wins."""
        if self.reason is None:
            self.reason = reason
        if self.kill_at is None or grace_ms == 0:
            self.kill_at = time.monotonic() + grace_ms / 1000
        if grace_ms and self.tool_fd is not None:
            try:
                signal.pidfd_send_signal(self.tool_fd, signal.SIGTERM)
            except OSError:
                self.kill_at = time.monotonic()

    def reap(self) -> bool:
        """Kill and reap every child, adopted ones too; return False when one lives after 5 s.

        The launcher is a sub-reaper, so nothing a job started can leave its set of children. The usage
        of `main_pid` covers the processes that it reaped itself.
        """
        deadline = time.monotonic() + SURVIVOR_SECONDS
        while time.monotonic() < deadline:
            try:
                pid, _, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return True
            if pid and pid == self.main_pid:
                cpu = int((usage.ru_utime + usage.ru_stime) * 1000)
                self.usage["cpu_ms"] = max(self.usage["cpu_ms"], cpu)
                self.usage["max_rss"] = usage.ru_maxrss * 1024
            if not pid and not self.await_death():
                for child in procfs.children_of(os.getpid()):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(child, signal.SIGKILL)
        return False

    def await_death(self) -> bool:
        """Wait a moment for one more of the `watched` to die; its descriptor then stays readable."""
        dead = select.select(self.watched, [], [], DEATH_POLL)[0]
        self.watched = [fd for fd in self.watched if fd not in dead]
        return bool(dead)


class SandboxTask(Task):
    """One sandbox from spawn to the last reaped process."""

    def __init__(self, control: Control, job: dict[str, Any], fds: list[int], host: dict[str, str]) -> None:
        super().__init__(control, job)
        *self.fds, argv = fds
        self.argv = os.pread(argv, os.fstat(argv).st_size, 0).decode().split("\0")[:-1]
        os.close(argv)
        self.host = host
        self.status = self.block = self.progress = -1
        self.documents = b""
        self.exit_code: int | None = None
        self.went = False
        self.bwrap_fd = -1
        self.bwrap_program: tuple[int, int] | None = None
        self.privileges: dict[str, str] = {}
        self.enforcement: dict[str, object] = {}

    def run(self) -> None:
        started = time.monotonic()
        failure = None
        try:
            self.spawn()
            self.await_init(started + SETUP_SECONDS)
            self.await_blocked(started + SETUP_SECONDS)
            self.confine()
            self.go()
            self.watch(time.monotonic() + self.job["limits"]["wall_ms"] / 1000)
        except StepError as error:
            failure = {"step": error.step, "message": error.message}
        finally:
            clean = self.end()
        self.control.send(
            op="done",
            ran=self.went,
            failure=failure,
            reason=self.reason,
            exit_code=None if self.reason else self.exit_code,
            usage=self.usage,
            enforcement=self.enforcement,
            survivor=not clean,
        )

    def spawn(self) -> None:
        self.status, status_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        block_read, self.block = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(status_write, True)
        wiring = [*zip(self.fds, self.job["targets"], strict=True)]
        wiring += [(status_write, STATUS_FD), (block_read, BLOCK_FD)]
        try:
            bwrap = os.posix_spawn(
                self.job["bwrap"],
                ["bwrap", "--args", str(self.job["args_fd"]), "--", *self.argv],
                {},
                file_actions=[(os.POSIX_SPAWN_DUP2, source, target) for source, target in wiring],
                setsigmask=[],
                setsigdef=[signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT],
            )
            self.bwrap_fd = os.pidfd_open(bwrap)
            self.bwrap_program = procfs.program_at(self.job["bwrap"])
        except OSError as error:
            raise StepError("spawn", error.strerror or "unknown") from error
        finally:
            for source, _ in wiring:
                os.close(source)
            self.fds = []

    def await_init(self, deadline: float) -> None:
        """Read bubblewrap's first document; it arrives in pieces."""
        while self.main_pid is None:
            if self.wait((self.status,), deadline) and not self.read_status():
                raise StepError("namespaces", "bubblewrap ended before the sandbox existed")
            self.still_wanted("namespaces", deadline)
            for document in self.parsed():
                self.main_pid = document.get("child-pid", self.main_pid)
        try:
            self.main_fd = os.pidfd_open(self.main_pid)
            self.progress = os.open(f"/proc/{self.main_pid}/status", os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise StepError("namespaces", "the sandbox died during its set-up") from error

    def await_blocked(self, deadline: float) -> None:
        """Wait until bubblewrap has dropped everything; the next thing it does is wait for our byte."""
        while True:
            try:
                text = os.pread(self.progress, STATUS_BYTES, 0)
            except OSError as error:
                raise StepError("mounts", "the sandbox died during its set-up") from error
            if NO_NEW_PRIVILEGES in text and NO_CAPABILITIES in text:
                self.privileges = procfs.fields_of(text)
                return
            if self.wait((self.main_fd,), time.monotonic() + SETUP_POLL):
                raise StepError("mounts", "bubblewrap could not build the sandbox")
            self.still_wanted("mounts", deadline)

    def still_wanted(self, step: str, deadline: float) -> None:
        if self.reason or time.monotonic() >= deadline:
            raise StepError(step, self.reason or "the sandbox was not ready in time")

    def confine(self) -> None:
        """Set the limits on the blocked child, then compare what the kernel says with the plan."""
        pid = self.main_pid or 0
        try:
            for number, value in self.job["limits"]["rlimits"]:
                hard = resource.prlimit(pid, number)[1]
                bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
                resource.prlimit(pid, number, (bound, bound))
            self.enforcement = self.read_back(pid)
        except (OSError, ValueError, KeyError) as error:
            raise StepError("limits", f"{type(error).__name__}: {error}") from error

    def read_back(self, pid: int) -> dict[str, object]:
        own = procfs.namespaces_of(pid)
        limits = {number: resource.prlimit(pid, number) for number, _ in self.job["limits"]["rlimits"]}
        wrong = [f"the {name} namespace is the host's" for name in own if own[name] == self.host[name]]
        wrong += procfs.privileges_in(self.privileges)
        if not procfs.root_is_private(pid):
            wrong.append("the root is not a read-only tmpfs of its own")
        wrong += [
            f"limit {number} is not in force"
            for number, value in self.job["limits"]["rlimits"]
            if value != resource.RLIM_INFINITY and not 0 <= limits[number][1] <= value
        ]
        if wrong:
            raise StepError("enforcement_mismatch", "; ".join(wrong))
        namespaces = {("mountns" if name == "mnt" else f"{name}ns"): own[name] for name in own}
        return {**namespaces, "nnp": True, "caps": "none", "mount_root": "allowlist"}

    def go(self) -> None:
        self.take_orders()
        if self.reason:
            raise StepError("go", self.reason)
        try:
            os.write(self.block, b"\n")
        except BrokenPipeError as error:
            raise StepError("go", "the sandbox died during its set-up") from error
        self.went = True
        self.control.send(op="going")

    def watch(self, deadline: float) -> None:
        """Watch until the tool ends or has to: its limits every 25 ms, its filters until they are seen."""
        started = time.monotonic()
        tick = started + TICK
        seen = False
        while self.kill_at is None or time.monotonic() < self.kill_at:
            pause = tick if seen else min(tick, time.monotonic() + FILTER_POLL)
            self.wait((self.status,), min(pause, self.kill_at or deadline))
            alive = self.read_status()
            self.take_exit()
            if self.exit_code is not None or not alive:
                return
            now = time.monotonic()
            seen = seen or self.check_filters(now - started)
            if now >= tick:
                tick = now + TICK
                self.check_usage()
            if now >= deadline and self.reason is None:
                self.order("timeout", self.job["limits"]["grace_ms"])

    def check_filters(self, elapsed: float) -> bool:
        """Look for both programs on the tool itself; return whether the question is settled.

        The child is bubblewrap until it executes the tool, and installs them last of all; on a busy host
        that takes its time. So the program is read before the filters: a tool without them is a mismatch.
        """
        late = elapsed >= SETUP_SECONDS
        for pid in procfs.children_of(self.main_pid or 0)[:1]:
            try:
                if self.tool_fd is None:
                    self.tool_fd = os.pidfd_open(pid)
                executed = procfs.program_of(pid) not in (None, self.bwrap_program)
                status = procfs.status_of(pid)
            except OSError:
                break
            count = int(status.get("Seccomp_filters", "0"))
            if status.get("Seccomp") == "2" and count >= self.job["filters"]:
                self.enforcement["seccomp_filters"] = count
                return True
            if (executed or late) and "Z" not in status.get("State", ""):
                self.order("enforcement_mismatch", 0)
                return True
        return late

    def check_usage(self) -> None:
        tree = procfs.tree_of(self.main_pid or 0)
        limits = self.job["limits"]
        cpu = sum(procfs.cpu_ms_of(pid) for pid in tree)
        files = procfs.tmpfs_bytes(tree[0], limits["tmpfs"])
        memory = files + sum(procfs.resident(pid) for pid in tree)
        if memory > limits["memory_bytes"]:
            memory = files + sum(procfs.proportional(pid) for pid in tree)
        self.usage["cpu_ms"] = max(self.usage["cpu_ms"], cpu)
        self.usage["memory"] = max(self.usage["memory"], memory)
        self.usage["processes"] = max(self.usage["processes"], len(tree) - 1)
        if memory > limits["memory_bytes"]:
            self.order("memory", 0)
        elif cpu > limits["cpu_ms"]:
            self.order("cpu", 0)

    def read_status(self) -> bool:
        """Take what bubblewrap wrote; return False at its end."""
        try:
            chunk = os.read(self.status, 4096)
        except BlockingIOError:
            return True
        self.documents += chunk
        return bool(chunk)

    def parsed(self) -> list[dict[str, Any]]:
        decoder = json.JSONDecoder()
        text = self.documents.decode("ascii", "replace").lstrip()
        found = []
        while text:
            try:
                document, end = decoder.raw_decode(text)
            except ValueError:
                break
            found.append(document)
            text = text[end:].lstrip()
        return found

    def take_exit(self) -> None:
        if b"exit-code" in self.documents:
            for document in self.parsed():
                self.exit_code = document.get("exit-code", self.exit_code)

    def end(self) -> bool:
        """Kill PID 1, hence its namespace, then bubblewrap, and reap all; return whether nothing lives."""
        self.watched = [fd for fd in (self.main_fd, self.bwrap_fd) if fd >= 0]
        for fd in self.watched:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(fd, signal.SIGKILL)
        clean = self.reap()
        ours = (self.status, self.block, self.progress, self.bwrap_fd, self.main_fd, self.tool_fd or -1)
        for fd in (*self.fds, *ours):
            if fd >= 0:
                os.close(fd)
        return clean


class FileTask(Task):
    """One `fs.*` call in a forked child that holds the workspace root and nothing else."""

    def __init__(self, control: Control, job: dict[str, Any], fds: list[int]) -> None:
        super().__init__(control, job)
        self.root, self.request, self.answer = fds

    def run(self) -> None:
        pid = os.fork()
        if pid == 0:
            self.child()
        self.main_pid = pid
        for fd in (self.root, self.request, self.answer):
            os.close(fd)
        self.tool_fd = self.main_fd = os.pidfd_open(pid)
        self.watched = [self.main_fd]
        deadline = time.monotonic() + self.job["wall_ms"] / 1000
        try:
            while not self.wait((self.tool_fd,), min(deadline, self.kill_at or deadline)):
                if time.monotonic() >= deadline:
                    self.order("timeout", 0)
                if self.kill_at is not None and time.monotonic() >= self.kill_at:
                    break
        finally:
            clean = self.reap()
            os.close(self.tool_fd)
        self.control.send(op="done", ran=True, reason=self.reason, usage=self.usage, survivor=not clean)

    def child(self) -> None:
        """Never returns: whatever happens, the fork must not go on as a second launcher."""
        try:
            prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            os.close(self.control.fileno())
            builtin_fs.serve(self.root, self.request, self.answer)
        finally:
            os._exit(0)


def serve(control: Control) -> None:
    host = procfs.namespaces_of("self")
    while True:
        job, fds = control.receive()
        if job["op"] == "sandbox":
            SandboxTask(control, job, fds, host).run()
        elif job["op"] == "files":
            FileTask(control, job, fds).run()


def main(control_fd: int, uid: int, parent: int) -> None:
    become(uid)
    harden(parent)
    reserve_targets()
    control = Control(control_fd)
    control.send(op="ready", uid=os.geteuid())
    with contextlib.suppress(WorkerGoneError):
        serve(control)


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:4]))
