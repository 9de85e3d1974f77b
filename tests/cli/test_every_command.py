"""Rules that every command on identity and approvals keeps, one by one: exit codes, output, consent."""

from __future__ import annotations

import json
import re
from pathlib import Path

import httpx
import pytest
import yaml

from tests.cli.shell import Shell, answer, problem

ROOT = Path(__file__).resolve().parents[2]
ULID = "01JD2Q8ZV0C3M4N5P6R7S8T9VW"
PREFIXES = ("agt", "usr", "wsp", "tm", "tok", "inv", "shr")
AGT, USR, WSP, TM, TOK, INV, SHR = (f"{prefix}_{ULID}" for prefix in PREFIXES)
APR, GRT, DNL, BGR = (f"{prefix}_{ULID}" for prefix in ("apr", "grt", "dnl", "bgr"))
WHY = ("--reason", "because of a test")
NEW_USER = ("--username", "ada", "--email", "ada@example.com")

READS = [
    ("tokens", "list"),
    ("tokens", "show", TOK),
    ("agents", "list"),
    ("agents", "show", AGT),
    ("users", "list"),
    ("users", "show", USR),
    ("workspaces", "list"),
    ("workspaces", "members", WSP),
    ("workspaces", "show", WSP),
    ("workspaces", "teams", "list", WSP),
    ("workspaces", "invitations", WSP),
    ("workspaces", "shares", "list", WSP),
    ("approvals", "list"),
    ("approvals", "show", APR),
    ("approvals", "patterns", APR),
    ("grants", "list"),
    ("grants", "show", GRT),
    ("denials", "list"),
    ("denials", "show", DNL),
    ("break-glass", "list"),
]
WRITES = [
    ("tokens", "create", "--agent", AGT, "--scope", "agent"),
    ("tokens", "rotate", TOK),
    ("agents", "create", "--name", "x", "--owner", USR),
    ("agents", "set", AGT, "--name", "x", "--if-match", f'"{AGT}:1"'),
    ("agents", "suspend", AGT, *WHY),
    ("agents", "resume", AGT, *WHY),
    ("users", "create", *NEW_USER),
    ("users", "set", USR, "--email", "a@example.com", "--if-match", f'"{USR}:1"'),
    ("users", "set-role", USR, "--role", "viewer", "--workspace", WSP),
    ("users", "enable", USR, *WHY),
    ("workspaces", "create", "research", "--name", "Research"),
    ("workspaces", "invite", WSP, "--email", "a@example.com", "--role", "viewer"),
    ("workspaces", "set-role", WSP, USR, "--role", "viewer"),
    ("workspaces", "teams", "create", WSP, "--name", "x"),
    ("workspaces", "teams", "add", WSP, TM, USR),
    ("workspaces", "uninvite", WSP, INV),
    ("workspaces", "shares", "add", WSP, "agent", AGT),
    ("workspaces", "shares", "remove", WSP, SHR),
    ("workspaces", "accept", "--token-stdin"),
    ("approvals", "decide", APR, "--decision", "allow", "--scope", "session"),
    ("approvals", "bulk-decide", APR, "--decision", "deny", "--comment", "because of a test"),
    ("approvals", "break-glass", APR, "--comment", "because of a long enough test"),
    ("approvals", "cancel", APR, *WHY),
    ("denials", "forget", DNL, *WHY),
    ("break-glass", "review", BGR, "--finding", "justified", "--comment", "because of a test"),
]
FINAL = [
    ("tokens", "revoke", TOK, *WHY),
    ("agents", "archive", AGT, *WHY),
    ("grants", "revoke", GRT, *WHY),
    ("users", "disable", USR, *WHY),
    ("users", "reset-factor", USR, *WHY),
    ("workspaces", "archive", WSP),
    ("workspaces", "remove", WSP, USR),
    ("workspaces", "teams", "remove", WSP, TM, USR),
]
SURE = ("--yes", "--expect-profile", "none")
EVERY = [*READS, *WRITES, *FINAL]
Command = tuple[str, ...]


def names(command: Command) -> str:
    return " ".join(word for word in command if word.isalpha() or ("-" in word and not word.startswith("-")))


