"""Many at once, with real threads and committed rows."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from django.db import connection

from approvals.models import Review
from governance.models import Run, ToolCall
from tests.governance.api.world import Answer, World

pytestmark = [pytest.mark.postgres, pytest.mark.django_db(transaction=True)]


def at_once(count: int, act: Callable[[int], Answer]) -> list[Answer]:
    """Run `act(0..count-1)` in threads that start together."""
    barrier = Barrier(count)

    def one(number: int) -> Answer:
        try:
            barrier.wait()
            return act(number)
        finally:
            connection.close()

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def test_fifty_requests_with_one_key_make_one_call(committed_world: World) -> None:
    world = committed_world
    body = {"run_id": world.agent.open_run(), "tool": "echo", "input": {"text": "x"}}

    def propose(_: int) -> Answer:
        return world.agent.post("tool-calls", body, Idempotency_Key="one")

    first = at_once(50, propose)
    refused = {(answer.status_code, answer.json()["code"]) for answer in first if answer.status_code != 202}
    busy = (503, "rate_limiter_unavailable")  # fifty at once may keep one from being counted in time
    assert refused <= {(409, "idempotency_in_progress"), busy}
    final = [propose(0).json() for _ in range(50)]
    done = [answer.json() for answer in first if answer.status_code == 202]
    assert all(answer == final[0] for answer in [*done, *final])
    assert ToolCall.objects.count() == 1
    assert Run.objects.get().calls_used == 1


def test_two_approvers_at_once_make_one_decision(committed_world: World) -> None:
    world = committed_world
    call = world.ask()
    path = f"approvals/{call['approval']['id']}/decision"
    bodies = ({"decision": "allow"}, {"decision": "deny", "comment": "no thanks"})
    people = (world.approver, world.second_approver)
    answers = at_once(2, lambda number: people[number].post(path, bodies[number]))
    assert sorted(answer.status_code for answer in answers) == [200, 409]
    lost = next(answer for answer in answers if answer.status_code == 409)
    won = next(answer for answer in answers if answer.status_code == 200)
    assert lost.json()["code"] == "already_decided"
    assert lost.json()["outcome"]["decision"] == won.json()["decision"]
    assert Review.objects.count() == 1


def test_one_code_serves_one_of_two_answers(committed_world: World) -> None:
    world = committed_world
    paths = [f"approvals/{world.ask('fs.write')['approval']['id']}/decision" for _ in range(2)]
    body = {"decision": "allow", "otp": world.approver.code()}
    answers = at_once(2, lambda number: world.approver.post(paths[number], body))
    assert sorted(answer.status_code for answer in answers) == [200, 401]


def test_a_run_takes_no_more_calls_than_its_limit(committed_world: World) -> None:
    world = committed_world
    run = world.agent.open_run(max_calls=3)
    body = {"run_id": run, "tool": "echo", "input": {"text": "x"}}
    answers = at_once(8, lambda _: world.agent.post("tool-calls", body))
    states = sorted(answer.json()["state"] for answer in answers)
    assert states == ["denied"] * 5 + ["queued"] * 3
    assert Run.objects.get(id=run).calls_used == 3
