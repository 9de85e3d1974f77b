"""From frames to bytes: an event stream that goes on, and lines that end at the newest event."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator

from asgiref.sync import SyncToAsync, sync_to_async
from django.db import DatabaseError, connections

from governance.streams import hub
from governance.streams.frames import KEEP_ALIVE, OPENING
from governance.streams.hub import Seat
from governance.streams.places import PLACES
from governance.streams.sources import Batch, Source
from kernel.errors import PalyraError

log = logging.getLogger(__name__)

KEEP_ALIVE_SECONDS = 15.0
LONGEST_SECONDS = 900.0


async def events(source: Source, principal_id: str) -> AsyncIterator[bytes]:
    """Yield what there is, then what comes, until the story is over, the reader may not read any more,
    15 minutes have passed or the reader does not keep up. Whoever wants more resumes.
    """
    await _leave_the_requests_thread()
    try:
        with PLACES.take(principal_id):
            here = hub.here()
            with here.seat(source) as seat:
                yield OPENING
                async for part in _parts(here, seat):
                    yield part
    except (PalyraError, DatabaseError) as error:
        log.warning("a stream of %s ended early: %s", source.topic, type(error).__name__)


async def _parts(here: hub.Hub, seat: Seat) -> AsyncIterator[bytes]:
    clock = asyncio.get_running_loop().time
    deadline = clock() + LONGEST_SECONDS
    while not seat.ended and clock() < deadline:
        batch = await here.call(seat.source.read)
        for frame in batch.frames:
            if seat.ended:
                return
            yield frame.as_event()
        if batch.over:
            return
        if batch.more:
            continue
        seat.caught_up = True
        while not await seat.news(min(KEEP_ALIVE_SECONDS, max(0.0, deadline - clock()))):
            if clock() >= deadline:
                return
            yield KEEP_ALIVE


async def lines(source: Source, principal_id: str) -> AsyncIterator[bytes]:
    """Yield one line per event up to the newest."""
    read = sync_to_async(_read_and_let_go, thread_sensitive=True)
    with PLACES.take(principal_id):
        batch = Batch((), more=True)
        while batch.more:
            batch = await read(source)
            yield b"".join(frame.as_line() for frame in batch.frames)


def lines_now(source: Source, principal_id: str) -> Iterator[bytes]:
    """As `lines`, for a server that runs a request in one thread from its beginning to its end."""
    with PLACES.take(principal_id):
        batch = Batch((), more=True)
        while batch.more:
            batch = source.read()
            yield b"".join(frame.as_line() for frame in batch.frames)


def _read_and_let_go(source: Source) -> Batch:
    try:
        return source.read()
    finally:
        connections.close_all()


async def _leave_the_requests_thread() -> None:
    """Give back what Django holds for a request as long as it is answered: a connection and a thread."""
    context = SyncToAsync.thread_sensitive_context.get(None)
    if context is None:
        return
    await sync_to_async(connections.close_all, thread_sensitive=True)()
    thread = SyncToAsync.context_to_thread_executor.pop(context, None)
    if thread is not None:
        thread.shutdown(wait=False)
