"""The stream of one run: its events in the order of their numbers, without gap and without repeat."""

from __future__ import annotations

import re
from collections.abc import Callable

from governance.journal.models import JournalEvent
from governance.journal.reading import open_all
from governance.models import Run
from governance.selectors import stoppable_calls
from governance.streams.frames import Frame
from governance.streams.names import StreamName, stream_name
from governance.streams.shown import Party, Reader, shown
from governance.streams.sources import Batch
from kernel.clock import wire_time
from kernel.errors import GoneError, MalformedError
from kernel.ids import is_id

BATCH = 64
_NUMBER = re.compile(r"[0-9]{1,18}")
Ask = Callable[[], Reader]


class RunSource:
    """The events of a run after `position`. A number is given in the transaction that writes its event,
    so what is read in the order of numbers is read in the order of commits.
    """

    def __init__(
        self,
        run: Run,
        *,
        after: int,
        wanted: frozenset[StreamName],
        reader: Reader,
        ask: Ask,
        credential_id: str = "",
    ) -> None:
        self.topic = run.id
        self.key = f"{credential_id} {run.id}"
        self.position = after
        self._party = Party(run.principal_id, run.owner_id)
        self._wanted = wanted
        self._reader = reader
        self._ask = ask

    def ask(self) -> Reader:
        return self._ask()

    def admit(self, standing: Reader) -> None:
        self._reader = standing

    def read(self) -> Batch:
        """Return up to 64 events. The run is looked at first: what is over then, has told all by now."""
        over = _has_told_all(self.topic)
        after = JournalEvent.objects.filter(run_id=self.topic, run_seq__gt=self.position)
        rows = list(after.order_by("run_seq")[:BATCH])
        frames = self._frames([row for row in rows if stream_name(row.type) in self._wanted])
        if rows:
            self.position = rows[-1].run_seq or self.position
        more = len(rows) == BATCH
        return Batch(frames, more=more, over=over and not more)

    def _frames(self, rows: list[JournalEvent]) -> tuple[Frame, ...]:
        opened = zip(rows, open_all(rows), strict=True)
        return tuple(
            frame_of(row, data, self._party, self._reader, key=str(row.run_seq)) for row, data in opened
        )


def frame_of(row: JournalEvent, data: dict[str, object], party: Party, reader: Reader, *, key: str) -> Frame:
    """Return an event as this reader may see it."""
    body = {
        "object": "event",
        "id": row.id,
        "event_seq": row.run_seq,
        "type": row.type,
        "time": wire_time(row.time),
        "run_id": row.run_id,
        "call_id": row.call_id,
        "subject": row.subject,
        "data": shown(row.type, data, actor=row.actor, party=party, reader=reader),
    }
    return Frame(key, stream_name(row.type), body)


def after_in(run: Run, given: str) -> int:
    """Return the number of the event that a reader has seen last.

    `given` is that number or the event's id. GoneError `event_gone` when this run has no such event yet,
    or when it is another run's; MalformedError `invalid_parameter` for anything else.
    """
    if is_id("evt", given):
        row = JournalEvent.objects.filter(pk=given, run_id=run.id).first()
        number = row.run_seq if row is not None else None
    elif _NUMBER.fullmatch(given):
        number = int(given) if int(given) <= run.event_seq else None
    else:
        raise MalformedError("invalid_parameter", "A stream goes on after a number or an evt_… id.")
    if number is None:
        raise GoneError("event_gone", "The run has no such event.")
    return number


def _has_told_all(run_id: str) -> bool:
    run = Run.objects.get(id=run_id)
    return run.state != "open" and not stoppable_calls(run).exists()
