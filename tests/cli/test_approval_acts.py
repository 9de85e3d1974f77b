"""Patterns, many at once, other arguments, emergencies: what is shown, refused before sending, and sent."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.cli.shell import APPROVAL, RUN, Shell, answer, problem

OTHER = "apr_01JD2Q8ZV0C3M4N5P6R7S8T9VX"
ETAG = f'"{APPROVAL}:3"'
EXACT = {"v": 1, "constraints": [], "rest": "equal"}
UNDER = {
    "v": 1,
    "constraints": [{"pointer": "/path", "op": "path_prefix", "value": "notes"}],
    "rest": "equal",
}
ALLOW = ("approvals", "decide", APPROVAL, "--decision", "allow")
DENY = ("approvals", "decide", APPROVAL, "--decision", "deny", "--comment", "wrong host")
BULK = ("approvals", "bulk-decide", APPROVAL, OTHER, "--decision", "allow", "--comment", "nightly run")
EDIT = ("approvals", "edit", APPROVAL, "--comment", "smaller")
FORCE = ("approvals", "break-glass", APPROVAL, "--comment", "outage 4711, nobody else there")
SETTLED = answer({"id": APPROVAL, "object": "approval", "state": "allowed", "decision": "allow"})


def pending(name: str = APPROVAL, **more: Any) -> httpx.Response:
    context = {"title": "Run fs.write", "parameters_view": {"path": "notes/a.md", "n": 1, "s": "1"}}
    body = {"id": name, "object": "approval", "state": "pending", "risk": "medium", "context": context}
    return answer({**body, **more}, ETag=f'"{name}:3"')


def offered(*patterns: Any) -> httpx.Response:
    data = [
        {
            "id": str(number),
            "object": "pattern",
            "pattern": pattern,
            "words": f"words {number}",
            "covers": {"asks": 50, "matched": 40 + number, "matched_denied": 0},
        }
        for number, pattern in enumerate(patterns, start=1)
    ]
    return answer({"object": "list", "data": data, "has_more": False, "next_cursor": None})


def test_parameters_are_shown_so_that_no_two_values_look_the_same(shell: Shell) -> None:
    shell.replies = [pending()]
    out = shell("approvals", "show", APPROVAL).out
    assert 'parameters.n\t1\nparameters.s\t"1"\n' in out


def test_a_wider_allow_says_what_it_covers_before_it_asks(shell: Shell) -> None:
    shell.replies = [pending(), offered(EXACT, UNDER), SETTLED]
    result = shell(*ALLOW, "--scope", "session", "--pattern", "2", "--yes")
    assert result.code == 0
    assert result.body() == {"decision": "allow", "scope": "session", "pattern": UNDER}
    assert "pattern 2: words 2 (covers 42 of the last 50 asks)" in result.err


def test_without_a_pattern_a_wider_allow_says_that_it_covers_this_call(shell: Shell) -> None:
    shell.replies = [pending(), offered(EXACT, UNDER), SETTLED]
    result = shell(*ALLOW, "--scope", "session", "--yes")
    assert result.body() == {"decision": "allow", "scope": "session"}
    assert "pattern 1: words 1 (covers 41 of the last 50 asks)" in result.err


def test_the_pattern_is_shown_before_the_question_and_a_no_sends_nothing(shell: Shell) -> None:
    shell.terminal, shell.typed = True, "n\n"
    shell.replies = [pending(), offered(EXACT, UNDER), SETTLED]
    result = shell(*ALLOW, "--scope", "session", "--pattern", "2")
    assert (result.code, [line for line in result.sent if line.startswith("POST")]) == (2, [])
    assert result.err.index("pattern 2:") < result.err.index("[y/N]")


def test_a_number_that_is_not_offered_sends_nothing(shell: Shell) -> None:
    shell.replies = [pending(), offered(EXACT)]
    result = shell(*ALLOW, "--scope", "session", "--pattern", "2", "--yes")
    assert (result.code, [line for line in result.sent if line.startswith("POST")]) == (2, [])
    assert f"palyra approvals patterns {APPROVAL}" in result.err


def test_a_pattern_of_a_file_is_shown_field_by_field(shell: Shell) -> None:
    (shell.home / "p.json").write_text(json.dumps({**UNDER, "rest": "any"}))
    shell.replies = [pending(), offered(EXACT, UNDER), SETTLED]
    result = shell(*ALLOW, "--scope", "session", "--pattern", f"@{shell.home / 'p.json'}", "--yes")
    assert result.body()["pattern"] == {**UNDER, "rest": "any"}
    assert '{"op":"path_prefix","value":"notes"}' in result.err
    assert "everything else: any" in result.err


@pytest.mark.parametrize(
    "extra",
    [
        (*ALLOW, "--pattern", "2"),
        (*ALLOW, "--scope", "once", "--pattern", "2"),
        (*ALLOW, "--scope", "session", "--pattern", "0"),
        (*ALLOW, "--scope", "session", "--pattern", "1.5"),
        (*ALLOW, "--scope", "session", "--pattern", "notes/**"),
        (*ALLOW, "--scope", "session", "--pattern", "@/nowhere/p.json"),
        (*ALLOW, "--scope", "always"),
        (*ALLOW, "--scope", "always", "--comment", "  "),
        (*ALLOW, "--end-run"),
        (*DENY, "--pattern", "1"),
        (*BULK[:2], "--decision", "allow"),
        (*BULK[:3], APPROVAL, "--decision", "allow"),
        (*BULK[:4], "--decision", "deny"),
        (*BULK[:3], RUN, "--decision", "allow"),
        EDIT,
        (*EDIT, "--input", "path=x"),
        (*EDIT[:-1], " ", "--input", "-"),
        FORCE[:3],
        (*FORCE[:-1], "too short"),
        (*FORCE[:-1], "                    x"),
    ],
)
def test_what_does_not_fit_together_reaches_no_server(shell: Shell, extra: tuple[str, ...]) -> None:
    result = shell(*extra, "--yes")
    assert (result.code, result.requests) == (2, [])


@pytest.mark.parametrize("text", ["[]", "3", "{", '{"a":1,"a":2}', '{"v":NaN}'])
def test_a_pattern_that_is_no_json_object_reaches_no_server(shell: Shell, text: str) -> None:
    (shell.home / "p.json").write_text(text)
    result = shell(*ALLOW, "--scope", "session", "--pattern", f"@{shell.home / 'p.json'}", "--yes")
    assert (result.code, result.requests) == (2, [])


def test_a_denial_can_end_the_run(shell: Shell) -> None:
    shell.replies = [pending(), SETTLED]
    assert shell(*DENY, "--end-run", "--yes").body() == {
        "decision": "deny",
        "comment": "wrong host",
        "end_run": True,
    }
    shell.terminal, shell.typed = True, "\n"
    assert f"Deny {APPROVAL} and end its run? [y/N]" in shell(*DENY, "--end-run").err


def test_who_was_faster_is_named(shell: Shell) -> None:
    now: dict[str, Any] = {
        "state": "denied",
        "decided_by": ["usr_1"],
        "resolved_at": "2026-01-05T10:00:00.000Z",
    }
    shell.replies = [pending(), problem(409, "already_decided"), pending(**now)]
    result = shell(*ALLOW, "--yes")
    assert result.code == 7
    assert f"{APPROVAL} is denied since 2026-01-05T10:00:00.000Z by usr_1." in result.err


def test_many_are_shown_one_by_one_and_sent_with_their_versions(shell: Shell) -> None:
    rows = [{"id": name, "status": 200, "outcome": {"state": "allowed"}} for name in (APPROVAL, OTHER)]
    shell.replies = [pending(), pending(OTHER), answer({"object": "bulk_decision", "data": rows})]
    result = shell(*BULK, "--yes")
    assert result.code == 0
    assert result.body() == {
        "requests": [f"{APPROVAL}:3", f"{OTHER}:3"],
        "decision": "allow",
        "comment": "nightly run",
    }
    assert result.err.count('"notes/a.md"') == 2
    assert result.err.endswith("2 of 2 answered\n")


@pytest.mark.parametrize(
    ("status", "code", "exits"),
    [(409, "already_decided", 7), (403, "self_review", 6), (401, "step_up_required", 3), (None, "x", 1)],
)
def test_the_first_failure_of_many_is_the_exit_code(
    shell: Shell, status: int | None, code: str, exits: int
) -> None:
    rows = [
        {"id": APPROVAL, "status": 202, "outcome": {"state": "pending"}, "error": None},
        {"id": OTHER, "status": status, "outcome": None, "error": {"code": code, "detail": "d"}},
    ]
    shell.replies = [pending(), pending(OTHER), answer({"object": "bulk_decision", "data": rows})]
    result = shell(*BULK, "--yes")
    assert (result.code, result.err.splitlines()[-1]) == (exits, "1 of 2 answered")
    assert f"{OTHER}\t" in result.out


def test_one_that_cannot_be_seen_keeps_all_from_being_answered(shell: Shell) -> None:
    shell.replies = [pending(), problem(404, "not_found")]
    result = shell(*BULK, "--yes")
    assert (result.code, [line for line in result.sent if line.startswith("POST")]) == (8, [])


def test_one_code_serves_for_many(shell: Shell) -> None:
    shell.terminal, shell.secrets = True, ["123456"]
    done = answer({"object": "bulk_decision", "data": []})
    shell.replies = [pending(), pending(OTHER), problem(401, "step_up_required"), done]
    result = shell(*BULK, "--yes")
    assert (result.code, result.body()["otp"]) == (0, "123456")


def test_an_edit_shows_what_changes_and_sends_the_whole_input(shell: Shell) -> None:
    (shell.home / "new.json").write_text('{"path": "notes/b.md", "n": 1, "more": true}')
    after = {"call_state": "queued", "approval_id": None}
    shell.replies = [pending(), answer({"id": APPROVAL, "superseded_by": after})]
    result = shell(*EDIT, "--input", f"@{shell.home / 'new.json'}", "--yes")
    assert result.code == 0
    assert result.body() == {
        "input": {"path": "notes/b.md", "n": 1, "more": True},
        "comment": "smaller",
    }
    assert result.requests[1].headers["If-Match"] == ETAG
    changes = [line for line in result.err.splitlines() if line.startswith("change ")]
    assert changes == [
        "change more: (absent) -> true",
        'change path: "notes/a.md" -> "notes/b.md"',
        'change s: "1" -> (absent)',
    ]


@pytest.mark.parametrize(
    ("status", "state", "exits", "said"),
    [(202, "awaiting_approval", 0, f"the new call waits for an answer: {OTHER}"), (200, "denied", 6, "")],
)
def test_an_edit_says_what_became_of_it(shell: Shell, status: int, state: str, exits: int, said: str) -> None:
    shell.typed = '{"path": "x"}'
    after = {"call_state": state, "approval_id": OTHER}
    shell.replies = [pending(), answer({"id": APPROVAL, "superseded_by": after}, status)]
    result = shell(*EDIT, "--input", "-", "--yes")
    assert (result.code, said in result.err) == (exits, True)


def test_breaking_the_glass_sends_the_version_and_a_code(shell: Shell) -> None:
    shell.terminal, shell.typed, shell.secrets = True, "y\n", ["123456"]
    shell.replies = [pending(), problem(401, "step_up_required"), SETTLED]
    result = shell(*FORCE)
    assert result.code == 0
    assert result.body() == {"comment": FORCE[-1], "otp": "123456"}
    assert result.requests[-1].headers["If-Match"] == ETAG
    assert result.sent[-1].endswith(f"/approvals/{APPROVAL}/break-glass")
    assert "123456" not in result.out + result.err


@pytest.mark.parametrize("code", ["feature_disabled", "review_overdue", "not_a_reviewer"])
def test_a_refused_emergency_has_its_exit_code(shell: Shell, code: str) -> None:
    shell.replies = [pending(), problem(403, code)]
    assert shell(*FORCE, "--yes").code == (5 if code == "feature_disabled" else 6)


@pytest.mark.parametrize("command", [BULK, (*EDIT, "--input", "-"), FORCE])
def test_nobody_forces_changes_or_answers_many_without_consent(
    shell: Shell, command: tuple[str, ...]
) -> None:
    result = shell(*command)
    assert (result.code, result.requests) == (2, [])


@pytest.mark.parametrize("command", [(*EDIT, "--input", "@{home}/new.json"), FORCE])
def test_a_settled_request_is_neither_edited_nor_forced(shell: Shell, command: tuple[str, ...]) -> None:
    (shell.home / "new.json").write_text("{}")
    shell.replies = [pending(state="expired")]
    result = shell(*(word.replace("{home}", str(shell.home)) for word in command), "--yes")
    assert (result.code, len(result.requests)) == (7, 1)
