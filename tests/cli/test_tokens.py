"""Tokens from a shell: told once and to nobody else, ended only on purpose."""

from __future__ import annotations

import errno
import json
import os
import stat
import subprocess
from pathlib import Path

import httpx
import pytest

from tests.cli.shell import Shell, answer, problem

TOK = "tok_01JD2Q8ZV0C3M4N5P6R7S8T9VW"
AGT = "agt_01JD2Q8ZV0C3M4N5P6R7S8T9VW"
SECRET = "plr_agt_" + "e" * 12 + "_" + "f" * 49
MADE = {
    "id": TOK,
    "object": "token",
    "token": SECRET,
    "label": "ci",
    "scopes": ["runs.read"],
    "state": "active",
}
CREATE = ("tokens", "create", "--agent", AGT, "--scope", "agent")
STEP_UP = problem(401, "step_up_required")
ELEVATED = httpx.Response(204)
PROFILE = '[profiles.prod]\nurl = "http://127.0.0.1:8470"\n'


@pytest.fixture
def minting(shell: Shell) -> Shell:
    shell.replies = [answer(MADE, 201)]
    return shell


def with_profile(shell: Shell) -> Shell:
    path = shell.home / ".config" / "palyra" / "config.toml"
    path.parent.mkdir(parents=True)
    path.write_text(f'profile = "prod"\n{PROFILE}')
    path.chmod(0o600)
    return shell


def test_a_token_is_minted_with_what_was_asked(minting: Shell) -> None:
    scopes = ("--scope", "usage.read, calls.read", "--label", "ci")
    limits = ("--rate", "60", "--network", "10.0.0.0/8", "--network", "::/0", "--expires", "2w")
    result = minting(*CREATE, *scopes, *limits, "--yes", "--json")
    assert (result.code, result.sent) == (0, ["POST /api/v1/tokens"])
    assert result.body() == {
        "label": "ci",
        "kind": "agt",
        "agent": AGT,
        "scopes": ["agent", "usage.read", "calls.read"],
        "expires_in_days": 14,
        "rate_per_minute": 60,
        "allowed_networks": ["10.0.0.0/8", "::/0"],
    }
    assert result.out == answer(MADE).text + "\n"
    assert SECRET not in result.err


@pytest.mark.parametrize(("whose", "kind"), [(("--user", "me"), "usr"), (("--service",), "svc")])
def test_a_token_of_one_s_own(minting: Shell, whose: tuple[str, ...], kind: str) -> None:
    result = minting("tokens", "create", *whose, "--scope", "readonly", "--yes")
    assert result.body() == {"label": "palyra tokens create", "kind": kind, "scopes": ["readonly"]}


def test_another_person_s_token_is_not_asked_for(shell: Shell) -> None:
    shell.replies = [answer({"id": "usr_1"})]
    result = shell("tokens", "create", "--user", "usr_2", "--scope", "readonly", "--yes")
    assert (result.code, result.sent) == (2, ["GET /api/v1/whoami"])


@pytest.mark.parametrize(
    "arguments",
    [
        ("tokens", "create", "--scope", "agent"),
        ("tokens", "create", "--agent", AGT),
        (*CREATE, "--user", "me"),
        (*CREATE, "--expires", "12h"),
        (*CREATE, "--expires", "36h"),
        (*CREATE, "--expires", "0d"),
        (*CREATE, "--expires", "soon"),
        (*CREATE, "--expires", "30"),
        (*CREATE, "--rate", "0"),
        ("tokens", "create", "--agent", TOK, "--scope", "agent"),
        ("tokens", "rotate", AGT),
        ("tokens", "rotate", TOK, "--overlap", "x"),
        ("tokens", "show", TOK[:-1]),
        ("tokens", "show", TOK.lower()),
        ("tokens", "revoke", TOK),
        ("tokens", "list", "--state", "gone"),
    ],
)
def test_what_cannot_be_meant_reaches_no_server(shell: Shell, arguments: tuple[str, ...]) -> None:
    result = shell(*arguments, "--yes", "--expect-profile", "none")
    assert (result.code, result.requests) == (2, [])


def test_quiet_prints_the_secret_alone(minting: Shell) -> None:
    assert minting(*CREATE, "--yes", "-q").out == f"{SECRET}\n"


