"""What only the whole of the log can show: events outside it, holes in runs, guards, what waits too long."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from django.db import connection
from django.db.models import Exists, OuterRef, Q, Subquery

from governance.journal.findings import Code, Finding
from governance.journal.guards import GUARDED
from governance.journal.models import JournalEvent, JournalLeaf, JournalPending
from governance.journal.verify_leaves import CHUNK, event_findings, events_of, payloads_of
from governance.journal.verify_rows import Payloads, fields_of
from governance.journal.verify_tree import newest_size
from governance.models import Run
from kernel.append_only import missing
from kernel.clock import exact_time

STALE_AFTER = timedelta(seconds=60)
MOST_NAMED = 1_000
"""Rows that one kind of finding names; where there are more, the detail of the last one says so."""


def guards() -> Iterator[Finding]:
    """Name the triggers that do not keep the tables as they were written."""
    for name in missing(connection, GUARDED):
        yield Finding(Code.TRIGGER_MISSING, None, None, name)


def stale(now: datetime) -> Iterator[Finding]:
    """Say that events wait too long for their place in the log."""
    waiting = JournalPending.objects.filter(event__time__lt=now - STALE_AFTER).order_by("n")
    oldest = waiting.values_list("event_id", "event__time").first()
    if oldest is not None:
        since = exact_time(oldest[1])
        detail = f"{waiting.count()} events wait for more than {STALE_AFTER.seconds} s, since {since}"
        yield Finding(Code.UNSEALED_STALE, None, oldest[0], detail)


def inserted() -> Iterator[Finding]:
    """Name events that were neither sealed nor wait for it."""
    leaf = JournalLeaf.objects.filter(event_id=OuterRef("pk"))
    waits = JournalPending.objects.filter(event_id=OuterRef("pk"))
    rows = JournalEvent.objects.filter(~Exists(leaf), ~Exists(waits)).order_by("pk")
    found = list(rows.values_list("pk", flat=True)[: MOST_NAMED + 1])
    yield from _named(Code.EVENT_INSERTED, found, "the event was neither sealed nor does it wait for it")


def _named(code: Code, found: list[str], detail: str) -> Iterator[Finding]:
    for event in found[:MOST_NAMED]:
        yield Finding(code, None, event, detail)
    if len(found) > MOST_NAMED:
        yield Finding(code, None, found[MOST_NAMED], f"{detail}; there are more")


def beyond() -> Iterator[Finding]:
    """Name the first leaf that no checkpoint covers."""
    newest = JournalLeaf.objects.order_by("-seq").values_list("seq", flat=True).first()
    size = newest_size()
    if newest is not None and newest >= size:
        detail = f"no checkpoint covers the leaves from here to {newest}"
        yield Finding(Code.CHECKPOINT_MISSING, size, None, detail)


def waiting(payloads: Payloads | None) -> Iterator[list[Finding]]:
    """Check the rows of events that wait to be sealed, as far as one can before that."""
    after = 0
    while True:
        rows = JournalPending.objects.filter(n__gt=after).order_by("n").values_list("n", "event_id")[:CHUNK]
        found = list(rows)
        if not found:
            return
        after = found[-1][0]
        yield [finding for one in _waiting([event for _, event in found], payloads) for finding in one]


def _waiting(ids: list[str], payloads: Payloads | None) -> Iterator[Iterator[Finding]]:
    events, stored = events_of(JournalEvent.objects.filter(pk__in=ids)), payloads_of(ids)
    for event_id, row in events.items():
        fields = fields_of(row[1])
        yield event_findings(None, row, fields, None)
        if event_id not in stored:
            yield iter([Finding(Code.PAYLOAD_MISSING, None, event_id, "the payload is gone")])
        elif payloads is not None and fields is not None:
            yield payloads.findings(event_id, None, fields, stored[event_id])


@dataclass(frozen=True, slots=True)
class _Place:
    """An event within its run; `seq` is None while it waits, `last` what the run has counted."""

    run: str
    number: int
    event: str
    seq: int | None
    last: int | None


def runs(archived: Sequence[tuple[int, int]]) -> Iterator[list[Finding]]:
    """Check that the events of each run are numbered without a hole and lie in the log in that order.

    `archived` are ranges of leaves whose events were found in archives.
    """
    gone = _Removed(archived)
    before: _Place | None = None
    while True:
        before = _again(before)
        places = _places(before)
        found: list[Finding] = []
        for place in places:
            if before is not None and before.run != place.run:
                found += _end_of(before, gone)
            found += _step(before if before is not None and before.run == place.run else None, place, gone)
            before = place
        if len(places) < CHUNK:
            yield found + (list(_end_of(before, gone)) if before is not None else [])
            break
        yield found
    yield list(_emptied(gone))


class _Removed:
    """The ranges of leaves whose rows were archived away."""

    def __init__(self, ranges: Sequence[tuple[int, int]]) -> None:
        self._ranges = ranges

    def between(self, first: int | None, end: int | None) -> bool:
        """Tell whether rows of leaves after `first` and before `end` may be gone for that reason."""
        low = -1 if first is None else first
        return any(stop > low + 1 and (end is None or start < end) for start, stop in self._ranges)


def _again(place: _Place | None) -> _Place | None:
    """Read the place of an event anew: what waited in the last chunk may have been sealed since."""
    if place is None or place.seq is not None:
        return place
    leaf = JournalLeaf.objects.filter(event_id=place.event).values_list("seq", flat=True).first()
    return replace(place, seq=leaf)


def _places(before: _Place | None) -> list[_Place]:
    leaf = JournalLeaf.objects.filter(event_id=OuterRef("pk")).values("seq")
    run = Run.objects.filter(pk=OuterRef("run_id")).values("event_seq")
    rows = JournalEvent.objects.filter(run_id__isnull=False)
    if before is not None:
        later = Q(run_id=before.run, run_seq__gt=before.number) | Q(run_id__gt=before.run)
        rows = rows.filter(later, run_id__gte=before.run)
    found = rows.order_by("run_id", "run_seq").annotate(place=Subquery(leaf), counted=Subquery(run))
    columns = found.values_list("run_id", "run_seq", "pk", "place", "counted")[:CHUNK]
    return [_Place(run or "", number or 0, event, seq, last) for run, number, event, seq, last in columns]


def _step(before: _Place | None, place: _Place, gone: _Removed) -> Iterator[Finding]:
    number, seq = (before.number, before.seq) if before is not None else (0, None)
    if place.number != number + 1 and not gone.between(seq, place.seq):
        detail = f"{place.run}: number {number + 1} is missing before {place.number}"
        yield Finding(Code.RUN_GAP, place.seq, place.event, detail)
    if before is None:
        return
    is_late = before.seq is None and place.seq is not None
    if is_late or (before.seq is not None and place.seq is not None and before.seq > place.seq):
        detail = f"{place.run}: number {place.number} lies before number {before.number}"
        yield Finding(Code.ORDER_MISMATCH, place.seq, place.event, detail)


def _end_of(last: _Place, gone: _Removed) -> Iterator[Finding]:
    if last.last is None:
        yield Finding(Code.RUN_GAP, last.seq, last.event, f"{last.run}: there is no such run")
    elif last.last != last.number and not gone.between(last.seq, None):
        detail = f"{last.run}: it counted {last.last} events, the last one here is number {last.number}"
        yield Finding(Code.RUN_GAP, last.seq, last.event, detail)


def _emptied(gone: _Removed) -> Iterator[Finding]:
    """Name runs that counted events and have none."""
    if gone.between(None, None):
        return
    there = JournalEvent.objects.filter(run_id=OuterRef("pk"))
    rows = Run.objects.filter(~Exists(there), event_seq__gt=0).order_by("pk")
    for run, counted in rows.values_list("pk", "event_seq")[:MOST_NAMED]:
        yield Finding(Code.RUN_GAP, None, None, f"{run}: it counted {counted} events, and none is here")
