"""Every sealed event in the order of the log: its row, its payload, its leaf, and what is built on leaves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet

from governance.journal.chain import HASH_BYTES, leaf_hash
from governance.journal.findings import Code, Finding, Report
from governance.journal.models import JournalEvent, JournalLeaf, JournalPayload
from governance.journal.verify_archives import Archives
from governance.journal.verify_rows import (
    EVENT_COLUMNS,
    EventRow,
    PayloadRow,
    Payloads,
    column_faults,
    fields_of,
)
from governance.journal.verify_signatures import Signatures
from governance.journal.verify_tree import StoredCheckpoint, Tree

CHUNK = 512
"""Leaves that are held at once, with their payloads of up to 96 KiB each."""

LeafRow = tuple[int, str, bytes, bytes, int]
"""seq, event id, leaf hash, chain hash, size of the checkpoint."""


@dataclass(frozen=True, slots=True)
class Span:
    """Leaves `first` up to `end`: from a tile's border to the end of a checkpoint."""

    first: int
    end: int


@dataclass(frozen=True, slots=True)
class _Chunk:
    leaves: list[LeafRow]
    events: Mapping[str, EventRow]
    payloads: Mapping[str, PayloadRow]


class Leaves:
    """Reads a span of the log once, in constant memory. Each chunk is one step of progress."""

    def __init__(
        self, span: Span, signatures: Signatures, payloads: Payloads | None, archives: Archives
    ) -> None:
        """Without `payloads` none is opened; that they are there is seen all the same."""
        self._span, self._signatures, self._payloads, self._archives = span, signatures, payloads, archives
        self._tree = Tree(span.first)
        self._batches = _Batches()
        self._waiting: list[StoredCheckpoint] = []
        self._read_to = 0

    def chunks(self, report: Report) -> Iterator[list[Finding]]:
        """Return the findings of one chunk after the other; `report` counts the events.

        The notes of all checkpoints are checked, also of those before and after the span.
        """
        while (stored := self._upcoming()) is not None and stored.size <= self._span.first:
            self._waiting.pop(0)
        yield list(self._signatures.taken())
        for first in range(self._span.first, self._span.end, CHUNK):
            chunk = _read(first, min(first + CHUNK, self._span.end))
            report.events += len(chunk.leaves)
            yield [*self._chunk(chunk), *self._signatures.taken()]
        yield list(self._close())

    def _chunk(self, chunk: _Chunk) -> Iterator[Finding]:
        for leaf in chunk.leaves:
            yield from self._checkpoints_up_to(leaf[0])
            yield from self._leaf(leaf, chunk)

    def _leaf(self, leaf: LeafRow, chunk: _Chunk) -> Iterator[Finding]:
        seq, event_id, stored, chain, checkpoint = leaf
        yield from self._tree.leaf(seq, event_id, _shaped(stored), chain)
        covering = self._upcoming()
        yield from self._batches.leaf(seq, event_id, checkpoint, covering.size if covering else None)
        row = chunk.events.get(event_id)
        if row is None:
            yield from self._archives.explain(seq, event_id, Code.EVENT_MISSING)
            return
        fields = fields_of(row[1])
        yield from event_findings(seq, row, fields, stored)
        yield from self._payload(seq, row[0], fields, chunk.payloads.get(event_id))

    def _payload(
        self, seq: int, event_id: str, fields: Mapping[str, Any] | None, payload: PayloadRow | None
    ) -> Iterator[Finding]:
        if payload is None:
            yield from self._archives.explain(seq, event_id, Code.PAYLOAD_MISSING)
        elif self._payloads is not None and fields is not None:
            yield from self._payloads.findings(event_id, seq, fields, payload)

    def _checkpoints_up_to(self, size: int) -> Iterator[Finding]:
        """Compare the checkpoints over this many leaves, or over fewer where leaves are missing."""
        while (stored := self._upcoming()) is not None and stored.size <= size:
            yield from self._tree.checkpoint(stored)
            self._waiting.pop(0)

    def _upcoming(self) -> StoredCheckpoint | None:
        """Return the next checkpoint that was not compared yet."""
        if not self._waiting:
            self._waiting = self._signatures.checkpoints(self._read_to, CHUNK)
            self._read_to = self._waiting[-1].size if self._waiting else self._read_to
        return self._waiting[0] if self._waiting else None

    def _close(self) -> Iterator[Finding]:
        yield from self._checkpoints_up_to(self._tree.next_seq)
        yield from self._tree.gap(self._span.end)
        yield from self._checkpoints_up_to(self._span.end)
        yield from self._batches.close()
        while self._upcoming() is not None:
            self._waiting.clear()
        yield from self._signatures.taken()


