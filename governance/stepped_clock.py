"""What time it is at the earliest: a clock that was set back brings nothing back that has expired."""

from __future__ import annotations

from datetime import datetime, timedelta

from governance.journal.ledger import record
from governance.journal.models import JournalEvent
from kernel.clock import wire_time
from kernel.record import system_actor

TOLERANCE = timedelta(seconds=5)
SAID_EVERY = timedelta(hours=1)
STEPPED = "system.clock_stepped"


def no_earlier_than(now: datetime) -> datetime:
    """Return `now`, or the newest time in the journal less five seconds when that is later.

    One indexed query. It is what expiry is judged by.
    """
    newest = _newest()
    return now if newest is None else max(now, newest - TOLERANCE)


def note_step(now: datetime) -> bool:
    """Leave `system.clock_stepped` when the clock stands behind the journal, at most once an hour."""
    newest = _newest()
    if newest is None or newest - TOLERANCE <= now:
        return False
    said = JournalEvent.objects.filter(type=STEPPED, time__gt=now - SAID_EVERY, time__lte=now)
    if said.exists():
        return False
    record(
        event="system.clock_stepped",
        actor=system_actor("sweeper"),
        subject="system",
        now=now,
        data={"newest": wire_time(newest), "behind_ms": int((newest - now) / timedelta(milliseconds=1))},
    )
    return True


def _newest() -> datetime | None:
    return JournalEvent.objects.order_by("-id").values_list("time", flat=True).first()
