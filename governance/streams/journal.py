"""The tail of the journal: sealed events in the order of their numbers, as far as its reader may see them.

An event gets its number when it is sealed, together with all before it. So what is read in the order of
numbers misses nothing that was committed late.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from governance.journal.lookup import (
    EventFilter,
    found_leaves,
    leaves_between,
    reveal_reason,
    sealed_size,
)
from governance.journal.models import JournalLeaf
from governance.journal.wire import render_event
from governance.streams.frames import Frame
from governance.streams.names import StreamName
from governance.streams.sources import Batch
from identity.types import Principal
from kernel.errors import GoneError

TOPIC = "journal"
BATCH = 64
MOST_LOOKED_AT = 2_048
"""A filter that leaves nearly everything out keeps the one thread of all streams no longer than this."""


class JournalSource:
    """The sealed events from number `start` on that `chosen` does not leave out.

    `withheld` says why payloads stay closed, None opens them as long as the reader may; the caller has
    recorded that before.
    """

    def __init__(
        self,
        *,
        principal: Principal,
        start: int,
        chosen: EventFilter,
        withheld: str | None,
        clock: Callable[[], datetime],
        ask: Callable[[], Principal],
    ) -> None:
        self.topic = TOPIC
        self.key = f"{principal.token_id} {TOPIC}"
        self.position = start
        self.withheld = withheld
        self._principal = principal
        self._chosen = chosen
        self._clock = clock
        self._ask = ask

    def ask(self) -> Principal:
        return self._ask()

    def admit(self, standing: Principal) -> None:
        self._principal = standing

    def read(self) -> Batch:
        """Return up to 64 events, or none of the next places when none fits.

        The size is looked at first: up to there everything is sealed by now.
        """
        size, now = sealed_size(), self._clock()
        end = min(size, self.position + MOST_LOOKED_AT)
        between = leaves_between(self._principal, self._chosen, first=self.position, end=end, now=now)
        leaves = list(between.order_by("seq")[:BATCH])
        frames = self._frames(leaves, now)
        self.position = leaves[-1].seq + 1 if len(leaves) == BATCH else max(self.position, end)
        return Batch(frames, more=self.position < size)

    def _frames(self, leaves: list[JournalLeaf], now: datetime) -> tuple[Frame, ...]:
        withheld = self.withheld or reveal_reason(self._principal, now)
        found = found_leaves(leaves, withheld=withheld)
        return tuple(
            Frame(str(leaf.seq), StreamName.JOURNAL, render_event(one, self._principal))
            for leaf, one in zip(leaves, found, strict=True)
        )


def start_after(given: int | None) -> int:
    """Return where a tail goes on that has seen the event of number `given`, or nothing yet.

    GoneError `event_gone` for a number that the log does not have: it is shorter than its reader remembers.
    """
    if given is None:
        return 0
    if given >= sealed_size():
        raise GoneError("event_gone", "The sealed journal does not reach to this number.")
    return given + 1
