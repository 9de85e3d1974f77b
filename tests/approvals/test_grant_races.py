"""Real threads and processes on one grant: used as often as it may be, and never behind its end."""

from __future__ import annotations

import multiprocessing
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.db import connection, transaction

from approvals.matching import GrantProposal
from approvals.models import DenialMemory, Grant, GrantUse
from approvals.services import expire_grant, revoke_grant
from approvals.types import ReviewInput
from kernel.errors import ConflictError
from tests.approvals.asking import DENY, agent_actor, answer, ask, question, use
from tests.approvals.test_grants import SESSION, called, granted
from tests.builders import RecordedEvents
from tests.cast import NOW, Cast
from tests.racing import at_once

pytestmark = pytest.mark.django_db(transaction=True)
ROUNDS = 50 if connection.vendor == "postgresql" else 2
"""SQLite has one writer at a time, so there one round more proves nothing more."""
ATTEMPTS = 1_000
PROCESSES = 8
THREADS = 32


@pytest.fixture
def cast(committed_cast: Cast) -> Cast:
    return committed_cast


@pytest.fixture
def grant(cast: Cast, request: pytest.FixtureRequest) -> Grant:
    """A grant of one use, renewed before each round so that none needs a new answer."""
    return granted(cast, SESSION, name=request.node.name[:32])


def renew(grant: Grant, uses: int = 1) -> None:
    Grant.objects.filter(pk=grant.pk).update(status="active", uses=0, uses_allowed=uses)


def used(cast: Cast, grant: Grant, call: GrantProposal, **more: Any) -> Callable[[], None]:
    return partial(use, cast, grant, proposal=call, **more)


def revoke(cast: Cast, grant: Grant) -> object:
    with transaction.atomic():
        return revoke_grant(
            grant_id=grant.pk, comment="enough", actor=agent_actor(cast), now=NOW, record=RecordedEvents()
        )


def expire(grant: Grant) -> None:
    with transaction.atomic():
        expire_grant(grant_id=grant.pk, now=grant.expires_at, record=RecordedEvents())


def test_two_uses_of_a_grant_for_one_call_are_one(cast: Cast, grant: Grant) -> None:
    for number in range(ROUNDS):
        renew(grant, 2)
        call = called(grant, f"twice_{number}")
        assert sorted(at_once(*[used(cast, grant, call)] * 2)) == ["", "conflict"]
        grant.refresh_from_db()
        assert (grant.uses, grant.status, grant.used.count()) == (1, "active", number + 1)


def test_of_32_claims_of_one_use_one_wins(cast: Cast, grant: Grant) -> None:
    for number in range(ROUNDS // 10 + 1):
        renew(grant)
        calls = [called(grant, f"many_{number}_{one}") for one in range(THREADS)]
        done = at_once(*[used(cast, grant, call) for call in calls])
        assert Counter(done) == {"": 1, "conflict": THREADS - 1}
        grant.refresh_from_db()
        assert (grant.uses, grant.status, grant.used.count()) == (1, "consumed", number + 1)


def test_a_use_and_a_revocation_leave_one_story(cast: Cast, grant: Grant) -> None:
    before = 0
    for number in range(ROUNDS):
        renew(grant)
        call = called(grant, f"revoke_{number}")
        done = at_once(used(cast, grant, call), partial(revoke, cast, grant))
        grant.refresh_from_db()
        assert (done, grant.status, grant.uses) in (
            (["", "conflict"], "consumed", 1),
            (["conflict", ""], "revoked", 0),
        )
        before += grant.uses
        assert grant.used.count() == before


def test_a_use_in_time_and_the_sweeper_leave_one_story(cast: Cast, grant: Grant) -> None:
    last = grant.expires_at - timedelta(microseconds=1)
    for number in range(ROUNDS):
        renew(grant)
        call = called(grant, f"expire_{number}")
        done = at_once(used(cast, grant, call, now=last), partial(expire, grant))
        grant.refresh_from_db()
        assert (grant.status, grant.uses) in (("consumed", 1), ("expired", 0))
        assert done.count("") == 1


def test_a_use_after_its_time_never_wins(cast: Cast, grant: Grant) -> None:
    for number in range(ROUNDS // 10 + 1):
        renew(grant)
        call = called(grant, f"late_{number}")
        at_once(used(cast, grant, call, now=grant.expires_at), partial(expire, grant))
        grant.refresh_from_db()
        assert (grant.status, grant.uses) == ("expired", 0)


def test_two_denials_of_one_action_are_remembered_once(cast: Cast) -> None:
    for number in range(ROUNDS // 10 + 1):
        requests = [
            ask(cast, replace(question(cast, f"no_{number}_{run}"), run_id=f"run_no_{number}_{run}"))
            for run in "ab"
        ]
        people = (cast.approver, cast.second_approver)
        acts = [partial(answer, cast, *pair, DENY) for pair in zip(people, requests, strict=True)]
        assert at_once(*acts) == ["", ""]
        assert DenialMemory.objects.count() == 1


def _use_often(cast: Cast, grant: Grant, told: multiprocessing.SimpleQueue[int]) -> None:
    done = 0
    for _ in range(ATTEMPTS // PROCESSES):
        with suppress(ConflictError):
            use(cast, grant, "thousand")
            done += 1
    told.put(done)


def test_a_thousand_attempts_of_eight_processes_use_a_grant_once(cast: Cast) -> None:
    grant = granted(cast, ReviewInput(verdict="allow"), name="thousand")
    context = multiprocessing.get_context("fork")
    told = context.SimpleQueue()
    connection.close()
    work = partial(_use_often, cast, grant, told)
    processes = [context.Process(target=work) for _ in range(PROCESSES)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=60)
    assert [process.exitcode for process in processes] == [0] * PROCESSES
    assert sum(told.get() for _ in processes) == 1
    grant.refresh_from_db()
    assert (grant.uses, grant.status) == (1, "consumed")
    assert GrantUse.objects.filter(grant=grant).count() == 1
