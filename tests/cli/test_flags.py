"""Feature flags from the shell."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.cli.shell import Shell, answer, problem

TAG = '"mcp:3"'
REASON = "first trial"
WORKSPACE = "wsp_01JD2Q8ZV0C3M4N5P6R7S8T9VW"


def flag(**changes: Any) -> httpx.Response:
    body = {
        "id": "mcp",
        "object": "feature_flag",
        "enabled": False,
        "stage": "pilot",
        "percent": 100,
        "here": {"enabled": False, "reason": "flag_off", "dependency": None},
        "depends_on": "api_tokens",
    }
    return answer({**body, **changes}, ETag=TAG)


@pytest.mark.parametrize("command", [("flags", "list"), ("auth", "access", "status")])
def test_the_list_says_what_each_flag_means_here(shell: Shell, command: tuple[str, ...]) -> None:
    shell.replies = [answer({"object": "list", "data": [flag().json()], "has_more": False})]
    result = shell(*command)
    assert result.sent == ["GET /api/v1/access/flags"]
    assert result.out.splitlines()[1].split("\t") == [
        "mcp", "false", "pilot", "100", "false", "flag_off", "api_tokens",
    ]  # fmt: skip


def test_one_flag_is_shown(shell: Shell) -> None:
    shell.replies = [flag()]
    result = shell("flags", "show", "mcp", "--json")
    assert (result.code, result.sent) == (0, ["GET /api/v1/access/flags/mcp"])


@pytest.mark.parametrize("command", [("flags", "set"), ("auth", "access", "feature")])
def test_a_switch_is_sent_against_the_version_that_was_shown(shell: Shell, command: tuple[str, ...]) -> None:
    shell.replies = [flag(), flag(enabled=True)]
    result = shell(*command, "mcp", "on", "--reason", REASON, "--percent", "50", "--stage", "lab", "--yes")
    assert result.sent == ["GET /api/v1/access/flags/mcp", "PATCH /api/v1/access/flags/mcp"]
    assert result.requests[1].headers["If-Match"] == TAG
    assert result.body() == {"enabled": True, "stage": "lab", "percent": 50, "reason": REASON}
    assert "enabled: false -> true" in result.err


def test_dependants_and_the_pilot_are_sent_when_they_are_given(shell: Shell) -> None:
    shell.replies = [flag()]
    result = shell(
        "flags", "set", "mcp", "off", "--reason", REASON, "--cascade", "--allow-in", WORKSPACE,
        "--if-match", TAG, "--yes",
    )  # fmt: skip
    assert len(result.requests) == 1
    assert result.body() == {
        "enabled": False, "workspaces": [WORKSPACE], "cascade": True, "reason": REASON,
    }  # fmt: skip


def test_a_fresh_code_goes_first(shell: Shell) -> None:
    shell.replies = [answer(None, 204), flag(), flag()]
    result = shell("flags", "set", "mcp", "on", "--reason", REASON, "--yes", "--otp", "123456")
    assert result.sent[0] == "POST /api/v1/auth/step-up"
    assert result.body(0) == {"otp": "123456"}
    assert "otp" not in result.body()


@pytest.mark.parametrize(
    ("refusal", "code"),
    [
        (problem(409, "dependency_off", dependants=["compat_api"]), 7),
        (problem(412, "precondition_failed"), 7),
        (problem(403, "role_required"), 6),
        (problem(401, "step_up_required"), 3),
        (problem(404, "not_found"), 8),
        (problem(422, "invalid"), 2),
    ],
)
def test_refusals_have_their_exit_codes(shell: Shell, refusal: httpx.Response, code: int) -> None:
    shell.replies = [flag(), refusal]
    result = shell("flags", "set", "mcp", "on", "--reason", REASON, "--yes")
    assert (result.code, result.out) == (code, "")


@pytest.mark.parametrize(
    "arguments",
    [
        ("mcp", "on"),
        ("mcp", "maybe", "--reason", REASON),
        ("mcp", "on", "--reason", REASON, "--percent", "101"),
        ("mcp", "on", "--reason", REASON, "--stage", "everybody"),
        ("mcp", "on", "--reason", REASON, "--allow-in", "default"),
        ("mcp", "on", "--reason", REASON),
    ],
)
def test_bad_arguments_and_a_missing_yes_reach_no_server(shell: Shell, arguments: tuple[str, ...]) -> None:
    result = shell("flags", "set", *arguments)
    assert (result.code, result.requests) == (2, [])


def test_the_history_is_a_list(shell: Shell) -> None:
    row = {"id": "7", "at": "2026-03-02T09:30:00.000Z", "actor": "usr_1", "reason": REASON, "before": None}
    shell.replies = [answer({"object": "list", "data": [row], "has_more": False})]
    result = shell("flags", "history", "mcp", "--limit", "5")
    assert result.sent == ["GET /api/v1/access/flags/mcp/history?limit=5"]
    assert REASON in result.out


@pytest.mark.parametrize(
    ("options", "hint"),
    [((), "manage.py access_backfill"), (("--dry-run",), "manage.py access_backfill --dry-run")],
)
def test_the_backfill_names_the_command_of_the_server(
    shell: Shell, options: tuple[str, ...], hint: str
) -> None:
    result = shell("auth", "access", "backfill", *options)
    assert (result.code, result.requests) == (5, [])
    assert f"hint: {hint}\n" in result.err
