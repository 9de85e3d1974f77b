"""The committed filters: reproducible, and judged by an interpreter of BPF instead of by their author."""

from __future__ import annotations

import errno
import struct

import pytest

from sandbox.runners import seccomp

ALLOW, KILL, ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
NUMBERS = {
    "x86_64": {
        "read": 0,
        "socket": 41,
        "clone": 56,
        "ptrace": 101,
        "clone3": 435,
        "ioctl": 16,
        "personality": 135,
    },
    "aarch64": {
        "read": 63,
        "socket": 198,
        "clone": 220,
        "ptrace": 117,
        "clone3": 435,
        "ioctl": 29,
        "personality": 92,
    },
}
MACHINES = sorted(NUMBERS)
NEW_USER = 0x10000000


def evaluate(program: bytes, number: int, arch: int, *arguments: int) -> int:
    """Run classic BPF over a struct seccomp_data and return the verdict."""
    padded = [*arguments, *[0] * (6 - len(arguments))]
    data = struct.pack("=IIQ6Q", number & 0xFFFFFFFF, arch, 0, *(value % 2**64 for value in padded))
    code = list(struct.iter_unpack("=HBBI", program))
    accumulator = at = 0
    while True:
        operation, if_true, if_false, value = code[at]
        at += 1
        if operation == 0x20:
            accumulator = struct.unpack_from("=I", data, value)[0]
        elif operation == 0x54:
            accumulator &= value
        elif operation == 0x06:
            return int(value)
        elif operation == 0x05:
            at += value
        else:
            holds = {0x15: accumulator == value, 0x25: accumulator > value, 0x35: accumulator >= value}[
                operation
            ]
            at += if_true if holds else if_false


def verdict(machine: str, call: str, *arguments: int) -> int:
    program = (seccomp.FILTERS / f"{machine}-offline.bpf").read_bytes()
    return evaluate(program, NUMBERS[machine][call], seccomp.AUDIT_ARCH[machine], *arguments)


def test_the_committed_files_are_what_the_generator_makes() -> None:
    pyseccomp = pytest.importorskip("pyseccomp", reason="pyseccomp or libseccomp is not installed")
    assert pyseccomp is not None
    for name, content in seccomp.generate().items():
        assert (seccomp.FILTERS / name).read_bytes() == content, name


def test_the_filters_of_this_machine_load() -> None:
    filters = seccomp.load_filters()

    assert filters is not None
    assert filters.digest.startswith("sha256:")


@pytest.mark.parametrize("machine", MACHINES)
def test_the_prologue_kills_foreign_tables_and_hides_new_calls(machine: str) -> None:
    program, own = seccomp.prologue(machine), seccomp.AUDIT_ARCH[machine]

    assert evaluate(program, 0, own) == ALLOW
    assert evaluate(program, seccomp.NEWEST_CALL, own) == ALLOW
    assert evaluate(program, seccomp.NEWEST_CALL + 1, own) == ERRNO | errno.ENOSYS
    assert evaluate(program, 0, 0x40000003) == KILL
    assert evaluate(program, -1, own) == (KILL if machine == "x86_64" else ERRNO | errno.ENOSYS)
    if machine == "x86_64":
        assert evaluate(program, seccomp.X32_BIT | 1, own) == KILL


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(
    ("call", "arguments", "expected"),
    [
        ("read", (), ALLOW),
        ("ptrace", (), ERRNO | errno.EPERM),
        ("clone3", (), ERRNO | errno.ENOSYS),
        ("clone", (17,), ALLOW),
        ("clone", (NEW_USER | 17,), ERRNO | errno.EPERM),
        ("clone", (2**32 | NEW_USER,), ERRNO | errno.EPERM),
        ("clone", (0x20000,), ERRNO | errno.EPERM),
        ("ioctl", (0, 0x5401), ALLOW),
        ("ioctl", (0, 0x5412), ERRNO | errno.EPERM),
        ("ioctl", (0, 2**32 | 0x5412), ERRNO | errno.EPERM),
        ("personality", (0,), ALLOW),
        ("personality", (0xFFFFFFFF,), ALLOW),
        ("personality", (0x40000,), ERRNO | errno.EPERM),
        ("personality", (0xFFFFFFFE,), ERRNO | errno.EPERM),
        ("socket", (2, 1), ALLOW),
        ("socket", (10, 2 | 0x80800), ALLOW),
        ("socket", (2, 3), ERRNO | errno.EAFNOSUPPORT),
        ("socket", (2, 5), ERRNO | errno.EAFNOSUPPORT),
        ("socket", (1, 1), ERRNO | errno.EAFNOSUPPORT),
        ("socket", (2**32 | 1, 1), ERRNO | errno.EAFNOSUPPORT),
        ("socket", (16, 3, 0), ALLOW),
        ("socket", (16, 3, 15), ERRNO | errno.EAFNOSUPPORT),
        ("socket", (17, 3), ERRNO | errno.EAFNOSUPPORT),
        ("socket", (38, 5), ERRNO | errno.EAFNOSUPPORT),
        ("socket", (40, 1), ERRNO | errno.EAFNOSUPPORT),
        ("socket", (99, 1), ERRNO | errno.EAFNOSUPPORT),
    ],
)
def test_rules(machine: str, call: str, arguments: tuple[int, ...], expected: int) -> None:
    assert verdict(machine, call, *arguments) == expected
