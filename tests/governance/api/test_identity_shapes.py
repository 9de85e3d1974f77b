"""What is answered about people, workspaces and agents is what the OpenAPI document says."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from tests.governance.api.stepping import fresh, switch_on
from tests.governance.api.test_openapi import COMMITTED
from tests.governance.api.world import Caller, World


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(COMMITTED.read_text())
    return loaded


@pytest.fixture
def owner(world: World) -> Caller:
    switch_on("team_mode")
    return fresh(world.owner)


def assert_fits(body: object, name: str, document: dict[str, Any]) -> None:
    validator = Draft202012Validator({"$ref": f"#/components/schemas/{name}", **document})
    assert [error.message for error in validator.iter_errors(body)] == [], name


def members_of(name: str, document: dict[str, Any]) -> set[str]:
    return set(document["components"]["schemas"][name]["properties"])


def test_everything_that_is_made_fits_and_so_do_the_lists(
    world: World, owner: Caller, document: dict[str, Any]
) -> None:
    home = f"workspaces/{world.workspace.pk}"
    side = owner.post("workspaces", {"slug": "side", "name": "Side"}).json()
    share = {"resource_kind": "agent", "resource_id": world.agent.id, "access": "read"}
    made = (
        ("users", {"username": "newcomer", "email": "n@example.com"}, "UserWithLink", "UserList"),
        ("agents", {"name": "fresh-agent"}, "Agent", "AgentList"),
        (f"{home}/memberships", {"user": world.stranger.id, "role": "viewer"}, "Membership",
         "MembershipList"),
        (f"{home}/teams", {"name": "crew"}, "Team", "TeamList"),
        (f"{home}/invitations", {"email": "x@example.com", "role": "viewer"}, "InvitationWithToken",
         "InvitationList"),
        (f"workspaces/{side['id']}/shares", share, "Share", "ShareList"),
    )  # fmt: skip
    assert_fits(side, "Workspace", document)
    assert_fits(owner.get("workspaces").json(), "WorkspaceList", document)
    for path, body, one, many in made:
        answer = fresh(owner).post(path, body)
        assert answer.status_code == 201, answer.content
        assert_fits(answer.json(), one, document)
        assert set(answer.json()) == members_of(one, document)
        listed = owner.get(path).json()
        assert listed["data"], path
        assert_fits(listed, many, document)


@pytest.mark.parametrize(
    ("path", "name"),
    [("users/{user}", "User"), ("agents/{agent}", "Agent"), ("workspaces/{workspace}", "Workspace")],
)
def test_one_object_has_every_member(
    world: World, owner: Caller, document: dict[str, Any], path: str, name: str
) -> None:
    address = path.format(user=world.auditor.id, agent=world.agent.id, workspace=world.workspace.pk)
    body = owner.get(address).json()
    assert_fits(body, name, document)
    assert set(body) == members_of(name, document)
