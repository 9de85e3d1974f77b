"""Postures from the shell: what is asked, what is sent, and what is refused before anything is sent."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from tests.cli.shell import Shell, answer, problem

AGENT = "agt_01JD2Q8ZV0C3M4N5P6R7S8T9VW"
EVENT = "evt_01JD2Q8ZV0C3M4N5P6R7S8T9VW"
TAG = '"posture-7:2"'
REC = f"rec:loosen:agent:{AGENT}:demo.wc:always_allow"


def posture(tag: str | None = TAG, **changes: Any) -> httpx.Response:
    override = {"state": "disabled", "expires_at": None} if tag else None
    body = {
        "id": "fs.write", "object": "posture", "tool": "fs.write", "state": "disabled", "risk": "high",
        "source_scope": "agent", "explicit": True, "lock_reason": None, "override": override,
    }  # fmt: skip
    found = {**body, **changes}
    return answer(found, ETag=tag) if tag else answer(found)


def act(event: str | None = EVENT) -> httpx.Response:
    return answer({"object": "posture_act", "undo_id": event, "event": None})


def test_the_list_is_of_one_scope(shell: Shell) -> None:
    shell.replies = [answer({"object": "list", "data": [posture().json()], "has_more": False})]
    result = shell("posture", "list", "--scope", f"agent:{AGENT}")
    assert result.sent == [f"GET /api/v1/posture?scope_kind=agent&scope_id={AGENT}"]
    assert result.out.splitlines()[1].split("\t")[:5] == ["fs.write", "disabled", "agent", "true", "high"]


def test_show_takes_an_agent_as_a_short_form(shell: Shell) -> None:
    shell.replies = [posture()]
    result = shell("posture", "show", "fs.write", "--agent", AGENT, "--json")
    assert (result.code, result.sent) == (
        0,
        [f"GET /api/v1/posture/fs.write?scope_kind=agent&scope_id={AGENT}"],
    )


def test_set_sends_what_was_seen(shell: Shell) -> None:
    shell.replies = [posture(), posture()]
    result = shell(
        "posture", "set", "fs.write", "--state", "ask_each_time", "--scope", "global", "--reason", "why",
        "--fixed", "--yes",
    )  # fmt: skip
    assert result.sent == ["GET /api/v1/posture/fs.write?scope_kind=global", "PUT /api/v1/posture/fs.write"]
    assert result.requests[1].headers["If-Match"] == TAG
    assert result.body() == {
        "scope_kind": "global", "state": "ask_each_time", "reason": "why", "overridable": False,
        "expires_at": None,
    }  # fmt: skip
    assert "override: disabled -> ask_each_time" in result.err


def test_set_where_nothing_stands_sends_no_version(shell: Shell) -> None:
    shell.replies = [posture(None), posture()]
    result = shell(
        "posture", "set", "fs.write", "--state", "disabled", "--scope", f"agent:{AGENT}", "--reason", "why",
        "--expires", "12h", "--yes",
    )  # fmt: skip
    assert "If-Match" not in result.requests[1].headers
    assert result.body()["expires_at"].endswith("Z")
    assert "(no override) -> disabled" in result.err


def test_clear_sends_scope_reason_and_version(shell: Shell) -> None:
    shell.replies = [posture(), answer(None, 204)]
    result = shell("posture", "clear", "fs.write", "--scope", "global", "--reason", "over", "--yes")
    assert result.sent[1] == "DELETE /api/v1/posture/fs.write?scope_kind=global&reason=over"
    assert (result.code, result.requests[1].headers["If-Match"]) == (0, TAG)


def test_reset_and_undo_are_posted_once(shell: Shell) -> None:
    shell.replies = [act()]
    result = shell("posture", "reset", "--scope", "global", "--reason", "why", "--yes")
    assert (result.sent, result.body()) == (
        ["POST /api/v1/posture/reset"],
        {"scope_kind": "global", "reason": "why"},
    )
    assert result.requests[0].headers["Idempotency-Key"]
    shell.replies = [act()]
    result = shell("posture", "undo", EVENT, "--yes")
    assert (result.sent, result.body()) == ([f"POST /api/v1/posture/undo/{EVENT}"], {})


def test_a_preset_is_previewed_before_it_is_applied(shell: Shell) -> None:
    rows = [{"tool": "fs.write", "current": "ask_each_time", "proposed": "disabled", "changed": True}]
    shell.replies = [answer({"object": "posture_preview", "rows": rows}), act()]
    result = shell("posture", "preset", "apply", "lockdown", "--scope", "global", "--reason", "why", "--yes")
    assert result.sent == [
        "POST /api/v1/posture/presets/lockdown/preview",
        "POST /api/v1/posture/presets/lockdown/apply",
    ]
    assert result.body() == {"scope_kind": "global", "reason": "why"}
    assert "fs.write: ask_each_time -> disabled" in result.err
    keys = {request.headers["Idempotency-Key"] for request in result.requests}
    assert len(keys) == 2


def test_a_preview_is_a_table(shell: Shell) -> None:
    rows = [{"tool": "fs.write", "current": "ask_each_time", "proposed": "disabled", "changed": True}]
    shell.replies = [answer({"object": "posture_preview", "rows": rows})]
    result = shell("posture", "preset", "preview", "lockdown", "--scope", "global")
    assert result.out.splitlines()[1].split("\t")[:4] == ["fs.write", "ask_each_time", "disabled", "true"]


@pytest.mark.parametrize("said", ["accept", "dismiss", "defer"])
def test_a_recommendation_is_answered(shell: Shell, said: str) -> None:
    shell.replies = [act()]
    result = shell("posture", "recommend", said, REC, "--yes")
    (sent,) = result.sent
    assert sent.startswith("POST /api/v1/posture/recommendations/rec")
    assert sent.endswith("/answer")
    assert result.body() == {"answer": said}


def test_lists_of_presets_recommendations_and_events(shell: Shell) -> None:
    empty = {"object": "list", "data": [], "has_more": False}
    for command, path in (
        (("preset", "list"), "/api/v1/posture/presets"),
        (("recommend", "list"), "/api/v1/posture/recommendations"),
        (
            ("events", "--tool", "echo", "--scope", "global"),
            "/api/v1/posture/events?scope_kind=global&tool=echo",
        ),
    ):
        shell.replies = [answer(empty)]
        assert shell("posture", *command).sent == [f"GET {path}"]


@pytest.mark.parametrize(
    ("refusal", "code"),
    [
        (problem(409, "posture_shadowed"), 7),
        (problem(409, "posture_locked"), 7),
        (problem(409, "recommendation_stale"), 7),
        (problem(412, "precondition_failed"), 7),
        (problem(401, "step_up_required"), 3),
        (problem(403, "role_required"), 6),
        (problem(404, "tool_not_found"), 8),
        (problem(422, "posture_too_loose"), 2),
    ],
)
def test_refusals_have_their_exit_codes(shell: Shell, refusal: httpx.Response, code: int) -> None:
    shell.replies = [posture(), refusal]
    result = shell(
        "posture", "set", "fs.write", "--state", "disabled", "--scope", "global", "--reason", "x", "--yes"
    )
    assert (result.code, result.out) == (code, "")


@pytest.mark.parametrize(
    "arguments",
    [
        ("set", "fs.write", "--state", "disabled", "--reason", "x", "--yes"),
        ("set", "fs.write", "--state", "maybe", "--scope", "global", "--reason", "x", "--yes"),
        ("set", "fs.write", "--state", "disabled", "--scope", "global", "--yes"),
        ("set", "fs.write", "--state", "disabled", "--scope", "global", "--reason", "x"),
        ("set", "fs.write", "--state", "disabled", "--scope", "planet:earth", "--reason", "x", "--yes"),
        ("set", "fs.write", "--state", "disabled", "--scope", "agent", "--reason", "x", "--yes"),
        ("set", "fs.write", "--state", "disabled", "--scope", f"workspace:{AGENT}", "--reason", "x", "--yes"),
        ("clear", "fs.write", "--yes"),
        ("reset", "--reason", "x", "--yes"),
        ("undo", AGENT, "--yes"),
        ("undo", EVENT),
        ("preset", "apply", "lockdown", "--reason", "x", "--yes"),
        ("recommend", "accept", REC),
    ],
)
def test_bad_arguments_and_a_missing_yes_reach_no_server(shell: Shell, arguments: tuple[str, ...]) -> None:
    result = shell("posture", *arguments)
    assert (result.code, result.requests) == (2, [])


def test_the_time_of_an_act_is_local_like_every_other_time(shell: Shell) -> None:
    row = {"id": "evt_1", "at": "2026-03-02T09:30:00.000Z", "tool": "echo"}
    shell.replies = [answer({"object": "list", "data": [row], "has_more": False})]
    local = datetime(2026, 3, 2, 9, 30, tzinfo=UTC).astimezone().isoformat(" ", "seconds")
    assert shell("posture", "events").out.splitlines()[1].split("\t")[1] == local
    assert json.loads(shell("posture", "events", "--json").out)["data"][0]["at"] == row["at"]