def test_on_a_terminal_it_is_said_that_it_is_shown_once(
    minting: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    minting.terminal = True
    monkeypatch.setenv("COLUMNS", "40")
    result = minting(*CREATE, "--yes", "--no-color")
    assert (SECRET in result.out, "shown this once" in result.err, SECRET in result.err) == (
        True,
        True,
        False,
    )
    minting.terminal = False
    assert "once" not in minting(*CREATE, "--yes").err


def test_a_file_gets_the_secret_and_standard_output_does_not(minting: Shell, tmp_path: Path) -> None:
    path = tmp_path / "ci.token"
    path.write_text("an older and longer secret" * 9)
    path.chmod(0o644)
    result = minting(*CREATE, "--yes", "--json", "--out", str(path))
    assert result.code == 0
    assert path.read_text() == f"{SECRET}\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert json.loads(result.out) == {name: value for name, value in MADE.items() if name != "token"}
    assert SECRET not in result.out + result.err
    assert minting(*CREATE, "--yes", "-q", "--out", str(path)).out == f"{TOK}\n"


@pytest.mark.parametrize("place", ["missing/ci.token", "."])
def test_a_file_that_cannot_be_written_costs_no_token(minting: Shell, tmp_path: Path, place: str) -> None:
    for out in (str(tmp_path / place), "-"):
        result = minting(*CREATE, "--yes", "--out", out)
        assert (result.code, result.requests) == (2, [])


def test_a_refused_token_leaves_the_file_as_it_was(shell: Shell, tmp_path: Path) -> None:
    path = tmp_path / "ci.token"
    path.write_text("old")
    shell.replies = [problem(403, "scope_exceeds_minter")]
    assert shell(*CREATE, "--yes", "--out", str(path)).code == 6
    assert ([one.name for one in tmp_path.iterdir()], path.read_text()) == (["ci.token"], "old")


def test_a_disk_that_fills_up_is_told_with_the_token_to_revoke(
    minting: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ci.token"
    path.write_text("old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    result = minting(*CREATE, "--yes", "--out", str(path))
    assert (result.code, f"token of {TOK} is lost" in result.err) == (1, True)
    assert ([one.name for one in tmp_path.iterdir()], path.read_text()) == (["ci.token"], "old")
    assert SECRET not in result.out + result.err


@pytest.mark.parametrize("withheld", [{"token": None}, {"secret": None, "secret_withheld": True}])
def test_a_repeated_answer_has_no_secret_and_says_so(shell: Shell, withheld: dict[str, object]) -> None:
    body = {name: value for name, value in MADE.items() if name != "token"} | withheld
    shell.replies = [answer(body, 201, Idempotency_Replayed="true")]
    result = shell(*CREATE, "--yes", "--idempotency-key", "k")
    assert (result.code, result.out, "error[secret_withheld]" in result.err) == (7, "", True)
    assert f"hint: palyra tokens rotate {TOK}" in result.err


def test_a_code_is_used_once_for_a_whole_command(minting: Shell) -> None:
    minting.replies = [ELEVATED, answer(MADE, 201)]
    result = minting(*CREATE, "--yes", "--otp", "123456")
    assert result.sent == ["POST /api/v1/auth/step-up", "POST /api/v1/tokens"]
    assert b"123456" not in result.requests[1].content


def test_a_missing_code_is_asked_for_and_the_request_repeated_under_its_key(shell: Shell) -> None:
    shell.terminal, shell.secrets = True, ["123456"]
    shell.replies = [STEP_UP, ELEVATED, answer(MADE, 201)]
    result = shell(*CREATE, "--yes")
    assert result.sent == ["POST /api/v1/tokens", "POST /api/v1/auth/step-up", "POST /api/v1/tokens"]
    first, _, second = result.requests
    assert first.headers["Idempotency-Key"] == second.headers["Idempotency-Key"]
    assert (result.body(1), first.content) == ({"otp": "123456"}, second.content)


def test_a_file_of_a_code_is_read_only_when_a_code_is_wanted(shell: Shell) -> None:
    shell.environ["PALYRA_OTP_FILE"] = str(shell.home / "code")
    shell.replies = [answer(MADE, 201)]
    assert shell(*CREATE, "--yes").code == 0
    shell.replies = [STEP_UP, ELEVATED, answer(MADE, 201)]
    assert shell(*CREATE, "--yes").code == 2
    (shell.home / "code").write_text("654321\n")
    assert shell(*CREATE, "--yes").body(1) == {"otp": "654321"}


def test_a_wrong_code_is_tried_once(shell: Shell) -> None:
    shell.terminal, shell.secrets, shell.replies = True, ["123456"], [STEP_UP]
    result = shell(*CREATE, "--yes")
    assert (result.code, result.sent[1:]) == (3, ["POST /api/v1/auth/step-up"])


def test_an_elevation_that_does_not_help_is_no_reason_to_ask_again(shell: Shell) -> None:
    shell.terminal, shell.secrets, shell.replies = True, ["123456"], [STEP_UP, ELEVATED, STEP_UP]
    assert (result := shell(*CREATE, "--yes")).code == 3
    assert len(result.requests) == 3


def test_without_a_person_a_missing_code_ends_the_command(shell: Shell) -> None:
    shell.replies = [STEP_UP]
    result = shell(*CREATE, "--yes")
    assert (result.code, len(result.requests), "--otp" in result.err) == (3, 1, True)


def test_rotation_tells_the_successor_and_sends_the_overlap_in_seconds(minting: Shell) -> None:
    result = minting("tokens", "rotate", TOK, "--overlap", "1h", "--yes", "-q")
    assert (result.out, result.sent) == (f"{SECRET}\n", [f"POST /api/v1/tokens/{TOK}/rotate"])
    assert result.body() == {"overlap_seconds": 3600}
    assert minting("tokens", "rotate", TOK, "--overlap", "0", "--yes").body() == {"overlap_seconds": 0}
    assert minting("tokens", "rotate", TOK, "--yes").body() == {}
    minting.replies = [problem(409, "already_rotated")]
    assert minting("tokens", "rotate", TOK, "--yes").code == 7


REVOKE = ("tokens", "revoke", TOK, "--reason", "laptop lost")
SEEN = answer({"id": TOK, "label": "ci"})
REVOKED = answer({"id": TOK, "state": "revoked"})


def test_a_revocation_wants_the_label_typed_in_full(shell: Shell) -> None:
    shell.terminal, shell.typed = True, "ci\n"
    shell.replies = [SEEN, REVOKED]
    result = shell(*REVOKE)
    assert (result.code, result.body()) == (0, {"reason": "laptop lost"})
    assert "Type ci to go on" in result.err
    for typed in ("", "y\n", "yes\n", "CI\n", f"{TOK}\n"):
        shell.typed = typed
        assert shell(*REVOKE).sent == [f"GET /api/v1/tokens/{TOK}"]


@pytest.mark.parametrize("label", ["", " ci", "c\x1bi", None])
def test_what_nobody_can_type_is_replaced_by_the_id(shell: Shell, label: str | None) -> None:
    shell.terminal, shell.typed = True, f"{TOK}\n"
    shell.replies = [answer({"id": TOK, "label": label}), REVOKED]
    assert shell(*REVOKE).code == 0


def test_yes_alone_revokes_nothing(shell: Shell) -> None:
    with_profile(shell)
    shell.replies = [REVOKED]
    for extra in (("--yes",), (), ("--yes", "--expect-profile", "test")):
        result = shell(*REVOKE, *extra)
        assert (result.code, result.requests) == (2, [])
    assert "--expect-profile prod" in shell(*REVOKE).err
    result = shell(*REVOKE, "--yes", "--expect-profile", "prod")
    assert (result.code, result.sent) == (0, [f"POST /api/v1/tokens/{TOK}/revoke"])


def test_the_expected_profile_does_not_cover_another_server(shell: Shell) -> None:
    with_profile(shell)
    shell.environ["PALYRA_URL"] = "http://127.0.0.1:9000"
    result = shell(*REVOKE, "--yes", "--expect-profile", "prod")
    assert (result.code, result.requests) == (2, [])


def test_lists_are_filtered(shell: Shell) -> None:
    shell.replies = [answer({"object": "list", "data": [MADE], "has_more": False, "next_cursor": None})]
    result = shell("tokens", "list", "--state", "active", "--state", "expired", "--kind", "agt")
    assert result.sent == ["GET /api/v1/tokens?state=active&state=expired&kind=agt"]
    assert SECRET not in result.out


def test_no_process_is_started_that_could_show_a_secret(
    minting: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def started(*args: object, **kwargs: object) -> None:
        raise AssertionError(f"a process was started: {args}")

    for name in ("fork", "posix_spawn", "posix_spawnp", "execve", "system"):
        monkeypatch.setattr(os, name, started)
    monkeypatch.setattr(subprocess, "Popen", started)
    assert minting(*CREATE, "--yes", "--out", str(tmp_path / "token")).code == 0
