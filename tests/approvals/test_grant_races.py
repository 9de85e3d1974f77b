"""Real threads and processes on one grant: used as often as it may be, and never behind its end."""

from __future__ import annotations

import multiprocessing
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from functools import partial

import pytest
from django.core.management import call_command
from django.db import connection, transaction
from django.test import TransactionTestCase
from pytest_django.plugin import DjangoDbBlocker

from approvals.models import DenialMemory, Grant, GrantUse
from approvals.services import expire_grant, revoke_grant
from kernel.errors import ConflictError
from tests.approvals.asking import DENY, agent_actor, answer, ask, question, use
from tests.approvals.test_grants import SESSION, called, granted
from tests.builders import RecordedEvents
from tests.cast import NOW, Cast, make_cast
from tests.racing import at_once
from tests.support_append_only import guards_lifted

pytestmark = pytest.mark.django_db(transaction=True)
ROUNDS = 50 if connection.vendor == "postgresql" else 2
"""SQLite has one writer at a time, so there one round more proves nothing more."""
ATTEMPTS = 1_000
PROCESSES = 8
THREADS = 32


@pytest.fixture(scope="module")
def committed_cast(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[Cast]:
    """One cast that all threads see; what a test leaves stays until the end of the module."""
    with django_db_blocker.unblock(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransactionTestCase, "_fixture_teardown", lambda case: None)
        try:
            yield make_cast()
        finally:
            with guards_lifted():
                call_command("flush", verbosity=0, interactive=False, inhibit_post_migrate=True)


@pytest.fixture
def cast(committed_cast: Cast) -> Cast:
    return committed_cast


def once(cast: Cast, name: str) -> tuple[Grant, str]:
    """Return a grant for one call, once, and the call."""
    request = ask(cast, replace(question(cast, name), run_id=f"run_{name}"))
    grant = answer(cast, cast.approver, request).grant
    assert grant is not None
    return grant, name


def revoke(cast: Cast, grant: Grant) -> object:
    with transaction.atomic():
        return revoke_grant(
            grant_id=grant.pk, comment="enough", actor=agent_actor(cast), now=NOW, record=RecordedEvents()
        )


def expire(grant: Grant) -> None:
    with transaction.atomic():
        expire_grant(grant_id=grant.pk, now=grant.expires_at, record=RecordedEvents())


def test_two_uses_of_a_grant_for_one_call_are_one(cast: Cast) -> None:
    for number in range(ROUNDS):
        grant, call = once(cast, f"twice_{number}")
        assert sorted(at_once(*[partial(use, cast, grant, call)] * 2)) == ["", "conflict"]
        grant.refresh_from_db()
        assert (grant.uses, grant.status, grant.used.count()) == (1, "consumed", 1)


def test_as_many_of_32_calls_are_covered_as_the_grant_has_uses(cast: Cast) -> None:
    for number in range(ROUNDS // 10 + 1):
        grant = granted(cast, SESSION, name=f"many_{number}")
        Grant.objects.filter(pk=grant.pk).update(uses_allowed=5)
        calls = [called(grant, f"call_{number}_{one}") for one in range(THREADS)]
        done = at_once(*[partial(use, cast, grant, proposal=call) for call in calls])
        assert Counter(done) == {"": 5, "conflict": THREADS - 5}
        grant.refresh_from_db()
        assert (grant.uses, grant.status, grant.used.count()) == (5, "consumed", 5)


def test_a_use_and_a_revocation_leave_one_story(cast: Cast) -> None:
    for number in range(ROUNDS):
        grant, call = once(cast, f"revoke_{number}")
        done = at_once(partial(use, cast, grant, call), partial(revoke, cast, grant))
        grant.refresh_from_db()
        assert (done, grant.status, grant.uses) in (
            (["", "conflict"], "consumed", 1),
            (["conflict", ""], "revoked", 0),
        )
        assert grant.used.count() == grant.uses


def test_a_use_in_time_and_the_sweeper_leave_one_story(cast: Cast) -> None:
    for number in range(ROUNDS):
        grant, call = once(cast, f"expire_{number}")
        last = grant.expires_at - timedelta(microseconds=1)
        done = at_once(partial(use, cast, grant, call, now=last), partial(expire, grant))
        grant.refresh_from_db()
        assert grant.used.count() == grant.uses
        assert (grant.status, grant.uses) in (("consumed", 1), ("expired", 0))
        assert done.count("") == 1


def test_a_use_after_its_time_never_wins(cast: Cast) -> None:
    for number in range(ROUNDS // 10 + 1):
        grant, call = once(cast, f"late_{number}")
        at_once(partial(use, cast, grant, call, now=grant.expires_at), partial(expire, grant))
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


def _use_often(cast: Cast, grant_id: str, call: str, told: multiprocessing.SimpleQueue[int]) -> None:
    grant, done = Grant.objects.get(pk=grant_id), 0
    for _ in range(ATTEMPTS // PROCESSES):
        with suppress(ConflictError):
            use(cast, grant, call)
            done += 1
    told.put(done)


def test_a_thousand_attempts_of_eight_processes_use_a_grant_once(cast: Cast) -> None:
    grant, call = once(cast, "thousand")
    context = multiprocessing.get_context("fork")
    told = context.SimpleQueue()
    connection.close()
    work = partial(_use_often, cast, grant.pk, call, told)
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
