"""Tiles and bundles of entries as mirrors fetch them. Only what a checkpoint covers is served."""

from __future__ import annotations

from governance.journal.lookup import ARCHIVED, is_archived
from governance.journal.merkle import TILE_HEIGHT, TILE_WIDTH
from governance.journal.models import JournalEvent, JournalLeaf
from governance.journal.places import Place
from governance.journal.proving import newest_checkpoint
from governance.journal.tiles import read_tile
from kernel.errors import NotFoundError, UnavailableError

_LENGTH_BYTES = 2


def tile(level: int, place: Place) -> bytes:
    """Return the hashes of a tile, 32 bytes each; NotFoundError when the log is not that long."""
    _require_signed(level, place)
    return read_tile(level, place.index, place.width)


def entries(place: Place) -> bytes:
    """Return the envelopes of a tile of leaves, each behind its length in two bytes.

    NotFoundError when the log is not that long, `archived` when some of them lie in an archive;
    UnavailableError `journal_inconsistent` when they are gone otherwise.
    """
    _require_signed(0, place)
    first = place.index * TILE_WIDTH
    leaves = JournalLeaf.objects.filter(seq__gte=first, seq__lt=first + place.width).order_by("seq")
    ids = list(leaves.values_list("event_id", flat=True))
    stored = dict(JournalEvent.objects.filter(pk__in=ids).values_list("pk", "envelope"))
    for offset, event_id in enumerate(ids):
        if event_id not in stored:
            raise _absent(first + offset)
    return b"".join(_entry(bytes(stored[event_id])) for event_id in ids)


def _require_signed(level: int, place: Place) -> None:
    whole = newest_checkpoint().tree_size >> (level * TILE_HEIGHT)
    if place.index * TILE_WIDTH + place.width > whole:
        raise NotFoundError("not_found", "The log is not that long yet.")


def _entry(envelope: bytes) -> bytes:
    return len(envelope).to_bytes(_LENGTH_BYTES, "big") + envelope


def _absent(seq: int) -> NotFoundError | UnavailableError:
    if is_archived(seq):
        return NotFoundError(ARCHIVED, f"Event {seq} lies in an archive. Its hashes are still served.")
    return UnavailableError("journal_inconsistent", f"Event {seq} is neither here nor in an archive.")
