"""Units of the journal that are old enough go into files; only then, and unless something holds them, do
their rows go.

A unit's file is read back and compared with the rows before it counts. `steps` says what to do in which
transaction; reading and writing files happens between them.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from itertools import count
from pathlib import Path
from typing import IO
from urllib.parse import unquote, urlsplit

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Q

from governance.journal import archive, holds
from governance.journal.archive import invalid_archive
from governance.journal.archived_rows import Unit, leaves_of, stored, verified
from governance.journal.keys import origin
from governance.journal.models import (
    JournalArchive,
    JournalCheckpoint,
    JournalEvent,
    JournalLeaf,
    JournalPayload,
)
from kernel.errors import ConflictError, NotFoundError, UnavailableError
from kernel.record import Actor, Record

UNIT = 65_536
"""Events in one file; a multiple of 256."""
ROWS_AT_ONCE = 1_024
"""Events that one transaction removes."""
KEEP = "keep"
LONGEST_TERM = 365_000
"""Days; a longer term reaches back before the calendar of dates begins."""
Clock = Callable[[], datetime]
Step = Callable[[], object]
"""What belongs into one transaction."""


@dataclass(frozen=True, slots=True)
class Written:
    """A file that was read back and holds what the rows hold."""

    path: Path
    sha256: str
    bytes: int


def retention() -> timedelta | None:
    """Return how long events stay in the database; None for ever."""
    chosen = settings.PALYRA_JOURNAL_RETENTION_DAYS
    return None if chosen == KEEP else timedelta(days=min(max(1, int(chosen)), LONGEST_TERM))


def due(*, before: datetime, restored: bool = False) -> Iterator[Unit]:
    """Return the units sealed before this moment whose rows still have to go, the oldest first.

    What was restored stays, unless `restored` asks for that too.
    """
    done = JournalArchive.objects.filter(Q(removed_at__isnull=False) | Q(restored_at__isnull=False))
    if restored:
        done = done.filter(restored_at__isnull=True)
    skipped = set(done.values_list("first_seq", flat=True))
    for first in count(0, UNIT):
        if first in skipped:
            continue
        if not _is_sealed_before(first + UNIT, before):
            return
        yield Unit(first, first + UNIT)


def steps(unit: Unit, *, actor: Actor, clock: Clock, record: Record) -> Iterator[Step]:
    """Archive one unit and remove its rows; each step is run in a transaction before the next is asked for.

    Interrupted anywhere, it goes on where it was. A step raises ConflictError `legal_hold` under a hold and
    `state_changed` when somebody else is at it. Between steps: UnavailableError `journal_inconsistent` when
    a row is not what was sealed, `journal_unavailable` when the file cannot be written, InvalidError
    `journal.archive_invalid` when the file of an earlier attempt is not that one any more.
    """
    row = JournalArchive.objects.filter(pk=unit.first).first()
    if row is None:
        written = write_file(unit, clock())
        yield partial(_note_archived, unit, written, actor, clock(), record)
    elif row.restored_at is not None:
        require_proven(unit)
        yield partial(_note_again, unit, actor, clock(), record)
    require_proven(unit)
    for start in range(unit.first, unit.end, ROWS_AT_ONCE):
        yield partial(_remove, unit, Unit(start, min(start + ROWS_AT_ONCE, unit.end)))
    yield partial(_note_removed, unit, clock())


def require_free(unit: Unit) -> None:
    """Raise ConflictError `legal_hold` while a hold keeps an event of the unit."""
    hold = holds.over(unit.first, unit.end)
    if hold is not None:
        raise ConflictError("legal_hold", f"The hold {hold.pk} keeps events {unit.first} to {unit.end - 1}.")


def require_proven(unit: Unit) -> tuple[JournalArchive, Path]:
    """Return the archive of the unit and its file, which is to the byte the recorded one.

    NotFoundError without an archive, InvalidError `journal.archive_invalid` for another file.
    """
    row = JournalArchive.objects.filter(pk=unit.first, end_seq=unit.end, verified_at__isnull=False).first()
    if row is None:
        raise NotFoundError("not_found", "This part of the journal has no archive.")
    path = path_of(row)
    require_file(row, path)
    return row, path


def require_file(row: JournalArchive, path: Path) -> None:
    """Raise InvalidError `journal.archive_invalid` unless this is the recorded file, to the byte."""
    try:
        # A row can name any file of the machine, also one that has no end.
        is_other = not path.is_file() or path.stat().st_size != row.bytes
        found = "" if is_other else archive.sha256_of(path)
    except OSError as error:
        raise invalid_archive(f"{path.name} cannot be read.") from error
    if found != row.sha256:
        raise invalid_archive(f"{path.name} is not the file that was recorded.")


def path_of(row: JournalArchive) -> Path:
    """Return where the file lies: where it was written, or under the same name in the archive directory."""
    written = Path(unquote(urlsplit(row.uri).path))
    return written if written.exists() else Path(settings.PALYRA_JOURNAL_ARCHIVE_DIR) / written.name


def write_file(unit: Unit, now: datetime) -> Written:
    """Write the unit's file, read it back, and return what is known of it. No row changes."""
    target = Path(settings.PALYRA_JOURNAL_ARCHIVE_DIR) / f"journal-{unit.first:012d}-{unit.end - 1:012d}.zip"
    try:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")  # of mode 0600
        temporary = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                _write_to(file, unit, now)
            _require_same(temporary, unit)
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
        _sync_directory(target.parent)
        return Written(target, archive.sha256_of(target), target.stat().st_size)
    except OSError as error:
        raise UnavailableError("journal_unavailable", "The archive cannot be written.") from error


