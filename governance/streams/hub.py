"""One watcher for all streams of a process: it asks the database for news, so that nobody else has to.

A stream that has nothing to tell costs a suspended coroutine: no thread, no connection, no transaction.
The hub has one thread, exists while somebody listens, and gives its connection back after every look.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar
from weakref import WeakKeyDictionary

from django.db import connections

from governance.journal.lookup import sealed_size
from governance.models import Run
from governance.streams import approvals, journal
from governance.streams.sources import Source
from kernel.clock import utc_now
from kernel.errors import PalyraError

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.25
ADMIT_SECONDS = 0.75
"""How long a reader is believed to hold what it held. With a look and its queries that is below 2 s."""
BUFFER = 256
SLOW_SECONDS = 5.0
"""A reader may be `BUFFER` events behind, or further as long as it takes something in this time."""
STUCK_SECONDS = 1.0
T = TypeVar("T")


@dataclass(eq=False, slots=True)
class Seat:
    """One open stream as the hub knows it. `ended` is set once and for all."""

    source: Source
    task: asyncio.Task[object] | None
    admitted_at: float
    caught_up: bool = False
    ended: bool = False
    ended_at: float = 0.0
    mark: object = None
    stalled: tuple[int, float] | None = None
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    async def news(self, seconds: float) -> bool:
        """Wait for news or the end, at most so long; False when neither came."""
        try:
            await asyncio.wait_for(self._news.wait(), seconds)
        except TimeoutError:
            return False
        self._news.clear()
        return True

    def hear(self, mark: object) -> None:
        """Wake the stream when something is there that it has not read."""
        if mark != self.mark:
            self.mark = mark
            self._news.set()

    def is_slow(self, now: float) -> bool:
        """Tell whether its reader, once it had all, got far behind and then took nothing for a while."""
        behind = self.mark - self.source.position if isinstance(self.mark, int) else 0
        if not self.caught_up or behind <= BUFFER:
            self.stalled = None
            return False
        if self.stalled is None or self.stalled[0] != self.source.position:
            self.stalled = (self.source.position, now)
        return now - self.stalled[1] >= SLOW_SECONDS

    def end(self, now: float) -> None:
        """Let the stream end; one that is stuck in sending is broken off a moment later."""
        if not self.ended:
            self.ended, self.ended_at = True, now
        self._news.set()
        if self.task is not None and now - self.ended_at > STUCK_SECONDS:
            self.task.cancel()


class Hub:
    """Use `here()`. All its methods but `call`'s work run on the event loop."""

    def __init__(self) -> None:
        self._seats: set[Seat] = set()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="streams")
        self._watcher: asyncio.Task[None] | None = None

    @contextmanager
    def seat(self, source: Source) -> Iterator[Seat]:
        """Have the hub watch for a stream until the block ends."""
        loop = asyncio.get_running_loop()
        seat = Seat(source, asyncio.current_task(), loop.time())
        self._seats.add(seat)
        if self._watcher is None:
            self._watcher = loop.create_task(self._watch())
        try:
            yield seat
        finally:
            self._seats.discard(seat)
            if not self._seats:
                self._close()

    async def call(self, work: Callable[[], T]) -> T:
        """Run `work` in the hub's thread with a connection that is given back afterwards."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, _connected, work)

    async def _watch(self) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            due = [seat for seat in self._seats if clock() - seat.admitted_at >= ADMIT_SECONDS]
            topics = frozenset(seat.source.topic for seat in self._seats)
            asked = clock()
            try:
                marks, gone = await self.call(partial(_look, topics, tuple(due)))
            except Exception:
                log.exception("the streams cannot be watched and end")
                marks, gone = {}, frozenset(self._seats)
            for seat in due:
                seat.admitted_at = asked
            for seat in tuple(self._seats):
                seat.hear(marks.get(seat.source.topic, seat.mark))
                if seat.ended or seat in gone or seat.is_slow(clock()):
                    seat.end(clock())

    def _close(self) -> None:
        if self._watcher is not None:
            self._watcher.cancel()
        self._thread.shutdown(wait=False)
        _HUBS.pop(asyncio.get_running_loop(), None)


_HUBS: WeakKeyDictionary[asyncio.AbstractEventLoop, Hub] = WeakKeyDictionary()


def here() -> Hub:
    """Return the hub of the running event loop."""
    loop = asyncio.get_running_loop()
    hub = _HUBS.get(loop)
    if hub is None:
        hub = _HUBS[loop] = Hub()
    return hub


def _look(topics: frozenset[str], due: tuple[Seat, ...]) -> tuple[Mapping[str, object], frozenset[Seat]]:
    """Return a mark for every topic, and the seats whose reader may no longer read."""
    runs = sorted(topics - {approvals.TOPIC, journal.TOPIC})
    marks: dict[str, object] = dict(Run.objects.filter(id__in=runs).values_list("id", "event_seq"))
    if approvals.TOPIC in topics:
        marks[approvals.TOPIC] = approvals.newest_mark(utc_now())
    if journal.TOPIC in topics:
        marks[journal.TOPIC] = sealed_size()
    return marks, _gone(due)


def _gone(due: tuple[Seat, ...]) -> frozenset[Seat]:
    """Return the seats whose reader may no longer read; of each key only one stream asks."""
    standings: dict[str, object] = {}
    gone = set()
    for seat in due:
        source = seat.source
        if source.key not in standings:
            standings[source.key] = _standing_of(source)
        if standings[source.key] is None:
            gone.add(seat)
        else:
            source.admit(standings[source.key])
    return frozenset(gone)


def _standing_of(source: Source) -> object:
    try:
        return source.ask()
    except PalyraError:
        return None


def _connected(work: Callable[[], T]) -> T:
    try:
        return work()
    finally:
        connections.close_all()
