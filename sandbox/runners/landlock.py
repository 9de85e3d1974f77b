"""Landlock by ctypes: gives up the file system except one directory, TCP, and foreign sockets and signals.

Standard library only: the launcher imports it. Numbers and structures as in linux/landlock.h.
"""

from __future__ import annotations

import ctypes
import os

_CREATE, _ADD_RULE, _RESTRICT = 444, 445, 446
_VERSION_FLAG, _PATH_BENEATH, _NO_NEW_PRIVS = 1, 1, 38
_FS_RIGHTS_BY_ABI = {1: 13, 2: 14, 3: 15, 4: 15}
_LIBC = ctypes.CDLL(None, use_errno=True)


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = [("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32)]


def landlock_abi() -> int:
    """Return the kernel's Landlock version, 0 where there is none."""
    return max(0, int(_LIBC.syscall(_CREATE, None, ctypes.c_size_t(0), _VERSION_FLAG)))


def restrict_to(directory_fd: int) -> bool:
    """Keep only what lies beneath the directory for this process; return False without Landlock."""
    abi = landlock_abi()
    if abi < 1:
        return False
    rights = (1 << _FS_RIGHTS_BY_ABI.get(abi, 16)) - 1
    members = [rights] + [3] * (abi >= 4) + [3] * (abi >= 6)
    attributes = (ctypes.c_uint64 * len(members))(*members)
    ruleset = _checked(_LIBC.syscall(_CREATE, attributes, ctypes.c_size_t(ctypes.sizeof(attributes)), 0))
    rule = _PathBeneath(rights, directory_fd)
    _checked(_LIBC.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, ctypes.byref(rule), 0))
    _checked(_LIBC.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0))
    _checked(_LIBC.syscall(_RESTRICT, ruleset, 0))
    os.close(ruleset)
    return True


def _checked(result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), "landlock")
    return result
