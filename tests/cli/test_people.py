"""Agents, people and workspaces from a shell: what is asked, sent, shown and refused."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.cli.shell import Shell, answer, problem

ULID = "01JD2Q8ZV0C3M4N5P6R7S8T9VW"
AGT, USR, WSP, TM, MBR = (f"{prefix}_{ULID}" for prefix in ("agt", "usr", "wsp", "tm", "mbr"))
ETAG = f'"{AGT}:4"'
SURE = ("--yes", "--expect-profile", "none")
LINK = "http://127.0.0.1:8470/setup/abc"


def listing(*items: dict[str, Any], cursor: str | None = None) -> httpx.Response:
    return answer({"object": "list", "data": items, "has_more": bool(cursor), "next_cursor": cursor})


def membership(role: str, number: int = 1) -> dict[str, Any]:
    return {"id": f"{MBR[:-1]}{number}", "user": {"id": USR}, "team": None, "role": role, "state": "live"}


WORKSPACES = listing({"id": WSP, "slug": "default", "name": "Default"})


def test_an_agent_is_registered_under_its_owner(shell: Shell) -> None:
    shell.replies = [answer({"id": AGT, "name": "nightly"}, 201)]
    result = shell("agents", "create", "--name", "nightly", "--owner", USR, "--yes", "-q")
    assert (result.out, result.sent) == (f"{AGT}\n", ["POST /api/v1/agents"])
    assert result.body() == {"name": "nightly", "owner": USR}


def test_an_edit_shows_the_difference_and_sends_the_version_it_showed(shell: Shell) -> None:
    shell.terminal, shell.typed = True, "y\n"
    shell.replies = [
        answer({"id": AGT, "name": "old", "purpose": "a\x1bb"}, ETag=ETAG),
        answer({"id": AGT, "name": "new"}),
    ]
    result = shell("agents", "set", AGT, "--name", "new", "--purpose", "")
    assert result.code == 0
    assert "name: old -> new\npurpose: a\\x1bb -> (empty)\n" in result.err
    assert result.requests[1].headers["If-Match"] == ETAG
    assert (result.requests[1].method, result.body()) == ("PATCH", {"name": "new", "purpose": ""})


def test_an_edit_can_name_the_version(shell: Shell) -> None:
    shell.replies = [problem(412, "precondition_failed")]
    result = shell("agents", "set", AGT, "--name", "new", "--if-match", ETAG, "--yes")
    assert (result.code, result.requests[0].headers["If-Match"]) == (7, ETAG)


def test_an_edit_of_nothing_or_without_a_version_changes_nothing(shell: Shell) -> None:
    assert shell("agents", "set", AGT, "--yes").code == 2
    assert shell("users", "set", USR, "--email", "a@example.com").requests == []
    shell.replies = [answer({"id": AGT})]
    result = shell("agents", "set", AGT, "--name", "new", "--yes")
    assert (result.code, len(result.requests)) == (1, 1)


@pytest.mark.parametrize("verb", ["suspend", "resume"])
def test_an_agent_is_stopped_and_started_with_a_reason(shell: Shell, verb: str) -> None:
    shell.replies = [answer({"id": AGT})]
    result = shell("agents", verb, AGT, "--reason", "odd calls", "--yes")
    assert (result.code, result.sent) == (0, [f"POST /api/v1/agents/{AGT}/{verb}"])
    assert result.body() == {"reason": "odd calls"}
    assert shell("agents", verb, AGT, "--reason", "odd calls").requests == []
    assert shell("agents", verb, AGT, "--yes").requests == []


FOR_GOOD = [
    (("agents", "archive", AGT), "name", f"agents/{AGT}", "archive"),
    (("users", "disable", USR), "username", f"users/{USR}", "disable"),
    (("users", "reset-factor", USR), "username", f"users/{USR}", "reset-factor"),
]


@pytest.mark.parametrize(("command", "label", "path", "verb"), FOR_GOOD)
def test_what_is_for_good_wants_the_name_typed(
    shell: Shell, command: tuple[str, ...], label: str, path: str, verb: str
) -> None:
    shell.terminal, shell.typed = True, "ada\n"
    shell.replies = [answer({"id": "x", label: "ada"}), answer({"id": "x", "setup_link": LINK})]
    result = shell(*command, "--reason", "gone")
    assert (result.code, result.sent) == (0, [f"GET /api/v1/{path}", f"POST /api/v1/{path}/{verb}"])
    shell.typed = "yes\n"
    assert shell(*command, "--reason", "gone").sent == [f"GET /api/v1/{path}"]
    shell.terminal = False
    assert shell(*command, "--reason", "gone", "--yes").requests == []
    shell.replies = shell.replies[1:]
    assert shell(*command, "--reason", "gone", *SURE).sent == [f"POST /api/v1/{path}/{verb}"]


def test_a_person_is_created_with_roles_and_a_link_told_once(shell: Shell) -> None:
    made = {"id": USR, "username": "ada", "setup_link": LINK}
    shell.replies = [WORKSPACES, answer(made, 201), answer(membership("viewer"), 201)]
    who = ("--username", "ada", "--email", "ada@example.com", "--role", "viewer", "--role", "approver")
    result = shell("users", "create", *who, "--yes", "--json")
    assert (result.code, json.loads(result.out)) == (0, made)
    assert result.sent == [
        "GET /api/v1/workspaces",
        "POST /api/v1/users",
        f"POST /api/v1/workspaces/{WSP}/memberships",
        f"POST /api/v1/workspaces/{WSP}/memberships",
    ]
    assert result.body(1) == {"username": "ada", "email": "ada@example.com"}
    assert [result.body(at) for at in (2, 3)] == [
        {"user": USR, "role": role} for role in ("viewer", "approver")
    ]


def test_a_role_that_is_refused_leaves_the_person_and_the_link(shell: Shell) -> None:
    shell.replies = [WORKSPACES, answer({"id": USR, "setup_link": LINK}, 201), problem(403, "role_required")]
    who = ("--username", "ada", "--email", "ada@example.com", "--role", "owner")
    result = shell("users", "create", *who, "--yes", "-q")
    assert (result.code, result.out) == (6, f"{LINK}\n")


def test_an_unknown_workspace_is_found_out_before_anybody_is_created(shell: Shell) -> None:
    shell.replies = [listing(cursor="next"), listing()]
    who = ("--username", "ada", "--email", "ada@example.com", "--role", "owner", "--workspace", "nowhere")
    result = shell("users", "create", *who, "--yes")
    assert (result.code, {line.split("?")[0] for line in result.sent}) == (8, {"GET /api/v1/workspaces"})


@pytest.mark.parametrize(
    "command", [("users", "set-role", USR, "--workspace", WSP), ("workspaces", "set-role", WSP, USR)]
)
def test_roles_are_brought_to_what_is_wanted_granting_first(shell: Shell, command: tuple[str, ...]) -> None:
    other = {**membership("owner", 9), "user": {"id": f"usr_{ULID[:-1]}0"}}
    shell.replies = [
        listing(membership("viewer"), other, cursor="next"),
        listing(membership("auditor", 2), {**membership("owner", 4), "state": "expired"}),
        answer(membership("operator", 3), 201),
        httpx.Response(204),
        listing(membership("viewer"), other, membership("operator", 3)),
    ]
    roles = ("--role", "viewer", "--role", "operator", "--role", "operator", "--expires", "30d")
    result = shell(*command, *roles, "--yes", "-q")
    base = f"/api/v1/workspaces/{WSP}/memberships"
    assert result.sent[2:4] == [f"POST {base}", f"DELETE {base}/{MBR[:-1]}2"]
    assert result.body(2) == {"user": USR, "role": "operator", "expires_at": "2026-02-04T10:00:00.000Z"}
    assert "auditor, viewer -> operator, viewer" in result.err
    assert result.out == f"{MBR[:-1]}1\n{MBR[:-1]}3\n"


def test_roles_that_are_held_already_change_nothing(shell: Shell) -> None:
    shell.replies = [listing(membership("viewer"))]
    result = shell("workspaces", "set-role", WSP, USR, "--role", "viewer", "--yes", "--json")
    assert (result.code, len(result.requests)) == (0, 1)
    assert json.loads(result.out)["data"] == [membership("viewer")]


def test_parts_of_one_change_have_their_own_keys(shell: Shell) -> None:
    shell.replies = [listing(), answer(membership("viewer"), 201), answer(membership("x"), 201), listing()]
    command = ("workspaces", "set-role", WSP, TM, "--role", "viewer", "--role", "auditor")
    result = shell(*command, "--yes", "--idempotency-key", "k")
    assert [result.requests[at].headers["Idempotency-Key"] for at in (1, 2)] == ["k:viewer", "k:auditor"]
    assert result.body(1) == {"team": TM, "role": "viewer"}


def test_removing_wants_the_workspace_typed(shell: Shell) -> None:
    shell.terminal, shell.typed = True, "default\n"
    held = listing(membership("viewer"), membership("auditor", 2))
    shell.replies = [WORKSPACES, held, httpx.Response(204)]
    result = shell("workspaces", "remove", "default", USR, "--role", "auditor")
    assert result.code == 0
    assert result.sent[2:] == [f"DELETE /api/v1/workspaces/{WSP}/memberships/{MBR[:-1]}2"]
    shell.typed = "y\n"
    assert len(shell("workspaces", "remove", "default", USR).requests) == 2
    shell.terminal = False
    assert shell("workspaces", "remove", "default", USR, "--yes").requests == []
    shell.replies = [held]
    assert shell("workspaces", "remove", WSP, USR, "--role", "owner", *SURE).code == 8


def test_an_invitation_is_told_once_and_taken_up_without_an_argument(shell: Shell) -> None:
    text = "pli_" + "q" * 43
    shell.replies = [answer({"id": f"inv_{ULID}", "token": text}, 201)]
    invite = ("workspaces", "invite", WSP, "--email", "ada@example.com", "--role", "approver")
    result = shell(*invite, "--expires", "7d", "--yes", "-q")
    assert (result.out, result.sent) == (f"{text}\n", [f"POST /api/v1/workspaces/{WSP}/invitations"])
    assert result.body() == {"email": "ada@example.com", "role": "approver", "expires_in_days": 7}
    assert shell("workspaces", "accept", text).requests == []
    shell.replies, shell.typed = [answer(membership("approver"), 201)], f"{text}\n"
    taken = shell("workspaces", "accept", "--token-stdin", "--yes")
    assert (taken.sent, taken.body()) == (["POST /api/v1/invitations/accept"], {"token": text})
    assert text not in taken.out + taken.err
    assert shell("workspaces", "accept", "--yes").requests == []
    shell.typed = "\n"
    assert shell("workspaces", "accept", "--token-stdin", "--yes").requests == []


def test_a_workspace_is_created_and_its_members_are_listed(shell: Shell) -> None:
    shell.replies = [answer({"id": WSP, "slug": "research"}, 201)]
    assert shell("workspaces", "create", "research", "--name", "Research", "--yes").body() == {
        "slug": "research",
        "name": "Research",
    }
    shell.replies = [WORKSPACES, listing(membership("viewer"))]
    result = shell("workspaces", "members", "default")
    assert result.out.splitlines()[1].startswith(f"{MBR[:-1]}1\tviewer\tlive\t{USR}\t")


def test_teams(shell: Shell) -> None:
    shell.replies = [answer({"id": TM}, 201)]
    base = f"/api/v1/workspaces/{WSP}/teams"
    created = shell("workspaces", "teams", "create", WSP, "--name", "On call", "--yes")
    assert (created.sent, created.body()) == ([f"POST {base}"], {"name": "On call"})
    added = shell("workspaces", "teams", "add", WSP, TM, USR, "--yes")
    assert (added.sent, added.body()) == ([f"POST {base}/{TM}/members"], {"user": USR})
    shell.replies = [httpx.Response(204)]
    removed = shell("workspaces", "teams", "remove", WSP, TM, USR, *SURE)
    assert removed.sent == [f"DELETE {base}/{TM}/members/{USR}"]
    assert shell("workspaces", "teams", "remove", WSP, TM, USR, "--yes").requests == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("agents", "show", USR),
        ("agents", "create", "--name", "x", "--owner", "ada"),
        ("users", "show", "ada"),
        ("users", "set-role", USR, "--role", "king"),
        ("users", "set-role", USR, "--role", "viewer", "--expires", "soon"),
        ("workspaces", "set-role", WSP, "ada", "--role", "viewer"),
        ("workspaces", "remove", WSP, AGT),
        ("workspaces", "teams", "add", WSP, USR, TM),
    ],
)
def test_what_cannot_be_meant_reaches_no_server(shell: Shell, arguments: tuple[str, ...]) -> None:
    result = shell(*arguments, *SURE)
    assert (result.code, result.requests) == (2, [])


def test_an_id_of_another_kind_names_the_right_command(shell: Shell) -> None:
    assert f"hint: palyra users show {USR}" in shell("agents", "show", USR).err
