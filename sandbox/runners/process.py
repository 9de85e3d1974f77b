"""Running a process in Tier C: from the checked input to the outcome."""

from __future__ import annotations

import errno
import fcntl
import functools
import math
import os
import platform
import resource
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import Any

from kernel.clock import utc_now
from sandbox.argv import check_argv, outside_path, read_request
from sandbox.runners.base import CancelToken, OutputSink
from sandbox.runners.beneath import open_beneath, pin_directory
from sandbox.runners.bubblewrap import (
    ARGS_FD,
    FIRST_DATA_FD,
    PROLOGUE_FD,
    RULES_FD,
    SHARED_ETC,
    SYSTEM_DIRECTORIES,
    WORKSPACE,
    WORKSPACE_FD,
    Command,
    CommandPlan,
    Cover,
    HostLayout,
    build_command_plan,
)
from sandbox.runners.covers import Covers
from sandbox.runners.executables import SEARCH_PATH, Executable, find_executable
from sandbox.runners.link import Launcher, LauncherDiedError, RunnerOptions
from sandbox.runners.pump import Capture
from sandbox.runners.room import Room
from sandbox.runners.seccomp import Filters
from sandbox.runners.supervise import GRACE_MS, Ending, Streams, Supervision
from sandbox.runners.verdict import Facts, outcome_of
from sandbox.selection import Probe
from sandbox.spec import MIB, SandboxSpec
from sandbox.types import ErrorKind, Executor, Outcome, SandboxJob, SandboxRefusal

FILTER_COUNT = 2
PATIENCE_SECONDS = 30.0
BASE_ENV = {
    "PATH": ":".join(SEARCH_PATH),
    "HOME": "/tmp/home",  # noqa: S108  # a path inside the sandbox
    "TMPDIR": "/tmp",  # noqa: S108  # a path inside the sandbox
    "LANG": "C.UTF-8",
    "TZ": "UTC",
    "USER": "sandbox",
}
Borrow = Callable[[], AbstractContextManager[Launcher]]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A job whose input passed every check that needs no mount."""

    command: Command
    executable: Executable
    stdin: bytes


class BubblewrapRunner:
    """Tier C on Linux. Safe for several threads; each run borrows a launcher of its own."""

    executor = Executor.TIER_C_LINUX

    def __init__(
        self, options: RunnerOptions, borrow: Borrow, filters: Filters, probe: Probe | None = None
    ) -> None:
        self._probe = probe
        self._options = options
        self._borrow = borrow
        self._filters = filters

    def run(self, job: SandboxJob, *, deadline: float, cancel: CancelToken, sink: OutputSink) -> Outcome:
        """Run the job's program. Raises SandboxRefusal for everything wrong before the spawn."""
        prepared = prepare(job, self._options.sandbox_uid)
        with ExitStack() as stack:
            pins = Pins(job, prepared.command.cwd, stack)
            plan = build_command_plan(
                job.spec, host_layout(), prepared.command, covers=pins.covers, first_data_fd=pins.next_fd
            )
            owner = self._options.sandbox_uid
            wiring = Wiring(plan, pins, stack, filters=self._filters, stdin=prepared.stdin, owner=owner)
            launcher = stack.enter_context(self._borrow())
            started_at, started = utc_now(), time.monotonic()
            wall_ms = max(1, min(job.spec.wall_timeout_ms, int((deadline - started) * 1000)))
            started_well = self._launch(launcher, wiring, job.spec, wall_ms)
            # Everything from here to the first message happens while bubblewrap builds the sandbox.
            wiring.hand_over()
            capture = Capture(job.spec.max_output_bytes)
            watch = Supervision(
                launcher,
                wiring.streams,
                capture,
                cap=job.spec.max_output_bytes,
                give_up=started + wall_ms / 1000 + PATIENCE_SECONDS,
                cancel=cancel,
                sink=sink,
                room=pins.room,
            )
            wanted = requested(job.spec)
            ending = watch.run() if started_well else Ending()
            overfull = pins.room is not None and pins.room.exceeded()
        seen = ending.done["enforcement"] if ending.done else {}
        return outcome_of(
            Facts(
                job=job,
                going=ending.going,
                done=_with_reason(ending.done, "workspace") if overfull else ending.done,
                capture=capture,
                enforcement=enforcement(wanted, seen, prepared.executable, self._filters, self._probe),
                started_at=started_at,
                finished_at=utc_now(),
                wall_ms=int((time.monotonic() - started) * 1000),
            )
        )

    def _launch(self, launcher: Launcher, wiring: Wiring, spec: SandboxSpec, wall_ms: int) -> bool:
        try:
            launcher.send(launch_order(spec, self._options.bwrap, wall_ms, wiring.targets), wiring.sources)
        except LauncherDiedError:
            launcher.close()
            return False
        return True


