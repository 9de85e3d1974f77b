"""No event, no effect: the journal fails at each event of a path in turn, and nothing stays behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction
from pytest_django.fixtures import Settings

from approvals.models import ApprovalRequest
from approvals.types import ReviewInput
from governance import closing, pipeline
from governance.freeze_scopes import FreezeScope
from governance.journal import ledger
from governance.journal.events import EventName
from governance.models import Freeze, Reservation
from governance.operations import freezes, grants, refusals, runs
from governance.operations.erasing import ask_to_erase
from governance.operations.freezes import FreezeWishes
from governance.selectors import CallView
from identity.roles import WorkspaceRole
from kernel.clock import utc_now
from kernel.errors import PalyraError, UnavailableError
from sandbox.models import Execution
from sandbox.types import Executor, Outcome, Status
from tests.governance.pipeline.test_grants import granted
from tests.governance.pipeline.test_new_rules import NO_ECHO, ready_to_activate
from tests.governance.pipeline.world import ASKED, SHELL, SLEEP, World, add_person, again, claim, snapshot


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
    number, before = 0, snapshot()
    while True:
        number += 1
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


def assert_every_write_undoes(work: Callable[[], object]) -> int:
    """Fail at each statement of `work` that writes in turn, as a full disk does; compare all tables.

    Whatever row it is, of the domain or of the journal: neither is there without the other.
    """
    number, before = 0, snapshot()
    while True:
        number += 1
        seen: list[str] = []
        place = transaction.savepoint()
        with connection.execute_wrapper(partial(full_disk, seen, number)):
            try:
                work()
            except (OperationalError, UnavailableError):
                pass
            else:
                transaction.savepoint_rollback(place)
                assert len(seen) < number, f"{seen[-1]} failed unnoticed"
                return number - 1
        assert snapshot() == before, seen[-1]


def full_disk(seen: list[str], number: int, execute: Callable[..., object], sql: str, *given: Any) -> object:
    """Let the `number`-th statement that writes fail."""
    if sql.startswith(("INSERT", "UPDATE", "DELETE")):
        seen.append(sql[:60])
        if len(seen) == number:
            raise OperationalError("database or disk is full")
    return execute(sql, *given)


def test_no_event_of_a_review_can_fail_and_leave_an_effect(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusals, "record_refusal", lambda *_: None)
    view, person, now = world.ask(), world.person(world.approver), utc_now()
    for verdict in ("allow", "deny"):
        work = partial(world.answer, view, verdict, principal=person, now=now)
        assert assert_every_fault_undoes(monkeypatch, work) >= 4
    assert assert_every_write_undoes(work) >= 12


def test_no_event_of_a_claim_or_a_finish_can_fail_and_leave_an_effect(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = world.allowed(world.ask())
    assert assert_every_fault_undoes(monkeypatch, lambda: claim(world, view)) == 3
    assert assert_every_write_undoes(lambda: claim(world, view)) >= 9
    found = claim(world, view)
    now = utc_now()
    outcome = Outcome(
        status=Status.SUCCEEDED, executor=Executor.BUILTIN, started_at=now, finished_at=now, output={"a": 1}
    )

    def finish() -> None:
        with transaction.atomic():
            closing.close_executed(found, outcome, world.worker.actor(), now)

    assert assert_every_fault_undoes(monkeypatch, finish) >= 3
    assert assert_every_write_undoes(finish) >= 9


def test_no_event_of_a_run_a_grant_or_a_freeze_can_fail_and_leave_an_effect(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusals, "record_refusal", lambda *_: None)
    agent, owner, now = world.agent, world.person(world.owner), utc_now()
    run = world.open_run()
    asked = granted(world, run=run)
    wish = FreezeWishes(scope=FreezeScope("agent"), scope_id=world.other_agent_row.pk, reason="it runs wild")
    standing = freezes.set_freeze(principal=owner, wishes=wish, now=now)
    other = replace(wish, scope_id=world.agent_row.pk)
    verbs: list[Callable[[], object]] = [
        lambda: runs.open_run(principal=agent, wishes={"session_key": "one"}, now=now),
        lambda: runs.cancel_run(run_id=run.id, principal=agent, reason="", now=now),
        lambda: grants.revoke(
            principal=owner, grant_id=asked.call.grant_id or "", comment="no more", now=now
        ),
        lambda: freezes.lift(principal=owner, freeze_id=standing.pk, reason="it is over", now=now),
    ]
    for verb in verbs:
        assert assert_every_fault_undoes(monkeypatch, verb) >= 1
        assert assert_every_write_undoes(verb) >= 3
    with fail_first(monkeypatch), pytest.raises(InjectedFaultError):
        freezes.set_freeze(principal=owner, wishes=other, now=now)
    assert not Freeze.objects.filter(scope_id=world.agent_row.pk).exists()


def test_no_event_of_a_lost_call_and_of_what_is_found_out_can_fail_and_leave_an_effect(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusals, "record_refusal", lambda *_: None)
    view = world.allowed(world.ask())
    claim(world, view)

    def lose() -> None:
        with transaction.atomic():
            closing.close_lost(again(view).call.execution_id or "", SHELL, utc_now(), proven_dead=True)

    assert assert_every_fault_undoes(monkeypatch, lose) >= 2
    assert assert_every_write_undoes(lose) >= 6
    lose()
    owner, now = world.person(world.owner), utc_now()
    find = partial(
        runs.resolve_call,
        call_id=view.call.id,
        principal=owner,
        outcome="failed",
        note="saw it fail",
        now=now,
    )
    assert assert_every_fault_undoes(monkeypatch, find) == 1
    assert assert_every_write_undoes(find) >= 3


def test_no_event_of_an_activation_can_fail_and_leave_other_rules_in_force(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusals, "record_activation_refusal", lambda *_: None)
    activate = ready_to_activate(world, NO_ECHO)
    assert assert_every_fault_undoes(monkeypatch, activate) >= 2
    assert assert_every_write_undoes(activate) >= 6


def test_no_event_of_an_erasure_can_fail_and_leave_anything_erased(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusals, "record_refusal", lambda *_: None)
    with transaction.atomic():
        other = add_person("second-owner", world.workspace, utc_now(), WorkspaceRole.OWNER)
    view = world.run(world.allowed(world.ask()))
    runs.cancel_run(run_id=view.call.run_id, principal=world.agent, reason="", now=utc_now())
    owner, now = world.person(world.owner), utc_now()
    wish = partial(ask_to_erase, subject=view.call.run_id, reason="request 4711")
    assert assert_every_fault_undoes(monkeypatch, partial(wish, principal=owner, now=now)) == 1
    request = wish(principal=owner, now=now)
    answer = ReviewInput(verdict="allow", scope="once", comment="seen the letter", otp_verified_at=now)
    person = world.person(other, now=now)
    allow = partial(pipeline.review, request_id=request.pk, principal=person, answer=answer, now=now)
    assert assert_every_fault_undoes(monkeypatch, allow) == 3
    assert assert_every_write_undoes(allow) >= 20


@pytest.mark.parametrize(
    "fault",
    [InjectedFaultError("bug"), OperationalError("disk full"), ValueError("unknown"), TypeError("odd")],
)
def test_a_refusal_is_the_answer_also_when_it_cannot_be_recorded(
    world: World, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    view, before = world.ask(), snapshot()

    def fails(*_: object, **__: object) -> str:
        raise fault

    monkeypatch.setattr(ledger, "_append", fails)
    with pytest.raises(PalyraError) as refused:
        world.answer(view, by=world.agent_owner)
    assert refused.value.code == "not_a_reviewer"
    assert snapshot() == before


def test_while_the_vault_is_locked_nothing_is_decided_and_nothing_runs(
    world: World, settings: Settings, tmp_path: Path
) -> None:
    queued, asked, run = world.propose(), world.ask(), world.open_run()
    before, unlocked = snapshot(), settings.PALYRA_VAULT_KEK_DIR
    settings.PALYRA_VAULT_KEK_DIR = tmp_path / "no key here"
    for verb in (
        lambda: world.propose(run=run),
        lambda: world.answer(asked),
        lambda: world.run(queued),
        world.open_run,
    ):
        with pytest.raises(UnavailableError) as refused:
            verb()
        assert (refused.value.code, refused.value.status) == ("vault.kek_missing", 503)
        assert snapshot() == before
    settings.PALYRA_VAULT_KEK_DIR = unlocked
    assert world.run(queued).state == "succeeded"


def fail_first(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let the next event fail, within the block."""

    @contextmanager
    def within() -> Iterator[None]:
        with monkeypatch.context() as patch:
            fail_at(patch, 1)
            yield

    return within()


def test_no_event_of_a_cancellation_or_a_sweep_can_fail_and_leave_an_effect(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, queued = world.ask(), world.propose()
    assert assert_every_fault_undoes(monkeypatch, lambda: cancel_call(world, asked)) >= 4
    assert assert_every_fault_undoes(monkeypatch, lambda: cancel_call(world, queued)) >= 3
    assert assert_every_write_undoes(lambda: cancel_call(world, asked)) >= 12


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
