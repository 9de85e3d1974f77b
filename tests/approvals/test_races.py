"""Real threads on one request or grant. On SQLite an IMMEDIATE transaction makes them take turns."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from functools import partial
from threading import Barrier

import pytest
from django.db import connection, transaction

from approvals.models import ApprovalCall, ApprovalRequest, Grant, GrantUse
from approvals.services import ReviewOutcome, cancel_request, expire_request
from kernel.errors import ConflictError
from tests.approvals.asking import ALLOW, DENY, agent_actor, answer, ask, question, use
from tests.builders import RecordedEvents
from tests.cast import NOW, Cast, make_cast

pytestmark = [pytest.mark.postgres, pytest.mark.django_db(transaction=True)]
ROUNDS = 50 if connection.vendor == "postgresql" else 2
DUE = NOW + timedelta(seconds=600)


@pytest.fixture
def cast() -> Cast:
    return make_cast()


def together(*works: Callable[[], object]) -> list[object]:
    """Run all at once on connections of their own; a ConflictError counts as a result."""
    barrier = Barrier(len(works))

    def run(work: Callable[[], object]) -> object:
        try:
            barrier.wait(timeout=30)
            return work()
        except ConflictError as error:
            return error
        finally:
            connection.close()

    with ThreadPoolExecutor(len(works)) as pool:
        return list(pool.map(run, works))


def codes(results: list[object]) -> list[str]:
    return [result.code for result in results if isinstance(result, ConflictError)]


def kinds(results: list[object]) -> list[str]:
    return sorted(result.kind for result in results if isinstance(result, ReviewOutcome))


def ask_in_round(cast: Cast, number: int, *, quorum: int = 1) -> ApprovalRequest:
    return ask(cast, replace(question(cast, f"call_{number}", quorum=quorum), run_id=f"run_{number}"))


def test_of_two_approvers_one_decides(cast: Cast) -> None:
    for number in range(ROUNDS):
        request = ask_in_round(cast, number)
        results = together(
            partial(answer, cast, cast.approver, request),
            partial(answer, cast, cast.second_approver, request),
        )
        assert (kinds(results), codes(results)) == (["allowed"], ["already_decided"])
        assert request.grants.count() == 1


def test_allow_and_deny_at_once_give_one_outcome(cast: Cast) -> None:
    for number in range(ROUNDS):
        request = ask_in_round(cast, number)
        results = together(
            partial(answer, cast, cast.approver, request, ALLOW),
            partial(answer, cast, cast.second_approver, request, DENY),
        )
        assert codes(results) == ["already_decided"]
        request.refresh_from_db()
        assert kinds(results) == [request.status]
        assert request.grants.count() == (1 if request.status == "allowed" else 0)


def test_two_approvers_close_a_quorum_of_two_once(cast: Cast) -> None:
    for number in range(ROUNDS):
        request = ask_in_round(cast, number, quorum=2)
        results = together(
            partial(answer, cast, cast.approver, request),
            partial(answer, cast, cast.second_approver, request),
        )
        assert (kinds(results), codes(results)) == (["allowed", "open"], [])
        assert request.grants.count() == 1


def test_three_approvers_close_a_quorum_of_three_once(cast: Cast) -> None:
    people = (cast.approver, cast.second_approver, cast.owner)
    for number in range(ROUNDS):
        request = ask_in_round(cast, number, quorum=3)
        results = together(*[partial(answer, cast, person, request) for person in people])
        assert (kinds(results), codes(results)) == (["allowed", "open", "open"], [])
        assert request.grants.count() == 1


def test_of_three_approvers_a_quorum_of_two_leaves_one_too_late(cast: Cast) -> None:
    people = (cast.approver, cast.second_approver, cast.owner)
    for number in range(ROUNDS):
        request = ask_in_round(cast, number, quorum=2)
        results = together(*[partial(answer, cast, person, request) for person in people])
        assert (kinds(results), codes(results)) == (["allowed", "open"], ["already_decided"])
        assert request.grants.count() == 1


def test_one_person_twice_at_once_is_one_review(cast: Cast) -> None:
    for number in range(ROUNDS):
        request = ask_in_round(cast, number, quorum=2)
        results = together(*[partial(answer, cast, cast.approver, request)] * 2)
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
    for number in range(ROUNDS):
        request = ask_in_round(cast, number)
        results = together(partial(answer, cast, cast.approver, request), partial(expire, request))
        request.refresh_from_db()
        assert codes(results) == ["already_decided"]
        assert request.status in ("allowed", "expired")
        assert request.grants.count() == (1 if request.status == "allowed" else 0)


def test_a_decision_too_late_and_the_sweeper_expire_it_once(cast: Cast) -> None:
    for number in range(ROUNDS):
        request = ask_in_round(cast, number)
        results = together(partial(answer, cast, cast.approver, request, now=DUE), partial(expire, request))
        assert codes(results) == ["already_decided"]
        request.refresh_from_db()
        assert request.status == "expired"
        assert not request.grants.exists()


def test_a_decision_and_a_cancellation_give_one_outcome(cast: Cast) -> None:
    for number in range(ROUNDS):
        request = ask_in_round(cast, number)
        results = together(partial(answer, cast, cast.approver, request), partial(cancel, cast, request))
        request.refresh_from_db()
        assert codes(results) == ["already_decided"]
        assert request.status in ("allowed", "cancelled")
        assert request.grants.count() == (1 if request.status == "allowed" else 0)


def test_sixteen_claims_use_a_grant_once(cast: Cast) -> None:
    grant = answer(cast, cast.approver, ask(cast)).grant
    assert grant is not None
    results = together(*[partial(use, cast, grant)] * 16)
    assert codes(results) == ["conflict"] * 15
    grant.refresh_from_db()
    assert (grant.uses, grant.status, GrantUse.objects.count()) == (1, "consumed", 1)


def test_identical_questions_at_once_become_one_request(cast: Cast) -> None:
    results = together(*[partial(ask, cast, question(cast, f"call_{number}")) for number in range(8)])
    assert codes(results) == []
    request = ApprovalRequest.objects.get()
    assert request.version == 8
    positions = ApprovalCall.objects.filter(request=request).values_list("position", flat=True)
    assert sorted(positions) == list(range(1, 9))
    assert not Grant.objects.exists()
