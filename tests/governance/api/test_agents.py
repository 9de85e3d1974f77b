"""Agents over HTTP."""

from __future__ import annotations

import json

import pytest

from approvals.models import ApprovalRequest
from governance.models import Run
from identity.models import Agent, ApiToken
from tests.governance.api.stepping import fresh, switch_on
from tests.governance.api.test_answers import assert_problem
from tests.governance.api.world import Answer, Caller, World

REASON = {"reason": "a test"}


def patch(caller: Caller, path: str, body: object, **headers: str) -> Answer:
    return caller.send("PATCH", path, json.dumps(body).encode(), **headers)


def test_members_read_agents_and_agents_do_not(world: World) -> None:
    rows = world.auditor.get("agents").json()["data"]
    assert {row["id"] for row in rows} == {world.agent.id, world.other_agent.id}
    shown = world.auditor.get(f"agents/{world.agent.id}")
    assert shown.json() in rows
    assert shown.headers["ETag"] == f'"{world.agent.id}:1"'
    unchanged = world.auditor.get(f"agents/{world.agent.id}", If_None_Match=shown.headers["ETag"])
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    assert_problem(world.agent.get("agents"), 403, "insufficient_scope")
    assert_problem(world.stranger.get("agents"), 403, "role_required")


def test_agents_are_filtered(world: World) -> None:
    for query, expected in (
        (f"owner={world.agent_owner.id}", {world.other_agent.id}),
        ("state=suspended", set()),
        (f"workspace={world.workspace.pk}&state=active", {world.agent.id, world.other_agent.id}),
    ):
        found = {row["id"] for row in world.auditor.get(f"agents?{query}").json()["data"]}
        assert found == expected, query
    assert_problem(world.auditor.get("agents?state=gone"), 400, "invalid_parameter")


def test_an_agent_is_registered_by_who_manages_agents(world: World) -> None:
    body = {"name": "helper-one", "owner": world.agent_owner.id, "purpose": "Helps."}
    for caller in (world.approver, world.agent_owner, world.auditor):
        assert_problem(caller.post("agents", body), 403, "role_required")
    made = world.owner.post("agents", body, Idempotency_Key="a")
    assert (made.status_code, made.json()["owner"]) == (201, world.agent_owner.id)
    again = world.owner.post("agents", body, Idempotency_Key="a")
    assert again.json() == made.json()
    assert_problem(world.owner.post("agents", body), 409, "conflict")
    mine = world.owner.post("agents", {"name": "mine"}).json()
    assert mine["owner"] == world.owner.id


@pytest.mark.parametrize("owner", ["stranger", "nobody-known"])
def test_an_owner_without_a_role_is_refused(world: World, owner: str) -> None:
    person = world.stranger.id if owner == "stranger" else "usr_01JD0000000000000000000000"
    answer = world.owner.post("agents", {"name": "x", "owner": person})
    assert_problem(answer, 422, "invalid")
    assert answer.json()["errors"][0]["pointer"] == "/owner"


def test_an_agent_is_changed_as_seen(world: World) -> None:
    path = f"agents/{world.agent.id}"
    assert_problem(patch(world.owner, path, {"name": "x"}), 428, "precondition_required")
    tag = world.owner.get(path).headers["ETag"]
    changed = patch(world.owner, path, {"name": "renamed", "owner": world.agent_owner.id}, If_Match=tag)
    assert (changed.json()["name"], changed.json()["version"]) == ("renamed", 2)
    assert_problem(patch(world.owner, path, {"name": "x"}, If_Match=tag), 412, "precondition_failed")
    assert_problem(patch(world.approver, path, {"name": "x"}, If_Match=tag), 403, "role_required")
    assert_problem(patch(world.owner, path, {"state": "active"}, If_Match=tag), 400, "unknown_field")


def test_a_suspended_agent_is_refused_until_resumed(world: World) -> None:
    path = f"agents/{world.agent.id}"
    assert world.owner.post(f"{path}/suspend", REASON).json()["state"] == "suspended"
    assert_problem(world.agent.get("whoami"), 401, "unauthenticated")
    assert_problem(world.owner.post(f"{path}/suspend", REASON), 409, "state_changed")
    assert world.owner.post(f"{path}/resume", REASON).json()["state"] == "active"
    assert world.agent.get("whoami").status_code == 200
    assert_problem(world.owner.post(f"{path}/suspend", {}), 422, "invalid")


def test_an_archived_agent_takes_its_tokens_runs_and_questions_along(world: World) -> None:
    call = world.ask()
    queued = world.agent.propose("echo", {"text": "x"})
    answer = world.owner.post(f"agents/{world.agent.id}/archive", REASON)
    assert (answer.status_code, answer.json()["state"]) == (200, "archived")
    assert_problem(world.agent.get("whoami"), 401, "unauthenticated")
    assert not ApiToken.objects.filter(principal_agent_id=world.agent.id, revoked_at=None).exists()
    assert set(Run.objects.filter(principal_id=world.agent.id).values_list("state", "close_code")) == {
        ("cancelled", "agent_revoked")
    }
    assert ApprovalRequest.objects.get(id=call["approval"]["id"]).status == "cancelled"
    for made in (call, queued):
        shown = world.owner.get(f"tool-calls/{made['id']}").json()
        assert shown["state"] == "cancelled"
    for verb in ("archive", "suspend", "resume"):
        assert_problem(world.owner.post(f"agents/{world.agent.id}/{verb}", REASON), 409, "state_changed")


def test_agents_of_another_workspace_do_not_exist(world: World) -> None:
    switch_on("team_mode")
    side = fresh(world.owner).post("workspaces", {"slug": "side", "name": "Side"}).json()["id"]
    Agent.objects.filter(pk=world.other_agent.id).update(workspace_id=side)
    path = f"agents/{world.other_agent.id}"
    assert_problem(world.auditor.get(path), 404, "not_found")
    assert world.owner.get(path).status_code == 200
    share = {"resource_kind": "agent", "resource_id": world.other_agent.id, "access": "read"}
    assert world.owner.post(f"workspaces/{world.workspace.pk}/shares", share).status_code == 201
    assert world.auditor.get(path).json()["workspace_id"] == side
    assert world.other_agent.id in {row["id"] for row in world.auditor.get("agents").json()["data"]}


@pytest.mark.parametrize("path", ["agents/nonsense", "agents/usr_01JD0000000000000000000000"])
def test_a_malformed_id_is_refused(world: World, path: str) -> None:
    assert_problem(world.owner.get(path), 400, "invalid_id")
    assert_problem(world.owner.post(f"{path}/archive", REASON), 400, "invalid_id")
