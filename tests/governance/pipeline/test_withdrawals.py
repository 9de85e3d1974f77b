"""Nobody is asked in vain: a question ends by itself when its call could not run any more."""

from __future__ import annotations

import pytest
from django.db import transaction

from approvals.models import ApprovalRequest
from governance import checks, withdrawals
from governance.journal.ledger import record
from governance.operations import agents, tokens, tools
from governance.operations.sweeping import sweep
from governance.runs.turns import hold_run
from governance.selectors import CallView
from identity import people
from identity.models import ApiToken
from kernel.clock import utc_now
from kernel.record import system_actor
from tests.governance.pipeline.world import (
    ASKED,
    SHELL,
    SLEEP,
    World,
    again,
    allow_principal,
    as_principal,
    attested,
    redefine,
    set_posture,
)

pytestmark = pytest.mark.django_db
SWEEPER = system_actor("sweeper")


def closed(request_id: str | None) -> tuple[str, str]:
    request = ApprovalRequest.objects.get(pk=request_id)
    return request.status, request.close_code


def look() -> int:
    """Do this part of a sweep, and return how many requests it looked at."""
    found = withdrawals.worth_a_look(50)
    for request_id in found:
        with transaction.atomic():
            withdrawals.look_at(request_id, SWEEPER, utc_now())
    return len(found)


def test_what_is_asked_while_an_agent_is_suspended_is_left_to_the_sweeper(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its run is not held, so ending it there could meet somebody who answers it, and wait in a circle."""
    first, late = world.ask(), list[CallView]()

    def hold(run_id: str) -> None:
        hold_run(run_id)
        late.append(world.ask())

    monkeypatch.setattr(withdrawals, "hold_run", hold)
    now = utc_now()
    withdrawals.withdraw_all_of(world.agent_row.pk, SWEEPER, now)
    monkeypatch.undo()
    assert again(first).state == "cancelled"
    assert [again(view).state for view in late] == ["awaiting_approval"]
    owner = as_principal(world.owner, world.workspace, now)
    agents.suspend(principal=owner, agent_id=world.agent_row.pk, reason="it asks odd things", now=now)
    assert [again(view).state for view in late] == ["cancelled"]


def test_suspending_an_agent_withdraws_what_it_asks_at_once(world: World) -> None:
    first, second = world.ask(), world.ask()
    other = world.propose(SLEEP, principal=world.other_agent)
    now = utc_now()
    agents.suspend(
        principal=as_principal(world.owner, world.workspace, now),
        agent_id=world.agent_row.pk,
        reason="it asks odd things",
        now=now,
    )
    for view in (first, second):
        assert closed(view.call.approval_id) == ("cancelled", "agent_revoked")
        assert again(view).state == "cancelled"
        assert attested(view).predicate["outcome"] == "cancelled"
    assert closed(other.call.approval_id) == ("pending", "")


def test_a_revoked_token_takes_its_questions_along(world: World) -> None:
    view = world.ask()
    other = world.propose(SLEEP, principal=world.other_agent)
    look()
    now = utc_now()
    tokens.revoke(
        principal=as_principal(world.owner, world.workspace, now),
        token_id=ApiToken.objects.get(principal_agent=world.agent_row).pk,
        reason="it leaked",
        now=now,
    )
    look()
    assert closed(view.call.approval_id) == ("cancelled", "agent_revoked")
    assert closed(other.call.approval_id) == ("pending", "")


def test_an_agent_without_a_person_behind_it_asks_nobody(world: World) -> None:
    view = world.ask()
    with transaction.atomic():
        people.disable_user(
            user_id=world.agent_owner.pk, reason="left", actor=SHELL, now=utc_now(), record=record
        )
    look()
    assert closed(view.call.approval_id) == ("cancelled", "agent_revoked")


def test_a_tool_that_is_switched_off_needs_no_answer(world: World) -> None:
    view, other = world.ask(ASKED), world.ask()
    now = utc_now()
    tools.change(
        principal=as_principal(world.owner, world.workspace, now),
        name=ASKED,
        reason="not needed",
        seen_version=None,
        enabled=False,
        now=now,
    )
    look()
    assert closed(view.call.approval_id) == ("cancelled", "tool_disabled")
    assert closed(other.call.approval_id) == ("pending", "")


def test_a_posture_that_switches_a_tool_off_needs_no_answer(world: World) -> None:
    view = world.ask()
    set_posture(world, SLEEP, "disabled")
    look()
    assert closed(view.call.approval_id) == ("cancelled", "tool_disabled")


def test_rules_that_forbid_a_call_end_its_question(world: World) -> None:
    view = world.ask(ASKED)
    allow_principal(world, world.other_agent_row.pk)
    look()
    assert closed(view.call.approval_id) == ("cancelled", "policy_denies")
    assert again(view).call.reason_code == "approval.cancelled"


def test_rules_that_moved_and_still_ask_leave_the_question_and_are_asked_once(world: World) -> None:
    view = world.ask()
    assert look() == 1
    assert look() == 0
    allow_principal(world, world.agent_row.pk)
    assert look() == 1
    assert look() == 0
    assert closed(view.call.approval_id) == ("pending", "")


def test_another_definition_waits_for_the_claim_to_refuse_it(world: World) -> None:
    view = world.ask(ASKED)
    redefine(world, ASKED, description="Prints another text.")
    look()
    assert closed(view.call.approval_id) == ("pending", "")


def test_what_cannot_be_asked_withdraws_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    view = world.ask()

    def broken(*args: object, **kwargs: object) -> None:
        raise OSError("no policy today")

    monkeypatch.setattr(checks, "policy", broken)
    assert sweep(utc_now())["questions_looked_at"] == 0
    monkeypatch.undo()
    assert closed(view.call.approval_id) == ("pending", "")
