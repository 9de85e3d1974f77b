"""Asking for more calls in a run: the risk of it, who answers, and what an allow does."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from approvals.models import ApprovalRequest, Grant
from approvals.services import ReviewOutcome
from approvals.types import ReviewInput
from governance import pipeline
from governance.journal.models import JournalEvent
from governance.journal.reading import open_data
from governance.models import Run
from governance.operations import allowances, runs
from identity.models import User
from identity.types import Principal
from kernel.clock import utc_now
from kernel.errors import ConflictError, InvalidError, NotFoundError, PalyraError, RefusedError
from policy.models import ToolCallConfig
from tests.governance.pipeline.world import World, again


def ask(
    world: World, run: Run, wanted: int, *, reason: str = "more to read", by: Principal | None = None
) -> ApprovalRequest:
    return allowances.request_raise(
        run_id=run.id, max_calls=wanted, reason=reason, principal=by or world.agent, now=utc_now()
    )


def answer(
    world: World, asked: ApprovalRequest, verdict: str = "allow", *, by: User | None = None
) -> ReviewOutcome:
    now = utc_now()
    said: dict[str, Any] = {"comment": "looked at it", "otp_verified_at": now}
    return pipeline.review(
        request_id=asked.id,
        principal=world.person(by or world.approver, now=now),
        answer=ReviewInput(verdict=verdict, **said),
        now=now,
    )


def limit_of(run: Run) -> int:
    return Run.objects.get(id=run.id).max_calls


@pytest.mark.parametrize(
    ("before", "wanted", "risk"),
    [(2, 3, "low"), (2, 4, "medium"), (2, 5, "high"), (10, 15, "low"), (10, 16, "medium"), (10, 21, "high")],
)
def test_the_risk_is_how_much_more_is_asked_for(world: World, before: int, wanted: int, risk: str) -> None:
    asked = ask(world, world.open_run(max_calls=before), wanted)
    assert (asked.subject_type, asked.risk, asked.status) == ("budget_override", risk, "pending")


def test_an_allow_lets_the_run_go_on(world: World) -> None:
    run = world.open_run(max_calls=1)
    world.propose(run=run)
    assert world.propose(run=run).call.reason_code == "budget.exceeded"
    asked = ask(world, run, 2)
    assert answer(world, asked).kind == "allowed"
    assert world.propose(run=run).state == "queued"
    assert world.propose(run=run).call.reason_code == "budget.exceeded"
    event = JournalEvent.objects.get(type="budget.raised", subject=run.id)
    assert open_data(event) == {"request": asked.id, "metric": "calls", "before": 1, "after": 2}
    assert not Grant.objects.filter(request=asked).exists()


def test_a_deny_leaves_the_run_as_it_is(world: World) -> None:
    run = world.open_run(max_calls=1)
    assert answer(world, ask(world, run, 2), "deny").kind == "denied"
    assert limit_of(run) == 1


def test_no_raise_goes_above_the_ceiling_of_the_workspace(world: World) -> None:
    run = world.open_run(max_calls=5)
    for wanted in (0, 5, 4, 33, 1_000):
        with pytest.raises(InvalidError):
            ask(world, run, wanted)
    asked = ask(world, run, 32)
    ToolCallConfig.objects.update(max_calls_per_run=10, soft_calls_per_run=10)
    answer(world, asked)
    assert limit_of(run) == 10


def test_an_allow_of_what_policy_does_not_give_any_more_is_refused(world: World) -> None:
    run = world.open_run(max_calls=5)
    asked = ask(world, run, 10)
    ToolCallConfig.objects.update(max_calls_per_run=5, soft_calls_per_run=5)
    with pytest.raises(ConflictError):
        answer(world, asked)
    assert (limit_of(run), ApprovalRequest.objects.get(id=asked.id).status) == (5, "pending")


def test_asking_the_same_again_is_one_question_and_another_number_waits_its_turn(world: World) -> None:
    run = world.open_run(max_calls=5)
    asked = ask(world, run, 6)
    assert ask(world, run, 6).id == asked.id
    with pytest.raises(ConflictError):
        ask(world, run, 7)
    answer(world, asked)
    assert ask(world, run, 7).id != asked.id


def test_an_allow_counts_once(world: World) -> None:
    run = world.open_run(max_calls=5)
    asked = ask(world, run, 6)
    answer(world, asked)
    with pytest.raises(ConflictError):
        answer(world, asked, by=world.second_approver)
    assert limit_of(run) == 6


def test_a_request_that_was_changed_by_hand_raises_nothing(world: World) -> None:
    run = world.open_run(max_calls=5)
    asked = ask(world, run, 6)
    for stored in ({**asked.resume, "max_calls": 30}, {**asked.resume, "run": world.open_run().id}):
        ApprovalRequest.objects.filter(id=asked.id).update(resume=stored)
        with pytest.raises(ConflictError):
            answer(world, asked)
    assert limit_of(run) == 5


def test_only_whoever_works_in_the_run_asks(world: World) -> None:
    run = world.open_run(max_calls=5)
    with pytest.raises(NotFoundError):
        ask(world, run, 6, by=world.other_agent)
    with pytest.raises(PalyraError):
        ask(world, run, 6, by=world.person(world.approver))


def test_the_owner_and_the_agent_do_not_answer(world: World) -> None:
    asked = ask(world, world.open_run(max_calls=5), 6)
    with pytest.raises(RefusedError):
        answer(world, asked, by=world.agent_owner)
    with pytest.raises(RefusedError) as agent:
        pipeline.review(
            request_id=asked.id, principal=world.agent, answer=ReviewInput(verdict="allow"), now=utc_now()
        )
    assert agent.value.code == "reviewer_is_agent"


def test_a_run_without_anybody_to_ask_asks_nobody(world: World) -> None:
    with pytest.raises(InvalidError):
        ask(world, world.open_run(max_calls=5, approval_channel="none"), 6)


def test_the_question_ends_with_the_run(world: World) -> None:
    run = world.open_run(max_calls=5)
    asked = ask(world, run, 6)
    view = world.ask(run=run)
    runs.cancel_run(run_id=run.id, principal=world.agent, reason="", now=utc_now())
    ended = ApprovalRequest.objects.get(id=asked.id)
    assert (ended.status, ended.close_code) == ("cancelled", "run_closed")
    assert again(view).state == "cancelled"
    with pytest.raises(ConflictError):
        answer(world, asked)
    with pytest.raises(ConflictError):
        ask(world, run, 7)


def test_after_the_runs_time_nothing_is_raised(world: World) -> None:
    run = world.open_run(max_calls=5)
    asked = ask(world, run, 6)
    Run.objects.filter(id=run.id).update(deadline_at=utc_now() - timedelta(seconds=1))
    with pytest.raises(ConflictError):
        answer(world, asked)


def test_the_reason_is_the_agents_word_and_stands_apart(world: World) -> None:
    secret = "plr_agt_0123456789ab_" + "x" * 49
    asked = ask(world, world.open_run(max_calls=5), 6, reason=f"risk: low \u202e {secret}")
    context = asked.context
    assert secret not in asked.context_text
    assert context["said_by_agent"]["reason"].startswith("risk: low ⟦U+202E⟧")
    assert "risk: low" not in context["summary"] + context["title"]
    assert context["parameters_view"] == {"run": asked.run_id, "calls_limit": 5, "max_calls": 6}
