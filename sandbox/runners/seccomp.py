"""The system call filters of Tier C: generated into `filters/`, only read at run time.

`python -m sandbox.runners.seccomp` rewrites the files and needs pyseccomp and libseccomp. Each sandbox
loads two programs. The prologue is written by hand: a wrong architecture or the x32 table kills, a number
newer than every call known here answers ENOSYS. The second denies by name and by argument.
"""

from __future__ import annotations

import errno
import functools
import hashlib
import platform
import struct
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILTERS = Path(__file__).parent / "filters"
AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
NEWEST_CALL = 462
X32_BIT = 0x40000000

_LOAD, _EQUAL, _GREATER, _AT_LEAST, _RETURN = 0x20, 0x15, 0x25, 0x35, 0x06
_KILL_PROCESS, _ALLOW, _ERRNO = 0x80000000, 0x7FFF0000, 0x00050000

_DENIED_TEXT = """
    ptrace process_vm_readv process_vm_writev process_madvise pidfd_getfd pidfd_open kcmp
    io_uring_setup io_uring_enter io_uring_register userfaultfd add_key request_key keyctl bpf
    perf_event_open mount umount2 pivot_root chroot fsopen fsconfig fsmount fspick open_tree
    move_mount mount_setattr unshare setns memfd_create memfd_secret
    shmget shmat shmctl semget semop semctl semtimedop msgget msgsnd msgrcv msgctl mq_open
    name_to_handle_at open_by_handle_at fanotify_init quotactl quotactl_fd acct swapon swapoff reboot
    kexec_load kexec_file_load init_module finit_module delete_module syslog vhangup
    settimeofday clock_settime clock_adjtime adjtimex iopl ioperm modify_ldt lookup_dcookie nfsservctl
    move_pages migrate_pages mbind set_mempolicy
"""
DENIED = tuple(_DENIED_TEXT.split())

_CLONE_NEW = (0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000)
_TIOC = (0x5412, 0x541C, 0x5423)
_LOW = 0xFFFFFFFF
_UNIX, _INET, _INET6, _NETLINK, _LAST_FAMILY = 1, 2, 10, 16, 45
_STREAM, _DGRAM, _SEQPACKET, _TYPE_MASK = 1, 2, 5, 0xF
_NEW_LISTENER = 1 << 3


@dataclass(frozen=True, slots=True)
class Filters:
    """Both programs for this machine and `sha256:` over their concatenation."""

    prologue: bytes
    rules: bytes
    digest: str


@functools.cache
def load_filters() -> Filters | None:
    """Return the committed filters of this architecture, or None when there are none or they differ
    from their recorded digests."""
    machine = platform.machine()
    try:
        lines = (FILTERS / "SHA256SUMS").read_text().splitlines()
        prologue = (FILTERS / f"{machine}-prologue.bpf").read_bytes()
        rules = (FILTERS / f"{machine}-offline.bpf").read_bytes()
    except OSError:
        return None
    sums = {line.split()[1]: line.split()[0] for line in lines}
    for name, data in ((f"{machine}-prologue.bpf", prologue), (f"{machine}-offline.bpf", rules)):
        if sums.get(name) != hashlib.sha256(data).hexdigest():
            return None
    return Filters(prologue, rules, "sha256:" + hashlib.sha256(prologue + rules).hexdigest())


def prologue(machine: str) -> bytes:
    """Return the hand-written program (struct sock_filter, 8 bytes each)."""
    x32 = [(_AT_LEAST, 3, 0, X32_BIT)] if machine == "x86_64" else []
    kill_at = 3 + len(x32) + 3
    program = [
        (_LOAD, 0, 0, 4),
        (_EQUAL, 0, kill_at - 2, AUDIT_ARCH[machine]),
        (_LOAD, 0, 0, 0),
        *x32,
        (_GREATER, 1, 0, NEWEST_CALL),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _ERRNO | errno.ENOSYS),
        (_RETURN, 0, 0, _KILL_PROCESS),
    ]
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)


