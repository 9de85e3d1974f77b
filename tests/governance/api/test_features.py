"""What a feature that is off closes, and what stays open."""

from __future__ import annotations

import pytest
from django.db import transaction

from governance.journal.ledger import record
from governance.operations import tokens
from identity.models import FeatureFlag
from identity.rollout import FlagWishes, change_flag
from kernel.clock import utc_now
from tests.governance.api.test_answers import assert_problem
from tests.governance.api.world import SHELL, Caller, World

COMPAT = ("/v1/models", "/v1/chat/completions", "/v1/no/such/path", "/v1/", "/v1")
MCP = ("/mcp", "/mcp/", "/mcp/sse")


def switch(key: str, enabled: bool, *, stage: str | None = None, cascade: bool = True) -> None:
    """Change a flag as the instance itself."""
    row = FeatureFlag.objects.filter(pk=key).first()
    with transaction.atomic():
        change_flag(
            key=key,
            wishes=FlagWishes("asked for in a test", enabled, stage=stage, cascade=cascade),
            seen_version=row.version if row else 0,
            actor=SHELL,
            now=utc_now(),
            record=record,
        )


@pytest.mark.parametrize("path", COMPAT)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_the_compatible_routes_are_nothing_to_strangers_and_closed_to_tokens(
    world: World, path: str, method: str
) -> None:
    switch("compat_api", False)
    unknown = world.nobody.send(method, path, b"")
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "not_found")
    wrong = Caller(world.agent.token[:-1] + ("0" if world.agent.token[-1] != "0" else "1"))
    assert wrong.send(method, path, b"").content == unknown.content
    closed = world.agent.send(method, path, b"")
    assert (closed.status_code, closed.json()["error"]["code"]) == (403, "feature_disabled")
    assert closed.headers["Content-Type"].startswith("application/json")


@pytest.mark.parametrize("path", COMPAT)
def test_with_the_feature_on_an_unknown_path_is_a_404(world: World, path: str) -> None:
    assert world.agent.get(path).json()["error"]["code"] == "not_found"
    assert world.agent.get(path).status_code == 404


def test_whoever_a_stage_leaves_out_finds_the_routes_closed(world: World) -> None:
    assert world.owner.get("/v1/models").status_code == 404
    assert world.approver.get("/v1/models").status_code == 403


@pytest.mark.parametrize("path", MCP)
def test_the_mcp_server_is_closed_the_same_way(world: World, path: str) -> None:
    assert_problem(world.nobody.get(path), 404, "not_found")
    assert_problem(world.agent.get(path, Accept="text/event-stream"), 403, "feature_disabled")
    switch("mcp", True, stage="general")
    assert_problem(world.agent.post(path), 404, "not_found")


@pytest.mark.parametrize("path", ["/v10/models", "/mcpx", "/v1x"])
def test_neighbouring_paths_are_no_part_of_it(world: World, path: str) -> None:
    assert_problem(world.agent.get(path), 404, "not_found")


def test_without_api_tokens_no_bearer_token_passes(world: World) -> None:
    switch("api_tokens", False)
    for caller in (world.owner, world.approver, world.agent, world.stranger):
        for path in ("whoami", "runs", "access/flags", "tokens"):
            assert_problem(caller.get(path), 403, "feature_disabled")
        assert_problem(caller.post("runs"), 403, "feature_disabled")
    assert_problem(world.nobody.get("whoami"), 401, "unauthenticated")
    switch("api_tokens", True)
    assert world.agent.get("whoami").status_code == 200


def test_a_token_of_the_shell_passes_and_sees_what_is_off(world: World) -> None:
    minted = tokens.mint_admin(username="owner", scopes=("settings.read",), days=1, now=utc_now())
    switch("api_tokens", False)
    answer = Caller(minted.text).get("access/flags/api_tokens")
    assert (answer.status_code, answer.json()["here"]["reason"]) == (200, "flag_off")


def test_a_stage_of_api_tokens_asks_for_the_minter(world: World) -> None:
    switch("api_tokens", True, stage="admin_only")
    assert world.owner.get("whoami").status_code == 200
    assert world.agent.get("whoami").status_code == 200
    assert_problem(world.approver.get("whoami"), 403, "feature_disabled")


def test_in_safe_mode_owners_work_on_and_everybody_else_reads(world: World) -> None:
    call = world.ask()
    switch("rbac", False)
    assert_problem(world.agent.post("runs"), 403, "role_required")
    assert world.agent.get("runs").status_code == 200
    assert_problem(world.agent_owner.post("runs"), 403, "role_required")
    assert world.agent_owner.get("runs").status_code == 200
    assert_problem(world.auditor.get("approvals"), 403, "role_required")
    assert "approvals.decide" in world.owner.get("whoami").json()["permissions"]
    assert world.approver.get("whoami").json()["roles"] == ["viewer"]
    decision = world.approver.post(f"approvals/{call['approval']['id']}/decision", {"decision": "allow"})
    assert decision.status_code in (403, 404)
    switch("rbac", True)
    assert world.agent.post("runs").status_code == 201


def test_safe_mode_ends_when_the_flag_comes_back_and_changes_no_role(world: World) -> None:
    before = world.approver.get("whoami").json()
    switch("rbac", False)
    switch("rbac", True)
    assert world.approver.get("whoami").json() == before
