"""What is not on a page of the timeline and should be said: leaves without an event, holes in a run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from django.db.models import Exists, OuterRef

from governance.journal.models import JournalArchive, JournalEvent, JournalLeaf

MOST_LOOKED_AT = 200
"""Leaves without an event that one page looks at; a page in an old archive has thousands."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Events that stand between two lines, or before or behind them all, and are not here.

    `kind` is archived, missing or hole; `below` is the id in whose place they lie, by the order of ids.
    """

    kind: str
    first: int
    last: int
    below: str
    more: bool = False

    @property
    def count(self) -> int:
        return self.last - self.first + 1


def gaps_between(low: str, high: str) -> list[Gap]:
    """Return the sealed events with ids strictly between these two that are not stored any more.

    An empty text is an open end. Neighbouring numbers are one gap; `more` says that the look was cut short.
    """
    here = JournalEvent.objects.filter(pk=OuterRef("event_id"))
    rows = JournalLeaf.objects.filter(~Exists(here))
    rows = rows.filter(event_id__gt=low) if low else rows
    rows = rows.filter(event_id__lt=high) if high else rows
    found = list(rows.order_by("-event_id").values_list("event_id", "seq")[: MOST_LOOKED_AT + 1])
    if not found:
        return []
    more, found = len(found) > MOST_LOOKED_AT, found[:MOST_LOOKED_AT]
    archives = _archives([seq for _, seq in found])
    gaps = list(_grouped(found, archives))
    if more:
        gaps[-1] = Gap(gaps[-1].kind, gaps[-1].first, gaps[-1].last, gaps[-1].below, more=True)
    return gaps


def holes_in_run(events: Sequence[JournalEvent]) -> list[Gap]:
    """Return the numbers of a run that are missing between events which are shown newest first."""
    numbered = sorted(((event.run_seq or 0, event.pk) for event in events), reverse=True)
    return [
        Gap("hole", older + 1, newer - 1, below)
        for (newer, below), (older, _) in pairwise(numbered)
        if newer - older > 1
    ]


def _grouped(found: Sequence[tuple[str, int]], archives: Sequence[tuple[int, int]]) -> Iterator[Gap]:
    by_number = sorted(((seq, event) for event, seq in found), reverse=True)
    kinds = [(_kind(seq, archives), seq, event) for seq, event in by_number]
    start = 0
    for at in range(1, len(kinds) + 1):
        if at < len(kinds) and kinds[at][0] == kinds[start][0] and kinds[at][1] == kinds[at - 1][1] - 1:
            continue
        group = kinds[start:at]
        yield Gap(group[0][0], group[-1][1], group[0][1], max(event for _, _, event in group))
        start = at


def _kind(seq: int, archives: Sequence[tuple[int, int]]) -> str:
    return "archived" if any(first <= seq < end for first, end in archives) else "missing"


def _archives(numbers: Sequence[int]) -> list[tuple[int, int]]:
    rows = JournalArchive.objects.filter(
        first_seq__lte=max(numbers), end_seq__gt=min(numbers), verified_at__isnull=False
    )
    return list(rows.values_list("first_seq", "end_seq"))
