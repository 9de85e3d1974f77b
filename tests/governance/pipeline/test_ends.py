"""The other ends of a call: cancelled, lost, left behind by the broker; and what leaves no trace."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from celery import current_app
from django.db import transaction

from approvals.models import ApprovalRequest
from governance import closing, idempotency, pipeline, tasks
from governance.idempotency import Replay, Ticket
from governance.models import IdempotencyRecord, Reservation, ToolCall
from governance.operations import runs, sweeping
from governance.proposals import Proposal
from governance.selectors import CallView
from governance.stopping import Drain
from kernel.clock import utc_now
from kernel.errors import ConflictError, RefusedError
from sandbox import services as sandbox
from sandbox.models import Execution
from sandbox.types import ErrorKind, Executor, Outcome, Status
from tests.governance.pipeline.world import (
    ASKED,
    ECHO,
    SLEEP,
    World,
    again,
    attested,
    calls_used,
    claim,
    events_of,
    snapshot,
)

UNRUN = ["reservation.released", "attestation.recorded"]


def cancel(world: World, view: CallView) -> CallView:
    return runs.cancel_call(call_id=view.call.id, principal=world.agent, reason="", now=utc_now())


def test_a_waiting_call_is_cancelled_at_once_with_its_question(world: World) -> None:
    view = cancel(world, world.ask())
    assert (view.state, view.call.reason_code) == ("cancelled", "approval.cancelled")
    assert view.approval is not None
    assert (view.approval.status, view.approval.close_code) == ("cancelled", "requester_cancelled")
    assert events_of(view)[-4:] == ["tool_call.decided", "tool_call.closed", *UNRUN]
    assert calls_used(view) == 0
    assert attested(view).predicate["outcome"] == "cancelled"
    with pytest.raises(ConflictError):
        world.answer(view)


def test_a_queued_call_is_cancelled_at_once(world: World) -> None:
    view = cancel(world, world.propose())
    assert view.state == "cancelled"
    assert events_of(view)[-3:] == ["execution.cancelled", *UNRUN]
    assert calls_used(view) == 0
    assert attested(view).predicate["verdict"] == "deny"
    with pytest.raises(ConflictError):
        world.run(view)


def test_a_running_call_is_asked_to_stop_and_stays_charged(world: World) -> None:
    view = world.propose()
    found = claim(world, view)
    assert cancel(world, view).state == "running"
    now = utc_now()
    stopped = Outcome(
        status=Status.CANCELLED,
        executor=Executor.BUILTIN,
        started_at=now,
        finished_at=now,
        error_kind=ErrorKind.CANCELLED,
        error_code="sandbox.cancelled",
    )
    with transaction.atomic(durable=True):
        closing.close_executed(found, stopped, world.worker.actor(), now)
    ended = again(view)
    assert (ended.state, calls_used(ended)) == ("cancelled", 1)
    assert events_of(ended)[-3:] == ["execution.cancelled", "reservation.settled", "attestation.recorded"]


@pytest.mark.parametrize("tool", [ECHO, SLEEP])
def test_a_call_that_has_ended_cannot_be_cancelled(world: World, tool: str) -> None:
    view = world.propose(tool)
    ended = world.run(view) if tool == ECHO else cancel(world, view)
    story = events_of(ended)
    with pytest.raises(ConflictError) as refused:
        cancel(world, ended)
    assert refused.value.code == "state_changed"
    assert events_of(ended) == story


def test_one_of_two_waiting_calls_leaves_the_question_to_the_other(world: World) -> None:
    run = world.open_run()
    first, second = world.ask(run=run), world.ask(run=run)
    assert cancel(world, first).state == "cancelled"
    assert again(second).state == "awaiting_approval"
    world.answer(second, seen_version=2)
    assert world.run(second).state == "succeeded"
    assert again(first).state == "cancelled"


def test_a_bystander_cancels_nothing(world: World) -> None:
    view = world.ask()
    with pytest.raises(RefusedError):
        runs.cancel_call(
            call_id=view.call.id, principal=world.person(world.auditor), reason="", now=utc_now()
        )
    assert again(view).state == "awaiting_approval"


def test_cancelling_a_run_ends_everything_of_it_and_twice_is_once(world: World) -> None:
    run = world.open_run()
    asked, queued, running = world.ask(run=run), world.propose(run=run), world.propose(run=run)
    claim(world, running)
    for _ in range(2):
        closed = runs.cancel_run(run_id=run.id, principal=world.agent, reason="", now=utc_now())
        assert closed.state == "cancelled"
    assert [again(view).state for view in (asked, queued, running)] == ["cancelled", "cancelled", "running"]
    assert Execution.objects.get(call_id=running.call.id).cancel_requested_at is not None
    assert ApprovalRequest.objects.get(run_id=run.id).close_code == "run_closed"
    run.refresh_from_db()
    assert run.calls_used == 1


def test_a_run_whose_time_is_over_is_closed_by_the_sweeper(world: World) -> None:
    run = world.open_run(ttl_seconds=60)
    asked = world.ask(run=run)
    assert sweeping.sweep(run.deadline_at)["runs_expired"] == 1
    run.refresh_from_db()
    assert (run.state, again(asked).state) == ("expired", "cancelled")


def test_a_call_whose_worker_died_becomes_ambiguous_once_and_never_runs_again(world: World) -> None:
    view = world.allowed(world.ask())
    claim(world, view)
    now = utc_now()
    assert sweeping.sweep(now + timedelta(seconds=14))["executions_lost"] == 0
    assert sweeping.sweep(now + timedelta(seconds=20))["executions_lost"] == 1
    assert sweeping.sweep(now + timedelta(seconds=40))["executions_lost"] == 0
    ended = again(view)
    assert (ended.state, calls_used(ended)) == ("ambiguous", 1)
    assert events_of(ended)[-3:] == ["execution.lost", "reservation.settled", "attestation.recorded"]
    assert attested(ended).predicate["outcome"] == "ambiguous"
    with pytest.raises(ConflictError):
        world.run(view)


def test_a_worker_that_wakes_up_too_late_writes_nothing(world: World) -> None:
    view = world.propose()
    found = claim(world, view)
    sweeping.sweep(utc_now() + timedelta(seconds=20))
    before = snapshot()
    now = utc_now()
    late = Outcome(
        status=Status.SUCCEEDED, executor=Executor.BUILTIN, started_at=now, finished_at=now, output={"a": 1}
    )
    with pytest.raises(ConflictError), transaction.atomic(durable=True):
        closing.close_executed(found, late, world.worker.actor(), now)
    assert not sandbox.heartbeat(execution_id=found.claimed.execution_id, fence=found.claimed.fence, now=now)
    assert snapshot() == before
    assert again(view).call.result is None


def test_a_run_of_an_earlier_boot_is_given_up_at_once(world: World) -> None:
    view = world.propose()
    claim(world, view)
    assert sweeping.abandon_orphans(host="test", boot="another boot", now=utc_now()) == 1
    assert again(view).state == "ambiguous"


def test_one_row_that_cannot_be_swept_does_not_keep_the_others_waiting(world: World) -> None:
    broken, sound = world.propose(), world.propose()
    for view in (broken, sound):
        claim(world, view)
    Reservation.objects.filter(call_id=broken.call.id).delete()
    sweeping.sweep(utc_now() + timedelta(seconds=20))
    assert (again(broken).state, again(sound).state) == ("running", "ambiguous")


@pytest.mark.django_db
def test_with_the_broker_down_a_call_stays_queued_and_the_sweeper_rings(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    django_capture_on_commit_callbacks: Callable[..., object],
) -> None:
    with monkeypatch.context() as down:
        down.setattr(current_app.conf, "broker_url", "redis://127.0.0.1:1/0")
        down.setattr(current_app.conf, "broker_write_url", "redis://127.0.0.1:1/0", raising=False)
        with django_capture_on_commit_callbacks(execute=True):  # type: ignore[attr-defined]
            view = world.propose()
    assert again(view).state == "queued"
    rung: list[str] = []
    monkeypatch.setattr(current_app, "send_task", lambda name, **_: rung.append(name))
    sweeping.sweep(utc_now())
    assert rung == ["governance.tasks.work"]
    monkeypatch.setattr(tasks, "current_worker", lambda: world.worker)
    monkeypatch.setattr(tasks, "drain", Drain())
    tasks.work()
    assert again(view).state == "succeeded"


def test_a_call_that_cannot_be_taken_keeps_no_other_waiting(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    views, run = [world.propose() for _ in range(3)], pipeline.run

    def failing(*, execution_id: str, **how: Any) -> None:
        if execution_id == views[0].call.execution_id:
            raise RuntimeError("nobody expects this")
        run(execution_id=execution_id, **how)

    monkeypatch.setattr(pipeline, "run", failing)
    monkeypatch.setattr(tasks, "BATCH", 1)
    monkeypatch.setattr(tasks, "current_worker", lambda: world.worker)
    monkeypatch.setattr(tasks, "drain", Drain())
    tasks.work()
    assert [again(view).state for view in views] == ["queued", "succeeded", "succeeded"]


@pytest.mark.parametrize("tool", [ECHO, SLEEP, ASKED, "no.such.tool"])
def test_a_preview_says_what_a_proposal_would_be_told_and_writes_nothing(world: World, tool: str) -> None:
    run = world.open_run()
    proposal = Proposal(
        run_id=run.id, tool=tool, input={"duration_ms": 0} if tool == SLEEP else {"text": "a"}
    )
    before = snapshot()
    preview = pipeline.preview(proposal=proposal, principal=world.agent, now=utc_now())
    assert snapshot() == before
    told = preview["decision"]
    assert isinstance(told, dict)
    call = pipeline.submit(proposal=proposal, principal=world.agent, now=utc_now()).call
    assert (told["effect"], told["reason_code"], told["reason"]) == (
        call.effect,
        call.reason_code,
        call.reason,
    )
    assert [(row["gate"], row["verdict"]) for row in told["gates"]] == [
        (row["gate"], row["verdict"]) for row in call.gates
    ]


def begin(world: World, body: object) -> Ticket | Replay:
    return idempotency.begin(
        principal_id=world.agent_row.pk, route="POST /tool-calls", key="k1", body=body, now=utc_now()
    )


def test_the_answer_of_a_key_is_stored_with_the_call(world: World) -> None:
    ticket = begin(world, {"a": 1})
    assert isinstance(ticket, Ticket)
    view = world.propose(ticket=ticket, render=lambda made: (202, {"id": made.call.id}))
    replay = begin(world, {"a": 1})
    assert isinstance(replay, Replay)
    assert (replay.status, replay.body, replay.object_id) == (202, {"id": view.call.id}, view.call.id)


def test_without_the_call_there_is_no_stored_answer(world: World) -> None:
    ticket = begin(world, {"a": 1})
    assert isinstance(ticket, Ticket)

    def render(_: CallView) -> tuple[int, object]:
        raise RuntimeError

    run = world.open_run()
    before = snapshot()
    with pytest.raises(RuntimeError):
        world.propose(run=run, ticket=ticket, render=render)
    assert snapshot() == before
    assert IdempotencyRecord.objects.get().state == "running"
    assert not ToolCall.objects.exists()
