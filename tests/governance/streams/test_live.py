"""Streams that go on: what is committed arrives, once, and what ends a stream ends it."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from functools import partial
from typing import Any, TypeVar

import pytest
from django.db import connection, connections, transaction

from governance.journal.ledger import record
from governance.models import Run
from governance.operations import runs, sweeping
from governance.streams import hub, sending
from governance.streams.approvals import ApprovalSource
from governance.streams.hub import Seat
from governance.streams.names import StreamName
from governance.streams.places import PER_PRINCIPAL, PLACES
from governance.streams.runs import RunSource
from governance.streams.shown import Reader
from kernel.clock import utc_now
from kernel.errors import RefusedError
from sandbox.models import Execution
from tests.governance.pipeline.world import SWEEPER, World, run_events
from tests.governance.runs.test_runs import answer_and_die
from tests.racing import at_once

pytestmark = pytest.mark.django_db(transaction=True)
T = TypeVar("T")
SEER = Reader("usr_1", is_person=True, reveals=True)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(hub, "ADMIT_SECONDS", 0.02)
    monkeypatch.setattr(hub, "STUCK_SECONDS", 0.1)
    monkeypatch.setattr(hub, "SLOW_SECONDS", 0.2)


def source_of(
    run: Run, ask: Callable[[], Reader] = lambda: SEER, after: int = 0, credential_id: str = "tok_1"
) -> RunSource:
    return RunSource(
        run,
        after=after,
        wanted=frozenset(StreamName),
        reader=SEER,
        ask=ask,
        credential_id=credential_id,
    )


async def elsewhere(work: Callable[[], T]) -> T:
    """Do something in another thread, as another request does."""

    def connected() -> T:
        try:
            return work()
        finally:
            connections.close_all()

    return await asyncio.to_thread(connected)


def note(run: Run, number: int = 1) -> None:
    """Write so many events into a run in one transaction."""
    with transaction.atomic(durable=True):
        for _ in range(number):
            note_inside(run)


def note_often(run: Run, times: int) -> None:
    for _ in range(times):
        note(run)


def note_inside(run: Run) -> None:
    record(
        event="reservation.held",
        actor=SWEEPER,
        subject=run.id,
        now=utc_now(),
        data={"metric": "calls", "amount": 1},
        run=run.id,
    )


def within(seconds: float, story: Coroutine[Any, Any, T]) -> T:
    """Run a story that must end by itself; nothing may be left of the hub."""

    async def limited() -> T:
        found = await asyncio.wait_for(story, seconds)
        assert asyncio.get_running_loop() not in hub._HUBS
        return found

    return asyncio.run(limited())


def keys(part: bytes) -> list[int]:
    lines = part.decode().splitlines()
    return [int(line.removeprefix("id: ")) for line in lines if line.startswith("id: ")]


async def take(stream: AsyncIterator[bytes], count: int) -> list[int]:
    """Return the keys of the next `count` frames."""
    found: list[int] = []
    while len(found) < count:
        found += keys(await anext(stream))
    return found


def test_replay_goes_over_into_live_without_gap_or_repeat(committed_world: World) -> None:
    run = committed_world.open_run()

    async def story() -> list[int]:
        await elsewhere(lambda: note(run, 70))
        stream = sending.events(source_of(run), "usr_1")
        found = await take(stream, 5)
        writing = asyncio.create_task(elsewhere(lambda: note_often(run, 20)))
        found += await take(stream, 71 + 20 - 5)
        await writing
        await elsewhere(
            lambda: runs.complete_run(run_id=run.id, principal=committed_world.agent, now=utc_now())
        )
        return found + [key async for part in stream for key in keys(part)]

    assert within(20, story()) == list(range(1, 93))


def test_only_what_is_committed_is_read(committed_world: World) -> None:
    run = committed_world.open_run()
    written, go_on = threading.Event(), threading.Event()

    def slowly() -> None:
        with transaction.atomic(durable=True):
            note_inside(run)
            written.set()
            go_on.wait(10)
            transaction.set_rollback(True)

    async def story() -> list[int]:
        stream = sending.events(source_of(run), "usr_1")
        assert await take(stream, 1) == [1]
        writing = asyncio.create_task(elsewhere(slowly))
        await asyncio.to_thread(written.wait, 10)
        following = asyncio.ensure_future(take(stream, 1))
        await asyncio.sleep(0.2)
        assert not following.done()
        go_on.set()
        await writing
        await elsewhere(lambda: note(run))
        found = await following
        await stream.aclose()  # type: ignore[attr-defined]  # an async generator
        return found

    assert within(20, story()) == [2]


def test_a_reader_who_may_no_longer_read_gets_nothing_more(committed_world: World) -> None:
    run = committed_world.open_run()
    revoked = threading.Event()

    def ask() -> Reader:
        if revoked.is_set():
            raise RefusedError
        return SEER

    async def story() -> list[bytes]:
        stream = sending.events(source_of(run, ask), "usr_1")
        await take(stream, 1)
        revoked.set()
        return [part async for part in stream]

    assert within(10, story()) == []


def test_one_revoked_credential_ends_its_streams_and_no_others(committed_world: World) -> None:
    run = committed_world.open_run()
    revoked = threading.Event()

    def ask() -> Reader:
        if revoked.is_set():
            raise RefusedError
        return SEER

    async def story() -> list[int]:
        bad = [sending.events(source_of(run, ask, credential_id="tok_bad"), "usr_1") for _ in range(2)]
        good = sending.events(source_of(run, credential_id="tok_good"), "usr_1")
        for stream in (*bad, good):
            await take(stream, 1)
        revoked.set()
        for stream in bad:
            assert [part async for part in stream] == []
        await elsewhere(lambda: note(run))
        found = await take(good, 1)
        await good.aclose()  # type: ignore[attr-defined]  # an async generator
        return found

    assert within(10, story()) == [2]


def test_streams_end_when_nobody_can_say_whether_they_may_go_on(
    committed_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = committed_world.open_run()

    def broken(*_: object) -> None:
        raise OSError

    async def story() -> list[bytes]:
        stream = sending.events(source_of(run), "usr_1")
        await take(stream, 1)
        monkeypatch.setattr(hub, "_look", broken)
        return [part async for part in stream]

    assert within(10, story()) == []


def test_a_reader_who_takes_nothing_is_broken_off_and_resumes(committed_world: World) -> None:
    run = committed_world.open_run()
    sent: list[int] = []

    async def stuck() -> None:
        async for part in sending.events(source_of(run), "usr_1"):
            sent.extend(keys(part))
            if len(sent) == 2:
                await asyncio.sleep(60)

    async def story() -> list[int]:
        reading = asyncio.create_task(stuck())
        while not sent:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        await elsewhere(lambda: note(run, hub.BUFFER + 70))
        with pytest.raises(asyncio.CancelledError):
            await reading
        resumed = sending.events(source_of(run, after=sent[-1]), "usr_1")
        rest = await take(resumed, hub.BUFFER + 69)
        await resumed.aclose()  # type: ignore[attr-defined]  # an async generator
        return [*sent, *rest]

    assert within(20, story()) == list(range(1, hub.BUFFER + 72))


def test_a_stream_has_a_longest_time_and_says_that_it_lives(
    committed_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "LONGEST_SECONDS", 0.5)
    monkeypatch.setattr(sending, "KEEP_ALIVE_SECONDS", 0.1)
    run = committed_world.open_run()

    async def story() -> list[bytes]:
        return [part async for part in sending.events(source_of(run), "usr_1")]

    parts = within(10, story())
    assert parts[0] == b"retry: 2000\n\n"
    assert set(parts[2:]) == {b": keep-alive\n\n"}


def test_a_sixth_stream_that_slipped_through_the_door_finds_no_place(committed_world: World) -> None:
    run = committed_world.open_run()

    async def story() -> list[list[bytes]]:
        streams = [sending.events(source_of(run), "usr_1") for _ in range(PER_PRINCIPAL)]
        for stream in streams:
            await anext(stream)
        sixth = [part async for part in sending.events(source_of(run), "usr_1")]
        for stream in streams:
            await stream.aclose()  # type: ignore[attr-defined]  # an async generator
        PLACES.require_free("usr_1")
        return [sixth]

    assert within(10, story()) == [[]]


def test_nothing_is_held_while_nothing_happens(committed_world: World) -> None:
    """One thread for all streams, and its connection is closed between two looks."""
    runs_ = [committed_world.open_run() for _ in range(20)]
    before = {thread.name for thread in threading.enumerate()}

    async def story() -> int:
        streams = [sending.events(source_of(run), f"usr_{number}") for number, run in enumerate(runs_)]
        for stream in streams:
            await take(stream, 1)
        waiting = [asyncio.ensure_future(anext(stream)) for stream in streams]
        await asyncio.sleep(0.2)
        new = {thread.name for thread in threading.enumerate()} - before
        held = await hub.here().call(lambda: connection.connection is not None)
        for future in waiting:
            future.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        for stream in streams:
            await stream.aclose()  # type: ignore[attr-defined]  # an async generator
        assert not held
        return len(new)

    assert within(20, story()) == 1


def test_a_seat_is_slow_only_when_it_does_not_get_on() -> None:
    class Standing:
        topic = key = "run_1"
        position = 0

    seat = Seat(Standing(), None, 0.0)  # type: ignore[arg-type]  # all a seat reads of it
    seat.mark, seat.caught_up = hub.BUFFER + 1, True
    assert [seat.is_slow(0.0), seat.is_slow(0.1), seat.is_slow(0.3)] == [False, False, True]
    Standing.position = 1
    assert not seat.is_slow(9.0)
    seat.mark = 10_000
    Standing.position = 64
    assert not seat.is_slow(9.3)
    assert seat.is_slow(9.6)
    seat.caught_up = False
    assert not seat.is_slow(99.0)


def test_an_approver_hears_of_a_question_while_it_is_asked(committed_world: World) -> None:
    world = committed_world
    approver = world.person(world.approver)

    async def story() -> list[str]:
        source = ApprovalSource(
            principal=approver,
            after=None,
            wanted=frozenset(StreamName),
            clock=utc_now,
            ask=lambda: approver,
        )
        stream = sending.events(source, approver.id)
        assert await anext(stream) == b"retry: 2000\n\n"
        following = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0.1)
        view = await elsewhere(world.ask)
        asked = await following
        await elsewhere(
            lambda: runs.cancel_call(call_id=view.call.id, principal=world.agent, reason="", now=utc_now())
        )
        answered = await anext(stream)
        await stream.aclose()  # type: ignore[attr-defined]  # an async generator
        return [json.loads(part.split(b"data: ")[1])["type"] for part in (asked, answered)]

    assert within(20, story()) == ["approval.requested", "approval.cancelled"]


def test_many_sweepers_carry_an_allow_on_once(committed_world: World) -> None:
    world = committed_world
    for _ in range(8):
        view = world.ask()
        answer_and_die(world, view)
        at_once(*[partial(sweep_answers, view.call.approval_id or "")] * 3)
        assert Execution.objects.filter(call_id=view.call.id).count() == 1
        assert run_events(view.call.run).count("execution.queued") == 1


def sweep_answers(request_id: str) -> None:
    assert sweeping._each((request_id,), sweeping._apply_answer, utc_now()) in (0, 1)
