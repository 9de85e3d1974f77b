"""Edits that meet answers, withdrawals and each other: one of them happens, the other is told so."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import count

import pytest

from approvals.models import ApprovalRequest
from governance.models import Reservation, ToolCall
from governance.operations import runs
from governance.selectors import CallView
from identity.models import User
from kernel.clock import utc_now
from sandbox.models import Execution
from tests.governance.pipeline.test_editing import edit
from tests.governance.pipeline.world import SLEEP, World, again, calls_used, final_decisions
from tests.racing import at_once

pytestmark = [pytest.mark.postgres, pytest.mark.django_db(transaction=True)]
ROUNDS = 5
FRESH = count()
"""Arguments that nobody has denied before."""
Act = Callable[[World, CallView, User], object]


@pytest.fixture
def world(committed_world: World) -> World:
    return committed_world


def allowing(world: World, view: CallView, by: User) -> object:
    return world.answer(view, by=by)


def denying(world: World, view: CallView, by: User) -> object:
    return world.answer(view, "deny", by=by)


def cancelling(world: World, view: CallView, by: User) -> object:
    return runs.cancel_run(run_id=view.call.run_id, principal=world.agent, reason="", now=utc_now())


def editing(world: World, view: CallView, by: User) -> object:
    return edit(world, view, {"duration_ms": next(FRESH)}, by=by)


@pytest.mark.parametrize("other", [allowing, denying, cancelling, editing])
def test_an_edit_and_another_act_at_once(world: World, other: Act) -> None:
    for _ in range(ROUNDS):
        view = world.propose(SLEEP, {"duration_ms": next(FRESH)})
        assert view.state == "awaiting_approval", view.call.gates
        codes = at_once(
            partial(edit, world, view, {"duration_ms": next(FRESH)}, by=world.approver),
            partial(other, world, view, world.second_approver),
        )
        calls = list(ToolCall.objects.filter(run_id=view.call.run_id).order_by("id"))
        edited = len(calls) == 2
        if other is cancelling:
            assert codes[1] == ""
            assert (codes[0] == "") is edited
        else:
            assert sorted(codes) == ["", "already_decided"]
            assert edited is (codes[0] == "" or other is editing)
        request = ApprovalRequest.objects.get(id=view.call.approval_id)
        assert (request.close_code == "superseded_by_edit") is edited
        assert len(final_decisions(view)) == 1
        assert (again(view).state == "superseded") is edited
        started = Execution.objects.filter(call_id__in=[call.id for call in calls])
        assert started.count() <= 1
        held = Reservation.objects.filter(run_id=view.call.run_id, state="held").count()
        assert held == calls_used(view) == started.filter(state="queued").count()
