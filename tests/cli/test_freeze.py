"""Freezes from the shell."""

from __future__ import annotations

import httpx
import pytest

from tests.cli.shell import RUN, Shell, answer, problem

FREEZE = "frz_01JD2Q8ZV0C3M4N5P6R7S8T9VW"
AGENT = "agt_01JD2Q8ZV0C3M4N5P6R7S8T9VW"
REASON = "the agent runs wild"
WHY = ("--reason", REASON)


def freeze(status: int = 200, **changes: object) -> httpx.Response:
    body = {
        "id": FREEZE, "object": "freeze", "state": "active", "scope": "global", "scope_id": None,
        "kill_running": False, "set_by": "usr_1", "set_at": "2026-03-02T09:30:00.000Z", "lifted_at": None,
        "reason": REASON,
    }  # fmt: skip
    return answer({**body, **changes}, status)


def test_everything_is_stopped_when_the_word_was_typed_in_full(shell: Shell) -> None:
    shell.replies = [freeze(201)]
    shell.typed, shell.terminal = "all\n", True
    result = shell("freeze", "set", *WHY, "--stop-running")
    assert (result.code, result.sent) == (0, ["POST /api/v1/freezes"])
    assert result.body() == {"scope": "global", "reason": REASON, "kill_running": True}
    assert "Stop every agent in every workspace and kill what runs. Type all to go on" in result.err


@pytest.mark.parametrize("typed", ["y\n", "ALL\n", "\n", ""])
def test_anything_else_than_the_word_stops_nothing(shell: Shell, typed: str) -> None:
    shell.typed, shell.terminal = typed, True
    result = shell("freeze", "set", "--scope", "all", *WHY)
    assert (result.code, result.requests) == (2, [])


def test_a_script_names_the_profile_it_means(shell: Shell) -> None:
    shell.replies = [freeze(201)]
    assert shell("freeze", "set", *WHY, "--yes").code == 2
    result = shell("freeze", "set", *WHY, "--yes", "--expect-profile", "none")
    assert (result.code, len(result.requests)) == (0, 1)


def test_a_narrow_freeze_asks_for_a_plain_yes(shell: Shell) -> None:
    shell.replies = [freeze(201, scope="agent", scope_id=AGENT)]
    shell.typed, shell.terminal = "y\n", True
    result = shell("freeze", "set", "--scope", "agent", "--id", AGENT, *WHY)
    assert result.body() == {"scope": "agent", "scope_id": AGENT, "reason": REASON}
    assert f"Freeze agent {AGENT}? [y/N]" in result.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("set", "--scope", "all", "--id", AGENT, *WHY),
        ("set", "--scope", "agent", *WHY),
        ("set", "--scope", "agent", "--id", RUN, *WHY),
        ("set", "--scope", "tool", "--id", "echo", "--reason", "short"),
        ("set", "--scope", "everything", *WHY),
        ("set", "--scope", "tool", "--id", "echo"),
        ("lift", "frz_1", *WHY),
        ("lift", FREEZE),
    ],
)
def test_bad_arguments_reach_no_server(shell: Shell, arguments: tuple[str, ...]) -> None:
    result = shell("freeze", *arguments, "--yes", "--expect-profile", "none")
    assert (result.code, result.requests) == (2, [])


def test_a_freeze_is_lifted_after_a_yes(shell: Shell) -> None:
    shell.replies = [freeze(state="lifted")]
    result = shell("freeze", "lift", FREEZE, *WHY, "--yes")
    assert result.sent == [f"POST /api/v1/freezes/{FREEZE}/lift"]
    assert result.body() == {"reason": REASON}


def test_a_code_that_is_due_goes_first(shell: Shell) -> None:
    shell.replies = [answer(None, 204), freeze(201)]
    result = shell("freeze", "set", "--scope", "tool", "--id", "echo", *WHY, "--yes", "--otp", "123456")
    assert result.sent == ["POST /api/v1/auth/step-up", "POST /api/v1/freezes"]


@pytest.mark.parametrize(("code", "status", "exits"), [("four_eyes_required", 403, 6), ("conflict", 409, 7)])
def test_refusals_have_their_exit_codes(shell: Shell, code: str, status: int, exits: int) -> None:
    shell.replies = [problem(status, code)]
    assert shell("freeze", "lift", FREEZE, *WHY, "--yes").code == exits


def test_the_list_says_what_is_stopped_and_why(shell: Shell) -> None:
    shell.replies = [answer({"object": "list", "data": [freeze().json()], "has_more": False})]
    result = shell("freeze", "list", "--state", "active")
    assert result.sent == ["GET /api/v1/freezes?state=active"]
    assert REASON in result.out
