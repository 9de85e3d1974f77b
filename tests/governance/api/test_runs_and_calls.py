"""Runs, proposals and what becomes of them, as seen over HTTP."""

from __future__ import annotations

import base64
import json
from datetime import timedelta

import pytest
import time_machine
from django.db import transaction

from approvals.models import ApprovalRequest
from governance import closing
from governance.journal.ledger import record
from governance.journal.models import JournalEvent
from governance.models import Reservation, Run, ToolCall
from identity.models import Agent
from kernel.clock import utc_now
from kernel.record import system_actor
from sandbox import services as sandbox
from tests.governance.api.stepping import fresh
from tests.governance.api.test_answers import assert_problem
from tests.governance.api.world import World, mint_for_agent, owner_principal

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_a_run_is_opened_shown_and_cancelled_twice_alike(world: World) -> None:
    wishes = {"purpose": "count lines", "labels": {"team": "a"}, "max_calls": 3, "ttl_seconds": 60}
    opened = world.agent.post("runs", wishes)
    run = opened.json()
    assert opened.status_code == 201
    assert opened.headers["Location"] == f"/api/v1/runs/{run['id']}"
    assert (run["state"], run["agent"], run["calls_limit"]) == ("open", world.agent.id, 3)
    shown = world.agent.get(f"runs/{run['id']}").json()
    assert (shown.pop("phase"), set(shown.pop("calls").values())) == ("idle", {0})
    assert shown == run
    for _ in range(2):
        ended = world.agent.post(f"runs/{run['id']}/cancel", {"reason": "done"})
        assert (ended.status_code, ended.json()["state"]) == (200, "cancelled")
    assert_problem(
        world.agent.post("tool-calls", {"run_id": run["id"], "tool": "echo", "input": {"text": "x"}}),
        409,
        "run.closed",
    )
    assert not ToolCall.objects.exists()


def test_a_run_is_completed_over_http(world: World) -> None:
    call = world.ask()
    path = f"runs/{call['run_id']}"
    waits = world.agent.post(f"{path}/complete")
    assert_problem(waits, 409, "conflict")
    assert waits.json()["open_calls"] == [call["id"]]
    assert world.agent.get(path).json()["calls"]["awaiting_approval"] == 1
    world.agent.post(f"tool-calls/{call['id']}/cancel")
    for _ in range(2):
        assert world.agent.post(f"{path}/complete").json()["state"] == "completed"
    assert_problem(world.agent.post(f"{path}/complete", {"force": True}), 400, "unknown_field")
    assert_problem(world.agent.post(f"{path}/cancel"), 409, "run.closed")


def test_a_list_of_runs_has_a_window(world: World) -> None:
    first, second = world.agent.open_run(), world.agent.open_run()
    opened = world.agent.get(f"runs/{second}").json()["opened_at"]

    def listed(**window: str) -> set[str]:
        query = "&".join(f"{name}={value}" for name, value in window.items())
        return {run["id"] for run in world.agent.get(f"runs?{query}").json()["data"]}

    Run.objects.filter(id=first).update(opened_at=utc_now() - timedelta(days=1))
    assert listed(since=opened[:-5] + "Z") == {second}
    assert listed(until=opened[:-5] + "Z") == {first}
    for window in (
        "since=yesterday",
        "since=2026-01-05",
        "until=1",
        f"since={opened}&until=2020-01-01T00:00:00Z",
    ):
        for path in ("runs", "tool-calls"):
            assert_problem(world.agent.get(f"{path}?{window}"), 400, "invalid_parameter")


def test_only_the_server_says_that_a_run_comes_from_its_own_surfaces(world: World) -> None:
    for origin in ("facade", "mcp", "safe"):
        assert_problem(world.agent.post("runs", {"origin": origin}), 422, "invalid")
    first = world.agent.open_run()
    again = world.agent.post("runs", {"origin": "retry", "origin_run_id": first}).json()
    assert (again["origin"], again["origin_run_id"]) == ("retry", first)
    foreign = world.other_agent.post("runs", {"origin": "retry", "origin_run_id": first})
    assert_problem(foreign, 404, "run_not_found")


