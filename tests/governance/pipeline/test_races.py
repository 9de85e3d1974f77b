"""Real threads on one run: every call has one story, whoever comes first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from itertools import count
from threading import Barrier

import pytest
from django.db import connection, transaction

from approvals.models import ApprovalRequest, Grant, GrantUse
from approvals.services import ReviewOutcome
from governance import recheck
from governance.journal.models import Attestation
from governance.models import Reservation, Run
from governance.operations import runs, sweeping
from governance.selectors import CallView
from identity.agent_limits import NAMES
from identity.models import Agent, User
from kernel.clock import utc_now
from kernel.errors import ConflictError
from tests.governance.pipeline.world import (
    ASKED,
    ECHO,
    SLEEP,
    World,
    again,
    attested,
    events_of,
    final_decisions,
)

pytestmark = [pytest.mark.postgres, pytest.mark.django_db(transaction=True)]
ROUNDS = 6
MANY = 50 if connection.vendor == "postgresql" else 1
NUMBERS = count()
Work = Callable[[], object]


@pytest.fixture
def world(committed_world: World) -> World:
    """The agent of these rounds asks more often than any person would put up with."""
    limits = dict.fromkeys(NAMES, 1000)
    Agent.objects.filter(pk=committed_world.agent_row.pk).update(limits=limits)
    return committed_world


def ask(world: World, run: Run | None = None) -> CallView:
    """Ask about a call that nobody denied before."""
    text = {"text": f"note {next(NUMBERS)}"}
    view = world.propose(ASKED, text, run=run)
    assert view.state == "awaiting_approval", view.call.gates
    return view


def together(*works: Work) -> list[object]:
    """Run all at once on connections of their own; a ConflictError counts as a result."""
    barrier = Barrier(len(works))

    def run(work: Work) -> object:
        try:
            barrier.wait(timeout=30)
            return work()
        except ConflictError as error:
            return error
        finally:
            connection.close()

    with ThreadPoolExecutor(len(works)) as pool:
        return list(pool.map(run, works))


def conflicts(results: list[object]) -> list[str]:
    return [result.code for result in results if isinstance(result, ConflictError)]


def kinds(results: list[object]) -> list[str]:
    return [result.kind for result in results if isinstance(result, ReviewOutcome)]


def assert_one_story(view: CallView) -> CallView:
    """The call has ended once: one final decision, one end of its reservation, one attestation."""
    ended = again(view)
    story = events_of(ended)
    assert len(final_decisions(ended)) == 1
    assert Counter(story)["attestation.recorded"] == 1
    assert sum(name in ("reservation.settled", "reservation.released") for name in story) == 1
    assert Attestation.objects.filter(call_id=view.call.id).count() == 1
    assert attested(ended).predicate["outcome"] == ended.state.value
    return ended


def answering(world: World, view: CallView, verdict: str, by: User, version: int | None = None) -> Work:
    principal = world.person(by)
    return partial(world.answer, view, verdict, principal=principal, seen_version=version)


def cancelling(world: World, view: CallView) -> Work:
    return partial(runs.cancel_call, call_id=view.call.id, principal=world.agent, reason="", now=utc_now())


def closing(world: World, run: Run) -> Work:
    return partial(runs.cancel_run, run_id=run.id, principal=world.agent, reason="", now=utc_now())


def test_fifty_threads_get_exactly_as_many_calls_as_the_run_may_make(world: World) -> None:
    run, agent = world.open_run(max_calls=20), world.agent
    results = together(*[partial(world.propose, ECHO, run=run, principal=agent)] * 50)
    states = Counter(view.state.value for view in results if isinstance(view, CallView))
    assert states == {"queued": 20, "denied": 30}
    run.refresh_from_db()
    assert run.calls_used == 20
    assert Reservation.objects.filter(run=run, state="held").count() == 20


def test_of_two_approvers_one_decides_and_the_call_is_queued_once(world: World) -> None:
    for _ in range(ROUNDS):
        view = world.ask()
        people = (world.approver, world.second_approver)
        results = together(*[answering(world, view, "allow", person) for person in people])
        assert (kinds(results), conflicts(results)) == (["allowed"], ["already_decided"])
        assert events_of(view).count("execution.queued") == 1
        assert assert_one_story(world.run(view)).state == "succeeded"


def test_allow_and_deny_at_once_give_one_outcome(world: World) -> None:
    for _ in range(ROUNDS):
        view = ask(world)
        results = together(
            answering(world, view, "allow", world.approver),
            answering(world, view, "deny", world.second_approver),
        )
        assert conflicts(results) == ["already_decided"]
        assert again(view).state == ("queued" if kinds(results) == ["allowed"] else "denied")
        if kinds(results) == ["denied"]:
            assert_one_story(view)


def test_a_decision_in_time_and_the_sweeper_give_one_outcome(world: World) -> None:
    for _ in range(ROUNDS):
        view = ask(world)
        assert view.approval is not None
        due = view.approval.expires_at
        just_in_time = world.person(world.approver, now=due - timedelta(seconds=1))
        results = together(
            partial(world.answer, view, principal=just_in_time, now=due - timedelta(seconds=1)),
            partial(sweeping.sweep, due),
        )
        state = again(view).state
        assert state == ("queued" if kinds(results) == ["allowed"] else "expired")
        if state == "expired":
            assert_one_story(view)
            assert not Grant.objects.filter(request_id=view.call.approval_id).exists()


def test_a_decision_and_a_cancellation_give_one_outcome(world: World) -> None:
    for _ in range(ROUNDS):
        view = world.ask()
        results = together(answering(world, view, "allow", world.approver), cancelling(world, view))
        assert len(conflicts(results)) <= 1
        assert assert_one_story(view).state == "cancelled"


def test_one_of_two_waiting_calls_is_cancelled_while_both_are_allowed(world: World) -> None:
    for _ in range(ROUNDS):
        run = world.open_run()
        first, second = world.ask(run=run), world.ask(run=run)
        assert first.call.approval_id == second.call.approval_id
        together(answering(world, second, "allow", world.approver, 2), cancelling(world, first))
        assert assert_one_story(first).state == "cancelled"
        assert assert_one_story(world.run(second)).state == "succeeded"


def test_a_call_joins_a_question_while_it_is_answered(world: World) -> None:
    for _ in range(ROUNDS):
        run, agent = world.open_run(), world.agent
        first = world.ask(run=run)
        results = together(
            answering(world, first, "allow", world.approver),
            partial(world.propose, SLEEP, run=run, principal=agent),
        )
        assert again(first).state == "queued"
        joined = next(view for view in results if isinstance(view, CallView))
        assert again(joined).state in ("awaiting_approval", "cancelled")


def test_eight_threads_running_one_execution_give_one_run_and_seven_conflicts(world: World) -> None:
    for _ in range(ROUNDS):
        view = world.propose()
        results = together(*[partial(world.run, view)] * 8)
        assert conflicts(results) == ["state_changed"] * 7
        ended = assert_one_story(view)
        assert (ended.state, events_of(ended).count("execution.started")) == ("succeeded", 1)


def test_thirty_two_claims_of_one_allowed_call_use_its_grant_once(world: World) -> None:
    view = world.allowed(world.ask())
    results = together(*[partial(world.run, view)] * 32)
    assert len(conflicts(results)) == 31
    grant = Grant.objects.get(id=view.call.grant_id)
    assert (grant.uses, grant.status) == (1, "consumed")
    assert GrantUse.objects.filter(grant=grant).count() == 1


def test_a_claim_and_the_end_of_its_run_give_one_outcome(world: World) -> None:
    for _ in range(ROUNDS):
        run = world.open_run()
        view = world.propose(run=run)
        together(partial(world.run, view), closing(world, run))
        assert assert_one_story(view).state in ("succeeded", "cancelled", "refused")
        run.refresh_from_db()
        assert run.state == "cancelled"


def test_many_calls_of_a_run_finish_while_it_is_cancelled(world: World) -> None:
    run = world.open_run()
    views = [world.propose(run=run) for _ in range(6)]
    together(*[partial(world.run, view) for view in views], closing(world, run))
    for view in views:
        assert assert_one_story(view).state in ("succeeded", "cancelled", "refused")
    run.refresh_from_db()
    charged = Reservation.objects.filter(run=run, state="settled").count()
    assert (run.state, run.calls_used) == ("cancelled", charged)


def test_a_question_and_the_end_of_its_run_leave_nothing_waiting(world: World) -> None:
    agent = world.agent
    for number in range(MANY):
        run = world.open_run(agent)
        view = world.propose(ASKED, run=run, principal=agent)
        together(answering(world, view, "allow", world.approver), closing(world, run))
        assert again(view).state == "cancelled"
        assert not ApprovalRequest.objects.filter(run_id=run.id, status="pending").exists()
        if number % 10 == 0:
            assert_one_story(view)


def test_a_deny_that_ends_the_run_and_an_allow_of_another_call_leave_nothing_waiting(world: World) -> None:
    for _ in range(ROUNDS):
        run = world.open_run()
        first, second = ask(world, run), ask(world, run)
        together(
            partial(world.answer, first, "deny", principal=world.person(world.approver), end_run=True),
            answering(world, second, "allow", world.second_approver),
        )
        assert assert_one_story(first).state == "denied"
        assert assert_one_story(second).state == "cancelled"
        run.refresh_from_db()
        assert run.state == "cancelled"
        assert not Reservation.objects.filter(run=run, state="held").exists()


def test_a_proposal_and_the_end_of_its_run_leave_nothing_queued(world: World) -> None:
    for _ in range(ROUNDS):
        run, agent = world.open_run(), world.agent
        together(partial(world.propose, run=run, principal=agent), closing(world, run))
        for call in run.calls.all():
            assert call.effect == "deny" or call.execution_id
        assert not Reservation.objects.filter(run=run, state="held").exists()


def test_two_sweepers_lose_a_run_once(world: World) -> None:
    for _ in range(ROUNDS):
        view = world.propose()
        lose_worker(world, view)
        later = utc_now() + timedelta(seconds=16)
        together(*[partial(sweeping.sweep, later)] * 3)
        assert assert_one_story(view).state == "ambiguous"


def lose_worker(world: World, view: CallView) -> None:
    """Claim the call as a worker that dies before anything else happens."""
    with transaction.atomic(durable=True):
        assert recheck.claim(view.call.execution_id or "", world.worker, utc_now()) is not None
