"""What an agent may try to get round its approver, its policy or its budget."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from approvals.models import ApprovalRequest, Grant
from governance import pipeline
from governance.journal.models import JournalEvent
from governance.journal.reading import open_data
from governance.models import ToolCall
from governance.operations import runs
from governance.proposals import Proposal
from governance.results import input_digest, output_digest
from governance.selectors import CallView
from identity.roles import Permission
from kernel.canonical import canonical
from kernel.clock import utc_now
from kernel.errors import ConflictError, InvalidError, NotFoundError, RefusedError
from tests.governance.pipeline.world import (
    ASKED,
    ECHO,
    SLEEP,
    World,
    again,
    attested,
    calls_used,
    redefine,
    set_posture,
)

SECRET = "plr_agt_0123456789ab_" + "x" * 49


def context(view: CallView) -> dict[str, object]:
    found: dict[str, object] = ApprovalRequest.objects.get(id=view.call.approval_id).context
    return found


@pytest.mark.parametrize("name", ["SLEEP", " sleep ", "palyra.sleep", "Palyra.Sleep"])
def test_another_spelling_of_a_tool_meets_the_same_posture_and_digest(world: World, name: str) -> None:
    plain = world.ask()
    view = world.propose(name, {"duration_ms": 0})
    assert view.state == "awaiting_approval"
    assert view.call.action_digest == plain.call.action_digest


@pytest.mark.parametrize("name", ["SLEEP", " sleep ", "palyra.sleep", "Palyra.Sleep"])
def test_a_denied_call_is_shown_and_journalled_under_the_tools_own_name(world: World, name: str) -> None:
    view = world.propose(name, {"wrong": 1})
    assert (view.state, view.call.reason_code, view.call.tool_name) == (
        "denied",
        "schema.input_invalid",
        SLEEP,
    )
    proposed = JournalEvent.objects.get(type="tool_call.proposed", call_id=view.call.id)
    assert open_data(proposed)["tool"] == SLEEP


@pytest.mark.parametrize("name", ["sleep\u200b", "s\u0131eep", "sleep\n.x", "palyra.palyra.sleep"])
def test_a_name_that_only_looks_like_a_tool_is_unknown(world: World, name: str) -> None:
    assert world.propose(name, {"duration_ms": 0}).call.reason_code == "schema.tool_unknown"


def test_an_allow_for_small_parameters_does_not_carry_large_ones(world: World) -> None:
    run = world.open_run()
    world.allowed(world.ask(run=run))
    other = world.propose(SLEEP, {"duration_ms": 5_000}, run=run)
    assert other.state == "awaiting_approval"


def test_an_allow_in_one_run_or_of_one_agent_is_worth_nothing_in_another(world: World) -> None:
    world.allowed(world.ask())
    assert world.ask().state == "awaiting_approval"
    other = world.propose(SLEEP, principal=world.other_agent)
    assert other.state == "awaiting_approval"


def test_a_call_slipped_under_a_question_that_is_being_read_is_not_covered(world: World) -> None:
    run = world.open_run()
    first = world.ask(run=run)
    slipped = world.ask(run=run)
    world.answer(first, seen_version=None)
    assert (again(first).state, again(slipped).state) == ("queued", "cancelled")


def test_a_cancelled_call_does_not_leave_its_grant_to_the_next(world: World) -> None:
    run = world.open_run()
    view = world.allowed(world.ask(run=run))
    runs.cancel_call(call_id=view.call.id, principal=world.agent, reason="", now=utc_now())
    assert Grant.objects.get().uses == 0
    assert world.ask(run=run).state == "awaiting_approval"


def test_a_run_cannot_be_opened_with_more_calls_than_policy_gives(world: World) -> None:
    with pytest.raises(InvalidError):
        world.open_run(max_calls=10_000)


def test_denied_previewed_and_cancelled_calls_do_not_move_the_budget(world: World) -> None:
    run = world.open_run(max_calls=1)
    for _ in range(3):
        world.propose("no.such.tool", run=run)
        pipeline.preview(
            proposal=Proposal(run_id=run.id, tool=ECHO, input={"text": "a"}),
            principal=world.agent,
            now=utc_now(),
        )
    view = world.ask(run=run)
    assert world.propose(run=run).call.reason_code == "budget.exceeded"
    runs.cancel_call(call_id=view.call.id, principal=world.agent, reason="", now=utc_now())
    assert world.propose(run=run).state == "queued"
    assert world.propose(run=run).call.reason_code == "budget.exceeded"


def test_a_call_that_ran_is_charged_however_often_its_agent_cancels_it(world: World) -> None:
    run = world.open_run(max_calls=1)
    view = world.run(world.propose(run=run))
    for _ in range(2):
        with pytest.raises(ConflictError):
            runs.cancel_call(call_id=view.call.id, principal=world.agent, reason="", now=utc_now())
    assert calls_used(view) == 1
    assert world.propose(run=run).call.reason_code == "budget.exceeded"


def test_an_agent_neither_sees_nor_cancels_the_call_of_another(world: World) -> None:
    view = world.propose()
    with pytest.raises(NotFoundError):
        runs.cancel_call(call_id=view.call.id, principal=world.other_agent, reason="", now=utc_now())
    with pytest.raises(NotFoundError):
        runs.cancel_run(run_id=view.call.run_id, principal=world.other_agent, reason="", now=utc_now())
    assert again(view).state == "queued"


def test_an_agent_with_every_permission_in_hand_still_decides_nothing(world: World) -> None:
    view = world.ask()
    mighty = replace(world.agent, permissions=frozenset(Permission))
    with pytest.raises(RefusedError) as refused:
        world.answer(view, principal=mighty)
    assert refused.value.code == "reviewer_is_agent"


def test_a_secret_inside_a_large_parameter_is_in_no_view(world: World) -> None:
    redefine(world, max_input_bytes=256 * 1024, argv_template=("/usr/bin/true",))
    text = "x" * 2_040 + " token=" + SECRET + " " + "y" * 100_000
    view = world.propose(ASKED, {"text": text})
    assert view.state == "awaiting_approval", view.call.gates
    shown = canonical(context(view)).decode()
    assert SECRET not in shown
    assert SECRET[:24] not in shown
    cut = context(view)["parameters_view"]["text"]  # type: ignore[index]  # plain JSON
    assert cut["_truncated"] is True
    assert len(cut["_head"].encode()) <= 2_048


def test_a_secret_in_the_resource_or_the_purpose_is_in_no_view(world: World) -> None:
    redefine(world, resource_template="url:{text}")
    run = world.open_run(purpose=f"use {SECRET}")
    view = world.propose(ASKED, {"text": f"https://me:{'p' * 20}@example.org/{SECRET}"}, run=run)
    shown = canonical(context(view)).decode()
    assert SECRET not in shown
    assert "p" * 20 not in shown


def test_marks_that_turn_text_round_are_shown(world: World) -> None:
    view = world.propose(ASKED, {"text": "safe\u202egpj.exe\u2066"})
    parameters = context(view)["parameters_view"]
    assert parameters == {"text": "safe⟦U+202E⟧gpj.exe⟦U+2066⟧"}
    assert context(view)["warnings"]


def test_padding_does_not_push_the_command_out_of_sight(world: World) -> None:
    arguments = {"command": "rm", "args": ["-rf", "data", *["x" * 1_500] * 40]}
    view = world.propose("process.run", arguments)
    assert view.state == "awaiting_approval", view.call.gates
    shown = context(view)["parameters_view"]
    assert isinstance(shown, dict)
    assert shown["command"] == "rm"
    assert shown["args"][:2] == ["-rf", "data"]
    assert len(canonical(shown)) <= 16_384


def test_the_digests_of_an_attestation_can_be_computed_again_from_the_record(world: World) -> None:
    view = world.run(world.propose())
    statement = attested(view).predicate
    stored = ToolCall.objects.get(id=view.call.id)
    assert statement["input_digest"] == input_digest(stored)
    assert statement["output_digest"] == output_digest(stored)
    stored.result["output"]["text"] = "another answer"
    assert statement["output_digest"] != output_digest(stored)


def test_a_posture_of_always_does_not_outlive_its_end_in_the_queue(world: World) -> None:
    set_posture(world, SLEEP, "always_allow", life=timedelta(minutes=1))
    view = world.propose(SLEEP)
    assert view.state == "queued"
    set_posture(world, SLEEP, "ask_each_time")
    assert world.run(view).state == "refused"
