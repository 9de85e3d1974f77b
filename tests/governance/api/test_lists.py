"""Cursors walk every row once; filters narrow and never surprise."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest
from django.core import signing

from governance.models import Run
from governance.operations import sweeping
from identity.models import Agent
from kernel.clock import utc_now
from kernel.ids import new_id
from tests.governance.api.test_answers import assert_problem
from tests.governance.api.world import Caller, World

ROWS = 300


def add_runs(world: World, count: int) -> list[str]:
    """Add runs of the agent as `runs.open_run` writes them, in one statement."""
    now = utc_now()
    owner = Agent.objects.get(pk=world.agent.id).owner_id
    rows = [
        Run(
            id=new_id("run", now),
            workspace_id=world.workspace.pk,
            principal_kind="agent",
            principal_id=world.agent.id,
            owner_id=owner,
            max_calls=1,
            opened_at=now,
            deadline_at=now + timedelta(hours=1),
        )
        for _ in range(count)
    ]
    return [row.id for row in Run.objects.bulk_create(rows)]


def walk(caller: Caller, path: str, *, cursor: str = "") -> list[dict[str, Any]]:
    """Follow a list from a cursor to its end."""
    rows: list[dict[str, Any]] = []
    while True:
        page = caller.get(path + (f"&cursor={quote(cursor)}" if cursor else "")).json()
        rows += page["data"]
        assert page["has_more"] == (page["next_cursor"] is not None)
        if not page["has_more"]:
            return rows
        cursor = page["next_cursor"]


@pytest.mark.parametrize("limit", [1, 7, 100, 150, 199, 200])
@pytest.mark.parametrize("order", ["asc", "desc"])
def test_a_walk_meets_every_row_once_in_order(world: World, limit: int, order: str) -> None:
    rows = add_runs(world, 40 if limit == 1 else ROWS)
    ids = [row["id"] for row in walk(world.agent, f"runs?limit={limit}&order={order}")]
    assert ids == sorted(rows, reverse=order == "desc")


def test_rows_that_come_during_a_walk_neither_hide_nor_repeat_others(world: World) -> None:
    before = add_runs(world, 10)
    first = world.agent.get("runs?limit=4&order=desc").json()
    add_runs(world, 3)
    rest = walk(world.agent, "runs?limit=4&order=desc", cursor=first["next_cursor"])
    met = [row["id"] for row in [*first["data"], *rest] if row["id"] in before]
    assert met == sorted(before, reverse=True)


def test_a_page_holds_fifty_unless_asked_otherwise(world: World) -> None:
    add_runs(world, 51)
    page = world.agent.get("runs").json()
    assert (len(page["data"]), page["has_more"], page["object"]) == (50, True, "list")


def test_the_limit_may_change_on_the_way(world: World) -> None:
    rows = add_runs(world, 5)
    first = world.agent.get("runs?limit=2&order=asc").json()
    rest = world.agent.get(f"runs?limit=3&order=asc&cursor={quote(first['next_cursor'])}").json()
    assert [row["id"] for row in [*first["data"], *rest["data"]]] == sorted(rows)


def forged(after: str) -> str:
    return signing.dumps({"after": after, "scope": "sha256:0"}, salt="palyra.cursor.v1", key="guess")


def test_a_cursor_that_was_changed_is_refused(world: World) -> None:
    add_runs(world, 3)
    cursor = world.agent.get("runs?limit=1").json()["next_cursor"]
    middle = len(cursor) // 2
    flipped = cursor[:middle] + ("A" if cursor[middle] != "A" else "B") + cursor[middle + 1 :]
    for bad in (
        flipped,
        cursor[:-1],
        cursor + "A",
        "",
        "x",
        forged("run_"),
        "\0",
        f"{cursor}&cursor={cursor}",
    ):
        answer = world.agent.get(f"runs?limit=1&cursor={bad if '&' in bad else quote(bad)}")
        assert_problem(answer, 400, "invalid_cursor")


def test_a_cursor_works_for_its_own_list_filters_and_holder_only(world: World) -> None:
    add_runs(world, 3)
    for _ in range(2):
        world.agent.propose("nope", {})
    cursor = quote(world.agent.get("runs?limit=1").json()["next_cursor"])
    assert world.agent.get(f"runs?limit=1&cursor={cursor}").status_code == 200
    for caller, path in (
        (world.agent, f"runs?state=open&cursor={cursor}"),
        (world.agent, f"runs?order=asc&cursor={cursor}"),
        (world.agent, f"tool-calls?cursor={cursor}"),
        (world.auditor, f"runs?limit=1&cursor={cursor}"),
    ):
        assert_problem(caller.get(path), 400, "invalid_cursor")


def ids(caller: Caller, path: str) -> set[str]:
    answer = caller.get(path)
    assert answer.status_code == 200, answer.content
    return {row["id"] for row in answer.json()["data"]}


def test_calls_are_filtered_by_what_they_are(world: World) -> None:
    queued = world.agent.propose("echo", {"text": "x"})
    waiting = world.ask()
    denied = world.agent.propose("nope", {})
    others = world.other_agent.propose("nope", {})
    everything = {call["id"] for call in (queued, waiting, denied, others)}
    seen = {
        "": everything,
        "state=queued": {queued["id"]},
        "state=awaiting_approval": {waiting["id"]},
        "state=denied": {denied["id"], others["id"]},
        "state=queued&state=awaiting_approval": {queued["id"], waiting["id"]},
        "state=succeeded": set(),
        "tool=nope": {denied["id"], others["id"]},
        "tool=nope&tool=echo": {denied["id"], others["id"], queued["id"]},
        f"run={waiting['run_id']}": {waiting["id"]},
        f"agent={world.other_agent.id}": {others["id"]},
        "reason_code=schema.tool_unknown": {denied["id"], others["id"]},
        f"reason_code=schema.tool_unknown&agent={world.agent.id}": {denied["id"]},
    }
    for query, expected in seen.items():
        assert ids(world.auditor, f"tool-calls?{query}") == expected, query
        assert ids(world.agent, f"tool-calls?{query}") == expected - {others["id"]}, query


def test_a_call_is_found_by_its_key(world: World) -> None:
    body = {"run_id": world.agent.open_run(), "tool": "nope", "input": {}}
    call = world.agent.post("tool-calls", body, Idempotency_Key="find-me").json()
    world.agent.propose("nope", {})
    assert ids(world.agent, "tool-calls?idempotency_key=find-me") == {call["id"]}


def test_a_filtered_list_is_walked_too(world: World) -> None:
    run = world.agent.open_run()
    made = [world.agent.propose("nope", {"n": n}, run=run)["id"] for n in range(5)]
    world.agent.propose("echo", {"text": "x"}, run=run)
    assert [row["id"] for row in walk(world.agent, "tool-calls?tool=nope&limit=2&order=asc")] == made


def test_rows_hold_neither_input_nor_result(world: World) -> None:
    world.agent.propose("nope", {"secret": "hunter2"})
    answer = world.auditor.get("tool-calls")
    assert not {"input", "result", "error"} & set(answer.json()["data"][0])
    assert b"hunter2" not in answer.content


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=201",
        "limit=-1",
        "limit=x",
        "limit=",
        "limit=1&limit=2",
        "limit=1.0",
        "limit=%2B5",
        "limit=\u0665",
        "order=up",
        "order=",
        "order=asc&order=desc",
        "state=nowhere",
        "state=",
        "state=queued&state=x",
        "tool=%00",
        "run=a%00b",
        "agent=%00",
        "reason_code=%00",
        "idempotency_key=%00",
        "tool=" + "x" * 256,
        "&".join(["tool=x"] * 51),
    ],
)
def test_a_bad_value_is_refused(world: World, query: str) -> None:
    assert_problem(world.agent.get(f"tool-calls?{query}"), 400, "invalid_parameter")


@pytest.mark.parametrize(
    "query", ["state=x", "risk=x", "subject_type=x", "mine=all", "mine=", "agent=%00", "run=%00", "tool=%00"]
)
def test_a_bad_value_is_refused_for_requests_too(world: World, query: str) -> None:
    assert_problem(world.approver.get(f"approvals?{query}"), 400, "invalid_parameter")


@pytest.mark.parametrize("query", ["state=x", "agent=%00"])
def test_a_bad_value_is_refused_for_runs_too(world: World, query: str) -> None:
    assert_problem(world.agent.get(f"runs?{query}"), 400, "invalid_parameter")


@pytest.mark.parametrize("query", ["since=0001-01-01T00:00:00%2B14:00", "until=9999-12-31T23:59:59-14:00"])
def test_a_time_whose_offset_leads_out_of_the_years_is_refused(world: World, query: str) -> None:
    for path in ("journal/events", "runs"):
        assert_problem(world.owner.get(f"{path}?{query}"), 400, "invalid_parameter")


def test_invalid_utf8_in_a_query_finds_nothing(world: World) -> None:
    world.agent.propose("nope", {})
    assert ids(world.agent, "tool-calls?tool=%ff") == set()


def test_requests_are_filtered_by_what_they_ask(world: World) -> None:
    medium, high, critical = (
        world.ask(tool)["approval"]["id"] for tool in ("demo.wc", "fs.write", "demo.launch")
    )
    run = world.auditor.get(f"approvals/{high}").json()["run_id"]
    seen = {
        "": {medium, high, critical},
        "risk=medium&risk=high": {medium, high},
        "tool=demo.wc": {medium},
        "tool=demo.wc&tool=fs.write": {medium, high},
        "tool=demo.w": set(),
        "state=pending": {medium, high, critical},
        "state=allowed": set(),
        "subject_type=skill": set(),
        f"run={run}": {high},
        f"agent={world.other_agent.id}": set(),
    }
    for query, expected in seen.items():
        assert ids(world.auditor, f"approvals?{query}") == expected, query


def test_mine_lists_what_this_person_may_answer(world: World) -> None:
    medium, high = (world.ask(tool)["approval"]["id"] for tool in ("demo.wc", "fs.write"))
    others = world.other_agent.propose("demo.wc", {"path": "README.txt"})
    assert others["state"] == "awaiting_approval", others["decision"]
    foreign = others["approval"]["id"]
    assert ids(world.approver, "approvals?mine=eligible") == {medium, high, foreign}
    for caller in (world.auditor, world.agent_owner, world.agent):
        assert ids(caller, "approvals?mine=eligible") == set()
    world.approver.post(f"approvals/{medium}/decision", {"decision": "allow"})
    assert ids(world.approver, "approvals?mine=eligible&risk=medium") == {foreign}
    with_expired = utc_now() + timedelta(hours=1)
    sweeping.sweep(with_expired)
    assert ids(world.approver, "approvals?mine=eligible") == set()


def test_mine_is_walked_without_gaps(world: World) -> None:
    asked = {world.ask(tool)["approval"]["id"] for tool in ("demo.wc", "fs.write", "demo.launch")}
    rows = walk(world.approver, "approvals?mine=eligible&limit=1")
    assert {row["id"] for row in rows} == asked
    assert len(rows) == 3
