"""Real threads on one request or grant. On SQLite an IMMEDIATE transaction makes them take turns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from functools import partial
from threading import Barrier

import pytest
from django.db import connection, transaction

from approvals.limits import asks_too_much
from approvals.models import ApprovalCall, ApprovalRequest, Grant, GrantUse
from approvals.services import ReviewOutcome, cancel_request, expire_request, open_request
from identity.models import Agent, User
from kernel.errors import ConflictError
from tests.approvals.asking import ALLOW, DENY, agent_actor, answer, ask, question, use
from tests.builders import RecordedEvents
from tests.cast import NOW, Cast, make_cast

pytestmark = [pytest.mark.postgres, pytest.mark.django_db(transaction=True)]
ROUNDS = 50 if connection.vendor == "postgresql" else 2
FEW = 10 if connection.vendor == "postgresql" else 1
DUE = NOW + timedelta(seconds=600)


@pytest.fixture
def cast() -> Cast:
    return make_cast()


def race(rounds: Sequence[Sequence[Callable[[], object]]]) -> list[list[object]]:
    """Do the acts of each round at once and return what came of them; a ConflictError is a result too.

    Each place in a round has a thread and a connection for all rounds: connecting would cost the most.
    """
    lanes = list(zip(*rounds, strict=True))
    barrier = Barrier(len(lanes))

    def run(lane: Sequence[Callable[[], object]]) -> list[object]:
        try:
            return [attempt(barrier, act) for act in lane]
        except BaseException:
            barrier.abort()
            raise
        finally:
            connection.close()

    with ThreadPoolExecutor(len(lanes)) as pool:
        return [list(results) for results in zip(*pool.map(run, lanes), strict=True)]


def attempt(barrier: Barrier, act: Callable[[], object]) -> object:
    barrier.wait(timeout=60)
    try:
        return act()
    except ConflictError as error:
        return error


def codes(results: list[object]) -> list[str]:
    return [result.code for result in results if isinstance(result, ConflictError)]


def kinds(results: list[object]) -> list[str]:
    return sorted(result.kind for result in results if isinstance(result, ReviewOutcome))


def ask_in_round(cast: Cast, number: int, *, quorum: int = 1) -> ApprovalRequest:
    return ask(cast, replace(question(cast, f"call_{number}", quorum=quorum), run_id=f"run_{number}"))


def requests(cast: Cast, rounds: int = ROUNDS, *, quorum: int = 1) -> list[ApprovalRequest]:
    return [ask_in_round(cast, number, quorum=quorum) for number in range(rounds)]


def answers(cast: Cast, request: ApprovalRequest, *people: User) -> list[Callable[[], object]]:
    return [partial(answer, cast, person, request) for person in people]


def assert_granted_if_allowed(request: ApprovalRequest) -> None:
    """Whatever came first, the request has one end, and a grant only if that is an allow."""
    request.refresh_from_db()
    assert request.grants.count() == (1 if request.status == "allowed" else 0)


def test_of_two_approvers_one_decides(cast: Cast) -> None:
    asked = requests(cast)
    rounds = [answers(cast, request, cast.approver, cast.second_approver) for request in asked]
    for request, results in zip(asked, race(rounds), strict=True):
        assert (kinds(results), codes(results)) == (["allowed"], ["already_decided"])
        assert_granted_if_allowed(request)


def test_allow_and_deny_at_once_give_one_outcome(cast: Cast) -> None:
    asked = requests(cast)
    rounds = [
        (
            partial(answer, cast, cast.approver, request, ALLOW),
            partial(answer, cast, cast.second_approver, request, DENY),
        )
        for request in asked
    ]
    for request, results in zip(asked, race(rounds), strict=True):
        assert codes(results) == ["already_decided"]
        assert_granted_if_allowed(request)
        assert kinds(results) == [request.status]


@pytest.mark.parametrize(
    ("quorum", "rounds", "expected", "late"),
    [(3, ROUNDS, ["allowed", "open", "open"], []), (2, FEW, ["allowed", "open"], ["already_decided"])],
)
def test_three_people_at_once_close_a_quorum_once(
    cast: Cast, quorum: int, rounds: int, expected: list[str], late: list[str]
) -> None:
    asked = requests(cast, rounds, quorum=quorum)
    people = (cast.approver, cast.second_approver, cast.owner)
    for request, results in zip(asked, race([answers(cast, one, *people) for one in asked]), strict=True):
        assert (kinds(results), codes(results)) == (expected, late)
        assert_granted_if_allowed(request)


def test_one_person_twice_at_once_is_one_review(cast: Cast) -> None:
    asked = requests(cast, FEW, quorum=2)
    rounds = [answers(cast, request, cast.approver, cast.approver) for request in asked]
    for request, results in zip(asked, race(rounds), strict=True):
        assert kinds(results) == ["open", "repeated"]
        assert request.reviews.count() == 1


def expire(request: ApprovalRequest) -> object:
    with transaction.atomic():
        return expire_request(request_id=request.pk, now=DUE, record=RecordedEvents())


def cancel(cast: Cast, request: ApprovalRequest) -> object:
    with transaction.atomic():
        return cancel_request(
            request_id=request.pk,
            close_code="requester_cancelled",
            actor=agent_actor(cast),
            now=NOW,
            record=RecordedEvents(),
        )


def test_a_decision_in_time_and_the_sweeper_give_one_outcome(cast: Cast) -> None:
    asked = requests(cast)
    rounds = [(partial(answer, cast, cast.approver, one), partial(expire, one)) for one in asked]
    for request, results in zip(asked, race(rounds), strict=True):
        assert codes(results) == ["already_decided"]
        assert_granted_if_allowed(request)
        assert request.status in ("allowed", "expired")


def test_a_decision_too_late_and_the_sweeper_expire_it_once(cast: Cast) -> None:
    asked = requests(cast, FEW)
    rounds = [(partial(answer, cast, cast.approver, one, now=DUE), partial(expire, one)) for one in asked]
    for request, results in zip(asked, race(rounds), strict=True):
        assert codes(results) == ["already_decided"]
        assert_granted_if_allowed(request)
        assert request.status == "expired"


def test_a_decision_and_a_cancellation_give_one_outcome(cast: Cast) -> None:
    asked = requests(cast)
    rounds = [(partial(answer, cast, cast.approver, one), partial(cancel, cast, one)) for one in asked]
    for request, results in zip(asked, race(rounds), strict=True):
        assert codes(results) == ["already_decided"]
        assert_granted_if_allowed(request)
        assert request.status in ("allowed", "cancelled")


def test_sixteen_claims_use_a_grant_once(cast: Cast) -> None:
    grant = answer(cast, cast.approver, ask(cast)).grant
    assert grant is not None
    (results,) = race([[partial(use, cast, grant)] * 16])
    assert codes(results) == ["conflict"] * 15
    grant.refresh_from_db()
    assert (grant.uses, grant.status, GrantUse.objects.count()) == (1, "consumed", 1)


def test_identical_questions_at_once_become_one_request(cast: Cast) -> None:
    (results,) = race([[partial(ask, cast, question(cast, f"call_{number}")) for number in range(8)]])
    assert codes(results) == []
    request = ApprovalRequest.objects.get()
    assert request.version == 8
    positions = ApprovalCall.objects.filter(request=request).values_list("position", flat=True)
    assert sorted(positions) == list(range(1, 9))
    assert not Grant.objects.exists()


def test_runs_of_one_agent_that_ask_at_once_share_its_limit(cast: Cast) -> None:
    Agent.objects.filter(pk=cast.agent.pk).update(limits={"asks_per_hour": 3})

    def ask_within_limits(number: int) -> bool:
        asked = replace(question(cast, f"call_{number}"), run_id=f"run_{number}")
        with transaction.atomic():
            if asks_too_much(asked, NOW) is not None:
                return False
            open_request(request=asked, actor=agent_actor(cast), now=NOW, record=RecordedEvents())
            return True

    (results,) = race([[partial(ask_within_limits, number) for number in range(8)]])
    assert results.count(True) == ApprovalRequest.objects.count() == 3
