"""One answer per principal, route and key."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
import time_machine

from governance import idempotency
from governance.models import IdempotencyRecord, Run, ToolCall
from governance.operations import runs
from identity.models import Agent
from kernel.clock import utc_now
from kernel.errors import UnavailableError
from tests.governance.api.test_answers import assert_problem
from tests.governance.api.world import Answer, Caller, World, mint_for_agent, owner_principal

KEY = "0191-key"


def echo(world: World) -> dict[str, Any]:
    return {"run_id": world.agent.open_run(), "tool": "echo", "input": {"text": "x"}}


def is_replay(answer: Answer) -> bool:
    return answer.headers.get("Idempotency-Replayed") == "true"


def test_the_same_request_gets_the_same_answer_and_does_nothing(world: World) -> None:
    body = echo(world)
    first = world.agent.post("tool-calls", body, Idempotency_Key=KEY)
    again = world.agent.post("tool-calls", body, Idempotency_Key=KEY)
    assert not is_replay(first)
    assert is_replay(again)
    assert (again.status_code, again.json()) == (first.status_code, first.json())
    for name in ("Location", "Retry-After", "Content-Type"):
        assert again.headers[name] == first.headers[name]
    assert ToolCall.objects.count() == 1
    assert first.headers["X-Request-Id"] != again.headers["X-Request-Id"]


def test_a_replay_shows_the_state_of_now(world: World) -> None:
    body = echo(world)
    call = world.agent.post("tool-calls", body, Idempotency_Key=KEY).json()
    world.agent.post(f"tool-calls/{call['id']}/cancel")
    again = world.agent.post("tool-calls", body, Idempotency_Key=KEY)
    assert (again.status_code, again.json()["state"]) == (201, "cancelled")


def test_order_and_white_space_are_not_another_body(world: World) -> None:
    body = echo(world)
    first = world.agent.post("tool-calls", body, Idempotency_Key=KEY).json()
    turned = dict(reversed(body.items()))
    for text in (json.dumps(turned, indent=3), json.dumps(body, separators=(",", ":"))):
        again = world.agent.send("POST", "tool-calls", text.encode(), Idempotency_Key=KEY)
        assert (is_replay(again), again.json()["id"]) == (True, first["id"])


def test_waiting_is_no_part_of_the_request(world: World) -> None:
    body = {"run_id": world.agent.open_run(), "tool": "nope", "input": {}}
    first = world.agent.post("tool-calls", body, Idempotency_Key=KEY).json()
    assert world.agent.post("tool-calls?wait=5", body, Idempotency_Key=KEY).json() == first


def test_another_body_under_the_same_key_is_refused(world: World) -> None:
    body = echo(world)
    world.agent.post("tool-calls", body, Idempotency_Key=KEY)
    for other in (body | {"input": {"text": "y"}}, body | {"dry_run": False}):
        answer = world.agent.post("tool-calls", other, Idempotency_Key=KEY)
        assert_problem(answer, 422, "idempotency_key_reused")
    assert ToolCall.objects.count() == 1


def test_one_key_never_answers_for_two_requests_for_approval(world: World) -> None:
    first, second = (world.ask()["approval"]["id"] for _ in range(2))
    body = {"decision": "allow"}
    assert world.approver.post(f"approvals/{first}/decision", body, Idempotency_Key=KEY).status_code == 200
    answer = world.approver.post(f"approvals/{second}/decision", body, Idempotency_Key=KEY)
    assert_problem(answer, 422, "idempotency_key_reused")
    assert world.auditor.get(f"approvals/{second}").json()["state"] == "pending"


@pytest.mark.parametrize(
    "what", ["runs/{run}/cancel", "tool-calls/{call}/cancel", "approvals/{approval}/cancel"]
)
def test_every_cancel_is_replayed(world: World, what: str) -> None:
    call = world.ask()
    path = what.format(run=call["run_id"], call=call["id"], approval=call["approval"]["id"])
    first = world.agent.post(path, {}, Idempotency_Key=KEY)
    again = world.agent.post(path, {}, Idempotency_Key=KEY)
    assert first.status_code == 200, first.content
    assert (is_replay(again), again.status_code, again.json()) == (True, 200, first.json())


def test_a_completed_run_is_replayed(world: World) -> None:
    path = f"runs/{world.agent.open_run()}/complete"
    first = world.agent.post(path, {}, Idempotency_Key=KEY)
    again = world.agent.post(path, {}, Idempotency_Key=KEY)
    assert (first.status_code, first.json()["state"]) == (200, "completed")
    assert (is_replay(again), again.status_code, again.json()) == (True, 200, first.json())


def test_an_opened_run_is_replayed_with_its_place(world: World) -> None:
    first = world.agent.post("runs", {}, Idempotency_Key=KEY)
    again = world.agent.post("runs", {}, Idempotency_Key=KEY)
    assert (again.status_code, again.json()) == (201, first.json())
    assert again.headers["Location"] == first.headers["Location"]
    assert Run.objects.count() == 1


def test_a_decision_is_replayed_with_its_outcome(world: World) -> None:
    path = f"approvals/{world.ask()['approval']['id']}/decision"
    first = world.approver.post(path, {"decision": "allow"}, Idempotency_Key=KEY)
    again = world.approver.post(path, {"decision": "allow"}, Idempotency_Key=KEY)
    assert (is_replay(again), again.json()) == (True, first.json())


def test_a_refusal_is_replayed_as_the_problem_it_was(world: World) -> None:
    path = f"approvals/{world.ask()['approval']['id']}/decision"
    first = world.approver.post(path, {"decision": "deny"}, Idempotency_Key=KEY)
    again = world.approver.post(path, {"decision": "deny"}, Idempotency_Key=KEY)
    assert_problem(first, 422, "comment_required")
    assert_problem(again, 422, "comment_required")
    assert is_replay(again)
    assert again.json()["errors"] == first.json()["errors"] != []
    assert again.json()["request_id"] != first.json()["request_id"]


def test_a_token_that_reads_no_calls_gets_its_replay_too(world: World) -> None:
    now = utc_now()
    agent = Agent.objects.get(pk=world.agent.id)
    scopes = ("runs.read", "tools.propose")
    blind = mint_for_agent(agent, world.workspace, owner_principal(world, now), now=now, scopes=scopes)
    body = {"run_id": world.agent.open_run(), "tool": "nope", "input": {}}
    first, again = (blind.post("tool-calls", body, Idempotency_Key=KEY) for _ in range(2))
    assert (first.status_code, again.status_code, is_replay(again)) == (201, 201, True)
    assert first.json() == again.json()


def test_keys_belong_to_a_principal_and_a_route(world: World) -> None:
    runs = {
        caller.post("runs", {}, Idempotency_Key=KEY).json()["id"]
        for caller in (world.agent, world.other_agent)
    }
    body = {"run_id": sorted(runs)[0], "tool": "nope", "input": {}}
    answers = [
        caller.post("tool-calls", body, Idempotency_Key=KEY) for caller in (world.agent, world.other_agent)
    ]
    assert len(runs) == 2
    assert sorted(answer.status_code for answer in answers) == [201, 404]


def test_two_tokens_of_one_agent_share_their_keys(world: World) -> None:
    now = utc_now()
    agent = Agent.objects.get(pk=world.agent.id)
    second = mint_for_agent(agent, world.workspace, owner_principal(world, now), now=now)
    first = world.agent.post("runs", {}, Idempotency_Key=KEY)
    assert second.post("runs", {}, Idempotency_Key=KEY).json() == first.json()


@pytest.mark.parametrize("key", ["", " ", "a b", "ä", "x" * 256, "a\tb", "\x7f"])
def test_an_unusable_key_is_refused_and_nothing_done(world: World, key: str) -> None:
    assert_problem(world.agent.post("runs", {}, Idempotency_Key=key), 400, "idempotency_key_invalid")
    assert not Run.objects.exists()


@pytest.mark.parametrize("key", ["x", "x" * 255, "!#$%&'*+-.^_`|~"])
def test_any_printable_key_is_usable(world: World, key: str) -> None:
    assert world.agent.post("runs", {}, Idempotency_Key=key).status_code == 201


def begin(world: World, caller: Caller, body: dict[str, Any]) -> None:
    """Claim a key as a process does that dies before it answers."""
    request = {"path": "/api/v1/runs", "body": body, "query": {}}
    idempotency.begin(principal_id=caller.id, route="POST /runs", key=KEY, body=request, now=utc_now())


def test_a_request_still_running_is_said_to_be(world: World) -> None:
    begin(world, world.agent, {})
    answer = world.agent.post("runs", {}, Idempotency_Key=KEY)
    assert_problem(answer, 409, "idempotency_in_progress")
    assert answer.headers["Retry-After"] == "1"
    assert_problem(
        world.agent.post("runs", {"purpose": "x"}, Idempotency_Key=KEY), 422, "idempotency_key_reused"
    )
    assert not Run.objects.exists()


def test_a_request_that_never_finished_is_never_executed_again(world: World) -> None:
    begin(world, world.agent, {})
    for seconds in (301, 3600, 86_000):
        with time_machine.travel(utc_now() + timedelta(seconds=seconds), tick=False):
            answer = world.agent.post("runs", {}, Idempotency_Key=KEY)
            assert_problem(answer, 409, "idempotency_outcome_unknown")
    assert not Run.objects.exists()


def test_a_key_is_free_again_after_a_day(world: World) -> None:
    first = world.agent.post("runs", {}, Idempotency_Key=KEY).json()
    tomorrow = utc_now() + timedelta(hours=24, seconds=1)
    assert idempotency.sweep(tomorrow) == 1
    assert world.agent.post("runs", {}, Idempotency_Key=KEY).json()["id"] != first["id"]


def test_a_missing_code_is_not_remembered(world: World) -> None:
    path = f"approvals/{world.ask('fs.write')['approval']['id']}/decision"
    refused = world.approver.post(path, {"decision": "allow"}, Idempotency_Key=KEY)
    assert_problem(refused, 401, "step_up_required")
    body = {"decision": "allow", "otp": world.approver.code()}
    assert world.approver.post(path, body, Idempotency_Key=KEY).status_code == 200


@pytest.mark.parametrize("error", [UnavailableError("journal_unavailable"), RuntimeError("boom")])
def test_our_own_failure_is_not_remembered(
    world: World, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(**_: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(runs, "open_run", fail)
        assert world.agent.post("runs", {}, Idempotency_Key=KEY).status_code in (500, 503)
    assert not IdempotencyRecord.objects.exists()
    assert world.agent.post("runs", {}, Idempotency_Key=KEY).status_code == 201


def test_a_request_that_is_not_understood_claims_no_key(world: World) -> None:
    for body in ({"unknown": 1}, {"max_calls": "1"}):
        world.agent.post("runs", body, Idempotency_Key=KEY)
    assert not IdempotencyRecord.objects.exists()
