"""What is read of a run: every event once, in order, in whatever pieces it is read."""

from __future__ import annotations

import itertools

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import given, settings, strategies as st

from governance.models import Run
from governance.operations import runs, sweeping
from governance.streams import runs as stories
from governance.streams.names import StreamName
from governance.streams.runs import RunSource, after_in
from governance.streams.shown import Reader
from governance.streams.sources import Batch
from kernel.clock import utc_now
from kernel.errors import GoneError, MalformedError
from tests.governance.pipeline.world import World, claim

EVERYTHING = frozenset(StreamName)


def reader() -> Reader:
    return Reader("usr_1", is_person=True, reveals=True)


def source(run: Run, after: int = 0, wanted: frozenset[StreamName] = EVERYTHING) -> RunSource:
    run.refresh_from_db()
    return RunSource(run, after=after, wanted=wanted, reader=reader(), ask=reader)


def numbers(run: Run, after: int = 0, wanted: frozenset[StreamName] = EVERYTHING) -> list[int]:
    """Read a run from `after` to its newest event; return the numbers as they came."""
    from_here, found = source(run, after, wanted), []
    while True:
        batch = from_here.read()
        found += [int(frame.key) for frame in batch.frames]
        if not batch.more:
            return found


@pytest.fixture
def told(world: World, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run with all kinds of calls, read in small batches."""
    monkeypatch.setattr(stories, "BATCH", 4)
    run = world.open_run()
    world.run(world.propose(run=run))
    world.run(world.allowed(world.ask(run=run)))
    world.propose("no.such.tool", run=run)
    world.answer(world.ask(run=run), "deny")
    run.refresh_from_db()
    return run


def test_three_pieces_are_one_whole_wherever_it_is_cut(told: Run) -> None:
    whole = numbers(told)
    assert whole == list(range(1, told.event_seq + 1))
    for first, second in itertools.combinations(range(0, told.event_seq + 1, 8), 2):
        pieces = [
            [number for number in numbers(told) if number <= first],
            [number for number in numbers(told, first) if number <= second],
            numbers(told, second),
        ]
        assert [*itertools.chain(*pieces)] == whole


def test_a_filter_leaves_out_and_does_not_number_anew(told: Run) -> None:
    wanted = frozenset({StreamName.TOOL_RESULT, StreamName.RUN_STATUS})
    some, rest = numbers(told, 0, wanted), numbers(told, 0, EVERYTHING - wanted)
    assert len(some) == 5
    assert sorted(some + rest) == numbers(told)
    assert numbers(told, some[2], wanted) == some[3:]


def test_the_frame_names_everything_a_reader_needs(told: Run) -> None:
    first = source(told).read().frames[0]
    assert (first.key, first.name) == ("1", StreamName.RUN_STATUS)
    body = dict(first.body)
    assert body.pop("data") == {
        "principal": told.principal_id,
        "max_calls": told.max_calls,
        "origin": "manual",
        "by": told.principal_id,
    }
    assert list(body) == ["object", "id", "event_seq", "type", "time", "run_id", "call_id", "subject"]
    assert (body["object"], body["event_seq"], body["type"], body["call_id"]) == (
        "event",
        1,
        "run.opened",
        None,
    )


def test_a_batch_costs_the_same_whatever_it_holds(told: Run) -> None:
    def queries(size: int) -> int:
        from_here = source(told)
        with pytest.MonkeyPatch.context() as patch, CaptureQueriesContext(connection) as seen:
            patch.setattr(stories, "BATCH", size)
            from_here.read()
        return len(seen)

    assert queries(2) == queries(20) <= 5


def test_it_is_over_once_the_run_is_closed_and_the_last_tool_has_ended(world: World) -> None:
    run = world.open_run()
    running = world.propose(run=run)
    claim(world, running)
    assert not source(run).read().over
    runs.cancel_run(run_id=run.id, principal=world.agent, reason="", now=utc_now())
    assert not source(run).read().over
    sweeping.abandon_orphans(host="test", boot="another boot", now=utc_now())
    batch = source(run).read()
    assert batch.over
    assert [frame.name for frame in batch.frames][-2:] == [StreamName.JOURNAL, StreamName.TOOL_ATTESTATION]


def test_a_long_story_is_not_over_before_its_last_batch(told: Run, world: World) -> None:
    runs.complete_run(run_id=told.id, principal=world.agent, now=utc_now())
    from_here = source(told)
    batches: list[Batch] = []
    while not batches or batches[-1].more:
        batches.append(from_here.read())
    assert [batch.over for batch in batches[-2:]] == [False, True]


def test_one_goes_on_after_a_number_or_an_event_of_the_run(told: Run, world: World) -> None:
    frames = source(told).read().frames
    assert after_in(told, "0") == 0
    assert after_in(told, str(told.event_seq)) == told.event_seq
    assert after_in(told, str(frames[2].body["id"])) == 3
    other = world.open_run()
    other.refresh_from_db()
    foreign = str(source(other).read().frames[0].body["id"])
    for gone in (str(told.event_seq + 1), foreign, "evt_01JD0000000000000000000000", "9" * 18):
        with pytest.raises(GoneError):
            after_in(told, gone)


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=24).filter(lambda text: not (text.isascii() and text.isdigit())))
def test_anything_else_is_no_place_in_a_story(text: str) -> None:
    with pytest.raises(MalformedError):
        after_in(Run(id="run_x", event_seq=5), text)


@pytest.mark.parametrize(
    "text", ["-1", "1.0", "+1", " 1", "1\n", "\u0661", "9" * 19, "0x1", "apr_01JD0000000000000000000000"]
)
def test_no_number_is_guessed(text: str) -> None:
    with pytest.raises(MalformedError):
        after_in(Run(id="run_x", event_seq=5), text)
