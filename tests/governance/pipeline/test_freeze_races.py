"""Real threads: what starts and what freezes take turns, so that nothing starts behind a freeze."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import pytest
from django.db import connection, transaction
from django.db.models import F

from governance import checks, freezes, recheck
from governance.freeze_scopes import FreezeScope
from governance.journal.ledger import record
from governance.models import Freeze
from governance.operations import freezes as verbs
from governance.operations.freezes import FreezeWishes
from governance.proposals import Draft, Proposal
from governance.selectors import CallView
from identity.selectors import INSTANCE, workspace_by_slug
from identity.types import Principal
from kernel.clock import utc_now
from sandbox.models import Execution
from tests.governance.pipeline.world import SLEEP, World, again, attested, run_events
from tests.racing import at_once

pytestmark = pytest.mark.django_db(transaction=True)
ROUNDS = 50 if connection.vendor == "postgresql" else 2
"""SQLite has one writer at a time, so there one round more proves nothing more."""
WISHES = FreezeWishes(scope=FreezeScope.GLOBAL, reason="the agent runs wild", kill_running=True)

Seen = TypeVar("Seen")


@pytest.fixture
def world(committed_world: World) -> World:
    return committed_world


def set_it(who: Principal) -> Freeze:
    return verbs.set_freeze(principal=who, wishes=WISHES, now=utc_now())


def lift_all(who: Principal) -> None:
    for row in Freeze.objects.filter(state="active"):
        verbs.lift(principal=who, freeze_id=row.id, now=utc_now())


def claim(world: World, view: CallView) -> None:
    with transaction.atomic(durable=True):
        recheck.claim(view.call.execution_id or "", world.worker, utc_now())


def state_of(view: CallView) -> tuple[str, str]:
    row = Execution.objects.get(call_id=view.call.id)
    return row.state, row.cancel_reason


def test_nothing_starts_behind_a_freeze_in_any_of_fifty_rounds(world: World) -> None:
    """The gate that every claim passes, with the least that a start can write behind it."""
    owner, view = world.person(world.owner), world.propose()
    execution = Execution.objects.filter(call_id=view.call.id)
    draft = Draft(view.call.id, Proposal(view.call.run_id, "echo", {}), world.agent, view.call.run, utc_now())

    def start() -> None:
        with transaction.atomic(durable=True):
            if checks.run_is_open(draft).value:
                execution.update(fence=F("fence") + 1)

    started = 0
    for _ in range(ROUNDS):
        before = execution.get().fence
        at_commit: list[int] = []
        freezing = partial(commit_freeze, owner, at_commit, lambda: execution.get().fence)
        assert at_once(freezing, start) == ["", ""]
        assert [execution.get().fence] == at_commit
        started += at_commit[0] - before
        commit_lifting(owner)
    assert 0 <= started <= ROUNDS


def test_no_claim_commits_behind_a_freeze(world: World) -> None:
    """What was queued at the moment the freeze was committed never ran."""
    owner = world.person(world.owner)
    run, agent = world.open_run(), world.agent
    for _ in range(ROUNDS // 10 or 1):
        view = world.propose(run=run, principal=agent)
        at_commit: list[tuple[str, str]] = []
        freeze_now = partial(commit_freeze, owner, at_commit, partial(state_of, view))
        assert at_once(freeze_now, partial(claim, world, view)) == ["", ""]
        if at_commit[0][0] == "queued":
            assert state_of(view)[0] == "refused"
            assert again(view).call.error["detail"]["code"] == "run.frozen"
        else:
            assert [state_of(view)] == at_commit
        commit_lifting(owner)


def commit_freeze(who: Principal, seen: list[Seen], look: Callable[[], Seen]) -> None:
    """Set a freeze as a setter that dies after its commit, and look around in that moment."""
    with transaction.atomic(durable=True):
        freezes.set_freeze(
            scope=FreezeScope.GLOBAL,
            scope_id="",
            workspace_id=workspace_by_slug(INSTANCE).pk,
            reason=WISHES.reason,
            kill_running=False,
            actor=who.actor(),
            now=utc_now(),
            record=record,
        )
    seen.append(look())


def commit_lifting(who: Principal) -> None:
    row = Freeze.objects.get(state="active")
    with transaction.atomic(durable=True):
        freezes.lift_freeze(
            freeze=row, reason="", single_operator=False, actor=who.actor(), now=utc_now(), record=record
        )


def test_a_proposal_and_a_freeze_leave_nothing_queued(world: World) -> None:
    owner, agent = world.person(world.owner), world.agent
    for _ in range(ROUNDS // 10 or 1):
        run = world.open_run()
        at_once(partial(set_it, owner), partial(world.propose, run=run, principal=agent))
        (call,) = run.calls.all()
        if call.effect == "allow":
            assert Execution.objects.get(call_id=call.id).state == "refused"
        else:
            assert call.reason_code == "run.frozen"
        lift_all(owner)


def test_an_allow_and_a_freeze_leave_nothing_queued(world: World) -> None:
    owner, approver = world.person(world.owner), world.person(world.approver)
    for _ in range(ROUNDS // 10 or 1):
        view = world.ask()
        codes = at_once(partial(set_it, owner), partial(world.answer, view, principal=approver))
        assert codes[1] in ("", "frozen")
        expected = "awaiting_approval" if codes[1] == "frozen" else "refused"
        assert again(view).state == expected
        lift_all(owner)


def test_of_two_who_freeze_the_same_one_does(world: World) -> None:
    owner = world.person(world.owner)
    assert sorted(at_once(*[partial(set_it, owner)] * 4)) == ["", "conflict", "conflict", "conflict"]
    row = Freeze.objects.get(state="active")
    lifting = partial(verbs.lift, principal=owner, freeze_id=row.id, now=utc_now())
    assert sorted(at_once(lifting, lifting)) == ["", "state_changed"]


def test_a_freeze_waits_for_a_start_that_did_not_see_it(world: World) -> None:
    """Under READ COMMITTED a plain read could miss a freeze that is committed before the claim is."""
    order: list[str] = []
    view = world.propose()

    def start() -> None:
        with transaction.atomic(durable=True):
            recheck.claim(view.call.execution_id or "", world.worker, utc_now())
            looked.set()
            assert not frozen.wait(0.3)
            order.append("claimed")

    def stop() -> None:
        looked.wait(10)
        set_it(world.person(world.owner))
        order.append("frozen")
        frozen.set()

    looked, frozen = threading.Event(), threading.Event()
    assert at_once(start, stop) == ["", ""]
    assert order == ["claimed", "frozen"]
    assert state_of(view) == ("running", "run.frozen")
    lift_all(world.person(world.owner))


def test_a_start_waits_for_a_freeze_that_is_being_set(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    view, owner = world.propose(), world.person(world.owner)
    holding, claimed, carry_on = threading.Event(), threading.Event(), freezes.set_freeze

    def slowly(**given: object) -> Freeze:
        row = carry_on(**given)  # type: ignore[arg-type]  # handed on as it came
        holding.set()
        assert not claimed.wait(0.3)
        return row

    def start() -> None:
        holding.wait(10)
        claim(world, view)
        claimed.set()

    monkeypatch.setattr(freezes, "set_freeze", slowly)
    codes = at_once(partial(set_it, owner), start)
    assert codes in (["", ""], ["", "state_changed"])
    assert state_of(view) == ("refused", "")
    lift_all(owner)


def test_a_running_tool_is_killed_and_says_by_what(world: World) -> None:
    view = world.allowed(world.propose(SLEEP, {"duration_ms": 5_000}))

    def stop() -> None:
        while state_of(view)[0] != "running":
            time.sleep(0.02)
        set_it(world.person(world.owner))

    assert at_once(partial(world.run, view), stop) == ["", ""]
    ended = again(view)
    assert (ended.state, ended.call.error["detail"]["code"]) == ("cancelled", "run.frozen")
    assert attested(ended).predicate["outcome"] == "cancelled"
    assert {"run.frozen", "execution.cancelled"} <= set(run_events(ended.call.run))
    lift_all(world.person(world.owner))
