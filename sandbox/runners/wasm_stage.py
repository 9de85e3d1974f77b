"""Started by a root worker before a Tier A child: makes files reachable, drops root, executes bubblewrap.

The interpreter may live below a directory that only root may search (/root/.pyenv), and bubblewrap
resolves bind sources by path with the rights it was started with. So this process, in a mount namespace
of its own, binds the few sources under one point that every uid can search, gives up root for good and
becomes bubblewrap. The host's mounts do not change. Standard library only; one argument: the descriptor
of `{"uid","point","sources","argv"}`.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys

CLONE_NEWNS = 0x00020000
MS_NOSUID, MS_NODEV, MS_BIND, MS_REC, MS_SLAVE = 0x2, 0x4, 0x1000, 0x4000, 0x80000


def main(plan_fd: int) -> None:
    """Become `argv`. Any failure is an exception, and nothing has run."""
    with os.fdopen(plan_fd, "rb") as stream:
        plan = json.load(stream)
    libc = ctypes.CDLL(None, use_errno=True)
    bind_sources(libc, plan["point"], plan["sources"])
    drop_to(plan["uid"])
    os.execve(plan["argv"][0], plan["argv"], {})  # noqa: S606  # this is the program's purpose; no shell


def bind_sources(libc: ctypes.CDLL, point: str, sources: list[str]) -> None:
    """Bind each source at `<point>/<index>`, visible to this process and its children only."""
    if libc.unshare(CLONE_NEWNS) != 0:
        raise OSError(ctypes.get_errno(), "unshare of the mount namespace")
    mount(libc, "none", "/", MS_REC | MS_SLAVE)
    mount(libc, "tmpfs", point, MS_NOSUID | MS_NODEV, options="mode=0755,size=64k")
    for index, source in enumerate(sources):
        target = f"{point}/{index}"
        if os.path.isdir(source):
            os.mkdir(target)
        else:
            os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        mount(libc, source, target, MS_BIND | MS_REC)


def mount(libc: ctypes.CDLL, source: str, target: str, flags: int, *, options: str | None = None) -> None:
    """Mount a tmpfs where there are options, else change or bind; a failure is an OSError."""
    kind = b"tmpfs" if options is not None else None
    data = options.encode() if options is not None else None
    if libc.mount(source.encode(), target.encode(), kind, flags, data) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), target)


def drop_to(uid: int) -> None:
    """Become `uid` with no group and no way back; the check is what makes the promise true."""
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    if uid == 0 or os.getresuid() != (uid, uid, uid) or os.getresgid() != (uid, uid, uid):
        raise PermissionError("root was not dropped")


if __name__ == "__main__":
    main(int(sys.argv[1]))