def test_a_finding_needs_an_operator_a_code_and_a_note(world: World) -> None:
    call = world.agent.propose("echo", {"text": "x"})
    path, finding = f"tool-calls/{call['id']}/resolve", {"outcome": "failed", "note": "it never arrived"}
    assert_problem(world.agent.post(path, finding), 403, "insufficient_scope")
    assert_problem(world.owner.post(path, finding), 401, "step_up_required")
    fresh(world.owner)
    assert_problem(world.owner.post(path, finding), 409, "state_changed")
    for wrong in ({"outcome": "maybe"}, {"note": "short"}, {"note": None}, {"by": "me"}):
        status, code = (400, "unknown_field") if "by" in wrong else (422, "invalid")
        assert_problem(world.owner.post(path, finding | wrong), status, code)
    lose(call["execution"]["id"])
    answers = [world.owner.post(path, finding, Idempotency_Key="k").json() for _ in range(2)]
    assert answers[0] == answers[1]
    found = answers[0]["finding"]
    assert (answers[0]["state"], found["outcome"], found["by"]) == ("ambiguous", "failed", world.owner.id)
    assert world.agent.get(f"tool-calls/{call['id']}").json()["finding"]["by"] == "operator"
    assert_problem(world.owner.post(path, finding), 409, "conflict")


def lose(execution_id: str) -> None:
    """Have a worker take the call and die."""
    actor, now = system_actor("sweeper"), utc_now()
    with transaction.atomic():
        sandbox.claim_execution(
            execution_id=execution_id, worker_id="w", boot_id="b", actor=actor, now=now, record=record
        )
        closing.close_lost(execution_id, actor, now, proven_dead=True)


def test_a_run_past_its_time_takes_no_call(world: World) -> None:
    run = world.agent.open_run(ttl_seconds=60)
    with time_machine.travel(utc_now() + timedelta(seconds=61), tick=False):
        body = {"run_id": run, "tool": "echo", "input": {"text": "x"}}
        assert_problem(world.agent.post("tool-calls", body), 409, "run.closed")


def test_a_person_opens_a_run_for_an_own_agent_only(world: World) -> None:
    answer = world.agent_owner.post("runs", {"agent": world.other_agent.id})
    assert (answer.status_code, answer.json()["agent"]) == (201, world.other_agent.id)
    assert_problem(world.agent_owner.post("runs", {"agent": world.agent.id}), 404, "not_found")
    assert_problem(world.agent.post("runs", {"agent": world.other_agent.id}), 404, "not_found")


def test_a_run_has_no_more_calls_than_the_workspace_allows(world: World) -> None:
    assert_problem(world.agent.post("runs", {"max_calls": 33}), 422, "invalid")


def test_an_allowed_call_is_accepted_and_queued(world: World) -> None:
    body = {"run_id": world.agent.open_run(), "tool": "echo", "input": {"text": "x"}}
    answer = world.agent.post("tool-calls", body, traceparent=TRACE)
    call = answer.json()
    assert (answer.status_code, call["state"]) == (202, "queued")
    assert answer.headers["Location"] == f"/api/v1/tool-calls/{call['id']}" == call["links"]["self"]
    assert answer.headers["Retry-After"] == "2"
    assert call["traceparent"] == TRACE
    assert [gate["verdict"] for gate in call["decision"]["gates"]] == ["pass"] * 9
    assert world.agent.get(f"tool-calls/{call['id']}").json() == call
    assert_problem(world.agent.get(f"tool-calls/{call['id']}/attestation"), 404, "not_found")


