"""Proposing a call, waiting for its end, and runs."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import httpx
import pytest
from hypothesis import given, strategies as st

from palyra_site.cli.arguments import tool_input
from palyra_site.cli.failures import UsageError
from palyra_site.cli.world import real_world
from tests.cli.shell import CALL, RUN, Shell, answer, problem

PROPOSE = ("calls", "propose", "fs.write", "--run", RUN, "--input", "path=notes/a.md", "content=hi")


def call(state: str, status: int = 200, **headers: str) -> httpx.Response:
    body = {"id": CALL, "object": "tool_call", "state": state, "tool": {"name": "fs.write"}}
    return answer(body, status, **headers)


def test_the_id_comes_on_stderr_and_the_object_on_stdout(shell: Shell) -> None:
    shell.replies = [call("succeeded", 201)]
    result = shell(*PROPOSE, "--json")
    assert result.code == 0
    assert result.err == f"{CALL}\n"
    assert json.loads(result.out)["id"] == CALL
    assert result.body() == {
        "run_id": RUN,
        "tool": "fs.write",
        "input": {"path": "notes/a.md", "content": "hi"},
    }


@pytest.mark.parametrize(
    ("state", "code"), [("denied", 6), ("failed", 11), ("awaiting_approval", 0), ("queued", 0)]
)
def test_without_waiting_the_state_decides_the_exit_code(shell: Shell, state: str, code: int) -> None:
    shell.replies = [call(state, 202)]
    assert shell(*PROPOSE).code == code


def test_a_wait_goes_on_in_pieces_until_the_end(shell: Shell) -> None:
    shell.replies = [call("awaiting_approval", 202), call("awaiting_approval"), call("succeeded")]
    result = shell(*PROPOSE, "--wait", "300")
    look = f"GET /api/v1/tool-calls/{CALL}?wait=60"
    assert (result.code, result.sent[1:], result.pauses) == (0, [look, look], [])


def test_a_wait_that_runs_out_is_ten_and_names_the_call(shell: Shell) -> None:
    shell.replies = [call("awaiting_approval", 202)]
    result = shell(*PROPOSE, "--wait", "90", "--json")
    waits = [request.url.params["wait"] for request in result.requests[1:]]
    assert (result.code, waits, json.loads(result.out)["id"]) == (10, ["60", "30"], CALL)


def test_a_server_without_room_for_waiters_is_not_hammered(shell: Shell) -> None:
    crowded = call("queued", 200, Preference_Applied="wait=0", Retry_After="1")
    shell.replies = [call("queued", 202), crowded]
    shell.ignore_wait = True
    result = shell(*PROPOSE, "--wait", "3")
    assert (result.code, result.pauses) == (10, [1.0, 1.0, 1.0])


def test_interrupting_a_wait_leaves_the_call_alone(shell: Shell) -> None:
    def serve(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            raise KeyboardInterrupt
        return call("queued", 202)

    shell.on_request = serve
    result = shell(*PROPOSE, "--wait", "60")
    assert (result.code, len(result.requests)) == (130, 2)
    assert f"palyra calls wait {CALL}" in result.err


@pytest.mark.parametrize(
    ("state", "code"),
    [("succeeded", 0), ("refused", 6), ("timed_out", 11), ("ambiguous", 11), ("queued", 10)],
)
def test_wait_ends_with_the_state(shell: Shell, state: str, code: int) -> None:
    shell.replies = [call(state)]
    assert shell("calls", "wait", CALL, "--for", "1").code == code


def test_a_new_run_is_opened_for_the_call(shell: Shell) -> None:
    shell.replies = [answer({"id": RUN, "object": "run"}, 201), call("succeeded", 201)]
    result = shell("calls", "propose", "echo", "--new-run", "--input", "text=a")
    assert result.sent == ["POST /api/v1/runs", "POST /api/v1/tool-calls"]
    assert (result.body()["run_id"], result.err) == (RUN, f"{RUN}\n{CALL}\n")


@pytest.mark.parametrize(("effect", "code"), [("allow", 0), ("require_approval", 0), ("deny", 6), (None, 6)])
def test_a_dry_run_only_decides(shell: Shell, effect: str | None, code: int) -> None:
    shell.replies = [answer({"object": "tool_call_preview", "decision": {"effect": effect}})]
    result = shell(*PROPOSE, "--dry-run")
    assert (result.code, result.body()["dry_run"], result.err) == (code, True, "")


@pytest.mark.parametrize(
    "arguments",
    [
        ("echo",),
        ("echo", "--run", RUN, "--new-run"),
        ("echo", "--new-run", "--dry-run"),
        ("echo", "--run", RUN, "--dry-run", "--wait", "5"),
        ("echo", "--run", CALL),
        ("echo", "--run", RUN, "--wait", "-1"),
        ("echo", "--run", RUN, "--input", "novalue"),
        ("echo", "--run", RUN, "--input", "=x"),
        ("echo", "--run", RUN, "--input", "a=1", "a=2"),
        ("echo", "--run", RUN, "--input", "@/does/not/exist"),
        ("echo", "--run", RUN, "--input", "-"),
    ],
)
def test_bad_arguments_reach_no_server(shell: Shell, arguments: tuple[str, ...]) -> None:
    result = shell("calls", "propose", *arguments)
    assert (result.code, result.requests) == (2, [])


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"a":1,"a":2}', '{"a":NaN}', '{"a":Infinity}', "[" * 100_000, " " * 1_048_577],
)
def test_input_that_is_no_object_reaches_no_server(shell: Shell, text: str) -> None:
    shell.typed = text
    result = shell("calls", "propose", "echo", "--run", RUN, "--input", "-")
    assert (result.code, result.requests) == (2, [])


def test_input_from_stdin_and_from_a_file(shell: Shell) -> None:
    shell.replies = [call("succeeded", 201)]
    shell.typed = '{"path": "a", "n": 1}'
    assert shell("calls", "propose", "x", "--run", RUN, "--input", "-").body()["input"] == {
        "path": "a",
        "n": 1,
    }
    (shell.home / "input.json").write_text('{"b": [true]}')
    read = shell("calls", "propose", "x", "--run", RUN, "--input", f"@{shell.home / 'input.json'}")
    assert read.body()["input"] == {"b": [True]}


@pytest.mark.parametrize(
    ("pair", "expected"),
    [
        ("n=1", {"n": 1}),
        ("n==1", {"n": "1"}),
        ("t=007", {"t": "007"}),
        ("t=a=b", {"t": "a=b"}),
        ("t=", {"t": ""}),
        ("t=NaN", {"t": "NaN"}),
        ('o={"a":[1]}', {"o": {"a": [1]}}),
        ("b=true", {"b": True}),
    ],
)
def test_pairs(pair: str, expected: dict[str, Any]) -> None:
    assert tool_input([pair], real_world()) == expected


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(value=_JSON)
def test_json_values_survive_a_pair(value: object) -> None:
    assert tool_input([f"x={json.dumps(value)}"], real_world()) == {"x": value}


@given(text=st.text())
def test_text_survives_a_pair_with_two_equal_signs(text: str) -> None:
    assert tool_input([f"x=={text}"], real_world()) == {"x": text}


@given(parts=st.lists(st.text(alphabet='ab=@-{}"1 ', max_size=6), max_size=3))
def test_any_input_is_an_object_or_a_usage_error(parts: list[str]) -> None:
    if parts == ["-"]:
        return
    with suppress(UsageError):
        assert isinstance(tool_input(parts, real_world()), dict)


def test_a_problem_means_no_call(shell: Shell) -> None:
    shell.replies = [problem(409, "run.closed")]
    result = shell(*PROPOSE)
    assert (result.code, result.out) == (7, "")
    assert "error[run.closed]" in result.err


@pytest.mark.parametrize(
    ("arguments", "path", "body"),
    [
        (("calls", "cancel", CALL), f"tool-calls/{CALL}", {}),
        (("calls", "cancel", CALL, "--reason", "late"), f"tool-calls/{CALL}", {"reason": "late"}),
        (("runs", "cancel", RUN, "--reason", "late"), f"runs/{RUN}", {"reason": "late"}),
    ],
)
def test_cancelling(shell: Shell, arguments: tuple[str, ...], path: str, body: dict[str, str]) -> None:
    shell.replies = [call("cancelled")]
    assert shell(*arguments).requests == []
    result = shell(*arguments, "--yes")
    assert (result.sent, result.body()) == ([f"POST /api/v1/{path}/cancel"], body)


def test_cancelling_a_run_needs_a_reason(shell: Shell) -> None:
    result = shell("runs", "cancel", RUN, "--yes")
    assert (result.code, result.requests) == (2, [])


def test_opening_a_run(shell: Shell) -> None:
    shell.replies = [answer({"id": RUN}, 201)]
    result = shell("runs", "open", "--purpose", "report", "--max-calls", "5", "-q")
    assert (result.out, result.body()) == (f"{RUN}\n", {"purpose": "report", "max_calls": 5})


@pytest.mark.parametrize(
    ("given_time", "sent"),
    [
        ("2h", "2026-01-05T08:00:00.000Z"),
        ("7d", "2025-12-29T10:00:00.000Z"),
        ("2026-01-05T10:00:00+02:00", "2026-01-05T08:00:00.000Z"),
        ("2026-01-05T10:00:00Z", "2026-01-05T10:00:00.000Z"),
    ],
)
def test_times_become_utc(shell: Shell, given_time: str, sent: str) -> None:
    shell.replies = [answer({"object": "list", "data": [], "has_more": False})]
    result = shell("calls", "list", "--since", given_time, "--state", "queued", "--state", "running")
    assert result.requests[0].url.params["since"] == sent
    assert result.requests[0].url.params.get_list("state") == ["queued", "running"]


@pytest.mark.parametrize("text", ["yesterday", "7", "2026-13-01", "9999999d", "999999w", ""])
def test_what_is_no_time_is_refused(shell: Shell, text: str) -> None:
    result = shell("runs", "list", "--until", text)
    assert (result.code, result.requests) == (2, [])
