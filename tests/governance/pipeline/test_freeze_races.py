"""Real threads: what starts and what freezes take turns, so that nothing starts behind a freeze."""

from __future__ import annotations

import threading
from collections import Counter
from functools import partial

import pytest
from django.db import connection, transaction

from governance import freezes, recheck
from governance.freeze_scopes import FreezeScope
from governance.journal.ledger import record
from governance.models import Freeze
from governance.operations import freezes as verbs
from governance.operations.freezes import FreezeWishes
from governance.selectors import CallView
from identity.selectors import INSTANCE, workspace_by_slug
from identity.types import Principal
from kernel.clock import utc_now
from sandbox.models import Execution
from tests.governance.pipeline.world import World, again
from tests.racing import at_once

pytestmark = pytest.mark.django_db(transaction=True)
ROUNDS = 50 if connection.vendor == "postgresql" else 2
"""SQLite has one writer at a time, so there one round more proves nothing more."""
WISHES = FreezeWishes(scope=FreezeScope.GLOBAL, reason="the agent runs wild", kill_running=True)


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


def test_no_claim_commits_behind_a_freeze(world: World) -> None:
    """What was queued at the moment the freeze was committed never ran."""
    owner = world.person(world.owner)
    run, agent = world.open_run(), world.agent
    ends: Counter[str] = Counter()
    for _ in range(ROUNDS):
        view = world.propose(run=run, principal=agent)
        at_commit: list[str] = []
        freeze_now = partial(commit_freeze, owner, view, at_commit)
        assert at_once(freeze_now, partial(claim, world, view)) == ["", ""]
        end = state_of(view)[0]
        if at_commit[0] == "queued":
            assert (end, again(view).call.error["detail"]["code"]) == ("refused", "run.frozen")
        else:
            assert end == at_commit[0]
        ends[end] += 1
        commit_lifting(owner)
    assert sum(ends.values()) == ROUNDS


def commit_freeze(who: Principal, view: CallView, at_commit: list[str]) -> None:
    """Set a freeze as a setter that dies after its commit, and look at the call in that moment."""
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
    at_commit.append(state_of(view)[0])


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
