"""What the kernel says about processes: who descends from whom, and who is still there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Process:
    """One process. Its start time tells it from a later one with the same number."""

    pid: int
    parent: int
    started: int
    command: str

    @property
    def alive(self) -> bool:
        now = _read(self.pid)
        return now is not None and now.started == self.started


def everybody() -> list[Process]:
    """Return every process of this machine that is not a zombie."""
    numbers = (int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit())
    return [process for number in numbers if (process := _read(number)) is not None]


def tree_of(pid: int) -> list[Process]:
    """Return the process and all that descend from it."""
    by_parent: dict[int, list[Process]] = {}
    for process in everybody():
        by_parent.setdefault(process.parent, []).append(process)

    def walk(process: Process) -> Iterator[Process]:
        yield process
        for child in by_parent.get(process.pid, []):
            yield from walk(child)

    root = _read(pid)
    return list(walk(root)) if root else []


def naming(text: str) -> list[Process]:
    """Return the processes that have `text` in their command line or environment."""
    return [one for one in everybody() if text in one.command or text in _environment(one.pid)]


def _read(pid: int) -> Process | None:
    try:
        stat = (PROC / str(pid) / "stat").read_text()
        command = (PROC / str(pid) / "cmdline").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()
    if fields[0] in ("Z", "X"):
        return None
    return Process(pid, int(fields[1]), int(fields[19]), command.replace("\0", " "))


def _environment(pid: int) -> str:
    try:
        return (PROC / str(pid) / "environ").read_bytes().decode(errors="replace")
    except OSError:
        return ""
