"""Stepping up from a shell: when a code is asked for, and how often it is used."""

from __future__ import annotations

import httpx

from tests.cli.shell import Shell, problem

STEP_UP = "POST /api/v1/auth/step-up"
ELEVATED = httpx.Response(204)
WANTED = problem(401, "step_up_required")


def test_step_up_sends_the_code_and_prints_nothing(shell: Shell) -> None:
    shell.replies = [ELEVATED]
    result = shell("auth", "step-up", "--otp", "123456")
    assert (result.code, result.out, result.sent) == (0, "", [STEP_UP])
    assert result.body() == {"otp": "123456"}
    assert "123456" not in result.err


def test_step_up_asks_on_a_terminal_without_echo(shell: Shell) -> None:
    shell.terminal, shell.secrets, shell.replies = True, ["654321"], [ELEVATED]
    assert shell("auth", "step-up").body() == {"otp": "654321"}


def test_step_up_without_a_code_or_a_person_sends_nothing(shell: Shell) -> None:
    result = shell("auth", "step-up")
    assert (result.code, result.requests) == (2, [])


def test_a_wrong_code_is_not_authenticated(shell: Shell) -> None:
    shell.replies = [WANTED]
    assert shell("auth", "step-up", "--otp", "123456").code == 3
