"""The plan of a Tier C run on Linux: the arguments of bubblewrap and the files it is fed. Plans only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sandbox.spec import SandboxSpec

STATUS_FD, BLOCK_FD, ARGS_FD, PROLOGUE_FD, RULES_FD, WORKSPACE_FD = range(3, 9)
FIRST_DATA_FD = 9
WORKSPACE = "/workspace"
SYSTEM_DIRECTORIES = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
SHARED_ETC = ("ld.so.cache", "ssl/certs", "ca-certificates", "alternatives")

_ETC = {
    "passwd": b"root:x:0:0:root:/:/usr/sbin/nologin\n"
    b"sandbox:x:1000:1000:sandbox:/tmp/home:/bin/sh\n"
    b"nobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n",
    "group": b"root:x:0:\nsandbox:x:1000:\nnogroup:x:65534:\n",
    "hosts": b"127.0.0.1 localhost palyra\n::1 localhost\n",
    "nsswitch.conf": b"passwd: files\ngroup: files\nhosts: files\n",
    "resolv.conf": b"",
}


@dataclass(frozen=True, slots=True)
class HostLayout:
    """How the host's root looks: `links` are (name, target), `directories` are real, `etc` exists."""

    links: tuple[tuple[str, str], ...]
    directories: tuple[str, ...]
    etc: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Cover:
    """A protected path beneath the workspace, bound over itself or hidden.

    `how` is `ro` (bound read-only from `fd`), `rw` (an ancestor bound from `fd` so that it cannot be
    renamed), `empty_file` or `empty_dir`.
    """

    path: str
    how: str
    fd: int = -1


@dataclass(frozen=True, slots=True)
class CommandPlan:
    """`args` for `bwrap --args FD`; `argv` follows it after `--`; `data` maps a descriptor to its bytes."""

    args: tuple[str, ...]
    argv: tuple[str, ...]
    data: tuple[tuple[int, bytes], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What runs inside: `argv[0]` is a real absolute path, `cwd` is relative to the workspace."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: str = ""


def build_command_plan(
    spec: SandboxSpec,
    layout: HostLayout,
    command: Command,
    *,
    covers: Sequence[Cover] = (),
    first_data_fd: int = FIRST_DATA_FD,
) -> CommandPlan:
    """Return the whole plan. The workspace, if the mode binds one, is expected on WORKSPACE_FD, and the
    descriptors of the covers lie below `first_data_fd`.

    Order matters to bubblewrap: each operation acts on the mounts made before it, so the root turns
    read-only last.
    """
    data = _Data(first_data_fd)
    args = [
        *_isolation(command.env),
        *_system(layout),
        *_scratch(spec),
        *_etc(layout, data),
        *_workspace(spec, covers, data),
        *("--chdir", "/".join(part for part in (WORKSPACE, command.cwd) if part)),
        *("--remount-ro", "/"),
        *("--json-status-fd", str(STATUS_FD), "--block-fd", str(BLOCK_FD)),
        *("--add-seccomp-fd", str(PROLOGUE_FD), "--add-seccomp-fd", str(RULES_FD)),
    ]
    return CommandPlan(tuple(args), command.argv, tuple(data.items))


class _Data:
    """Hands out descriptor numbers for generated files."""

    def __init__(self, first: int) -> None:
        self.items: list[tuple[int, bytes]] = []
        self.next_fd = first

    def add(self, content: bytes) -> str:
        self.items.append((self.next_fd, content))
        self.next_fd += 1
        return str(self.next_fd - 1)


def _isolation(env: Mapping[str, str]) -> list[str]:
    args = ["--unshare-all", "--unshare-user", "--disable-userns", "--uid", "1000", "--gid", "1000"]
    args += ["--hostname", "palyra", "--die-with-parent", "--new-session", "--cap-drop", "ALL", "--clearenv"]
    for name, value in sorted(env.items()):
        args += ["--setenv", name, value]
    return args


def _system(layout: HostLayout) -> list[str]:
    args = ["--ro-bind", "/usr", "/usr"]
    for name, target in layout.links:
        args += ["--symlink", target, f"/{name}"]
    for name in layout.directories:
        args += ["--ro-bind", f"/{name}", f"/{name}"]
    return args


def _scratch(spec: SandboxSpec) -> list[str]:
    return [
        *("--proc", "/proc"),
        # bwrap's init has the tool's uid: through /proc/1/mem a tool could make it outlive the worker.
        *("--perms", "0555", "--size", "4096", "--tmpfs", "/proc/1", "--remount-ro", "/proc/1"),
        *("--dev", "/dev"),
        *("--size", str(spec.tmp_bytes), "--tmpfs", "/tmp"),  # noqa: S108  # a path inside the sandbox
        *("--size", str(spec.shm_bytes), "--tmpfs", "/dev/shm"),  # noqa: S108  # a path inside the sandbox
        *("--remount-ro", "/dev", "--dir", "/tmp/home"),  # noqa: S108  # a path inside the sandbox
    ]


def _etc(layout: HostLayout, data: _Data) -> list[str]:
    args = ["--dir", "/etc"]
    for name, content in _ETC.items():
        # A copy in the root, which turns read-only as a whole: five mounts fewer than binding each.
        args += ["--perms", "0444", "--file", data.add(content), f"/etc/{name}"]
    for name in layout.etc:
        args += ["--ro-bind", f"/etc/{name}", f"/etc/{name}"]
    return args


def _workspace(spec: SandboxSpec, covers: Sequence[Cover], data: _Data) -> list[str]:
    if spec.workspace_mode == "scratch":
        return ["--size", str(spec.tmp_bytes), "--tmpfs", WORKSPACE]
    bind = "--bind-fd" if spec.workspace_mode == "bind_rw" else "--ro-bind-fd"
    args = [bind, str(WORKSPACE_FD), WORKSPACE]
    for cover in covers:
        args += _cover(cover, spec.workspace_mode, data)
    return args


def _cover(cover: Cover, mode: str, data: _Data) -> list[str]:
    place = f"{WORKSPACE}/{cover.path}"
    if cover.how == "empty_file":
        return ["--perms", "0400", "--ro-bind-data", data.add(b""), place]
    if cover.how == "empty_dir":
        return ["--perms", "0500", "--size", "4096", "--tmpfs", place, "--remount-ro", place]
    bind = "--bind-fd" if cover.how == "rw" and mode == "bind_rw" else "--ro-bind-fd"
    return [bind, str(cover.fd), place]
