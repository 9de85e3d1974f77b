"""Opening paths strictly beneath a directory, without following any symlink. Standard library only."""

from __future__ import annotations

import ctypes
import errno
import os
import stat

_OPENAT2 = 437
_NO_MAGICLINKS, _NO_SYMLINKS, _BENEATH = 0x02, 0x04, 0x08
_LIBC = ctypes.CDLL(None, use_errno=True)


class _OpenHow(ctypes.Structure):
    _fields_ = [("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64)]


def open_beneath(root: int, path: str, flags: int) -> int:
    """Open an existing `path` beneath the descriptor `root`.

    Raises OSError: ELOOP for a symlink anywhere, EXDEV for a way out. An empty path is the root itself.
    """
    how = _OpenHow(flags | os.O_CLOEXEC, 0, _BENEATH | _NO_SYMLINKS | _NO_MAGICLINKS)
    name = os.fsencode(path) or b"."
    fd = int(_LIBC.syscall(_OPENAT2, root, name, ctypes.byref(how), ctypes.sizeof(how)))
    if fd >= 0:
        return fd
    code = ctypes.get_errno()
    if code in (errno.ENOSYS, errno.EPERM):
        return walk_beneath(root, path, flags)
    raise OSError(code, os.strerror(code), path)


def walk_beneath(root: int, path: str, flags: int) -> int:
    """Do the same component by component, for kernels without openat2."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts or path.startswith("/"):
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), path)
    if not parts:
        return os.open(".", flags | os.O_CLOEXEC, dir_fd=root)
    current = os.dup(root)
    try:
        for part in parts[:-1]:
            following = open_component(current, part, os.O_PATH | os.O_DIRECTORY)
            os.close(current)
            current = following
        return open_component(current, parts[-1], flags)
    finally:
        os.close(current)


def open_component(directory: int, name: str, flags: int) -> int:
    """Open one name in a directory; a symlink is ELOOP whatever the flags."""
    fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    try:
        mode = os.fstat(fd).st_mode
        if stat.S_ISLNK(mode):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), name)
        if flags & os.O_DIRECTORY and not stat.S_ISDIR(mode):
            raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), name)
        if flags & os.O_PATH:
            return os.dup(fd)
        return os.open(f"/proc/self/fd/{fd}", flags & ~os.O_NOFOLLOW | os.O_CLOEXEC)
    finally:
        os.close(fd)


def pin_directory(path: str) -> int:
    """Open an absolute directory component by component from `/`, as an O_PATH descriptor.

    Raises OSError; ELOOP means that some component is a symlink. What happens to the path afterwards
    does not change what the descriptor means.
    """
    root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return walk_beneath(root, path.strip("/"), os.O_PATH | os.O_DIRECTORY)
    finally:
        os.close(root)