def prepare(job: SandboxJob, uid: int) -> Prepared:
    """Check input, program and arguments in the order of the documented steps."""
    if job.argv is None:
        request = read_request(job.input, allowed_env=job.spec.allowed_env)
        name, args, cwd, stdin, env = request.command, request.args, request.cwd, request.stdin, request.env
    else:
        name, *rest = check_argv(job.argv)
        args, cwd, stdin, env = tuple(rest), "", b"", {}
    executable = find_executable(name, job.spec, named_by_operator=job.argv is not None, uid=uid)
    index = outside_path(args, cwd=cwd)
    if index is not None:
        raise SandboxRefusal(
            ErrorKind.WORKSPACE_SCOPE_DENIED,
            "sandbox.path_outside",
            f"Argument {index} names a path outside the sandbox.",
            {"argument": index},
        )
    environment = {**BASE_ENV, **env, "PALYRA_EXECUTION_ID": job.execution_id}
    return Prepared(Command(argv=(executable.path, *args), env=environment, cwd=cwd), executable, stdin)


def _with_reason(done: dict[str, Any] | None, reason: str) -> dict[str, Any] | None:
    """Give a run that ended by itself a reason to have failed; the first reason stays."""
    return {**done, "reason": done["reason"] or reason} if done else None


class Pins:
    """The workspace and its protected paths as descriptors; both live as long as the stack."""

    def __init__(self, job: SandboxJob, cwd: str, stack: ExitStack) -> None:
        self.covers: tuple[Cover, ...] = ()
        self.wiring: list[tuple[int, int]] = []
        self.next_fd = FIRST_DATA_FD
        self.room: Room | None = None
        if job.spec.workspace_mode == "scratch":
            if cwd:
                raise _no_directory(cwd)
            return
        root = pin_workspace(job.workspace)
        stack.callback(os.close, root)
        _check_cwd(root, cwd)
        if job.spec.workspace_mode == "bind_rw":
            self.room = Room(root, job.quota_bytes, job.quota_files)
            _check_room(self.room)
        found = Covers(root, FIRST_DATA_FD)
        stack.callback(found.close)
        self.covers = tuple(found.items)
        self.next_fd += len(found.fds)
        self.wiring = [(root, WORKSPACE_FD), *zip(found.fds, range(FIRST_DATA_FD, self.next_fd), strict=True)]


class Wiring:
    """Every descriptor of a run: `sources[i]` becomes number `targets[i]` inside bubblewrap."""

    def __init__(
        self,
        plan: CommandPlan,
        pins: Pins,
        stack: ExitStack,
        *,
        filters: Filters,
        stdin: bytes,
        owner: int,
    ) -> None:
        self._owner = owner
        self._given_away: list[int] = []
        stack.callback(self.hand_over)
        stdin_read, stdin_write = self._input(stdin, stack)
        stdout_read, stdout_write = self._output(stack)
        stderr_read, stderr_write = self._output(stack)
        self.streams = Streams(stdout_read, stderr_read, stdin_write, memoryview(stdin))
        stack.callback(self._close_stdin)
        fixed = [(PROLOGUE_FD, filters.prologue), (RULES_FD, filters.rules), *plan.data]
        wiring = [(stdin_read, 0), (stdout_write, 1), (stderr_write, 2), *pins.wiring]
        wiring.append((self._file(_joined(plan.args)), ARGS_FD))
        wiring += [(self._given(_sealed(content)), number) for number, content in fixed]
        # The program's own arguments come last and are for the launcher, not for a descriptor inside.
        self.sources = [*(source for source, _ in wiring), self._file(_joined(plan.argv))]
        self.targets = [target for _, target in wiring]

    def hand_over(self) -> None:
        """Close what now belongs to the sandbox, so that its end is seen on the pipes."""
        while self._given_away:
            os.close(self._given_away.pop())

    def _close_stdin(self) -> None:
        if self.streams.stdin >= 0:
            os.close(self.streams.stdin)

    def _input(self, data: bytes, stack: ExitStack) -> tuple[int, int]:
        if not data:
            return self._given(os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)), -1
        read, write = os.pipe2(os.O_CLOEXEC)
        os.fchown(read, self._owner, -1)
        return self._given(read), write

    def _output(self, stack: ExitStack) -> tuple[int, int]:
        read, write = os.pipe2(os.O_CLOEXEC)
        stack.callback(os.close, read)
        # A program may open /dev/stdout by name, and then the owner of the pipe counts.
        os.fchown(write, self._owner, -1)
        return read, self._given(write)

    def _file(self, content: bytes) -> int:
        fd = self._given(os.memfd_create("palyra", os.MFD_CLOEXEC))
        if content:
            # At an offset, so that bubblewrap starts to read at the beginning.
            os.pwrite(fd, content, 0)
        return fd

    def _given(self, fd: int) -> int:
        self._given_away.append(fd)
        return fd


