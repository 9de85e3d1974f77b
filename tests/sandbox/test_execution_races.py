"""Real threads on PostgreSQL: one winner, and every loser gets ConflictError."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from threading import Barrier

import pytest
from django.db import connection, transaction

from kernel.errors import ConflictError
from sandbox import services
from sandbox.lifecycle import HEARTBEAT_TIMEOUT
from sandbox.models import Execution
from sandbox.types import Outcome
from tests.builders import RecordedEvents
from tests.sandbox.execution_builders import AGENT, DIGEST, NOW, WORKER, claimed, outcome, queued

pytestmark = [pytest.mark.postgres, pytest.mark.django_db(transaction=True)]

ROUNDS = 10


def race(*attempts: Callable[[], object]) -> list[bool]:
    """Run all at once, each in a transaction of its own; True for each that did not conflict."""
    barrier = Barrier(len(attempts))

    def contest(attempt: Callable[[], object]) -> bool:
        try:
            barrier.wait()
            with transaction.atomic(durable=True):
                attempt()
        except ConflictError:
            return False
        finally:
            connection.close()
        return True

    with ThreadPoolExecutor(len(attempts)) as pool:
        return list(pool.map(contest, attempts))


def finishing(execution: Execution, fence: int, events: RecordedEvents) -> Callable[[], object]:
    result: Outcome = outcome()
    return lambda: services.finish_execution(
        execution_id=execution.id,
        fence=fence,
        outcome=result,
        output_digest=DIGEST,
        actor=WORKER,
        now=NOW,
        record=events,
    )


def test_eight_threads_claiming_one_execution_give_one_run_and_seven_conflicts() -> None:
    for _ in range(ROUNDS):
        events = RecordedEvents()
        execution = queued(events)
        won = race(*[partial(claimed, execution, events)] * 8)
        execution.refresh_from_db()
        assert sorted(won) == [False] * 7 + [True]
        assert (execution.state, execution.fence) == ("running", 1)
        assert events.names.count("execution.started") == 1


def test_cancel_against_claim_leaves_one_story() -> None:
    for _ in range(ROUNDS):
        events = RecordedEvents()
        execution = queued(events)
        claim_won, cancel_won = race(
            partial(claimed, execution, events),
            partial(
                services.request_cancel,
                execution_id=execution.id,
                reason="caller",
                actor=AGENT,
                now=NOW,
                record=events,
            ),
        )
        execution.refresh_from_db()
        assert cancel_won
        assert execution.state == ("running" if claim_won else "cancelled")
        assert execution.cancel_requested_at is not None


def test_cancel_against_natural_end_has_one_end() -> None:
    for _ in range(ROUNDS):
        events = RecordedEvents()
        execution = queued(events)
        fence = claimed(execution, events).fence
        finished, _ = race(
            finishing(execution, fence, events),
            partial(
                services.request_cancel,
                execution_id=execution.id,
                reason="caller",
                actor=AGENT,
                now=NOW,
                record=events,
            ),
        )
        execution.refresh_from_db()
        assert finished
        assert execution.state == "succeeded"
        assert events.names.count("execution.finished") == 1
        assert "execution.cancelled" not in events.names


def test_reaper_against_finish_has_one_end() -> None:
    late = NOW + HEARTBEAT_TIMEOUT + timedelta(seconds=1)
    for _ in range(ROUNDS):
        events = RecordedEvents()
        execution = queued(events)
        fence = claimed(execution, events).fence
        finished, reaped = race(
            finishing(execution, fence, events),
            partial(services.mark_lost, execution_id=execution.id, actor=WORKER, now=late, record=events),
        )
        execution.refresh_from_db()
        assert finished is not reaped
        assert execution.state == ("succeeded" if finished else "ambiguous")
        assert len({"execution.finished", "execution.lost"} & set(events.names)) == 1
