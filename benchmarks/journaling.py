"""A sealed journal of a given size, and writes to put into it, for benchmarks.

Import it only inside `founded()`: it reads models.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import datetime

from django.db import connection, transaction

from governance.journal import ledger
from governance.journal.models import JournalEvent, JournalLeaf, JournalPayload, JournalPending
from governance.journal.sealing import seal
from governance.models import Run
from kernel.clock import utc_now
from kernel.ids import new_id
from kernel.record import Actor
from tests.governance.journal.mass import fill

CHUNK = 10_000
"""Events in one transaction: memory and SQLite's write-ahead log stay as small at a million."""

BATCH = 512
"""Events under one checkpoint: at so many the sealer does not wait for its next second."""

AGENT = Actor(kind="agent", id="agt_01J00000000000000000000000", auth="token", surface="api")


class Journal:
    """The journal of this installation. It holds one long run, and nothing waits to be sealed."""

    def __init__(self) -> None:
        self.run: Run = fill(1)
        self._seal()

    def grow(self, size: int) -> None:
        """Add events until `size` are sealed."""
        while (missing := size - self.size()) > 0:
            fill(min(missing, CHUNK), run=self.run)
            self._seal()

    def size(self) -> int:
        """Return how many events are sealed."""
        newest = JournalLeaf.objects.order_by("-seq").values_list("seq", flat=True).first()
        return 0 if newest is None else newest + 1

    def _seal(self) -> None:
        while JournalPending.objects.exists():
            with transaction.atomic():
                seal(now=utc_now(), limit=BATCH)


def append(run: str) -> str:
    """Record one event of the run in the caller's transaction, as every write of the product does."""
    data = {"state": "completed", "close_code": "done", "reason": ""}
    return ledger.record(event="run.closed", actor=AGENT, subject=run, now=utc_now(), data=data, run=run)


class PlainTable:
    """What a write costs without a journal: one row of as many bytes, by key, and a commit."""

    def __init__(self) -> None:
        event, payload = JournalEvent.objects.latest("pk"), JournalPayload.objects.latest("pk")
        self._body = bytes(event.envelope) + bytes(payload.ciphertext)
        with connection.cursor() as cursor:
            cursor.execute("CREATE TABLE plain_row (id varchar(40) PRIMARY KEY, body blob NOT NULL)")

    def insert(self) -> None:
        """Insert one row; outside a transaction that commits it."""
        with connection.cursor() as cursor:
            cursor.execute("INSERT INTO plain_row VALUES (%s, %s)", [new_id("row", utc_now()), self._body])


def unrecorded(act: Callable[[], object]) -> Callable[[], None]:
    """Return `act` that does all it does but record its events: what they cost shows beside it.

    SystemExit when `act` leaves an event all the same.
    """
    real = ledger.record
    users = [vars(module) for module in list(sys.modules.values()) if vars(module).get("record") is real]

    def nothing(*, now: datetime, **_: object) -> str:
        return new_id("evt", now)

    def acting() -> None:
        for names in users:
            names["record"] = nothing
        try:
            act()
        finally:
            for names in users:
                names["record"] = real

    before = JournalEvent.objects.count()
    acting()
    if JournalEvent.objects.count() != before:
        raise SystemExit("an event was recorded that should not have been")
    return acting