def _sealed(content: bytes) -> int:
    """Return a new read-only descriptor, at its beginning, of a file that nobody can change."""
    return os.open(f"/proc/self/fd/{_sealed_file(content)}", os.O_RDONLY | os.O_CLOEXEC)


@functools.cache
def _sealed_file(content: bytes) -> int:
    fd = os.memfd_create("palyra", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(fd, content)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _NO_CHANGE)
    return fd


_NO_CHANGE = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW


def _joined(arguments: tuple[str, ...]) -> bytes:
    return "\0".join((*arguments, "")).encode()


def pin_workspace(path: str | None) -> int:
    """Open the workspace root without following a symlink, or raise SandboxRefusal."""
    if path is None:
        raise SandboxRefusal(
            ErrorKind.WORKSPACE_SCOPE_DENIED, "sandbox.no_workspace", "No workspace belongs to this run."
        )
    try:
        return pin_directory(path)
    except OSError as error:
        link = error.errno == errno.ELOOP
        code = "sandbox.symlink_in_path" if link else "sandbox.workspace_unavailable"
        message = "A symlink is in the workspace's path." if link else "The workspace cannot be opened."
        raise SandboxRefusal(ErrorKind.WORKSPACE_SCOPE_DENIED, code, message) from error


def _check_cwd(root: int, cwd: str) -> None:
    try:
        os.close(open_beneath(root, cwd, os.O_PATH | os.O_DIRECTORY))
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise SandboxRefusal(
                ErrorKind.WORKSPACE_SCOPE_DENIED, "sandbox.symlink_in_path", "A symlink is in cwd."
            ) from error
        raise _no_directory(cwd) from error


def _check_room(room: Room) -> None:
    if room.disk_low():
        raise SandboxRefusal(
            ErrorKind.BACKEND_UNAVAILABLE,
            "sandbox.disk_low",
            "The disk that holds the workspace is almost full.",
        )
    if room.exceeded():
        raise SandboxRefusal(
            ErrorKind.QUOTA_EXCEEDED,
            "sandbox.quota_workspace",
            "The workspace holds more than allowed.",
            {"resource": "workspace"},
        )


def _no_directory(cwd: str) -> SandboxRefusal:
    return SandboxRefusal(
        ErrorKind.WORKSPACE_SCOPE_DENIED, "sandbox.cwd_not_found", f"{cwd} is no directory of the workspace."
    )


def host_layout() -> HostLayout:
    """Return how this host's root looks now. Only a changed directory is looked through again."""
    return _layout(*(_version(directory) for directory in ("/", "/etc", "/etc/ssl")))


def _version(directory: str) -> tuple[int, ...]:
    try:
        facts = os.stat(directory)
    except OSError:
        return ()
    return facts.st_dev, facts.st_ino, facts.st_mtime_ns, facts.st_ctime_ns