@pytest.mark.parametrize("given", ["nonsense", "00-0-0-0", TRACE.upper(), TRACE + "-x"])
def test_a_bad_traceparent_is_ignored(world: World, given: str) -> None:
    body = {"run_id": world.agent.open_run(), "tool": "nope", "input": {}}
    answer = world.agent.post("tool-calls", body, traceparent=given)
    assert (answer.status_code, answer.json()["traceparent"]) == (201, None)


@pytest.mark.parametrize(
    ("tool", "given", "code"),
    [
        ("no.such.tool", {}, "schema.tool_unknown"),
        ("echo", {"text": 1}, "schema.input_invalid"),
        ("echo", {"text": "x", "more": 1}, "schema.input_invalid"),
        ("echo", {"text": "a\0b"}, "schema.input_invalid"),
        ("echo", [], "schema.input_not_object"),
        ("echo", "text", "schema.input_not_object"),
        ("echo", {"text": "x" * 17_000}, "schema.input_too_large"),
    ],
)
def test_what_cannot_run_is_a_recorded_denial(world: World, tool: str, given: object, code: str) -> None:
    answer = world.agent.post("tool-calls", {"run_id": world.agent.open_run(), "tool": tool, "input": given})
    call = answer.json()
    assert (answer.status_code, call["state"], call["decision"]["reason_code"]) == (201, "denied", code)
    assert "Retry-After" not in answer.headers
    assert call["input"] == given
    names = JournalEvent.objects.filter(call_id=call["id"]).values_list("type", flat=True)
    assert {"tool_call.proposed", "tool_call.decided", "attestation.recorded"} <= set(names)
    envelope = world.agent.get(f"tool-calls/{call['id']}/attestation").json()
    assert set(envelope) == {"payloadType", "payload", "signatures"}
    assert json.loads(base64.b64decode(envelope["payload"]))["_type"] == "https://in-toto.io/Statement/v1"


def test_a_problem_leaves_no_call(world: World) -> None:
    body = {"run_id": "run_01JD0000000000000000000000", "tool": "echo", "input": {"text": "x"}}
    assert_problem(world.agent.post("tool-calls", body), 404, "run_not_found")
    assert not ToolCall.objects.exists()


def test_a_preview_says_what_would_be_and_leaves_nothing(world: World) -> None:
    run = world.agent.open_run()
    before = JournalEvent.objects.count()
    for tool, given, effect in (
        ("echo", {"text": "x"}, "allow"),
        ("demo.wc", {"path": "README.txt"}, "require_approval"),
        ("nope", {}, "deny"),
    ):
        body = {"run_id": run, "tool": tool, "input": given, "dry_run": True}
        answer = world.agent.post("tool-calls", body, Idempotency_Key="preview")
        assert answer.status_code == 200
        assert answer.json()["object"] == "tool_call_preview"
        assert answer.json()["decision"]["effect"] == effect
        assert len(answer.json()["decision"]["gates"]) == 9
    assert not ToolCall.objects.exists()
    assert not ApprovalRequest.objects.exists()
    assert not Reservation.objects.exists()
    assert Run.objects.get(id=run).calls_used == 0
    assert JournalEvent.objects.count() == before


def test_a_queued_call_is_cancelled_once(world: World) -> None:
    call = world.agent.propose("echo", {"text": "x"})
    ended = world.agent.post(f"tool-calls/{call['id']}/cancel")
    assert (ended.status_code, ended.json()["state"]) == (200, "cancelled")
    assert ended.json()["attestation"] is not None
    assert_problem(world.agent.post(f"tool-calls/{call['id']}/cancel"), 409, "state_changed")


def test_a_waiting_call_takes_its_request_along(world: World) -> None:
    call = world.ask()
    assert world.agent.post(f"tool-calls/{call['id']}/cancel").json()["state"] == "cancelled"
    shown = world.approver.get(f"approvals/{call['approval']['id']}").json()
    assert (shown["state"], shown["decision"]) == ("cancelled", "cancelled")


