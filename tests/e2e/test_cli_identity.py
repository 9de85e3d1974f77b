"""Who may do what, governed from a shell: one person's whole story against the real server.

A chapter returns the secrets it was told; at the end none of them stands anywhere on the server.
"""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from tests.e2e.hosts import SQLITE_FOLDER, Host
from tests.e2e.leaks import no_secret_is_left, the_first_start_s_secrets
from tests.e2e.persons import Person

pytestmark = [pytest.mark.e2e]

SURE = ("--yes", "--expect-profile", "local")


@pytest.mark.parametrize("host", [SQLITE_FOLDER], indirect=True)
def test_a_person_governs_who_may_do_what_from_a_shell(host: Host, tmp_path: Path) -> None:
    owner = Person(host.installation, tmp_path)
    owner.log_in()
    agent_id = an_agent_is_registered(owner)
    told = (
        *a_token_needs_a_code_and_works(owner, agent_id),
        the_token_is_rotated_and_revoked(owner, agent_id),
        a_person_gets_a_role(owner),
        a_feature_opens_and_closes_a_command(owner),
        *the_first_start_s_secrets(owner.product),
    )
    the_agent_is_stopped(owner, agent_id)
    logging_out_ends_the_token(owner)
    no_secret_is_left(owner.product, told)


def an_agent_is_registered(owner: Person) -> str:
    made = owner.get("agents", "create", "--name", "nightly", "--yes")
    assert made["owner"] == owner.get("whoami")["id"]
    owner.run("agents", "create", "--name", "nightly", "--yes", exits=7)
    return str(made["id"])


def a_token_needs_a_code_and_works(owner: Person, agent_id: str) -> tuple[str, str]:
    path = owner.home / "ci.token"
    mint = ("tokens", "create", "--agent", agent_id, "--scope", "agent", "--expires", "30d", "--yes")
    owner.run(*mint, exits=3)
    code = owner.product.manage("totp").strip()
    owner.run(*mint, "--out", str(path), "--otp", "-", typed=f"{code}\n")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    token = path.read_text().strip()
    assert owner.run("whoami", "-q", token=token) == f"{agent_id}\n"
    assert owner.run("runs", "open", "-q", token=token).startswith("run_")
    owner.run("agents", "suspend", agent_id, "--reason", "by itself", "--yes", token=token, exits=6)
    return token, code


def the_token_is_rotated_and_revoked(owner: Person, agent_id: str) -> str:
    first = (owner.home / "ci.token").read_text().strip()
    token_id = owner.get("tokens", "list", "--kind", "agt", "--limit", "1")["data"][0]["id"]
    rotate = ("tokens", "rotate", token_id, "--overlap", "0", "--yes")
    second = owner.run(*rotate, "-q").strip()
    owner.run("whoami", token=first, exits=3)
    assert owner.run("whoami", "-q", token=second) == f"{agent_id}\n"
    owner.run(*rotate, exits=7)
    heir = owner.get("tokens", "list", "--kind", "agt", "--state", "active", "--limit", "1")["data"][0]
    assert heir["rotated_from"] == token_id
    owner.run("tokens", "revoke", heir["id"], "--reason", "the story is over", "--yes", exits=2)
    owner.run("tokens", "revoke", heir["id"], "--reason", "the story is over", *SURE)
    owner.run("whoami", token=second, exits=3)
    return second


def a_person_gets_a_role(owner: Person) -> str:
    link = owner.home / "link"
    new = ("users", "create", "--username", "ada", "--email", "ada@example.com")
    user = json.loads(owner.run(*new, "--role", "viewer", "--out", str(link), "--yes", "--json"))
    assert link.read_text().startswith(f"{owner.product.url}/")
    assert "setup_link" not in user
    roles = owner.get("users", "set-role", user["id"], "--role", "approver", "--expires", "30d", "--yes")
    assert [one["role"] for one in roles["data"]] == ["approver"]
    owner.run("users", "set-role", owner.get("whoami")["id"], "--role", "viewer", "--yes", exits=6)
    owner.run("users", "disable", user["id"], "--reason", "left the team", *SURE)
    owner.run("users", "show", "usr_01JD2Q8ZV0C3M4N5P6R7S8T9VW", exits=8)
    return link.read_text().strip().rstrip("/").rpartition("/")[2]


def a_feature_opens_and_closes_a_command(owner: Person) -> str:
    create = ("workspaces", "create", "research", "--name", "Research", "--yes")
    owner.run(*create, exits=5)
    flag = ("flags", "set", "team_mode")
    owner.run(*flag, "on", "--stage", "general", "--reason", "we work in teams", "--yes")
    owner.run(*create)
    offer = ("workspaces", "invite", "research", "--email", "a@example.com", "--role", "viewer", "--yes")
    text = owner.run(*offer, "-q").strip()
    assert len(owner.get("workspaces", "invitations", "research")["data"]) == 1
    return text


def the_agent_is_stopped(owner: Person, agent_id: str) -> None:
    owner.run("agents", "suspend", agent_id, "--reason", "odd calls", "--yes")
    owner.run("agents", "suspend", agent_id, "--reason", "odd calls", "--yes", exits=7)
    assert owner.get("agents", "show", agent_id)["state"] == "suspended"


def logging_out_ends_the_token(owner: Person) -> None:
    owner.run("logout", "--revoke", "--yes")
    owner.run("whoami", exits=3)
    owner.run("whoami", token=owner.product.credentials["owner_token"], exits=3)
    assert list((owner.home / ".config" / "palyra" / "tokens").iterdir()) == []