@functools.lru_cache(maxsize=1)
def _layout(*_versions: tuple[int, ...]) -> HostLayout:
    links, directories = [], []
    for name in SYSTEM_DIRECTORIES:
        if os.path.islink(f"/{name}"):
            links.append((name, os.readlink(f"/{name}").lstrip("/")))
        elif os.path.isdir(f"/{name}"):
            directories.append(name)
    etc = tuple(name for name in SHARED_ETC if os.path.exists(f"/etc/{name}"))
    return HostLayout(tuple(links), tuple(directories), etc)


def launch_order(spec: SandboxSpec, bwrap: str, wall_ms: int, targets: list[int]) -> dict[str, object]:
    """Return the launcher's message; limits in bytes and milliseconds."""
    tmpfs = ["/tmp", "/dev/shm", *([WORKSPACE] if spec.workspace_mode == "scratch" else [])]  # noqa: S108  # inside
    return {
        "op": "sandbox",
        "bwrap": bwrap,
        "targets": targets,
        "args_fd": ARGS_FD,
        "filters": FILTER_COUNT,
        "limits": {
            "wall_ms": wall_ms,
            "grace_ms": GRACE_MS,
            "cpu_ms": spec.cpu_time_limit_ms,
            "memory_bytes": spec.memory_limit_bytes,
            "tmpfs": tmpfs,
            "rlimits": rlimits(spec),
        },
    }


def rlimits(spec: SandboxSpec) -> list[tuple[int, int]]:
    """Return (resource, value) pairs. PID 1 of the sandbox counts as one more process."""
    reserved = spec.address_space == "reserved"
    address_space = resource.RLIM_INFINITY if reserved else spec.memory_limit_bytes + 64 * MIB
    return [
        (resource.RLIMIT_CPU, math.ceil(spec.cpu_time_limit_ms / 1000) + 1),
        (resource.RLIMIT_DATA, spec.memory_limit_bytes),
        (resource.RLIMIT_AS, address_space),
        (resource.RLIMIT_NPROC, spec.max_processes + 1),
        (resource.RLIMIT_FSIZE, spec.max_file_bytes),
        (resource.RLIMIT_NOFILE, spec.max_open_files),
        (resource.RLIMIT_STACK, 8 * MIB),
        (resource.RLIMIT_SIGPENDING, 256),
        *((number, 0) for number in _NOTHING),
    ]


_NOTHING = (
    resource.RLIMIT_CORE,
    resource.RLIMIT_MEMLOCK,
    resource.RLIMIT_MSGQUEUE,
    resource.RLIMIT_NICE,
    resource.RLIMIT_RTPRIO,
)


def requested(spec: SandboxSpec) -> dict[str, object]:
    """Return what a run was asked to be held to."""
    return {"tier": str(spec.tier), "egress": spec.egress_mode, "limits": spec.to_json()}


def enforcement(
    wanted: Mapping[str, object],
    seen: Mapping[str, object],
    executable: Executable,
    filters: Filters,
    probe: Probe | None,
) -> dict[str, object]:
    """Return what was asked and what was read back; what nobody saw is null, never "strict"."""
    held = bool(seen)
    effective: dict[str, object] = {
        "tier": wanted["tier"],
        "executor": str(Executor.TIER_C_LINUX),
        **{name: seen.get(name) for name in _READ_BACK},
        "seccomp": filters.digest if held else None,
        "seccomp_filters": seen.get("seccomp_filters"),
        "seccomp_readback": "seen" if "seccomp_filters" in seen else "not_seen",
        "disable_userns": True if held else None,
        "memory": "rlimit+watchdog" if held else None,
        "cpu": "rlimit+watchdog" if held else None,
        "pids": "rlimit" if held else None,
        "network": "isolated" if held else None,
        "landlock_abi": None,
        "bwrap": {"version": probe.bwrap_version, "sha256": probe.bwrap_sha256} if probe else None,
        "kernel": platform.release(),
        "executable": {"path": executable.path, "sha256": executable.digest},
    }
    return {
        "requested": wanted,
        "effective": effective,
        "degraded": list(probe.degraded) if probe else [],
    }


_READ_BACK = (
    "userns",
    "pidns",
    "netns",
    "ipcns",
    "utsns",
    "cgroupns",
    "mountns",
    "mount_root",
    "nnp",
    "caps",
)
