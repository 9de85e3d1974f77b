"""The sealed log as lines to take away, in the order of their numbers, with constant memory.

One checkpoint stands for the whole export. What was not asked for, lies in an archive or is gone is named
in the trailer with the hashes that lead from the lines to the signed root: nothing is left out silently.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from governance.journal.chain import START
from governance.journal.export_lines import (
    ARCHIVED,
    FORMAT,
    MISSING,
    OUTSIDE,
    TRAILER,
    Absent,
    Line,
    compact,
    encoded,
    write,
)
from governance.journal.models import (
    JournalArchive,
    JournalCheckpoint,
    JournalEvent,
    JournalLeaf,
    JournalPayload,
)
from governance.journal.published import key_document
from governance.journal.ranges import hashes_of
from governance.journal.reading import Opened, open_salted
from governance.journal.tiles import reader
from kernel.clock import wire_time
from kernel.errors import InvalidError, UnavailableError
from vault.envelope import IntegrityError

BATCH = 128
MOST_ABSENT = 1_000
"""More holes than this are no archives but a broken table, and end the export without a trailer."""

Range = tuple[int, int, str, str | None]
"""First leaf, the one behind the last, why they have no lines, and the digest of their archive."""


class Shape(StrEnum):
    """The lines of `export_lines`, or structured events of CloudEvents 1.0."""

    JSONL = "jsonl"
    CLOUDEVENTS = "cloudevents"


@dataclass(frozen=True, slots=True)
class Wanted:
    """The leaves from `first` up to `end` under the checkpoint `signed`, None for an empty log.

    `reveals`: the data is told. `event` is the `evt_` id under which the taking is recorded.
    """

    shape: Shape
    first: int
    end: int
    signed: JournalCheckpoint | None
    reveals: bool
    event: str
    instance: str
    at: datetime


def newest_checkpoint() -> JournalCheckpoint | None:
    return JournalCheckpoint.objects.order_by("-tree_size").first()


def bounds(first: int | None, last: int | None, size: int) -> tuple[int, int]:
    """Return the first number and the one behind the last, by default all; InvalidError `invalid_range`."""
    low, high = first or 0, size if last is None else last + 1
    if not 0 <= low <= high <= size or (last is not None and low == high):
        raise InvalidError("invalid_range", f"from and to lie within the {size} sealed events, from first.")
    return low, high


@dataclass(slots=True)
class Export:
    """The lines of one export, piece by piece; `position` is the number of the next leaf."""

    wanted: Wanted
    position: int = field(init=False)
    count: int = 0
    erased: int = 0
    unreadable: int = 0
    _absent: list[Range] = field(default_factory=list)
    _is_over: bool = False

    def __post_init__(self) -> None:
        self.position = self.wanted.first

    def read(self) -> bytes:
        """Return the lines of the next leaves, the trailer after the last one, and nothing after that.

        Raises UnavailableError when the leaves are not whole or the vault cannot be asked: an export
        without a trailer is none.
        """
        if self._is_over:
            return b""
        if self.position >= self.wanted.end:
            self._is_over = True
            return self._closing()
        return b"".join(line for _, line in self.batch())

    def batch(self) -> list[tuple[int, bytes]]:
        """Return the next lines with their numbers; leaves without an event are in `gaps` then."""
        leaves = self._leaves()
        events = JournalEvent.objects.in_bulk([event_id for _, event_id, _ in leaves])
        found = [(seq, events[event_id], leaf) for seq, event_id, leaf in leaves if event_id in events]
        self._note_absent([seq for seq, event_id, _ in leaves if event_id not in events])
        opened = self._opened([event for _, event, _ in found])
        self.position += len(leaves)
        self.count += len(found)
        return [
            (seq, self._line(seq, event, leaf, one))
            for (seq, event, leaf), one in zip(found, opened, strict=True)
        ]

    def gaps(self) -> list[dict[str, Any]]:
        """Return what has no lines within what was read so far, as a tail tells it."""
        names = ("first_seq", "end_seq", "why", "archive")
        return [{"object": "journal_gap", **dict(zip(names, one, strict=True))} for one in self._absent]

    def pieces(self) -> Iterator[bytes]:
        """Yield all of it."""
        while piece := self.read():
            yield piece

    def _leaves(self) -> list[tuple[int, str, bytes]]:
        end = min(self.position + BATCH, self.wanted.end)
        rows = JournalLeaf.objects.filter(seq__gte=self.position, seq__lt=end).order_by("seq")
        leaves = [
            (seq, event, bytes(leaf)) for seq, event, leaf in rows.values_list("seq", "event_id", "leaf_hash")
        ]
        if [seq for seq, _, _ in leaves] != list(range(self.position, end)):
            raise UnavailableError(
                "journal_inconsistent", "The journal is not what was signed: a leaf is gone."
            )
        return leaves

    def _opened(self, events: Sequence[JournalEvent]) -> list[Opened | None]:
        if self.wanted.reveals:
            found: list[Opened | None] = list(self._revealed(events))
        else:
            found = _without_data(events)
        self.erased += sum(one is not None and "_erased" in one.data and one.salt is None for one in found)
        return found

    def _revealed(self, events: Sequence[JournalEvent]) -> list[Opened]:
        """A payload that does not open is told as such and counted; the others are told all the same."""
        try:
            return open_salted(events)
        except IntegrityError:
            if len(events) == 1:
                self.unreadable += 1
                return [Opened({"_unreadable": True, "code": IntegrityError.default_code})]
        return [one for event in events for one in self._revealed([event])]

    def _note_absent(self, seqs: Sequence[int]) -> None:
        if not seqs:
            return
        archives = list(
            JournalArchive.objects.filter(
                first_seq__lte=seqs[-1], end_seq__gt=seqs[0], verified_at__isnull=False
            )
        )
        for seq in seqs:
            held = next((one for one in archives if one.first_seq <= seq < one.end_seq), None)
            why, archive = (MISSING, None) if held is None else (ARCHIVED, f"sha256:{held.sha256}")
            if self._absent and self._absent[-1][1:] == (seq, why, archive):
                self._absent[-1] = (self._absent[-1][0], seq + 1, why, archive)
            else:
                self._absent.append((seq, seq + 1, why, archive))
        if len(self._absent) > MOST_ABSENT:
            raise UnavailableError(
                "journal_inconsistent", "The journal is not what was signed: events are gone."
            )

    def _line(self, seq: int, event: JournalEvent, leaf: bytes, opened: Opened | None) -> bytes:
        data = None if opened is None else opened.data
        if self.wanted.shape is Shape.CLOUDEVENTS:
            return cloud_event(seq, bytes(event.envelope), data)
        salt = None if opened is None else opened.salt
        return write(Line(seq, bytes(event.envelope), leaf, data, salt))

    def _closing(self) -> bytes:
        trailer = self._trailer()
        if self.wanted.shape is Shape.JSONL:
            return compact(trailer) + b"\n"
        event = {
            "specversion": "1.0",
            "id": f"{self.wanted.event}.closed",
            "source": f"urn:palyra:{self.wanted.instance}",
            "type": "dev.palyra.journal.export_closed",
            "time": wire_time(self.wanted.at),
            "datacontenttype": "application/json",
            "data": trailer,
        }
        return compact(event) + b"\n"

    def _trailer(self) -> dict[str, Any]:
        wanted, signed = self.wanted, self.wanted.signed
        size = 0 if signed is None else signed.tree_size
        ranges = [(0, wanted.first, OUTSIDE, None), *self._absent, (wanted.end, size, OUTSIDE, None)]
        read_hash = reader(size)
        absent = [
            Absent(first, end, why, hashes_of(read_hash, first, end), archive)
            for first, end, why, archive in ranges
            if first < end
        ]
        return {
            "object": TRAILER,
            "format": FORMAT,
            "first_seq": wanted.first,
            "end_seq": wanted.end,
            "count": self.count,
            "tree_size": size,
            "absent": [one.shown() for one in absent],
            "chain_hash": encoded(_chain_at(wanted.end)),
            "data": "revealed" if wanted.reveals else "withheld",
            "erased": self.erased,
            "unreadable": self.unreadable,
            "exported": wanted.event,
            "checkpoint": None if signed is None else signed.note,
            "keys": key_document(wanted.at)["keys"],
        }


def cloud_event(seq: int, envelope: bytes, data: Mapping[str, Any] | None) -> bytes:
    """Return the structured event of CloudEvents 1.0, section 3, with its line break.

    The number is text because integers of that format hold 32 bits. UnavailableError for an envelope
    that is none any more: as lines of `jsonl` it can be told, here it has no form.
    """
    try:
        fields = json.loads(envelope)
        event = {
            "specversion": "1.0",
            "id": fields["id"],
            "source": f"urn:palyra:{fields['instance']}",
            "type": f"dev.palyra.{fields['type']}",
            "subject": fields["subject"],
            "time": fields["time"],
            "datacontenttype": "application/json",
            "dataschema": f"https://palyra.dev/schemas/{fields['schema']}",
            "palyraseq": str(seq),
            "palyradigest": fields["data_digest"],
            "data": data,
        }
    except (ValueError, KeyError, TypeError) as error:
        raise _inconsistent("an envelope is not readable") from error
    return compact(event) + b"\n"


def _without_data(events: Sequence[JournalEvent]) -> list[Opened | None]:
    """That something was erased is said to everybody; what is there is not told."""
    gone = JournalPayload.objects.filter(event__in=events, key__wrapped_key__isnull=True)
    erased = dict(gone.values_list("event_id", "key__destroyed_at"))
    return [
        Opened({"_erased": True, "at": wire_time(erased[event.pk])}) if event.pk in erased else None
        for event in events
    ]


def _chain_at(end: int) -> bytes:
    """Return the chain hash after `end` leaves."""
    if end == 0:
        return START
    return bytes(JournalLeaf.objects.values_list("chain_hash", flat=True).get(seq=end - 1))


def _inconsistent(detail: str) -> UnavailableError:
    return UnavailableError("journal_inconsistent", f"The journal is not what was signed: {detail}.")
