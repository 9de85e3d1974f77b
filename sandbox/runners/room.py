"""How much room a workspace takes, and whether that is more than it was given."""

from __future__ import annotations

import errno
import os
import time
from dataclasses import dataclass

BLOCK = 512
FLOOR_BYTES = 512 * 1024 * 1024
CHECK_SECONDS = 0.5
DEEPEST = 128
_VANISHED = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


class _FullError(Exception):
    """A bound is passed, or the tree cannot be measured, which counts as the same."""


@dataclass(slots=True)
class Room:
    """What a workspace may hold: bytes as the file system counts them (`st_blocks`) and entries."""

    root: int
    most_bytes: int
    most_files: int
    _next_check: float = 0.0

    def exceeded(self) -> bool:
        """Walk the tree beneath the descriptor `root`, no further than its bounds, following no symlink.

        A directory that cannot be entered or lies deeper than 128 levels counts as too much, so that
        nothing can be hidden in it. A file that has several names counts once for each.
        """
        count = _Count(self.most_bytes, self.most_files)
        try:
            top = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self.root)
            count.add_directory(top, 0)
        except (OSError, _FullError):
            return True
        return False

    def disk_low(self) -> bool:
        """Tell whether the file system that holds the workspace has less than 512 MiB left for everybody."""
        system = os.fstatvfs(self.root)
        return system.f_bavail * system.f_frsize < FLOOR_BYTES

    def exceeded_by_now(self) -> bool:
        """Do the same at most every half second; in between only the disk's free space is looked at."""
        if self.disk_low():
            return True
        now = time.monotonic()
        if now < self._next_check:
            return False
        answer = self.exceeded()
        # Counted from the end, so that a slow walk leaves time for the pipes.
        self._next_check = time.monotonic() + CHECK_SECONDS
        return answer


class _Count:
    def __init__(self, most_bytes: int, most_files: int) -> None:
        self._bytes_left = most_bytes
        self._files_left = most_files

    def add_directory(self, directory: int, depth: int) -> None:
        """Count everything beneath an open directory, and close it."""
        try:
            with os.scandir(directory) as entries:
                for entry in entries:
                    self._add(directory, entry, depth)
        finally:
            os.close(directory)

    def _add(self, directory: int, entry: os.DirEntry[str], depth: int) -> None:
        try:
            facts = entry.stat(follow_symlinks=False)
            self._take(facts.st_blocks * BLOCK)
            if not entry.is_dir(follow_symlinks=False):
                return
            if depth >= DEEPEST:
                raise _FullError
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            inner = os.open(entry.name, flags, dir_fd=directory)
        except OSError as error:
            if error.errno in _VANISHED:
                return
            raise
        self.add_directory(inner, depth + 1)

    def _take(self, size: int) -> None:
        self._bytes_left -= size
        self._files_left -= 1
        if self._bytes_left < 0 or self._files_left < 0:
            raise _FullError