def offline(machine: str) -> tuple[bytes, str]:
    """Generate the rules for a sandbox without network: the program and libseccomp's listing."""
    import pyseccomp  # noqa: PLC0415  # a development package; running needs only the committed files

    rules = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
    arch = {"x86_64": pyseccomp.Arch.X86_64, "aarch64": pyseccomp.Arch.AARCH64}[machine]
    if arch != pyseccomp.system_arch():
        rules.add_arch(arch)
        rules.remove_arch(pyseccomp.system_arch())
    rules.set_attr(pyseccomp.Attr.ACT_BADARCH, pyseccomp.KILL_PROCESS)
    _Writer(pyseccomp, rules, arch).write()
    with tempfile.TemporaryFile() as program, tempfile.TemporaryFile() as listing:
        rules.export_bpf(program)
        rules.export_pfc(listing)
        program.seek(0)
        listing.seek(0)
        return program.read(), listing.read().decode()


class _Writer:
    """Adds the rules to one filter; a call that the architecture lacks is left out."""

    def __init__(self, library: Any, rules: Any, arch: Any) -> None:
        self._library = library
        self._rules = rules
        self._arch = arch

    def write(self) -> None:
        for name in DENIED:
            self._deny(name, errno.EPERM)
        self._deny("clone3", errno.ENOSYS)
        for flag in _CLONE_NEW:
            self._deny("clone", errno.EPERM, self._masked(0, flag, flag))
        for request in _TIOC:
            self._deny("ioctl", errno.EPERM, self._masked(1, _LOW, request))
        self._deny("seccomp", errno.EPERM, self._masked(1, _NEW_LISTENER, _NEW_LISTENER))
        self._personality()
        self._socket()
        self._socketpair()

    def _personality(self) -> None:
        # Only 0 and 0xffffffff have no set bit followed by a clear one, counted in a circle.
        for bit in range(32):
            after = 1 << ((bit + 1) % 32)
            self._deny("personality", errno.EPERM, self._masked(0, 1 << bit | after, 1 << bit))

    def _socket(self) -> None:
        for family in set(range(_LAST_FAMILY + 1)) - {_INET, _INET6, _NETLINK}:
            self._deny("socket", errno.EAFNOSUPPORT, self._masked(0, _LOW, family))
        self._deny("socket", errno.EAFNOSUPPORT, self._compare(0, "GT", _LAST_FAMILY))
        self._deny("socket", errno.EAFNOSUPPORT, self._masked(0, _LOW, _NETLINK), self._compare(2, "NE", 0))
        for family in (_INET, _INET6):
            self._only_types("socket", family, {_STREAM, _DGRAM})

    def _socketpair(self) -> None:
        for family in set(range(_LAST_FAMILY + 1)) - {_UNIX}:
            self._deny("socketpair", errno.EAFNOSUPPORT, self._masked(0, _LOW, family))
        self._deny("socketpair", errno.EAFNOSUPPORT, self._compare(0, "GT", _LAST_FAMILY))
        self._only_types("socketpair", _UNIX, {_STREAM, _SEQPACKET})

    def _only_types(self, call: str, family: int, types: set[int]) -> None:
        for kind in set(range(_TYPE_MASK + 1)) - types:
            self._deny(
                call, errno.EAFNOSUPPORT, self._masked(0, _LOW, family), self._masked(1, _TYPE_MASK, kind)
            )

    def _deny(self, call: str, code: int, *conditions: Any) -> None:
        if self._library.resolve_syscall(self._arch, call) >= 0:
            self._rules.add_rule(self._library.ERRNO(code), call, *conditions)

    def _masked(self, argument: int, mask: int, value: int) -> Any:
        return self._library.Arg(argument, self._library.MASKED_EQ, mask, value)

    def _compare(self, argument: int, how: str, value: int) -> Any:
        return self._library.Arg(argument, getattr(self._library, how), value)


def generate() -> dict[str, bytes]:
    """Return every file of `filters/` by name, as it should be committed."""
    files: dict[str, bytes] = {}
    for machine in AUDIT_ARCH:
        program, listing = offline(machine)
        files[f"{machine}-prologue.bpf"] = prologue(machine)
        files[f"{machine}-offline.bpf"] = program
        files[f"{machine}-offline.txt"] = listing.encode()
    sums = [f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in sorted(files.items())]
    return {**files, "SHA256SUMS": "".join(sums).encode()}


if __name__ == "__main__":
    FILTERS.mkdir(exist_ok=True)
    for file_name, content in generate().items():
        (FILTERS / file_name).write_bytes(content)
