"""Bringing the rows of an archived unit back, to the byte."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from functools import partial
from pathlib import Path

from governance.journal import archive
from governance.journal.archived_rows import Restored, Unit, leaves_of, verified
from governance.journal.archiving import Step, path_of, require_file
from governance.journal.models import JournalArchive, JournalEvent, JournalPayload
from kernel.errors import ConflictError, NotFoundError
from kernel.record import Actor, Record


def steps(path: Path, *, actor: Actor, now: datetime, record: Record) -> Iterator[Step]:
    """Restore from one file; each step is run in a transaction before the next is asked for.

    The whole file is judged before any row comes back. Done again, it inserts what is still missing.
    InvalidError `journal.archive_invalid` for a file that is not the recorded one, is damaged, or holds
    events that are not those of this log's leaves; NotFoundError when its range was never archived here.
    """
    unit = range_of(path)
    require_file(archive_of(unit.first, unit.end), path)
    for _ in verified(path):
        pass
    yield partial(_begin, unit, actor, now, record)
    for batch in verified(path):
        yield partial(_bring_back, unit, batch)


def range_of(path: Path) -> Unit:
    """Return which leaves a file says it holds; InvalidError `journal.archive_invalid`."""
    with archive.reading(path) as reader:
        return Unit(reader.manifest.first_seq, reader.manifest.end_seq)


def archive_of(first_seq: int, end_seq: int | None = None) -> JournalArchive:
    """Return the archive that begins with this leaf (and ends there), or raise NotFoundError."""
    rows = JournalArchive.objects.filter(pk=first_seq)
    row = (rows if end_seq is None else rows.filter(end_seq=end_seq)).first()
    if row is None:
        raise NotFoundError("not_found", "This part of the journal was never archived here.")
    return row


def file_of(first_seq: int) -> Path:
    """Return the file of the archive that begins with this leaf, or raise NotFoundError."""
    return path_of(archive_of(first_seq))


def _begin(unit: Unit, actor: Actor, now: datetime, record: Record) -> None:
    """From this commit on nothing removes the rows, and it is recorded how many come back."""
    row = JournalArchive.objects.select_for_update().get(pk=unit.first)
    present = JournalEvent.objects.filter(pk__in=leaves_of(unit).order_by().values("event_id")).count()
    missing = unit.end - unit.first - present
    if not missing and row.restored_at is not None:
        return
    data: dict[str, object] = {
        "first_seq": unit.first,
        "end_seq": unit.end,
        "sha256": row.sha256,
        "events": missing,
    }
    record(event="journal.restored", actor=actor, subject="journal", now=now, data=data)
    JournalArchive.objects.filter(pk=unit.first).update(restored_at=now)


def _bring_back(unit: Unit, batch: list[Restored]) -> None:
    row = JournalArchive.objects.select_for_update().get(pk=unit.first)
    if row.restored_at is None:
        raise ConflictError("state_changed", "This part of the journal is being removed again.")
    ids = [one.event.pk for one in batch]
    present = set(JournalEvent.objects.filter(pk__in=ids).values_list("pk", flat=True))
    absent = [one for one in batch if one.event.pk not in present]
    JournalEvent.objects.bulk_create([one.event for one in absent])
    JournalPayload.objects.bulk_create([one.payload() for one in absent])
