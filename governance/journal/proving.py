"""What the signed tree says of one event, and of one tree in another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from governance.journal import note, proof
from governance.journal.chain import leaf_hash
from governance.journal.merkle import (
    Frontier,
    consistency_proof,
    inclusion_proof,
    verify_consistency,
    verify_inclusion,
)
from governance.journal.models import JournalCheckpoint, JournalEvent, JournalLeaf
from governance.journal.ranges import hashes_of
from governance.journal.tiles import reader
from kernel.errors import InvalidError, NotFoundError, UnavailableError

RETRY_AFTER = 1
"""Seconds until a waiting event is probably sealed."""


@dataclass(frozen=True, slots=True)
class Consistency:
    """That the tree of `old` leaves is the beginning of that of `new`, and the roots of both."""

    old: int
    new: int
    old_root: bytes
    new_root: bytes
    hashes: tuple[bytes, ...]


def newest_checkpoint() -> JournalCheckpoint:
    """Return the newest checkpoint; NotFoundError `not_sealed` when nothing was ever sealed."""
    newest = JournalCheckpoint.objects.order_by("-tree_size").first()
    if newest is None:
        raise NotFoundError("not_sealed", "Nothing is sealed yet.", retry_after=RETRY_AFTER)
    return newest


def checkpoint_at(size: int | None) -> JournalCheckpoint:
    """Return the checkpoint of this size, without a size the newest; InvalidError `invalid_range`."""
    if size is None:
        return newest_checkpoint()
    found = JournalCheckpoint.objects.filter(pk=size).first() if 0 < size < 1 << 63 else None
    if found is None:
        raise InvalidError("invalid_range", "No checkpoint was signed at this size.")
    return found


def served_note(checkpoint: JournalCheckpoint) -> str:
    """Return the note with the lines of the witnesses that have seen it."""
    seen = sorted(checkpoint.cosignatures.all(), key=lambda one: one.witness)
    return checkpoint.note + "".join(f"{one.line.rstrip()}\n" for one in seen)


def proof_of(event: JournalEvent, size: int | None) -> str:
    """Return the proof file of an event to the checkpoint of `size`, by default the newest.

    NotFoundError `not_sealed` while the event waits; InvalidError `invalid_range` when no checkpoint has
    this size or it was signed before the event; UnavailableError `journal_inconsistent` when what is
    stored does not lead to what was signed: a proof that does not hold is never handed out.
    """
    leaf = JournalLeaf.objects.filter(event_id=event.pk).first()
    if leaf is None:
        raise NotFoundError("not_sealed", "The event waits to be sealed.", retry_after=RETRY_AFTER)
    checkpoint = checkpoint_at(size)
    if leaf.seq >= checkpoint.tree_size:
        raise InvalidError("invalid_range", f"Event {leaf.seq} was sealed after this checkpoint.")
    stored = bytes(event.envelope)
    path = inclusion_proof(reader(checkpoint.tree_size), leaf.seq, checkpoint.tree_size)
    signed_root = note.parse(checkpoint.note).root
    if not verify_inclusion(leaf_hash(stored), leaf.seq, checkpoint.tree_size, path, signed_root):
        raise _inconsistent()
    return proof.render(stored, leaf.seq, path, served_note(checkpoint))


def consistency(old: int, new: int | None) -> Consistency:
    """Return the proof between two sizes of the log; `new` is by default that of the newest checkpoint.

    InvalidError `invalid_range` unless 0 <= old <= new and the log has that many; UnavailableError
    `journal_inconsistent` when the stored hashes do not hold together.
    """
    newest = newest_checkpoint().tree_size
    end = newest if new is None else new
    if not 0 <= old <= end <= newest:
        raise InvalidError("invalid_range", f"from and to lie within the {newest} sealed events, in order.")
    hashes = consistency_proof(reader(end), old, end)
    roots = {size: _root(size) for size in (old, end)}
    if not verify_consistency(old, end, roots[old], roots[end], hashes) or not _are_signed(roots):
        raise _inconsistent()
    return Consistency(old, end, roots[old], roots[end], hashes)


def _root(size: int) -> bytes:
    return Frontier(size, hashes_of(reader(size), 0, size)).root()


def _are_signed(roots: Mapping[int, bytes]) -> bool:
    """Tell whether the checkpoints of these sizes, where there are any, say these roots."""
    signed = JournalCheckpoint.objects.filter(pk__in=roots).values_list("pk", "note")
    return all(note.parse(text).root == roots[size] for size, text in signed)


def _inconsistent() -> UnavailableError:
    return UnavailableError("journal_inconsistent", "What is stored does not lead to what was signed.")
