"""An execution is claimed once, ends once, and nothing leads back to the queue."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import IntegrityError, transaction

from kernel.errors import ConflictError, NotFoundError
from sandbox import selectors, services
from sandbox.lifecycle import ALLOWED, FINISHED, HEARTBEAT_TIMEOUT, OPEN, ExecutionState
from sandbox.models import Execution
from sandbox.types import ErrorKind, Status
from tests.builders import RecordedEvents
from tests.sandbox.execution_builders import AGENT, DIGEST, NOW, WORKER, claimed, outcome, queued

pytestmark = pytest.mark.django_db


@pytest.fixture
def events() -> RecordedEvents:
    return RecordedEvents()


def finish(execution_id: str, fence: int, events: RecordedEvents, **kwargs: object) -> Execution:
    return services.finish_execution(
        execution_id=execution_id,
        fence=fence,
        outcome=outcome(**kwargs),  # type: ignore[arg-type]  # keywords of one builder
        output_digest=DIGEST,
        actor=WORKER,
        now=NOW,
        record=events,
    )


def test_no_transition_leads_back_to_queued_or_out_of_an_end() -> None:
    assert all(ExecutionState.QUEUED not in targets for targets in ALLOWED.values())
    assert set(ALLOWED) == OPEN
    assert not FINISHED & set(ALLOWED)


def test_queue_claim_finish_leaves_the_facts_and_three_events(events: RecordedEvents) -> None:
    execution = queued(events)
    claim = claimed(execution, events)

    done = finish(execution.id, claim.fence, events)

    assert claim.fence == 1
    assert claim.deadline_at == NOW + timedelta(seconds=10)
    assert (done.state, done.exit_code, done.output_digest) == ("succeeded", 0, DIGEST)
    assert done.finished_at == NOW
    assert events.names == ["execution.queued", "execution.started", "execution.finished"]
    assert {event.call for event in events.events} == {execution.call_id}


def test_one_call_has_one_execution(events: RecordedEvents) -> None:
    execution = queued(events)
    with pytest.raises(IntegrityError), transaction.atomic():
        Execution.objects.create(
            id="exe_other",
            call_id=execution.call_id,
            run_id="run_test",
            spec={},
            queued_at=NOW,
            action_digest=DIGEST,
            spec_digest=DIGEST,
        )


def test_second_claim_conflicts_and_records_nothing(events: RecordedEvents) -> None:
    execution = queued(events)
    claimed(execution, events)
    before = len(events.events)
    with pytest.raises(ConflictError):
        claimed(execution, events)
    assert len(events.events) == before


def test_claim_of_an_unknown_execution_is_not_found(events: RecordedEvents) -> None:
    with pytest.raises(NotFoundError):
        claimed(Execution(id="exe_unknown"), events)


def test_finish_with_a_stale_fence_writes_nothing(events: RecordedEvents) -> None:
    execution = queued(events)
    claim = claimed(execution, events)
    with pytest.raises(ConflictError):
        finish(execution.id, claim.fence - 1, events)
    execution.refresh_from_db()
    assert (execution.state, execution.finished_at, execution.output_digest) == ("running", None, None)
    assert "execution.finished" not in events.names


def test_finish_twice_conflicts(events: RecordedEvents) -> None:
    execution = queued(events)
    claim = claimed(execution, events)
    finish(execution.id, claim.fence, events)
    with pytest.raises(ConflictError):
        finish(execution.id, claim.fence, events, status=Status.FAILED, kind=ErrorKind.RUNTIME_FAILURE)
    assert events.names.count("execution.finished") == 1


def test_heartbeat_is_only_for_the_holder_of_a_live_run(events: RecordedEvents) -> None:
    execution = queued(events)
    claim = claimed(execution, events)
    later = NOW + timedelta(seconds=2)
    assert services.heartbeat(execution_id=execution.id, fence=claim.fence, now=later)
    assert not services.heartbeat(execution_id=execution.id, fence=claim.fence - 1, now=later)
    finish(execution.id, claim.fence, events)
    assert not services.heartbeat(execution_id=execution.id, fence=claim.fence, now=later)


def test_silent_run_becomes_ambiguous_and_its_worker_can_write_nothing_more(events: RecordedEvents) -> None:
    execution = queued(events)
    claim = claimed(execution, events)
    later = NOW + HEARTBEAT_TIMEOUT + timedelta(seconds=1)
    assert selectors.lost_ids(NOW + HEARTBEAT_TIMEOUT) == ()
    assert selectors.lost_ids(later) == (execution.id,)

    lost = services.mark_lost(execution_id=execution.id, actor=WORKER, now=later, record=events)

    assert (lost.state, lost.error_kind, lost.fence) == ("ambiguous", "Ambiguous", claim.fence + 1)
    assert events.names[-1] == "execution.lost"
    with pytest.raises(ConflictError):
        finish(execution.id, claim.fence, events)
    assert not services.heartbeat(execution_id=execution.id, fence=claim.fence, now=later)


def test_living_run_cannot_be_declared_lost(events: RecordedEvents) -> None:
    execution = queued(events)
    claim = claimed(execution, events)
    later = NOW + timedelta(minutes=1)
    services.heartbeat(execution_id=execution.id, fence=claim.fence, now=later)
    with pytest.raises(ConflictError):
        services.mark_lost(execution_id=execution.id, actor=WORKER, now=later, record=events)


def test_refusal_ends_a_queued_row_with_kind_and_code(events: RecordedEvents) -> None:
    execution = queued(events)
    row = services.refuse_execution(
        execution_id=execution.id,
        kind=ErrorKind.BACKEND_UNAVAILABLE,
        code="sandbox.queue_timeout",
        actor=WORKER,
        now=NOW,
        record=events,
    )
    assert (row.state, row.error_kind, row.error_code) == (
        "refused",
        "BackendUnavailable",
        "sandbox.queue_timeout",
    )
    with pytest.raises(ConflictError):
        claimed(execution, events)


def test_cancel_before_the_start_ends_the_row_at_once(events: RecordedEvents) -> None:
    execution = queued(events)
    state = services.request_cancel(
        execution_id=execution.id, reason="caller", actor=AGENT, now=NOW, record=events
    )
    execution.refresh_from_db()
    assert state is ExecutionState.CANCELLED
    assert (execution.state, execution.cancel_reason) == ("cancelled", "caller")
    assert events.names[-1] == "execution.cancelled"


def test_cancel_of_a_running_row_asks_the_worker_and_keeps_the_first_reason(events: RecordedEvents) -> None:
    execution = queued(events)
    claim = claimed(execution, events)
    assert not selectors.cancel_requested(execution.id)
    for reason in ("caller", "run.frozen"):
        state = services.request_cancel(
            execution_id=execution.id, reason=reason, actor=AGENT, now=NOW, record=events
        )
        assert state is ExecutionState.RUNNING
    execution.refresh_from_db()
    assert (execution.state, execution.cancel_reason) == ("running", "caller")
    assert selectors.cancel_requested(execution.id)

    done = finish(execution.id, claim.fence, events, status=Status.CANCELLED, kind=ErrorKind.CANCELLED)

    assert done.state == "cancelled"
    assert events.events[-1].data == {"reason": "caller"}


def test_cancel_after_the_end_conflicts(events: RecordedEvents) -> None:
    execution = queued(events)
    finish(execution.id, claimed(execution, events).fence, events)
    with pytest.raises(ConflictError):
        services.request_cancel(
            execution_id=execution.id, reason="caller", actor=AGENT, now=NOW, record=events
        )


def test_cancel_of_an_unknown_execution_is_not_found(events: RecordedEvents) -> None:
    with pytest.raises(NotFoundError):
        services.request_cancel(execution_id="exe_x", reason="caller", actor=AGENT, now=NOW, record=events)


def test_a_row_that_is_gone_counts_as_cancelled() -> None:
    assert selectors.cancel_requested("exe_unknown")


def test_queue_is_read_oldest_first_and_overdue_after_fifteen_minutes(events: RecordedEvents) -> None:
    young = queued(events, NOW + timedelta(minutes=10))
    old = queued(events, NOW)
    assert selectors.queued_ids(10) == (old.id, young.id)
    assert selectors.queued_ids(1) == (old.id,)
    assert selectors.overdue_queue(NOW + timedelta(minutes=15)) == ()
    assert selectors.overdue_queue(NOW + timedelta(minutes=16)) == (old.id,)


@pytest.mark.parametrize(
    "changes",
    [
        {"finished_at": NOW},
        {"state": "succeeded"},
        {"state": "odd", "finished_at": NOW},
        {"exit_code": 1, "signal": 9},
        {"attempt": 2},
    ],
)
def test_database_refuses_rows_that_contradict_themselves(
    events: RecordedEvents, changes: dict[str, object]
) -> None:
    execution = queued(events)
    with pytest.raises(IntegrityError), transaction.atomic():
        Execution.objects.filter(pk=execution.id).update(**changes)