@pytest.fixture
def ready(shell: Shell) -> Shell:
    shell.typed = "pli_" + "q" * 43 + "\n"
    return shell


PROBLEMS = [
    (422, "invalid", 2),
    (401, "unauthenticated", 3),
    (401, "step_up_required", 3),
    (403, "feature_disabled", 5),
    (403, "role_required", 6),
    (409, "last_owner", 7),
    (404, "not_found", 8),
]


@pytest.mark.parametrize("command", EVERY, ids=names)
def test_a_problem_decides_the_exit_code_and_prints_nothing(ready: Shell, command: Command) -> None:
    for status, code, exits in PROBLEMS:
        ready.replies = [problem(status, code)]
        result = ready(*command, *SURE, "--json")
        assert (result.code, result.out) == (exits, "")
        assert json.loads(result.err.splitlines()[-1])["code"] == code


@pytest.mark.parametrize("command", EVERY, ids=names)
def test_a_dead_server_is_four_and_an_old_one_five(ready: Shell, command: Command) -> None:
    ready.replies = [httpx.ConnectError("refused")]
    assert ready(*command, *SURE).code == 4
    ready.replies = [httpx.Response(404, text="Not Found")]
    assert ready(*command, *SURE).code == 5


@pytest.mark.parametrize("command", [*WRITES, *FINAL], ids=names)
def test_nothing_is_sent_that_nobody_agreed_to(ready: Shell, command: Command) -> None:
    assert ready(*command).requests == []
    assert ready(*command, "--no-input").code == 2


@pytest.mark.parametrize("command", FINAL, ids=names)
def test_a_bare_yes_is_not_enough_for_what_is_final(ready: Shell, command: Command) -> None:
    result = ready(*command, "--yes")
    assert (result.code, result.requests, "--expect-profile none" in result.err) == (2, [], True)


@pytest.mark.parametrize("command", READS, ids=names)
def test_json_is_the_api_s_own_and_the_same_on_a_terminal(ready: Shell, command: Command) -> None:
    body = {"object": "list", "data": [{"id": "x", "new": "\u00fc"}], "has_more": False, "next_cursor": None}
    ready.replies = [answer(body)]
    piped = ready(*command, "--json").out
    ready.terminal = True
    assert ready(*command, "--json").out == piped == answer(body).text + "\n"


@pytest.mark.parametrize("command", EVERY, ids=names)
def test_nothing_from_a_server_reaches_a_terminal_raw(ready: Shell, command: Command) -> None:
    hostile = "\x1b]52;c;QUFB\x07\u202e"
    item = {"id": hostile, "name": hostile, "label": hostile, "token": hostile, "setup_link": hostile}
    ready.environ["NO_COLOR"] = "1"
    ready.terminal = True
    ready.replies = [answer({**item, "data": [{**item, "user": {"id": USR}, "role": hostile}]}, ETag='"x:1"')]
    result = ready(*command, *SURE)
    assert "\x1b" not in result.out + result.err
    assert "\u202e" not in result.out + result.err


ELSEWHERE = {"POST /api/v1/tokens/leaked"}  # a report by whoever found a token: no credential, no command


def test_every_route_of_the_identity_api_is_reached_by_a_command(ready: Shell) -> None:
    document = yaml.load((ROOT / "docs" / "openapi.yaml").read_text(), Loader=yaml.CSafeLoader)
    wanted = {
        f"{method.upper()} {path}"
        for path, verbs in document["paths"].items()
        if path.split("/")[3] in {"tokens", "agents", "users", "workspaces", "invitations"}
        for method in verbs
    }
    assert wanted - _reached(ready, wanted) == ELSEWHERE


def _reached(shell: Shell, routes: set[str]) -> set[str]:
    """Return the routes that the commands above ask for when everything is there."""
    one = {"id": TOK, "token": "x", "setup_link": "x", "user": {"id": USR}, "role": "auditor"}
    shell.replies = [answer({**one, "data": [one]})]
    sent = {line.split("?")[0] for command in EVERY for line in shell(*command, *SURE).sent}
    patterns = {route: re.compile(re.sub(r"{\w+}", "[^/]+", route)) for route in routes}
    return {route for route, pattern in patterns.items() if any(map(pattern.fullmatch, sent))}
