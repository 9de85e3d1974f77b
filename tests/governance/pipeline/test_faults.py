"""No event, no effect: the journal fails at each event of a path in turn, and nothing stays behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction

from approvals.models import ApprovalRequest
from governance import closing
from governance.journal import ledger
from governance.journal.events import EventName
from governance.models import Reservation
from governance.operations import refusals, runs
from governance.selectors import CallView
from kernel.clock import utc_now
from sandbox.models import Execution
from sandbox.types import Executor, Outcome, Status
from tests.governance.pipeline.test_grants import granted
from tests.governance.pipeline.world import ASKED, SLEEP, World, again, claim, snapshot


class InjectedFaultError(RuntimeError):
    """The journal fails at one event."""


def fail_at(monkeypatch: pytest.MonkeyPatch, number: int) -> list[str]:
    """Make the `number`-th event from now on fail; return the list that fills with their names."""
    original = ledger._append
    seen: list[str] = []

    def append(name: EventName, *args: Any, **kwargs: Any) -> str:
        seen.append(name.value)
        if len(seen) == number:
            raise InjectedFaultError(name)
        return original(name, *args, **kwargs)

    monkeypatch.setattr(ledger, "_append", append)
    return seen


def assert_every_fault_undoes(monkeypatch: pytest.MonkeyPatch, work: Callable[[], object]) -> int:
    """Fail at each event of `work` in turn and compare all tables; return how many events there are."""
    number = 0
    while True:
        number += 1
        before = snapshot()
        with monkeypatch.context() as patch:
            seen = fail_at(patch, number)
            place = transaction.savepoint()
            try:
                work()
            except InjectedFaultError:
                pass
            else:
                transaction.savepoint_rollback(place)
                assert len(seen) < number, f"{seen[-1]} failed unnoticed"
                return number - 1
        assert snapshot() == before, seen[-1]


def test_no_event_of_a_review_can_fail_and_leave_an_effect(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusals, "record_refusal", lambda *_: None)
    view, person, now = world.ask(), world.person(world.approver), utc_now()
    for verdict in ("allow", "deny"):
        work = partial(world.answer, view, verdict, principal=person, now=now)
        assert assert_every_fault_undoes(monkeypatch, work) >= 4


def test_no_event_of_a_claim_or_a_finish_can_fail_and_leave_an_effect(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = world.allowed(world.ask())
    assert assert_every_fault_undoes(monkeypatch, lambda: claim(world, view)) == 3
    found = claim(world, view)
    now = utc_now()
    outcome = Outcome(
        status=Status.SUCCEEDED, executor=Executor.BUILTIN, started_at=now, finished_at=now, output={"a": 1}
    )

    def finish() -> None:
        with transaction.atomic():
            closing.close_executed(found, outcome, world.worker.actor(), now)

    assert assert_every_fault_undoes(monkeypatch, finish) >= 3


def test_no_event_of_a_cancellation_or_a_sweep_can_fail_and_leave_an_effect(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, queued = world.ask(), world.propose()
    assert assert_every_fault_undoes(monkeypatch, lambda: cancel_call(world, asked)) >= 4
    assert assert_every_fault_undoes(monkeypatch, lambda: cancel_call(world, queued)) >= 3


def test_an_event_of_a_proposal_that_fails_denies_inside_a_gate_and_undoes_everything_outside(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, agent = world.open_run(), world.agent
    outcomes = []
    for number in range(1, 9):
        before = snapshot()
        with monkeypatch.context() as patch:
            seen = fail_at(patch, number)
            place = transaction.savepoint()
            try:
                view = world.propose(SLEEP, run=run, principal=agent)
            except InjectedFaultError:
                outcomes.append((seen[-1], "undone"))
            else:
                if len(seen) < number:
                    break
                outcomes.append((seen[number - 1], view.call.reason_code))
                assert not Reservation.objects.exclude(state="released").filter(run=run).exists()
                assert not ApprovalRequest.objects.filter(run_id=run.id).exists()
                transaction.savepoint_rollback(place)
        assert snapshot() == before
    assert outcomes == [
        ("tool_call.proposed", "undone"),
        ("reservation.held", "budget.unavailable"),
        ("approval.requested", "approval.error"),
        ("tool_call.decided", "undone"),
    ]


def cancel_call(world: World, view: CallView) -> None:
    runs.cancel_call(call_id=view.call.id, principal=world.agent, reason="", now=utc_now())


def test_grants_that_cannot_be_read_cover_nothing_and_let_nothing_run(world: World) -> None:
    """A proposal is denied; a claim is undone as a whole, so that the call runs once they can be read."""
    run = world.open_run()
    first = granted(world, run=run)
    with unreadable('FROM "approvals_grant"'):
        second = world.propose(ASKED, run=run)
    before = snapshot()
    with unreadable('FROM "approvals_grant"'), pytest.raises(OperationalError):
        claim(world, first)
    assert snapshot() == before
    assert (second.state, second.call.reason_code) == ("denied", "approval.error")
    assert not Execution.objects.filter(call_id=second.call.id).exists()
    assert again(first).state == "queued"
    claim(world, first)
    assert again(first).state == "running"


@contextmanager
def unreadable(rows: str) -> Iterator[None]:
    """Let every statement that names these rows fail, as a damaged table does."""

    def fails(execute: Callable[..., object], sql: str, *given: Any) -> object:
        if rows in sql:
            raise OperationalError("could not read block 7")
        return execute(sql, *given)

    with connection.execute_wrapper(fails):
        yield
