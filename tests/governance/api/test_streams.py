"""Streams over HTTP, as lines: who may read, from where, and what of it. How they go on: `tests.e2e`."""

from __future__ import annotations

import json
from typing import Any

import pytest

from governance.streams.places import PLACES
from tests.governance.api.stepping import fresh
from tests.governance.api.test_answers import assert_problem
from tests.governance.api.world import Answer, Caller, World

LINES = "application/x-ndjson"


def read(caller: Caller, path: str, **headers: str) -> list[dict[str, Any]]:
    answer: Any = caller.get(path, Accept=LINES, **headers)
    assert answer.status_code == 200, answer.content
    assert answer.headers["Content-Type"] == f"{LINES}; charset=utf-8"
    return [json.loads(line) for line in b"".join(answer.streaming_content).splitlines()]


def refused(caller: Caller, path: str, **headers: str) -> Answer:
    return caller.get(path, **({"Accept": LINES} | headers))


def test_a_run_read_in_three_pieces_equals_one_read(world: World) -> None:
    call = world.ask()
    path = f"runs/{call['run_id']}/events"
    world.agent.post(f"tool-calls/{call['id']}/cancel")
    whole = read(world.agent, path)
    assert [event["event_seq"] for event in whole] == list(range(1, len(whole) + 1))
    first = read(world.agent, path)[:3]
    second = read(world.agent, path, Last_Event_ID="3")[:2]
    third = read(world.agent, f"{path}?after={second[-1]['id']}")
    assert first + second + third == whole
    assert read(world.agent, f"{path}?after=1", Last_Event_ID="3") == whole[3:]
    assert read(world.agent, f"{path}?after={len(whole)}") == []


def test_the_names_choose_and_the_numbers_stay(world: World) -> None:
    call = world.ask()
    path = f"runs/{call['run_id']}/events"
    some = read(world.agent, f"{path}?events=approval_request,run_status")
    assert [(event["event_seq"], event["type"]) for event in some] == [
        (1, "run.opened"),
        (4, "approval.requested"),
    ]
    assert read(world.agent, f"{path}?events=run_status&events=approval_request") == some
    for wrong in ("events=nothing", "events=", "events=run_status,", "after=x", "after=1&after=2", "from=1"):
        code = "unknown_parameter" if wrong.startswith("from") else "invalid_parameter"
        assert_problem(refused(world.agent, f"{path}?{wrong}"), 400, code)


@pytest.mark.parametrize("place", ["99", "evt_01JD0000000000000000000000", "foreign"])
def test_one_cannot_go_on_from_another_story(world: World, place: str) -> None:
    path = f"runs/{world.agent.open_run()}/events"
    if place == "foreign":
        place = read(world.agent, f"runs/{world.agent.open_run()}/events")[0]["id"]
    assert_problem(refused(world.agent, path, Last_Event_ID=place), 410, "event_gone")
    assert_problem(refused(world.agent, f"{path}?after={place}"), 410, "event_gone")


def test_each_reader_sees_what_is_theirs(world: World) -> None:
    call = world.ask()
    path = f"runs/{call['run_id']}/events"
    comment = {"decision": "deny", "comment": "not this one"}
    assert world.approver.post(f"approvals/{call['approval']['id']}/decision", comment).status_code == 200
    own, approver, revealing = (
        {event["type"]: event["data"] for event in read(reader, path)}
        for reader in (world.agent, world.approver, fresh(world.owner))
    )
    assert own["tool_call.proposed"]["input"] == {"path": "README.txt"}
    assert approver["tool_call.proposed"]["input"] is None
    assert revealing["tool_call.proposed"]["input"] == {"path": "README.txt"}
    assert own["approval.decided"]["by"] == "approver"
    assert approver["approval.decided"]["by"] == world.approver.id
    assert "comment" not in own["approval.reviewed"]
    assert world.approver.id not in json.dumps(own)


