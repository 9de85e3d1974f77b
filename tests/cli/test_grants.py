"""Grants, remembered denials and forced decisions from a shell."""

from __future__ import annotations

import pytest

from tests.cli.shell import APPROVAL, Shell, answer, problem

ULID = APPROVAL.removeprefix("apr_")
GRANT, DENIAL, REVIEW = f"grt_{ULID}", f"dnl_{ULID}", f"bgr_{ULID}"
EMPTY = answer({"object": "list", "data": [], "has_more": False, "next_cursor": None})
WHY = ("--reason", "the job is over")
SURE = ("--yes", "--expect-profile", "none")
REVOKE = ("grants", "revoke", GRANT, *WHY)
FIND = ("break-glass", "review", REVIEW, "--finding", "unjustified", "--comment", "no outage")
SHOWN = {
    "id": GRANT,
    "object": "grant",
    "state": "active",
    "scope": "session",
    "tool": "fs.write",
    "pattern_words": "fs.write under src\x1b[2J",
    "uses": 3,
    "uses_allowed": 100,
}


@pytest.mark.parametrize(
    ("command", "sent"),
    [
        (("grants", "list"), "/grants"),
        (
            ("grants", "list", "--state", "active", "--state", "expired", "--agent", "agt_1", "--tool", "t"),
            "/grants?state=active&state=expired&agent=agt_1&tool=t",
        ),
        (("denials", "list", "--tool", "fs.write"), "/denials?tool=fs.write"),
        (("break-glass", "list", "--state", "overdue"), "/break-glass-reviews?state=overdue"),
    ],
)
def test_lists_send_their_filters(shell: Shell, command: tuple[str, ...], sent: str) -> None:
    shell.replies = [EMPTY]
    result = shell(*command)
    assert (result.code, result.sent) == (0, [f"GET /api/v1{sent}"])


def test_the_list_of_grants_says_what_each_covers_and_which_is_stale(shell: Shell) -> None:
    row = {**SHOWN, "stale": True, "stale_reason": "tool_changed"}
    shell.replies = [answer({"object": "list", "data": [row], "has_more": False, "next_cursor": None})]
    (line,) = shell("grants", "list").out.splitlines()[1:]
    assert line.split("\t")[4] == "fs.write under src\\x1b[2J"
    assert line.endswith("\ttool_changed")
    assert shell("grants", "list", "-q").out == f"{GRANT}\n"


@pytest.mark.parametrize(
    ("noun", "wrong"), [("grants", DENIAL), ("denials", GRANT), ("grants", GRANT[:-2]), ("denials", "x")]
)
def test_an_id_of_another_kind_reaches_no_server(shell: Shell, noun: str, wrong: str) -> None:
    result = shell(noun, "show", wrong)
    assert (result.code, result.requests) == (2, [])


def test_a_grant_is_revoked_with_its_reason_as_the_comment(shell: Shell) -> None:
    shell.replies = [answer({**SHOWN, "state": "revoked"})]
    result = shell(*REVOKE, *SURE, "-q")
    assert (result.code, result.out) == (0, f"{GRANT}\n")
    assert result.sent == [f"POST /api/v1/grants/{GRANT}/revoke"]
    assert result.body() == {"comment": "the job is over"}
    assert result.requests[0].headers["Idempotency-Key"]


def test_a_person_sees_the_grant_and_types_its_tool(shell: Shell) -> None:
    shell.terminal, shell.typed = True, "fs.write\n"
    shell.replies = [answer(SHOWN), answer({**SHOWN, "state": "revoked"})]
    result = shell(*REVOKE)
    assert (result.code, len(result.requests)) == (0, 2)
    assert f"Revoke {GRANT}. Type fs.write to go on: " in result.err
    assert "fs.write under src\\x1b[2J" in result.err


@pytest.mark.parametrize("typed", ["", "\n", "y\n", "yes\n", "fs\n"])
def test_anything_but_the_name_revokes_nothing(shell: Shell, typed: str) -> None:
    shell.terminal, shell.typed = True, typed
    shell.replies = [answer(SHOWN)]
    result = shell(*REVOKE)
    assert (result.code, len(result.requests)) == (2, 1)


@pytest.mark.parametrize("command", [REVOKE, (*REVOKE, "--yes"), ("grants", "revoke", GRANT, *SURE), FIND])
def test_without_consent_or_reason_nothing_is_sent(shell: Shell, command: tuple[str, ...]) -> None:
    result = shell(*command)
    assert (result.code, result.requests) == (2, [])


def test_a_grant_that_has_ended_is_a_conflict(shell: Shell) -> None:
    shell.replies = [problem(409, "conflict")]
    assert shell(*REVOKE, *SURE).code == 7


def test_a_denial_is_forgotten_with_a_reason(shell: Shell) -> None:
    shell.replies = [answer(None, 204)]
    result = shell("denials", "forget", DENIAL, *WHY, "--yes")
    assert (result.code, result.out) == (0, "")
    assert result.sent == [f"DELETE /api/v1/denials/{DENIAL}?comment=the+job+is+over"]
    assert shell("denials", "forget", DENIAL, *WHY).requests == []
    assert shell("denials", "forget", DENIAL, "--yes").requests == []


def test_a_forced_decision_is_reviewed(shell: Shell) -> None:
    shell.replies = [answer({"id": REVIEW, "state": "reviewed", "finding": "unjustified"})]
    result = shell(*FIND, "--yes")
    assert (result.code, result.sent) == (0, [f"POST /api/v1/break-glass-reviews/{REVIEW}"])
    assert result.body() == {"finding": "unjustified", "comment": "no outage"}
    assert shell(*FIND[:3], "--finding", "fine", "--comment", "x", "--yes").code == 2
