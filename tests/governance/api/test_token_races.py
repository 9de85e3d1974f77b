"""Tokens under real threads: one successor, one end, and no wait that outlives its token."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event

import pytest
from django.db import connection, transaction

from governance.journal.ledger import record
from governance.journal.models import JournalEvent
from governance.operations import tokens
from identity import agents
from identity.models import Agent, ApiToken
from kernel.clock import utc_now
from tests.governance.api.stepping import fresh
from tests.governance.api.world import Answer, Caller, World, owner_principal

pytestmark = [pytest.mark.postgres, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def world(committed_world: World) -> World:
    return committed_world


def row_of(caller: Caller) -> ApiToken:
    return ApiToken.objects.get(lookup=caller.token.split("_")[2])


def together(works: list[Callable[[], Answer]]) -> list[Answer]:
    barrier = Barrier(len(works))

    def run(work: Callable[[], Answer]) -> Answer:
        try:
            barrier.wait(timeout=30)
            return work()
        finally:
            connection.close()

    with ThreadPoolExecutor(len(works)) as pool:
        return list(pool.map(run, works))


def events(name: str) -> int:
    return JournalEvent.objects.filter(type=name).count()


def test_two_rotations_at_once_leave_one_successor(world: World) -> None:
    path = f"tokens/{row_of(world.agent).pk}/rotate"
    owner = fresh(world.owner)
    answers = together([lambda: owner.post(path, {})] * 4)
    assert Counter(answer.status_code for answer in answers) == {201: 1, 409: 3}
    assert {answer.json()["code"] for answer in answers if answer.status_code == 409} == {"already_rotated"}
    assert ApiToken.objects.filter(rotated_from=row_of(world.agent)).count() == 1
    assert events("token.rotated") == 1


def test_a_rotation_never_waits_for_whoever_changes_its_agent(world: World) -> None:
    """An archive holds the agent and then its tokens; a rotation that waited would wait for ever."""
    token, now = row_of(world.agent), utc_now()
    principal = owner_principal(world, now)

    def rotate() -> str:
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '10s'")
        try:
            return tokens.rotate(principal=principal, token_id=token.pk, now=now).token.pk
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool, transaction.atomic():
        agents.suspend_agent(
            agent_id=world.agent.id, reason="a race", actor=principal.actor(), now=now, record=record
        )
        heir = pool.submit(rotate).result(timeout=60)
        agents.archive_agent(
            agent_id=world.agent.id, reason="a race", actor=principal.actor(), now=now, record=record
        )
    assert ApiToken.objects.get(pk=heir).revoked_at is not None
    assert row_of(world.agent).revoked_at is not None


def test_one_revocation_is_recorded_however_many_ask(world: World) -> None:
    token = row_of(world.agent)
    owner = world.owner
    report = {"tokens": [world.agent.token]}
    answers = together(
        [lambda: owner.post(f"tokens/{token.pk}/revoke", {"reason": "x"})] * 3
        + [lambda: world.nobody.post("tokens/leaked", report)] * 2
    )
    assert Counter(answer.status_code for answer in answers) == {200: 3, 202: 2}
    assert events("token.revoked") == 1


def test_after_a_revocation_no_use_begins(world: World) -> None:
    """What started before may end; what starts after the answer to the revocation is refused."""
    done = Event()
    late: list[int] = []

    def use() -> Answer:
        while True:
            ended = done.is_set()
            answer = world.agent.get("whoami")
            if ended:
                late.append(answer.status_code)
                return answer

    def revoke() -> Answer:
        answer = world.owner.post(f"tokens/{row_of(world.agent).pk}/revoke", {})
        done.set()
        return answer

    together([use, use, revoke])
    assert late == [401, 401]


def test_a_use_is_noted_once_by_many_at_once(world: World) -> None:
    ApiToken.objects.update(last_used_at=None)
    answers = together([lambda: world.agent.get("whoami")] * 8)
    assert {answer.status_code for answer in answers} == {200}
    assert row_of(world.agent).last_used_at is not None


@pytest.mark.parametrize("cause", ["revoked", "suspended", "rotated without overlap"])
def test_a_wait_ends_with_its_token(world: World, cause: str) -> None:
    """The wait would last a minute; the deadline of the test is what shows that it did not."""
    call = world.ask()
    token = row_of(world.agent)

    def end() -> Answer:
        time.sleep(0.5)
        owner = owner_principal(world, utc_now())
        if cause == "revoked":
            tokens.revoke(principal=owner, token_id=token.pk, reason="x", now=utc_now())
        elif cause == "suspended":
            Agent.objects.filter(pk=world.agent.id).update(state="suspended")
        else:
            tokens.rotate(principal=owner, token_id=token.pk, overlap_seconds=0, now=utc_now())
        return world.nobody.get("/healthz")

    started = time.monotonic()
    waited, _ = together([lambda: world.agent.get(f"tool-calls/{call['id']}?wait=60"), end])
    assert time.monotonic() - started < 30
    assert waited.status_code == 401
    assert waited.json()["code"] == "unauthenticated"
    assert waited.json()["detail"] == "A valid bearer token is required."


def test_a_call_proposed_by_a_token_that_ended_meanwhile_is_refused_the_answer(world: World) -> None:
    token, run = row_of(world.agent), world.agent.open_run()
    body = {"run_id": run, "tool": "demo.wc", "input": {"path": "README.txt"}}

    def end() -> Answer:
        time.sleep(0.5)
        owner = owner_principal(world, utc_now())
        tokens.revoke(principal=owner, token_id=token.pk, reason="x", now=utc_now())
        return world.nobody.get("/healthz")

    waited, _ = together([lambda: world.agent.post("tool-calls?wait=60", body, Idempotency_Key="w"), end])
    assert waited.status_code == 401
    assert events("tool_call.proposed") == 1
