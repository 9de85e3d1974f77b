"""Fatigue limits: how much one agent, one run and one role may be asked."""

from __future__ import annotations

from dataclasses import asdict, replace
from datetime import datetime, timedelta

import pytest
from django.db import transaction
from hypothesis import given, strategies as st

from approvals import limits
from approvals.limits import asks_too_much
from approvals.models import ApprovalRequest
from approvals.types import NewRequest
from identity.agent_limits import MOST, NAMES, AskLimits, checked_limits, limits_from
from identity.agents import change_agent
from kernel.canonical import digest
from kernel.errors import InvalidError
from tests.approvals.asking import answer, ask, question
from tests.builders import RecordedEvents
from tests.cast import NOW, SYSTEM, Cast, make_agent, make_cast

pytestmark = pytest.mark.django_db


@pytest.fixture
def cast() -> Cast:
    return make_cast()


def asked(cast: Cast, number: int, *, run: str = "run_1") -> NewRequest:
    """Return a question that no other one is identical to."""
    return replace(
        question(cast, f"call_{run}_{number}"),
        action_digest=digest({"number": number, "run": run}),
        run_id=run,
    )


def reached(cast: Cast, *, run: str = "run_1", now: datetime = NOW) -> tuple[str, int | None] | None:
    """Return the limit that one more question meets, and when it may be asked."""
    with transaction.atomic():
        found = asks_too_much(asked(cast, 999, run=run), now)
    return None if found is None else (found.limit, found.retry_after)


def limit(cast: Cast, **own: int) -> None:
    with transaction.atomic():
        change_agent(
            agent_id=cast.agent.pk,
            changes={"limits": own},
            actor=SYSTEM,
            now=NOW,
            record=RecordedEvents(),
        )


def test_ten_questions_of_a_run_wait_at_one_time(cast: Cast) -> None:
    for number in range(9):
        ask(cast, asked(cast, number))
    assert reached(cast) is None
    last = ask(cast, asked(cast, 9))
    assert reached(cast) == ("pending_per_run", 600)
    assert reached(cast, run="run_2") is None
    answer(cast, cast.approver, last)
    assert reached(cast) is None


def test_a_question_whose_time_is_over_waits_no_more(cast: Cast) -> None:
    limit(cast, pending_per_run=1)
    ask(cast, asked(cast, 0))
    assert reached(cast, now=NOW + timedelta(seconds=599)) == ("pending_per_run", 1)
    assert reached(cast, now=NOW + timedelta(seconds=600)) is None


def test_a_run_asks_no_more_than_its_share_and_waiting_does_not_help(cast: Cast) -> None:
    limit(cast, asks_per_run=2)
    for number in range(2):
        answer(cast, cast.approver, ask(cast, asked(cast, number)))
    assert reached(cast) == ("asks_per_run", None)
    assert reached(cast, run="run_2") is None


def test_an_agent_asks_so_often_an_hour_over_all_its_runs(cast: Cast) -> None:
    limit(cast, asks_per_hour=3)
    for minute in range(3):
        ask(cast, asked(cast, minute, run=f"run_{minute}"), now=NOW + timedelta(minutes=minute))
    later = NOW + timedelta(minutes=30)
    assert reached(cast, run="run_9", now=later) == ("asks_per_hour", 1800)
    assert reached(cast, run="run_9", now=NOW + timedelta(minutes=60)) is None


def test_another_agent_is_not_held_back(cast: Cast) -> None:
    limit(cast, asks_per_hour=1)
    ask(cast, asked(cast, 0))
    other = make_agent(cast.agent_owner, cast.default, "other")
    with transaction.atomic():
        assert asks_too_much(replace(asked(cast, 1), requester_id=other.pk), NOW) is None


def test_a_role_has_so_many_questions_before_it(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MOST_PENDING_OF_A_ROLE", 2)
    plain = question(cast).obligation
    owners = replace(plain, role_sets=(frozenset({"owner"}),))
    for number in range(2):
        ask(cast, replace(asked(cast, number, run=f"run_{number}"), obligation=owners))
    with transaction.atomic():
        for_owners = replace(asked(cast, 9), obligation=owners)
        for_admins = replace(for_owners, obligation=replace(plain, role_sets=(frozenset({"admin"}),)))
        found = asks_too_much(for_owners, NOW)
        assert found is not None
        assert (found.limit, found.most, found.retry_after) == ("pending_per_role", 2, 600)
        assert asks_too_much(for_admins, NOW) is None
        assert asks_too_much(replace(for_owners, workspace_id=cast.instance.pk), NOW) is None
    assert reached(cast) == ("pending_per_role", 600)


def test_an_agent_has_the_limits_it_was_given(cast: Cast) -> None:
    limit(cast, asks_per_hour=5)
    cast.agent.refresh_from_db()
    assert limits_from(cast.agent.limits) == AskLimits(asks_per_hour=5)
    limit(cast)
    cast.agent.refresh_from_db()
    assert limits_from(cast.agent.limits) == AskLimits(10, 30, 60)


@pytest.mark.parametrize(
    "own",
    [{"asks_per_day": 1}, {"asks_per_hour": 0}, {"asks_per_hour": MOST + 1}, {"asks_per_hour": True}],
)
def test_limits_that_mean_nothing_are_refused(cast: Cast, own: dict[str, int]) -> None:
    with pytest.raises(InvalidError) as caught:
        limit(cast, **own)
    assert caught.value.errors[0].pointer == f"/limits/{next(iter(own))}"
    assert not ApprovalRequest.objects.exists()


stored = st.dictionaries(
    st.sampled_from(NAMES) | st.text(max_size=5), st.integers() | st.none() | st.booleans() | st.text()
)


@given(stored)
def test_whatever_is_stored_the_limits_are_sound(values: dict[str, object]) -> None:
    found = asdict(limits_from(values))
    assert all(1 <= value <= MOST for value in found.values())
    try:
        kept = checked_limits(values)
    except InvalidError:
        return
    assert limits_from(kept) == limits_from(values)
