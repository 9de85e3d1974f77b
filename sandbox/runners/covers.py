"""Protected paths of a workspace as mounts: what exists is bound over itself, or hidden."""

from __future__ import annotations

import errno
import fnmatch
import os
import stat

from sandbox.runners.beneath import open_component
from sandbox.runners.bubblewrap import Cover
from sandbox.runners.builtin_fs import HIDDEN, PROTECTED, folded
from sandbox.types import ErrorKind, SandboxRefusal


class Covers:
    """The covers of one run with their descriptors; `close` ends them."""

    def __init__(self, root: int, first_fd: int) -> None:
        self.items: list[Cover] = []
        self.fds: list[int] = []
        self._first = first_fd
        self._ancestors: set[str] = set()
        for pattern in PROTECTED:
            first, _, rest = pattern.partition("/")
            for name in _names(root, first):
                self._cover(root, "/".join(part for part in (name, rest) if part), hide=pattern in HIDDEN)

    def close(self) -> None:
        for fd in self.fds:
            os.close(fd)

    def _cover(self, root: int, path: str, *, hide: bool) -> None:
        opened = _open_parts(root, path)
        if not opened:
            return
        parts = path.split("/")
        for depth, fd in enumerate(opened[:-1], start=1):
            self._add_ancestor("/".join(parts[:depth]), fd)
        leaf = opened[-1]
        if not hide:
            self._bind(path, "ro", leaf)
            return
        directory = stat.S_ISDIR(os.fstat(leaf).st_mode)
        os.close(leaf)
        self.items.append(Cover(path, "empty_dir" if directory else "empty_file"))

    def _add_ancestor(self, path: str, fd: int) -> None:
        # An ancestor that is a mount point cannot be renamed away from under the protected leaf.
        if path in self._ancestors:
            os.close(fd)
            return
        self._ancestors.add(path)
        self._bind(path, "rw", fd)

    def _bind(self, path: str, how: str, fd: int) -> None:
        self.items.append(Cover(path, how, self._first + len(self.fds)))
        self.fds.append(fd)


def _names(root: int, first: str) -> list[str]:
    handle = os.open(f"/proc/self/fd/{root}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return sorted(name for name in os.listdir(handle) if fnmatch.fnmatchcase(folded(name), first))
    finally:
        os.close(handle)


def _open_parts(root: int, path: str) -> list[int]:
    """Open every component; an empty list when the path does not exist, a refusal for a symlink."""
    opened: list[int] = []
    current = root
    try:
        for part in path.split("/"):
            current = open_component(current, part, os.O_PATH)
            opened.append(current)
    except OSError as error:
        for fd in opened:
            os.close(fd)
        if error.errno == errno.ELOOP:
            raise SandboxRefusal(
                ErrorKind.WORKSPACE_SCOPE_DENIED,
                "sandbox.symlink_in_path",
                f"The protected path {path} of the workspace is a symlink.",
            ) from error
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return []
        raise
    return opened
