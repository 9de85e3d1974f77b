"""Deciding from a shell: what is shown, asked, refused before sending, and sent."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.cli.shell import APPROVAL, CALL, RUN, Shell, answer, problem

ETAG = f'"{APPROVAL}:3"'
PROMPT = {
    "title": "fs.write",
    "summary": "demo-agent wants to write notes/a.md",
    "risk_reasons": ["filesystem_write"],
    "requester": {"agent": "demo-agent", "owner": "demo-owner"},
    "tool": {"name": "fs.write", "version": "1"},
    "parameters_view": {"path": "notes/a.md", "content": "hi\x1b[2J\u202e"},
    "policy": {"reason_code": "policy.approval_required", "determining": ["deny_sensitive_without_approval"]},
}


def pending(**more: Any) -> httpx.Response:
    body = {"id": APPROVAL, "object": "approval", "state": "pending", "risk": "medium", "context": PROMPT}
    return answer({**body, **more}, ETag=ETAG)


ALLOWED = answer(
    {"id": APPROVAL, "object": "approval", "state": "allowed", "decision": "allow", "queued": ["exe_1"]}
)
ALLOW = ("approvals", "decide", APPROVAL, "--decision", "allow")
DENY = ("approvals", "decide", APPROVAL, "--decision", "deny", "--comment", "wrong host")


def test_an_allow_shows_the_request_and_sends_the_version_it_showed(shell: Shell) -> None:
    shell.replies = [pending(), ALLOWED]
    result = shell(*ALLOW, "--scope", "once", "--yes", "--json")
    assert result.code == 0
    assert result.sent == [
        f"GET /api/v1/approvals/{APPROVAL}",
        f"POST /api/v1/approvals/{APPROVAL}/decision",
    ]
    assert result.requests[1].headers["If-Match"] == ETAG
    assert result.body() == {"decision": "allow", "scope": "once"}
    assert result.out == ALLOWED.text + "\n"
    shown = dict(line.split(":", 1) for line in result.err.splitlines() if ":" in line)
    assert shown["parameters.path"].strip() == '"notes/a.md"'
    assert shown["parameters.content"].strip() == '"hi\\u001b[2J⟦U+202E⟧"'
    assert shown["requester.owner"].strip() == "demo-owner"


def test_once_is_the_default_scope(shell: Shell) -> None:
    shell.replies = [pending(), ALLOWED]
    assert shell(*ALLOW, "--yes").body()["scope"] == "once"


@pytest.mark.parametrize("typed", ["y\n", "YES\n"])
def test_on_a_terminal_the_person_is_asked(shell: Shell, typed: str) -> None:
    shell.terminal, shell.typed = True, typed
    shell.replies = [pending(), ALLOWED]
    result = shell(*ALLOW)
    assert (result.code, len(result.requests)) == (0, 2)
    assert f"Allow {APPROVAL} for scope once? [y/N] " in result.err


@pytest.mark.parametrize("typed", ["", "\n", "n\n", "no\n", "yep\n", " allow\n"])
def test_anything_but_yes_is_no(shell: Shell, typed: str) -> None:
    shell.terminal, shell.typed = True, typed
    shell.replies = [pending()]
    result = shell(*ALLOW)
    assert (result.code, len(result.requests)) == (2, 1)
    assert "Nothing was changed." in result.err


@pytest.mark.parametrize("extra", [(), ("--no-input",)])
def test_without_a_person_or_yes_nothing_is_sent(shell: Shell, extra: tuple[str, ...]) -> None:
    shell.terminal = bool(extra)
    result = shell(*ALLOW, *extra)
    assert (result.code, result.requests) == (2, [])
    assert "--yes" in result.err


@pytest.mark.parametrize(
    "arguments",
    [
        (*ALLOW, "--scope", "temporary"),
        (*ALLOW, "--scope", "once", "--ttl-ms", "60000"),
        (*ALLOW, "--ttl-ms", "60000"),
        (*ALLOW, "--scope", "temporary", "--ttl-ms", "0"),
        (*ALLOW, "--scope", "forever"),
        (*ALLOW, "--if-version", "0"),
        (*ALLOW, "--otp", "12345"),
        (*ALLOW, "--otp", "abcdef"),
        (*ALLOW, APPROVAL),
        (*DENY, "--scope", "once"),
        (*DENY[:-2],),
        (*DENY[:-1], "  "),
        ("approvals", "decide", APPROVAL),
        ("approvals", "decide", APPROVAL, "--decision", "maybe"),
        ("approvals", "decide", APPROVAL.lower(), "--decision", "allow"),
        ("approvals", "decide", APPROVAL[:-3], "--decision", "allow"),
    ],
)
def test_a_contradiction_is_refused_before_any_decision(shell: Shell, arguments: tuple[str, ...]) -> None:
    shell.replies = [pending()]
    result = shell(*arguments, "--yes")
    assert result.code == 2
    assert not [line for line in result.sent if line.startswith("POST")]


@pytest.mark.parametrize("arguments", [("--scope", "temporary"), ("--scope", "once", "--ttl-ms", "60000")])
def test_a_wrong_ttl_reaches_no_server(shell: Shell, arguments: tuple[str, ...]) -> None:
    result = shell(*ALLOW, *arguments, "--yes")
    assert (result.code, result.requests) == (2, [])


def test_a_temporary_allow_sends_its_length(shell: Shell) -> None:
    shell.replies = [pending(), ALLOWED]
    result = shell(*ALLOW, "--scope", "temporary", "--ttl-ms", "60000", "--yes")
    assert result.body() == {"decision": "allow", "scope": "temporary", "ttl_ms": 60000}


def test_a_denial_sends_its_comment_and_no_scope(shell: Shell) -> None:
    shell.replies = [pending(), ALLOWED]
    result = shell(*DENY, "--yes")
    assert result.body() == {"decision": "deny", "comment": "wrong host"}


def test_a_version_can_be_named(shell: Shell) -> None:
    shell.replies = [pending(), problem(412, "precondition_failed")]
    result = shell(*ALLOW, "--if-version", "2", "--yes")
    assert (result.code, result.requests[1].headers["If-Match"]) == (7, f'"{APPROVAL}:2"')


def test_a_request_without_a_version_is_not_decided(shell: Shell) -> None:
    shell.replies = [answer({"id": APPROVAL, "state": "pending"})]
    result = shell(*ALLOW, "--yes")
    assert (result.code, len(result.requests)) == (1, 1)


def test_an_open_quorum_is_said_and_is_no_failure(shell: Shell) -> None:
    waiting = answer({"id": APPROVAL, "state": "pending", "quorum": {"needed": 2, "allowed": 1}}, 202)
    shell.replies = [pending(), waiting]
    result = shell(*ALLOW, "--yes", "-q")
    assert (result.code, result.out) == (0, f"{APPROVAL}\n")
    assert result.err.endswith("1 of 2 approvals\n")


def test_a_settled_request_is_a_conflict_with_its_end_and_time(shell: Shell) -> None:
    shell.replies = [pending(state="denied", resolved_at="2026-01-05T10:00:00.000Z")]
    result = shell(*ALLOW, "--yes")
    assert (result.code, len(result.requests)) == (7, 1)
    assert f"{APPROVAL} is denied since 2026-01-05T10:00:00.000Z." in result.err


def test_losing_the_race_is_a_conflict_with_the_outcome(shell: Shell) -> None:
    outcome = {"decision": "deny", "resolved_at": "2026-01-05T10:00:00.000Z"}
    shell.replies = [pending(), problem(409, "already_decided", outcome=outcome)]
    result = shell(*ALLOW, "--yes")
    assert result.code == 7
    assert "hint: decision deny; resolved_at 2026-01-05T10:00:00.000Z" in result.err


def test_a_code_is_asked_for_once_and_sent_under_the_same_key(shell: Shell) -> None:
    shell.terminal, shell.secrets = True, ["123456"]
    shell.replies = [pending(), problem(401, "step_up_required"), ALLOWED]
    result = shell(*ALLOW, "--yes")
    first, second = result.requests[1:]
    assert (result.code, result.body()["otp"]) == (0, "123456")
    assert b"otp" not in first.content
    assert first.headers["Idempotency-Key"] == second.headers["Idempotency-Key"]
    assert "123456" not in result.out + result.err


def test_a_wrong_code_is_not_asked_for_again(shell: Shell) -> None:
    shell.terminal, shell.secrets = True, ["123456"]
    shell.replies = [pending(), problem(401, "step_up_required")]
    result = shell(*ALLOW, "--yes")
    assert (result.code, len(result.requests)) == (3, 3)


def test_without_a_terminal_a_missing_code_ends_the_command(shell: Shell) -> None:
    shell.replies = [pending(), problem(401, "step_up_required")]
    result = shell(*ALLOW, "--yes")
    assert (result.code, len(result.requests)) == (3, 2)
    assert "--otp" in result.err


def test_a_given_code_is_sent_at_once(shell: Shell) -> None:
    shell.replies = [pending(), ALLOWED]
    assert shell(*ALLOW, "--yes", "--otp", "654321").body()["otp"] == "654321"
    shell.typed = "111222\n"
    assert shell(*ALLOW, "--yes", "--otp", "-").body()["otp"] == "111222"
    (shell.home / "code").write_text("333444\n")
    shell.environ["PALYRA_OTP_FILE"] = str(shell.home / "code")
    assert shell(*ALLOW, "--yes").body()["otp"] == "333444"


@pytest.mark.parametrize("code", ["self_review", "not_a_reviewer", "reviewer_is_agent", "scope_not_offered"])
def test_a_refusal_is_six(shell: Shell, code: str) -> None:
    shell.replies = [pending(), problem(403, code)]
    result = shell(*ALLOW, "--yes")
    assert (result.code, f"error[{code}]" in result.err) == (6, True)


def test_the_prompt_names_a_risky_profile(shell: Shell) -> None:
    folder = shell.home / ".config" / "palyra"
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text('[profiles.prod]\nurl = "http://127.0.0.1:1"\nrisk_level = "high"\n')
    (folder / "config.toml").chmod(0o600)
    shell.terminal, shell.typed = True, "y\n"
    shell.replies = [pending(), ALLOWED]
    assert f"[prod] Allow {APPROVAL}" in shell("--profile", "prod", *ALLOW).err


def test_an_id_of_another_kind_names_the_right_command(shell: Shell) -> None:
    result = shell("approvals", "show", CALL)
    assert (result.code, result.requests) == (2, [])
    assert f"hint: palyra calls show {CALL}" in result.err


def test_show_is_a_table_for_people_and_the_object_as_json(shell: Shell) -> None:
    shell.replies = [pending(pattern="unknown to this version")]
    assert 'parameters.path\t"notes/a.md"\n' in shell("approvals", "show", APPROVAL).out
    assert "pattern\tunknown to this version\n" in shell("approvals", "show", APPROVAL, "--raw").out
    assert shell("approvals", "show", APPROVAL, "--json").out == (
        shell.replies[0].text.replace("\u202e", "\\u202e") + "\n"  # type: ignore[union-attr]  # a response, set above
    )


def test_the_list_asks_for_what_waits(shell: Shell) -> None:
    shell.replies = [answer({"object": "list", "data": [], "has_more": False, "next_cursor": None})]
    assert shell("approvals", "list").sent == ["GET /api/v1/approvals?state=pending"]
    assert shell("approvals", "list", "--status", "all", "--run", RUN, "--risk", "high").sent == [
        f"GET /api/v1/approvals?risk=high&run={RUN}"
    ]


def test_cancel_asks_and_sends(shell: Shell) -> None:
    shell.replies = [answer({"id": APPROVAL, "state": "cancelled"})]
    result = shell("approvals", "cancel", APPROVAL, "--reason", "late", "--yes", "-q")
    assert result.body() == {"reason": "late"}
    assert (result.code, result.sent) == (0, [f"POST /api/v1/approvals/{APPROVAL}/cancel"])
    assert shell("approvals", "cancel", APPROVAL).requests == []
