"""A worker that is told to stop: no new claims, time for what runs, then an end that is known."""

from __future__ import annotations

import pytest
from django.db import connection
from hypothesis import given, strategies as st

from governance import runner, tasks
from governance.stopping import REASON, Drain
from kernel.clock import utc_now
from sandbox.types import ErrorKind, Executor, Outcome, Status
from tests.governance.pipeline.world import ECHO, SLEEP, World, again, attested, events_of


@pytest.fixture
def drain(monkeypatch: pytest.MonkeyPatch) -> Drain:
    """A drain of this test's own; the product's belongs to the process."""
    drain = Drain()
    monkeypatch.setattr(runner, "drain", drain)
    monkeypatch.setattr(tasks, "drain", drain)
    return drain


def test_a_drain_begins_once_and_ends_after_its_time() -> None:
    drain = Drain()
    assert (drain.begun, drain.over) == (False, False)
    drain.begin(3600)
    assert (drain.begun, drain.over) == (True, False)
    drain.begin(0)
    assert not drain.over
    other = Drain()
    other.begin(0)
    assert (other.begun, other.over) == (True, True)


@given(st.sampled_from(Status))
def test_only_a_killed_run_becomes_one_that_the_stop_ended(status: Status) -> None:
    now = utc_now()
    kind = None if status is Status.SUCCEEDED else ErrorKind.CANCELLED
    outcome = Outcome(
        status=status, executor=Executor.BUILTIN, started_at=now, finished_at=now, error_kind=kind
    )
    stopped = runner.stopped_outcome(outcome)
    if status is Status.CANCELLED:
        assert (stopped.status, stopped.error_code) == (Status.FAILED, "sandbox.worker_stopping")
    else:
        assert stopped == outcome


@pytest.mark.django_db(transaction=True)
def test_what_still_runs_when_the_drain_is_over_fails_for_that_reason(
    committed_world: World, drain: Drain
) -> None:
    world = committed_world
    call = world.allowed(world.ask(SLEEP))
    drain.begin(0)
    ended = world.run(call)
    assert ended.state == "succeeded", "a sleep of nothing is over before anybody looks"
    long = world.allowed(world.propose(SLEEP, {"duration_ms": 5_000}))
    ended = world.run(long)
    assert ended.state == "failed"
    assert ended.call.error is not None
    assert ended.call.error["detail"]["code"] == f"sandbox.{REASON}"
    assert ended.call.error["kind"] == ErrorKind.CANCELLED
    assert events_of(ended).count("execution.finished") == 1
    assert attested(ended).predicate["outcome"] == "failed"
    connection.close()


@pytest.mark.django_db(transaction=True)
def test_a_draining_worker_claims_nothing(
    committed_world: World, drain: Drain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "current_worker", lambda: committed_world.worker)
    call = committed_world.propose(ECHO)
    drain.begin()
    tasks.work()
    assert again(call).state == "queued"
