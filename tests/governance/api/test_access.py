"""Feature flags and the table of roles over HTTP."""

from __future__ import annotations

import json

import pytest

from governance.founding import DEMO_FEATURES
from governance.journal.models import JournalEvent
from identity.access import FEATURES
from identity.models import FeatureFlag, FeatureFlagChange, Workspace
from identity.roles import MATRIX, NEEDS_FRESH_MFA, NEEDS_MFA, Permission, WorkspaceRole
from tests.governance.api.test_answers import assert_problem
from tests.governance.api.world import Answer, Caller, World

FLAGS = "access/flags"
REASON = "asked for in a test"


def elevated(world: World) -> Caller:
    """The owner after a one-time code."""
    answer = world.owner.post("auth/step-up", {"otp": world.owner.code()})
    assert answer.status_code == 204, answer.content
    return world.owner


def patch(caller: Caller, key: str, tag: str | None = "", **body: object) -> Answer:
    """Change a flag as somebody who has just looked at it; `tag` None sends no If-Match."""
    seen = caller.get(f"{FLAGS}/{key}").headers.get("ETag", "") if tag == "" else tag
    headers = {} if seen is None else {"If_Match": seen}
    data = json.dumps({"reason": REASON, **body}).encode()
    return caller.send("PATCH", f"{FLAGS}/{key}", data, **headers)


def test_the_first_start_switches_on_what_the_demonstration_uses(world: World) -> None:
    listed = {flag["id"]: flag for flag in world.owner.get(FLAGS).json()["data"]}
    assert list(listed) == list(FEATURES)
    assert {key for key, flag in listed.items() if flag["version"]} == set(DEMO_FEATURES)
    assert listed["compat_api"]["enabled"]
    assert JournalEvent.objects.filter(type="flag.changed").count() == len(DEMO_FEATURES)
    assert FeatureFlagChange.objects.count() == len(DEMO_FEATURES)


def test_everybody_with_a_role_reads_what_a_flag_means_for_them(world: World) -> None:
    for caller in (world.owner, world.approver, world.auditor, world.agent_owner, world.agent):
        flag = caller.get(f"{FLAGS}/compat_api").json()
        reason = "enabled" if caller in (world.owner, world.agent) else "stage_excluded"
        assert flag["here"] == {"enabled": reason == "enabled", "reason": reason, "dependency": None}
        assert (flag["depends_on"], flag["dependants"]) == (
            "api_tokens",
            ["compat_embeddings_api", "compat_tools_invoke"],
        )


@pytest.mark.parametrize("path", [FLAGS, f"{FLAGS}/mcp", f"{FLAGS}/mcp/history", "access/roles"])
def test_a_stranger_reads_nothing(world: World, path: str) -> None:
    assert_problem(world.stranger.get(path), 403, "role_required")
    assert_problem(world.nobody.get(path), 401, "unauthenticated")


def test_a_change_is_made_against_the_version_that_was_seen(world: World) -> None:
    owner = elevated(world)
    seen = owner.get(f"{FLAGS}/mcp")
    assert seen.headers["ETag"] == '"mcp:0"'
    made = patch(owner, "mcp", '"mcp:0"', enabled=True, stage="general", percent=100)
    assert made.status_code == 200, made.content
    assert made.headers["ETag"] == '"mcp:1"'
    body = made.json()
    assert (body["enabled"], body["stage"], body["version"], body["cascaded"]) == (True, "general", 1, [])
    assert owner.get(f"{FLAGS}/mcp").json() | {"cascaded": []} == body
    assert_problem(patch(owner, "mcp", '"mcp:0"', enabled=False), 412, "precondition_failed")
    assert JournalEvent.objects.filter(type="flag.changed", subject="mcp").count() == 1


@pytest.mark.parametrize(
    ("tag", "status", "code"),
    [
        (None, 428, "precondition_required"),
        ("*", 400, "invalid_if_match"),
        ("0", 400, "invalid_if_match"),
        ('"break_glass:0"', 400, "invalid_if_match"),
        ('"mcp:0", "mcp:1"', 400, "invalid_if_match"),
        ('W/"mcp:0"', 400, "invalid_if_match"),
        ('"mcp:7"', 412, "precondition_failed"),
    ],
)
def test_what_was_not_seen_is_not_changed(world: World, tag: str | None, status: int, code: str) -> None:
    assert_problem(patch(elevated(world), "mcp", tag, enabled=True), status, code)
    assert not FeatureFlag.objects.filter(pk="mcp").exists()


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"enabled": "true"}, 422, "invalid"),
        ({"enabled": None}, 422, "invalid"),
        ({"percent": 101}, 422, "invalid"),
        ({"percent": "50"}, 422, "invalid"),
        ({"stage": "everybody"}, 422, "invalid"),
        ({"reason": "short"}, 422, "invalid"),
        ({"reason": " " * 20, "enabled": True}, 422, "invalid"),
        ({"workspaces": "default"}, 422, "invalid"),
        ({"workspaces": ["wsp_01JD0000000000000000000000"]}, 422, "invalid"),
        ({}, 422, "invalid"),
        ({"version": 3}, 400, "unknown_field"),
    ],
)
def test_bad_bodies_change_nothing(world: World, body: dict[str, object], status: int, code: str) -> None:
    assert_problem(patch(elevated(world), "mcp", "", **body), status, code)
    assert not FeatureFlag.objects.filter(pk="mcp").exists()


