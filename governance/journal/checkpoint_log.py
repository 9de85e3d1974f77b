"""The file of all checkpoints beside the database: what shows that the database lost some.

`$PALYRA_HOME/journal/checkpoints.log` has one line for each checkpoint, the JSON object `{"note": …}`
with the signed note to the letter, in rising sizes. A line is complete when it ends with a newline.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from governance.journal import note
from governance.journal.models import JournalCheckpoint
from kernel.errors import InvalidError, UnavailableError

TAIL_BYTES = 64 * 1024
"""The longest line. A checkpoint as it is sealed has some 300 bytes."""


@dataclass(frozen=True, slots=True)
class _Tail:
    """The last complete line, if there is one, and where the complete lines end."""

    line: bytes | None
    end: int


def path() -> Path:
    """Return where the file lies. It may be moved away by whoever keeps it; then it begins anew."""
    return Path(settings.PALYRA_HOME) / "journal" / "checkpoints.log"


def notes(lines: Iterable[str | bytes]) -> Iterator[str]:
    """Return the notes of a log, line by line; ValueError for a line that holds none."""
    for line in lines:
        yield _note_of(line)


def append(text: str) -> None:
    """Add a committed checkpoint and wait until it lies on the disk.

    Does nothing when the log holds this one or a later one of the same origin. Raises OSError.
    """
    added = note.parse(text)
    line = json.dumps({"note": text}, ensure_ascii=False).encode() + b"\n"
    with _open_alone() as file:
        tail = _tail(file)
        last = _parsed(tail)
        if last is not None and last.origin == added.origin and last.size >= added.size:
            return
        os.ftruncate(file, tail.end)  # what a crash tore off was never a line
        try:
            _write(file, line)
        except OSError:
            os.ftruncate(file, tail.end)
            raise


def last(origin: str) -> note.Note | None:
    """Return the checkpoint that the log ends with; None without one of this origin.

    Raises UnavailableError `journal_inconsistent` when its last line is no checkpoint, OSError when it
    cannot be read.
    """
    found = _last()
    return found if found is not None and found.origin == origin else None


def require_agreement(newest: JournalCheckpoint | None, origin: str) -> None:
    """Compare the log with the database, whose sealer the caller is, and add the newest if it is missing.

    Only the setting begins another name on purpose. The name by default comes out of the database, so a
    log under the name of its newest checkpoint counts as well.

    Raises UnavailableError `journal_inconsistent` when the log holds a checkpoint that the database does
    not have: one of the two is not the history that was signed. A database without any checkpoint beside a
    log that has some was put in the place of another. Raises OSError.
    """
    logged = last(origin)
    if logged is None and not settings.PALYRA_JOURNAL_ORIGIN:
        logged = last(_origin_of(newest)) if newest is not None else _last()
    if logged is not None and (newest is None or logged.size > newest.tree_size):
        raise _inconsistent("the log of checkpoints is ahead of the database")
    if newest is None:
        return
    if logged is not None:
        own = JournalCheckpoint.objects.filter(tree_size=logged.size).values_list("root", flat=True).first()
        if own is None or bytes(own) != logged.root:
            raise _inconsistent("the log of checkpoints holds one that the database does not")
    if logged is None or logged.size < newest.tree_size:
        append(newest.note)


def _last() -> note.Note | None:
    with _open_alone() as file:
        return _parsed(_tail(file))


def _origin_of(row: JournalCheckpoint) -> str:
    try:
        return note.parse(row.note).origin
    except InvalidError as error:
        raise _inconsistent("the newest checkpoint does not hold") from error


@contextmanager
def _open_alone() -> Iterator[int]:
    """Open the log for its owner alone and be the only one in it; make it when it is missing."""
    place = path()
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    is_new = not place.exists()
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    file = os.open(place, flags, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        if is_new:
            place.parent.chmod(0o700)
            _keep_name(place.parent)
        yield file
    finally:
        os.close(file)


def _keep_name(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _tail(file: int) -> _Tail:
    size = os.fstat(file).st_size
    start = max(0, size - TAIL_BYTES)
    complete, newline, _ = os.pread(file, TAIL_BYTES, start).rpartition(b"\n")
    if not newline:
        if start:
            raise _inconsistent("the log of checkpoints does not end with one")
        return _Tail(None, 0)
    return _Tail(complete.rpartition(b"\n")[2], start + len(complete) + 1)


def _parsed(tail: _Tail) -> note.Note | None:
    if tail.line is None:
        return None
    try:
        return note.parse(_note_of(tail.line))
    except (ValueError, InvalidError) as error:
        raise _inconsistent("the log of checkpoints does not end with one") from error


def _note_of(line: str | bytes) -> str:
    try:
        match json.loads(line):
            case {"note": str(text)}:
                return text
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    raise ValueError("not a line of the log")


def _write(file: int, line: bytes) -> None:
    if os.write(file, line) != len(line):
        raise OSError("the log of checkpoints took a part of a line only")
    os.fsync(file)


def _inconsistent(detail: str) -> UnavailableError:
    return UnavailableError("journal_inconsistent", f"The journal is not what was signed: {detail}.")