def test_a_large_input_is_shown_in_full_to_its_sender_only(world: World) -> None:
    text = "line\n" * 2000
    call = world.agent.propose("nope", {"text": text})
    assert call["input"] == {"text": text}
    seen = world.auditor.get(f"tool-calls/{call['id']}").json()
    assert seen["input_redacted"] is True
    assert set(seen["input"]["text"]) == {"$digest", "bytes", "excerpt"}
    assert seen["input"]["text"]["bytes"] == len(text)


@pytest.mark.parametrize("wait", ["-1", "61", "1.5", "x", "", "1&wait=2", "%20", "\uff19", "0" * 10])
def test_a_wait_out_of_range_is_refused_before_anything_happens(world: World, wait: str) -> None:
    body = {"run_id": world.agent.open_run(), "tool": "echo", "input": {"text": "x"}}
    assert_problem(world.agent.post(f"tool-calls?wait={wait}", body), 400, "invalid_parameter")
    assert not ToolCall.objects.exists()


def test_a_call_that_has_ended_is_not_waited_for(world: World) -> None:
    body = {"run_id": world.agent.open_run(), "tool": "nope", "input": {}}
    answer = world.agent.post("tool-calls?wait=60", body)
    assert (answer.status_code, answer.json()["state"]) == (201, "denied")
    assert world.agent.get(f"tool-calls/{answer.json()['id']}?wait=60").status_code == 200


def test_a_wait_that_ends_without_news_is_accepted(world: World) -> None:
    body = {"run_id": world.agent.open_run(), "tool": "demo.wc", "input": {"path": "README.txt"}}
    answer = world.agent.post("tool-calls?wait=1", body)
    assert (answer.status_code, answer.json()["state"]) == (202, "awaiting_approval")


def test_without_a_free_place_nobody_waits(world: World, settings: pytest.FixtureRequest) -> None:
    settings.PALYRA_MAX_WAITERS = 0  # type: ignore[attr-defined]  # pytest-django's settings
    call = world.ask()
    answer = world.agent.get(f"tool-calls/{call['id']}?wait=60")
    assert answer.status_code == 200
    assert answer.headers["Preference-Applied"] == "wait=0"
    assert answer.headers["Retry-After"] == "1"


@pytest.mark.parametrize("name", ["other_agent", "stranger"])
def test_others_calls_and_runs_do_not_exist(world: World, name: str) -> None:
    call = world.ask()
    outsider = getattr(world, name)
    expected = 404 if name == "other_agent" else 403
    for path in (
        f"runs/{call['run_id']}",
        f"tool-calls/{call['id']}",
        f"tool-calls/{call['id']}/attestation",
    ):
        assert outsider.get(path).status_code == expected
    for path in (f"runs/{call['run_id']}/cancel", f"tool-calls/{call['id']}/cancel"):
        assert outsider.post(path).status_code == expected
    approval = f"approvals/{call['approval']['id']}"
    assert outsider.get(approval).status_code == expected
    assert outsider.post(f"{approval}/cancel").status_code == 404
    assert outsider.post(f"{approval}/decision", {"decision": "allow"}).status_code == 404
    body = {"run_id": call["run_id"], "tool": "echo", "input": {"text": "x"}}
    assert outsider.post("tool-calls", body).status_code == expected
    for path in ("runs", "tool-calls", "approvals"):
        listed = outsider.get(path)
        assert listed.status_code == (200 if name == "other_agent" else 403)
        if name == "other_agent":
            assert listed.json()["data"] == []
    assert world.agent.get(f"tool-calls/{call['id']}").json()["state"] == "awaiting_approval"


def test_a_foreign_id_answers_like_one_that_never_was(world: World) -> None:
    call = world.ask()
    for path, unknown in (
        (f"tool-calls/{call['id']}", "tool-calls/call_01JD0000000000000000000000"),
        (f"runs/{call['run_id']}", "runs/run_01JD0000000000000000000000"),
        (f"approvals/{call['approval']['id']}", "approvals/apr_01JD0000000000000000000000"),
    ):
        foreign, none = world.other_agent.get(path).json(), world.other_agent.get(unknown).json()
        for body in (foreign, none):
            del body["instance"], body["request_id"]
        assert foreign == none