class _Batches:
    """Compares the checkpoint that each leaf names with the one that covers it.

    A batch of leaves that names a smaller one, and ends with it, shows that the checkpoint is gone.
    """

    def __init__(self) -> None:
        self._named: int | None = None
        self._first: tuple[int, str] = (0, "")
        self._last = 0

    def leaf(self, seq: int, event_id: str, named: int, covering: int | None) -> Iterator[Finding]:
        odd = None if named == covering else named
        if odd != self._named:
            yield from self.close()
            self._named, self._first = odd, (seq, event_id)
        self._last = seq

    def close(self) -> Iterator[Finding]:
        if self._named is None:
            return
        first, event_id = self._first
        if self._last == self._named - 1:
            yield Finding(Code.CHECKPOINT_MISSING, self._last, None, f"checkpoint {self._named} is not there")
        else:
            detail = f"leaf: checkpoint, in {self._last - first + 1} leaves from here"
            yield Finding(Code.COLUMN_MISMATCH, first, event_id, detail)
        self._named = None


def _shaped(stored: bytes) -> bytes:
    """Return what stands for a stored leaf in the tree: no hash of another length can."""
    return stored if len(stored) == HASH_BYTES else bytes(HASH_BYTES)


def event_findings(
    seq: int | None, row: EventRow, fields: Mapping[str, Any] | None, leaf: bytes | None
) -> Iterator[Finding]:
    """Compare the row of an event with its envelope, and the envelope with its leaf when it has one.

    `fields` are those of the envelope (`fields_of`).
    """
    stored, event_id = row[1], row[0]
    if leaf is not None and leaf_hash(stored) != leaf:
        yield Finding(Code.LEAF_MISMATCH, seq, event_id, "the envelope is not the one that was sealed")
    if fields is None:
        yield Finding(Code.LEAF_MISMATCH, seq, event_id, "the envelope is not canonical JSON of version 1")
        return
    faults = column_faults(row, fields)
    if faults:
        yield Finding(Code.COLUMN_MISMATCH, seq, event_id, f"event: {', '.join(faults)}")


def _read(first: int, end: int) -> _Chunk:
    rows = JournalLeaf.objects.filter(seq__gte=first, seq__lt=end)
    leaves = rows.order_by("seq").values_list("seq", "event_id", "leaf_hash", "chain_hash", "checkpoint")
    within = rows.values("event_id")
    found = [(seq, event, bytes(leaf), bytes(chain), size) for seq, event, leaf, chain, size in leaves]
    return _Chunk(found, events_of(JournalEvent.objects.filter(pk__in=within)), payloads_of(within))


def events_of(rows: QuerySet[JournalEvent]) -> dict[str, EventRow]:
    """Return the columns of events by id."""
    found = rows.values_list(*EVENT_COLUMNS)
    return {row[0]: (row[0], bytes(row[1]), *row[2:]) for row in found}


def payloads_of(events: Any) -> dict[str, PayloadRow]:
    """Return key, nonce and ciphertext by event id; `events` are ids or a query of them."""
    found = JournalPayload.objects.filter(event_id__in=events)
    rows = found.values_list("event_id", "key_id", "nonce", "ciphertext")
    return {event: (key, bytes(nonce), bytes(text)) for event, key, nonce, text in rows}
