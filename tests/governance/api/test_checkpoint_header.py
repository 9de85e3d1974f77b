"""The newest checkpoint rides on every answer about a tool call, and sealing that stands is told as 503."""

from __future__ import annotations

import base64
from datetime import timedelta

import pytest
import time_machine
from django.db import DatabaseError

from governance.api import checkpoint_header
from governance.journal.models import JournalCheckpoint
from governance.operations import sealing
from kernel.clock import utc_now
from tests.governance.api.test_answers import assert_problem
from tests.governance.api.world import Answer, World

HEADER = checkpoint_header.HEADER


def expected() -> str:
    newest = JournalCheckpoint.objects.order_by("-tree_size")[0]
    return f"{newest.tree_size} {base64.b64encode(newest.root).decode()}"


def propose(world: World, run: str) -> Answer:
    return world.agent.post("tool-calls", {"run_id": run, "tool": "echo", "input": {"text": "x"}})


def test_before_the_first_checkpoint_there_is_no_header(world: World) -> None:
    made = propose(world, world.agent.open_run())
    assert made.status_code == 202
    assert HEADER not in made.headers


def test_every_answer_about_a_call_names_the_newest_checkpoint(world: World) -> None:
    run = world.agent.open_run()
    for _ in range(2):
        sealing.seal_pending(utc_now())
        before = expected()
        made = propose(world, run)
        call = made.json()["id"]
        shown = world.agent.get(f"tool-calls/{call}")
        listed = world.agent.get("tool-calls")
        ended = world.agent.post(f"tool-calls/{call}/cancel")
        assert [answer.headers[HEADER] for answer in (made, shown, listed, ended)] == [before] * 4


def test_a_problem_and_other_routes_do_not_name_it(world: World) -> None:
    sealing.seal_pending(utc_now())
    for path in ("runs", "tool-calls/call_01J00000000000000000000000", "tool-calls?nothing=1"):
        assert HEADER not in world.agent.get(path).headers
    assert HEADER not in world.nobody.get("tool-calls").headers


def test_a_checkpoint_that_cannot_be_read_spoils_no_answer(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise DatabaseError

    monkeypatch.setattr(JournalCheckpoint.objects, "order_by", fail)
    made = propose(world, world.agent.open_run())
    assert (made.status_code, HEADER in made.headers) == (202, False)


def test_while_sealing_stands_a_call_that_would_run_is_refused(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sealing, "hold_sealer_lock", lambda wait: False)
    with time_machine.travel(utc_now() + timedelta(minutes=2)):
        run = world.agent.open_run()
        refused = propose(world, run)
        assert_problem(refused, 503, "journal_sealing_stalled")
        assert refused.headers["Retry-After"] == "5"
        assert world.agent.get("tool-calls").json()["data"] == []
        asked = {"run_id": run, "tool": "demo.wc", "input": {"path": "README.txt"}}
        assert world.agent.post("tool-calls", asked).json()["state"] == "awaiting_approval"
        ready = world.nobody.get("/readyz")
        assert (ready.status_code, "journal" in ready.json()["failing"]) == (503, True)


def test_readiness_is_yellow_while_sealing_lags(world: World) -> None:
    sealing.seal_pending(utc_now())
    with time_machine.travel(utc_now() + timedelta(seconds=20)):
        assert "journal" not in world.nobody.get("/readyz").json()["degraded"]
    world.agent.open_run()
    with time_machine.travel(utc_now() + timedelta(seconds=20)):
        report = world.nobody.get("/readyz").json()
    assert ("journal" in report["degraded"], "journal" in report["failing"]) == (True, False)
