"""Rows of sealed events as a file keeps them, each held against its leaf on the way in and out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from django.db.models import QuerySet

from governance.journal import archive, envelope
from governance.journal.archive import Archived, invalid_archive
from governance.journal.chain import leaf_hash
from governance.journal.merkle import TILE_WIDTH
from governance.journal.models import JournalEvent, JournalLeaf, JournalPayload
from kernel.errors import UnavailableError

_COPIES = ("id", "type", "time", "actor", "subject", "run_id", "run_seq", "call_id")


@dataclass(frozen=True, slots=True)
class Unit:
    """The leaves from `first` to before `end`."""

    first: int
    end: int


@dataclass(frozen=True, slots=True)
class Restored:
    """An event of a file, and the row it was and will be again."""

    archived: Archived
    event: JournalEvent

    def payload(self) -> JournalPayload:
        """Return the row of its payload, to the byte."""
        one = self.archived
        return JournalPayload(
            event_id=self.event.pk, key_id=one.key_id, nonce=one.nonce, ciphertext=one.ciphertext
        )


def leaves_of(unit: Unit) -> QuerySet[JournalLeaf]:
    """Return the leaves of a unit in their order."""
    return JournalLeaf.objects.filter(seq__gte=unit.first, seq__lt=unit.end).order_by("seq")


def stored(unit: Unit) -> Iterator[Archived]:
    """Return the stored events of a unit in their order.

    UnavailableError `journal_inconsistent` when one is missing, or is not what its leaf was made of, or has
    a column that its envelope does not say.
    """
    for first in range(unit.first, unit.end, TILE_WIDTH):
        leaves = list(leaves_of(Unit(first, min(first + TILE_WIDTH, unit.end))))
        ids = [leaf.event_id for leaf in leaves]
        events, payloads = JournalEvent.objects.in_bulk(ids), JournalPayload.objects.in_bulk(ids)
        for leaf in leaves:
            event, payload = events.get(leaf.event_id), payloads.get(leaf.event_id)
            if event is None or payload is None or not _is_sealed(event, leaf):
                raise UnavailableError("journal_inconsistent", f"Event {leaf.seq} is not what was sealed.")
            nonce, ciphertext = bytes(payload.nonce), bytes(payload.ciphertext)
            yield Archived(bytes(event.envelope), payload.key_id, nonce, ciphertext)


def verified(path: Path) -> Iterator[list[Restored]]:
    """Return the events of a file, up to 256 at a time.

    InvalidError `journal.archive_invalid` at the first that is not what its leaf in this log was made of.
    """
    with archive.reading(path) as reader:
        seq = reader.manifest.first_seq
        for batch in reader.batches():
            rows = [Restored(one, _row_of(one.envelope)) for one in batch]
            leaves = leaves_of(Unit(seq, seq + len(batch))).values_list("event_id", "leaf_hash")
            expected = [(event_id, bytes(leaf)) for event_id, leaf in leaves]
            if [(row.event.pk, leaf_hash(row.archived.envelope)) for row in rows] != expected:
                raise invalid_archive(f"Events from {seq} on are not those of this log.")
            yield rows
            seq += len(batch)


def archived_event(path: Path, leaf: JournalLeaf) -> JournalEvent:
    """Return the event of a leaf from a file; InvalidError `journal.archive_invalid` without it."""
    if not path.is_file():
        raise invalid_archive(f"{path.name} cannot be read.")
    with archive.reading(path) as reader:
        if not reader.manifest.first_seq <= leaf.seq < reader.manifest.end_seq:
            raise invalid_archive("The file holds another range.")
        found = reader.batch_over(leaf.seq)[leaf.seq % TILE_WIDTH].envelope
    if leaf_hash(found) != bytes(leaf.leaf_hash):
        raise invalid_archive(f"Event {leaf.seq} is not that of this log.")
    return _row_of(found)


def _is_sealed(event: JournalEvent, leaf: JournalLeaf) -> bool:
    envelope_bytes = bytes(event.envelope)
    if leaf_hash(envelope_bytes) != bytes(leaf.leaf_hash):
        return False
    said = _row_of(envelope_bytes)
    return all(getattr(event, name) == getattr(said, name) for name in _COPIES)


def _row_of(envelope_bytes: bytes) -> JournalEvent:
    """Return the row of an envelope: every other column is a copy out of it."""
    try:
        said: dict[str, Any] = envelope.parse(envelope_bytes)
        return JournalEvent(
            id=said["id"],
            envelope=envelope_bytes,
            type=said["type"],
            time=datetime.fromisoformat(said["time"]),
            actor=said["actor"]["id"],
            subject=said["subject"],
            run_id=said["run"],
            run_seq=said["run_seq"],
            call_id=said["call"],
        )
    except (KeyError, ValueError, TypeError) as error:
        raise invalid_archive("An envelope cannot be read.") from error
