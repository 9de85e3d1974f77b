"""A log that is long enough to be archived, in units of 256 events."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from django.db import transaction

from governance.journal import archiving, restoring
from governance.journal.archived_rows import Unit
from governance.journal.archiving import Step
from governance.journal.ledger import record
from governance.journal.models import JournalEvent, JournalLeaf, JournalPayload
from governance.journal.sealing import seal
from governance.models import Run
from tests.governance.journal import mass
from tests.governance.journal.writing import NOW, PERSON

UNIT = 256
FIRST = Unit(0, UNIT)
LATER = NOW + timedelta(days=500)


def fill(events: int, *, run: Run | None = None, now: datetime = NOW) -> Run:
    """Add this many events of one run and seal them at `now`; return the run."""
    run = mass.fill(events, run=run)
    with transaction.atomic():
        seal(now=now)
    return run


def carry_out(steps: Iterable[Step], most: int = 1_000) -> int:
    """Run steps, each in a transaction of its own; return how many."""
    done = 0
    for step in steps:
        with transaction.atomic():
            step()
        done += 1
        if done == most:
            break
    return done


def archive(unit: Unit = FIRST, most: int = 1_000) -> int:
    return carry_out(archiving.steps(unit, actor=PERSON, clock=lambda: LATER, record=record), most)


def restore(unit: Unit = FIRST) -> int:
    path = restoring.file_of(unit.first)
    return carry_out(restoring.steps(path, actor=PERSON, now=LATER, record=record))


def rows_of(unit: Unit = FIRST) -> list[list[tuple[object, ...]]]:
    """Return every column of the unit's events and payloads, bytes as bytes."""
    ids = JournalLeaf.objects.filter(seq__gte=unit.first, seq__lt=unit.end).values("event_id")
    events = JournalEvent.objects.filter(pk__in=ids).order_by("pk").values_list()
    payloads = JournalPayload.objects.filter(pk__in=ids).order_by("pk").values_list()
    return [[tuple(map(_exact, row)) for row in rows] for rows in (events, payloads)]


def _exact(value: object) -> object:
    return bytes(value) if isinstance(value, memoryview) else value
