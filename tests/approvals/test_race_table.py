"""The races of the approvals part's table that want many rounds: one grant, and a quorum of exactly two."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from threading import Barrier

import pytest
from django.db import connection

from approvals.models import ApprovalRequest, Grant, GrantUse
from approvals.services import ReviewOutcome
from kernel.errors import ConflictError
from tests.approvals.asking import answer, ask, question, use
from tests.builders import RecordedEvents
from tests.cast import Cast

pytestmark = [pytest.mark.postgres, pytest.mark.django_db(transaction=True)]
ROUNDS = 50 if connection.vendor == "postgresql" else 2
"""SQLite has one writer at a time, so there one round more proves nothing more."""
CLAIMS = 32
Act = Callable[[], object]


@pytest.fixture
def cast(committed_cast: Cast) -> Cast:
    return committed_cast


def race(rounds: Sequence[Sequence[Act]]) -> list[list[object]]:
    """Do the acts of each round at once. Each place in a round keeps its thread and its connection."""
    lanes = list(zip(*rounds, strict=True))
    barrier = Barrier(len(lanes))

    def run(lane: Sequence[Act]) -> list[object]:
        try:
            return [_result(barrier, act) for act in lane]
        except BaseException:
            barrier.abort()
            raise
        finally:
            connection.close()

    with ThreadPoolExecutor(len(lanes)) as pool:
        return [list(results) for results in zip(*pool.map(run, lanes), strict=True)]


def _result(barrier: Barrier, act: Act) -> object:
    barrier.wait(timeout=60)
    try:
        return act()
    except ConflictError as error:
        return error.extra.get("reason", error.code)


def asked(cast: Cast, name: str, *, quorum: int = 1) -> ApprovalRequest:
    return ask(cast, replace(question(cast, f"call_{name}", quorum=quorum), run_id=f"run_{name}"))


def allowed_once(cast: Cast, name: str) -> Grant:
    grant = answer(cast, cast.approver, asked(cast, name)).grant
    assert grant is not None
    return grant


def test_thirty_two_claims_of_a_once_grant_are_one_run_in_every_round(cast: Cast) -> None:
    """`approval.grant_consumed` for who finds it used up; nobody else has a use, a row or an event."""
    names = [f"claim_{number}" for number in range(ROUNDS)]
    grants = [allowed_once(cast, name) for name in names]
    heard = [RecordedEvents() for _ in grants]
    rounds = [
        [partial(use, cast, grant, f"call_{name}", record=events)] * CLAIMS
        for name, grant, events in zip(names, grants, heard, strict=True)
    ]
    for grant, events, results in zip(grants, heard, race(rounds), strict=True):
        assert Counter(results) == {None: 1, "approval.grant_consumed": CLAIMS - 1}
        grant.refresh_from_db()
        assert (grant.uses, grant.status) == (1, "consumed")
        assert GrantUse.objects.filter(grant=grant).count() == 1
        assert events.names.count("grant.used") == 1


def test_two_approvers_close_a_quorum_of_two_once_in_every_round(cast: Cast) -> None:
    """One is told that the other's allow is missing, one that it is allowed; whoever comes first."""
    requests = [asked(cast, f"two_{number}", quorum=2) for number in range(ROUNDS)]
    people = (cast.approver, cast.second_approver)
    rounds = [[partial(answer, cast, person, request) for person in people] for request in requests]
    for request, results in zip(requests, race(rounds), strict=True):
        outcomes = [result for result in results if isinstance(result, ReviewOutcome)]
        assert sorted(outcome.kind for outcome in outcomes) == ["allowed", "open"]
        request.refresh_from_db()
        assert (request.status, request.reviews.count(), request.grants.count()) == ("allowed", 2, 1)