@pytest.mark.parametrize("key", ["no_such_flag", "MCP", "mcp%00", "mcp.", "x" * 300])
def test_a_flag_that_does_not_exist_is_not_found(world: World, key: str) -> None:
    owner = elevated(world)
    assert_problem(owner.get(f"{FLAGS}/{key}"), 404, "not_found")
    assert_problem(owner.get(f"{FLAGS}/{key}/history"), 404, "not_found")
    assert_problem(patch(owner, key, '"mcp:0"', enabled=True), 404, "not_found")


def test_a_change_needs_a_fresh_code_and_an_owner_of_the_instance(world: World) -> None:
    assert_problem(patch(world.owner, "mcp", enabled=True), 401, "step_up_required")
    for caller in (world.approver, world.auditor, world.agent_owner, world.agent, world.stranger):
        assert_problem(patch(caller, "mcp", '"mcp:0"', enabled=True), 403, "role_required")
    assert not FeatureFlag.objects.filter(pk="mcp").exists()


def test_dependencies_hold_both_ways(world: World) -> None:
    owner = elevated(world)
    assert patch(owner, "compat_api", enabled=False).status_code == 200
    refused = patch(owner, "compat_embeddings_api", enabled=True)
    assert_problem(refused, 409, "dependency_off")
    assert refused.json()["dependency"] == "compat_api"
    assert patch(owner, "compat_api", enabled=True).status_code == 200
    assert patch(owner, "compat_embeddings_api", enabled=True).status_code == 200
    refused = patch(owner, "compat_api", enabled=False)
    assert refused.json()["dependants"] == ["compat_embeddings_api"]
    assert patch(owner, "compat_api", enabled=False, cascade=True).json()["cascaded"] == [
        "compat_embeddings_api"
    ]


def test_the_history_says_who_changed_what_and_why(world: World) -> None:
    owner = elevated(world)
    patch(owner, "break_glass", enabled=True)
    patch(owner, "break_glass", enabled=False, reason="the drill is over")
    rows = owner.get(f"{FLAGS}/break_glass/history").json()
    assert [row["reason"] for row in rows["data"]] == ["the drill is over", REASON]
    assert rows["data"][1]["before"] is None
    assert rows["data"][0]["actor"] == world.owner.id
    page = owner.get(f"{FLAGS}/break_glass/history?limit=1").json()
    assert page["has_more"]
    rest = owner.get(f"{FLAGS}/break_glass/history?limit=1&cursor={page['next_cursor']}").json()
    assert [row["reason"] for row in rest["data"]] == [REASON]
    for caller in (world.approver, world.auditor, world.agent):
        assert_problem(caller.get(f"{FLAGS}/break_glass/history"), 403, "role_required")


def test_a_pilot_names_other_workspaces_to_members_of_the_instance_alone(world: World) -> None:
    owner = elevated(world)
    places = [world.workspace.pk, Workspace.objects.get(slug="instance").pk]
    assert patch(owner, "mcp", enabled=True, stage="pilot", workspaces=places).status_code == 200
    assert owner.get(f"{FLAGS}/mcp").json()["workspaces"] == sorted(places)
    assert world.agent.get(f"{FLAGS}/mcp").json()["workspaces"] == [world.workspace.pk]


def test_the_table_of_roles_is_the_matrix(world: World) -> None:
    rows = {row["id"]: row for row in world.auditor.get("access/roles").json()["data"]}
    assert set(rows) == set(Permission)
    for permission in Permission:
        row = rows[permission]
        needed = "mfa" if permission in NEEDS_MFA else "none"
        assert row["roles"] == [role for role in WorkspaceRole if role in MATRIX[permission]]
        assert row["strength"] == ("fresh_mfa" if permission in NEEDS_FRESH_MFA else needed)
    assert rows["tokens.mint"]["feature"] == "api_tokens"
    assert rows["users.manage"]["instance_only"]


@pytest.mark.parametrize("path", [FLAGS, f"{FLAGS}/mcp", "access/roles"])
def test_unknown_parameters_are_refused(world: World, path: str) -> None:
    assert_problem(world.owner.get(f"{path}?x=1"), 400, "unknown_parameter")