def _write_to(file: IO[bytes], unit: Unit, now: datetime) -> None:
    archive.write(
        file,
        origin=origin(now),
        first_seq=unit.first,
        checkpoint=_checkpoint_over(unit),
        events=stored(unit),
    )
    file.flush()
    os.fsync(file.fileno())


def _require_same(path: Path, unit: Unit) -> None:
    """What was written is read back and compared with the rows: what differs must not replace them."""
    rows, count = stored(unit), 0
    for batch in verified(path):
        count += len(batch)
        if any(one.archived != next(rows, None) for one in batch):
            raise invalid_archive("The file that was written does not hold what the rows hold.")
    if count != unit.end - unit.first:
        raise invalid_archive("The file that was written holds another number of events.")


def _is_sealed_before(size: int, moment: datetime) -> bool:
    """Two look-ups by key: there are far more checkpoints than units."""
    leaf = JournalLeaf.objects.filter(pk=size - 1).values_list("checkpoint", flat=True).first()
    sealed = JournalCheckpoint.objects.filter(tree_size=leaf or 0).values_list("sealed_at", flat=True).first()
    return sealed is not None and sealed < moment


def _checkpoint_over(unit: Unit) -> str:
    over = JournalCheckpoint.objects.filter(tree_size__gte=unit.end).order_by("tree_size").first()
    if over is None:
        raise UnavailableError("journal_inconsistent", "No checkpoint covers what was sealed.")
    return over.note


def _note_archived(unit: Unit, written: Written, actor: Actor, now: datetime, record: Record) -> None:
    """From this commit on the rows may go."""
    require_free(unit)
    event = _recorded(unit, written, actor, now, record)
    try:
        with transaction.atomic():
            JournalArchive.objects.create(
                first_seq=unit.first,
                end_seq=unit.end,
                uri=written.path.absolute().as_uri(),
                sha256=written.sha256,
                bytes=written.bytes,
                verified_at=now,
                event=event,
            )
    except IntegrityError as error:
        raise ConflictError("state_changed", "This part of the journal was archived already.") from error


def _note_again(unit: Unit, actor: Actor, now: datetime, record: Record) -> None:
    """Rows that were restored may go again, with the same file."""
    require_free(unit)
    row = JournalArchive.objects.select_for_update().get(pk=unit.first)
    if row.restored_at is None:
        raise ConflictError("state_changed", "This part of the journal was archived again already.")
    written = Written(path_of(row), row.sha256, row.bytes)
    JournalArchive.objects.filter(pk=unit.first).update(
        removed_at=None,
        restored_at=None,
        verified_at=now,
        event=_recorded(unit, written, actor, now, record),
    )


def _recorded(unit: Unit, written: Written, actor: Actor, now: datetime, record: Record) -> str:
    data: dict[str, object] = {
        "first_seq": unit.first,
        "end_seq": unit.end,
        "file": written.path.name,
        "sha256": written.sha256,
        "bytes": written.bytes,
    }
    return record(event="journal.archived", actor=actor, subject="journal", now=now, data=data)


def _remove(unit: Unit, part: Unit) -> None:
    """Delete the rows of a part, the payloads first; a foreign key still keeps an event that waits."""
    row = JournalArchive.objects.select_for_update().filter(pk=unit.first, end_seq=unit.end).first()
    if row is None or row.verified_at is None or row.restored_at is not None:
        raise ConflictError("state_changed", "This part of the journal is not to be removed.")
    require_free(unit)
    ids = leaves_of(part).order_by().values("event_id")
    JournalPayload.objects.filter(pk__in=ids).delete()
    JournalEvent.objects.filter(pk__in=ids).delete()


def _note_removed(unit: Unit, now: datetime) -> None:
    left = JournalEvent.objects.filter(pk__in=leaves_of(unit).order_by().values("event_id")).exists()
    changed = JournalArchive.objects.filter(pk=unit.first, removed_at=None, restored_at=None)
    if left or changed.update(removed_at=now) != 1:
        raise ConflictError("state_changed", "Rows of this part of the journal are left.")


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
