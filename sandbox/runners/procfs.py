"""What the kernel says about processes. Standard library only: the launcher imports it."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

NAMESPACES = ("user", "pid", "net", "ipc", "uts", "cgroup", "mnt")
ROOT_MOUNT = re.compile(rb"^\d+ \d+ \S+ \S+ / (\S+) (?:\S+ )*?- (\S+) ", re.MULTILINE)
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


def lines_of(pid: int, name: str) -> list[str]:
    with open(f"/proc/{pid}/{name}", "rb") as file:
        return file.read().decode("utf-8", "replace").splitlines()


def status_of(pid: int) -> dict[str, str]:
    """The fields of `/proc/<pid>/status`; a process that is gone is an OSError."""
    with open(f"/proc/{pid}/status", "rb", buffering=0) as file:
        return fields_of(file.read())


def fields_of(status: bytes) -> dict[str, str]:
    """The fields in the text of a `status` file."""
    lines = status.decode("utf-8", "replace").splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


def namespaces_of(pid: int | str) -> dict[str, str]:
    return {name: os.readlink(f"/proc/{pid}/ns/{name}") for name in NAMESPACES}


def program_at(path: str) -> tuple[int, int]:
    """Device and inode of a program."""
    facts = os.stat(path)
    return facts.st_dev, facts.st_ino


def program_of(pid: int) -> tuple[int, int] | None:
    """Device and inode of what a process executes; None when the kernel does not say."""
    try:
        return program_at(f"/proc/{pid}/exe")
    except OSError:
        return None


def children_of(pid: int) -> list[int]:
    found: list[int] = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children", "rb") as file:
                found += [int(child) for child in file.read().split()]
    except OSError:
        return found
    return found


def tree_of(pid: int) -> list[int]:
    """Every process below and with `pid`. Orphans stay in it: PID 1 of the namespace adopts them."""
    seen: list[int] = []
    todo = [pid]
    while todo:
        current = todo.pop()
        seen.append(current)
        todo += children_of(current)
    return seen


def cpu_ms_of(pid: int) -> int:
    """User and system time of a process and of its reaped children."""
    try:
        fields = lines_of(pid, "stat")[0].rpartition(")")[2].split()
    except (OSError, IndexError):
        return 0
    return sum(int(value) for value in fields[11:15]) * 1000 // CLOCK_TICKS


def resident(pid: int) -> int:
    """Anonymous and shared resident bytes; pages shared inside the tree are counted more than once."""
    try:
        status = status_of(pid)
        return sum(int(status[key].split()[0]) for key in ("RssAnon", "RssShmem") if key in status) * 1024
    except (OSError, ValueError):
        return 0


def proportional(pid: int) -> int:
    """Like `resident`, with each shared page divided by its users; slower."""
    try:
        lines = [line.split() for line in lines_of(pid, "smaps_rollup")]
    except OSError:
        return resident(pid)
    return sum(int(line[1]) for line in lines if line[0] in ("Pss_Anon:", "Pss_Shmem:")) * 1024


def tmpfs_bytes(pid: int, places: Sequence[str]) -> int:
    used = 0
    for place in places:
        try:
            facts = os.statvfs(f"/proc/{pid}/root{place}")
        except OSError:
            continue
        used += (facts.f_blocks - facts.f_bfree) * facts.f_frsize
    return used


def privileges_in(status: dict[str, str]) -> list[str]:
    """Return in words every privilege that a `status` still shows; empty is what a sandbox needs."""
    found = [
        f"{name} is not empty"
        for name in ("CapEff", "CapPrm", "CapBnd", "CapInh", "CapAmb")
        if int(status[name], 16)
    ]
    if status["NoNewPrivs"] != "1":
        found.append("no_new_privs is off")
    if status["Uid"].split()[0] == "0":
        found.append("the tool would be real root")
    return found


def root_is_private(pid: int) -> bool:
    """Tell whether a process has a read-only tmpfs as its root, as the plan builds it."""
    with open(f"/proc/{pid}/mountinfo", "rb", buffering=0) as file:
        roots = ROOT_MOUNT.findall(file.read())
    return bool(roots) and b"ro" in roots[-1][0].split(b",") and roots[-1][1] == b"tmpfs"