@pytest.mark.parametrize("name", ["other_agent", "stranger", "nobody"])
def test_a_story_is_not_there_for_others(world: World, name: str) -> None:
    run = world.agent.open_run()
    outsider: Caller = getattr(world, name)
    status = {"other_agent": 404, "stranger": 403, "nobody": 401}[name]
    for accept in (LINES, "text/event-stream", "*/*"):
        assert refused(outsider, f"runs/{run}/events", Accept=accept).status_code == status
    assert refused(outsider, "runs/run_01JD0000000000000000000000/events").status_code == status


def test_a_form_that_is_not_offered_and_live_output_are_refused_plainly(world: World) -> None:
    path = f"runs/{world.agent.open_run()}/events"
    assert_problem(refused(world.agent, path, Accept="application/json"), 406, "not_acceptable")
    answer = refused(world.agent, f"{path}?output=true")
    assert_problem(answer, 400, "invalid_parameter")
    assert "while it runs" in answer.json()["detail"]
    assert len(read(world.agent, f"{path}?output=false")) == 1
    assert_problem(world.agent.post(path), 405, "method_not_allowed")


def test_a_server_of_one_thread_a_request_gives_lines_only(world: World) -> None:
    """The main listener alone answers without holding a thread: `tests.e2e.test_streams_live`."""
    path = f"runs/{world.agent.open_run()}/events"
    assert_problem(refused(world.agent, path, Accept="text/event-stream"), 406, "not_acceptable")
    anything: Any = refused(world.agent, path, Accept="*/*")
    assert anything.headers["Content-Type"] == f"{LINES}; charset=utf-8"
    assert anything.headers["X-Accel-Buffering"] == "no"
    assert b"".join(anything.streaming_content).count(b"\n") == 1
    head = world.agent.send("HEAD", path, None, Accept=LINES)
    assert (head.status_code, head.headers["Content-Type"], head.content) == (200, LINES, b"")


def test_who_holds_all_places_gets_no_more_and_others_do(world: World) -> None:
    path = f"runs/{world.agent.open_run()}/events"
    places = [PLACES.take(world.agent.id) for _ in range(5)]
    for place in places:
        place.__enter__()
    try:
        full = refused(world.agent, path)
        assert_problem(full, 503, "too_many_streams")
        assert full.headers["Retry-After"] == "5"
        assert len(read(world.owner, path)) == 1
    finally:
        for place in places:
            place.__exit__(None, None, None)
    assert len(read(world.agent, path)) == 1


def test_an_approver_reads_how_their_questions_stand(world: World) -> None:
    first, second = world.ask(), world.ask()
    told = read(world.approver, "approvals/events")
    assert [event["subject"] for event in told] == [call["approval"]["id"] for call in (first, second)]
    assert {event["type"] for event in told} == {"approval.requested"}
    world.agent.post(f"tool-calls/{first['id']}/cancel")
    later = read(world.approver, f"approvals/events?after={told[-1]['id']}")
    assert ("approval.cancelled", first["approval"]["id"]) in {(one["type"], one["subject"]) for one in later}
    assert told[-1]["id"] not in {one["id"] for one in later}
    resolved = read(world.approver, f"approvals/events?events=approval_resolved&after={told[-1]['id']}")
    assert [one["type"] for one in resolved] == ["approval.cancelled"]


def test_questions_of_ones_own_agent_are_for_others(world: World) -> None:
    world.ask()
    assert read(world.auditor, "approvals/events") == []
    assert read(world.agent, "approvals/events") == []
    assert refused(world.stranger, "approvals/events").status_code == 403
    assert refused(world.nobody, "approvals/events").status_code == 401


def test_one_cannot_go_on_from_a_question_for_somebody_else(world: World) -> None:
    world.ask()
    asked = read(world.approver, "approvals/events")[0]["id"]
    assert_problem(refused(world.auditor, f"approvals/events?after={asked}"), 410, "event_gone")
    run = read(world.agent, f"runs/{world.agent.open_run()}/events")[0]["id"]
    assert_problem(refused(world.approver, f"approvals/events?after={run}"), 410, "event_gone")
    assert_problem(refused(world.approver, "approvals/events?after=7"), 400, "invalid_parameter")