def test_a_person_proposes_in_their_own_run_only(world: World) -> None:
    body = {"run_id": world.agent.open_run(), "tool": "echo", "input": {"text": "x"}}
    answer = world.agent_owner.post("tool-calls", body)
    assert (answer.status_code, answer.json()["decision"]["reason_code"]) == (201, "run.not_owned")


def test_the_catalog_shows_schema_and_posture(world: World) -> None:
    tools = world.agent.get("tools").json()
    assert tools["has_more"] is False
    postures = {tool["name"]: tool["posture"] for tool in tools["data"]}
    assert postures["demo.ls"] == "always_allow"
    assert postures["demo.wc"] == postures["process.run"] == "ask_each_time"
    assert "local.echo" in postures
    assert world.agent.get("tools/palyra.echo").json() == world.agent.get("tools/echo").json()
    assert world.agent.get("tools/echo").json()["input_schema"]["required"] == ["text"]
    for name in ("nope", "ECHO%00", "..", "e" * 200):
        assert_problem(world.agent.get(f"tools/{name}"), 404, "tool_not_found")


def test_whoami_tells_who_and_what_they_may(world: World) -> None:
    agent, person = world.agent.get("whoami").json(), world.approver.get("whoami").json()
    assert (agent["kind"], agent["id"]) == ("agent", world.agent.id)
    assert "approvals.decide" not in agent["permissions"]
    assert (person["kind"], person["owner"]) == ("user", world.approver.id)
    assert {person["token_id"][:4], agent["token_id"][:4]} == {"tok_"}
    assert "approvals.decide" in person["permissions"]
    assert world.stranger.get("whoami").json()["permissions"] == []


def test_a_nested_call_names_a_call_of_its_own_run(world: World) -> None:
    run = world.agent.open_run()
    parent = world.agent.propose("echo", {"text": "x"}, run=run)["id"]
    body = {"run_id": run, "tool": "echo", "input": {"text": "x"}}
    nested = world.agent.post("tool-calls", body | {"parent_call_id": parent})
    assert (nested.status_code, nested.json()["parent_call_id"]) == (202, parent)
    other = world.agent.propose("echo", {"text": "x"}, run=world.agent.open_run())["id"]
    for stranger in (other, parent[:-1] + ("0" if parent[-1] != "0" else "1")):
        assert_problem(world.agent.post("tool-calls", body | {"parent_call_id": stranger}), 422, "invalid")


def test_a_token_that_may_only_propose_proposes_in_its_own_run(world: World) -> None:
    run = world.agent.open_run()
    agent = Agent.objects.select_related("workspace").get(pk=world.agent.id)
    minter = owner_principal(world, utc_now())
    blind = mint_for_agent(agent, agent.workspace, minter, now=utc_now(), scopes=("tools.propose",))
    body = {"run_id": run, "tool": "echo", "input": {"text": "x"}}
    assert blind.post("tool-calls", body).status_code == 202
    foreign = world.other_agent.open_run()
    assert_problem(blind.post("tool-calls", body | {"run_id": foreign}), 404, "run_not_found")


def test_a_large_input_that_no_tool_takes_is_kept_as_a_digest(world: World) -> None:
    body = {"run_id": world.agent.open_run(), "tool": "no.such.tool", "input": {"x": "y" * 900_000}}
    call = world.agent.post("tool-calls", body).json()
    assert call["state"] == "denied"
    assert (call["input"]["bytes"], call["input"]["$digest"][:7]) == (900_008, "sha256:")
    assert len(json.dumps(ToolCall.objects.get(id=call["id"]).input)) < 1_000
