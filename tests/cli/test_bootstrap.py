"""`palyra bootstrap clear`: the password comes without echo or from standard input, never from argv."""

from __future__ import annotations

import httpx

from tests.cli.shell import Shell, problem

CLEAR = "POST /api/v1/system/bootstrap/clear"
NEW = "an entirely different phrase"
DONE = httpx.Response(204)


def test_on_a_terminal_password_and_code_are_asked_for_without_echo(shell: Shell) -> None:
    shell.terminal, shell.secrets, shell.replies = True, [NEW, NEW, "654321"], [DONE]
    result = shell("bootstrap", "clear")
    assert (result.code, result.out, result.sent) == (0, "", [CLEAR])
    assert result.body() == {"otp": "654321", "new_password": NEW}
    assert NEW not in result.err


def test_a_script_sends_the_first_line_of_standard_input(shell: Shell) -> None:
    shell.typed, shell.replies = f"{NEW} \nsecond line\n", [DONE]
    result = shell("bootstrap", "clear", "--otp", "123456")
    assert result.body() == {"otp": "123456", "new_password": f"{NEW} "}
    assert result.code == 0


def test_two_different_passwords_send_nothing(shell: Shell) -> None:
    shell.terminal, shell.secrets = True, [NEW, "another"]
    result = shell("bootstrap", "clear", "--otp", "123456")
    assert (result.code, result.requests) == (2, [])


def test_without_a_password_or_a_code_nothing_is_sent(shell: Shell) -> None:
    for stdin, otp in (("", ("--otp", "123456")), ("\n", ("--otp", "123456")), (f"{NEW}\n", ())):
        shell.typed = stdin
        result = shell("bootstrap", "clear", *otp)
        assert (result.code, result.requests) == (2, [])


def test_a_refusal_names_what_is_to_do_first(shell: Shell) -> None:
    shell.typed, shell.replies = f"{NEW}\n", [problem(409, "own_authenticator_required")]
    result = shell("bootstrap", "clear", "--otp", "123456")
    assert result.code == 7
    assert "own_authenticator_required" in result.err


def test_the_password_is_no_argument(shell: Shell) -> None:
    assert shell("bootstrap", "clear", NEW, "--otp", "123456").code == 2
    assert shell("bootstrap", "clear", "--new-password", NEW).code == 2
