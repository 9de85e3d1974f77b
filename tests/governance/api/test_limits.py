"""Limits, allowlists and sensitive rules of a workspace over HTTP."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest

from governance.journal.models import JournalEvent
from governance.journal.reading import open_data
from policy.limits import BOUNDS, FIXED, PRESETS, SWITCHES
from policy.models import AllowlistEntry, PolicyEpoch, ToolCallConfig
from sandbox.spec import RANGES
from tests.governance.api.stepping import fresh
from tests.governance.api.test_answers import assert_problem
from tests.governance.api.world import Answer, World

WHY = {"reason": "a test"}


def change(world: World, body: dict[str, object], *, seen: int = 1) -> Answer:
    tag = f'"{world.workspace.pk}:{seen}"'
    data = json.dumps(WHY | body).encode()
    return fresh(world.owner).send("PATCH", "tool-call-config", data, If_Match=tag)


def limits(world: World) -> ToolCallConfig:
    return ToolCallConfig.objects.get(workspace=world.workspace)


def test_a_fresh_workspace_has_the_defaults(world: World) -> None:
    answer = world.auditor.get("tool-call-config")
    shown = answer.json()
    assert (shown["max_calls_per_run"], shown["soft_calls_per_run"]) == (32, 24)
    assert (shown["execution_timeout_ms"], shown["process_cpu_ms"]) == (10_000, 2_000)
    assert (shown["process_runner_enabled"], shown["process_runner_tier"]) == (True, "C")
    assert (shown["process_egress_mode"], shown["process_output_bytes"]) == ("strict", 65_536)
    assert shown["process_memory_bytes"] == 256 * 1024 * 1024
    assert (shown["wasm_enabled"], shown["wasm_inline_modules"]) == (True, False)
    assert (shown["wasm_module_bytes"], shown["wasm_fuel"]) == (262_144, 10_000_000)
    assert (shown["wasm_memory_bytes"], shown["wasm_table_elements"]) == (67_108_864, 100_000)
    assert shown["wasm_instances"] == 256
    assert "echo" in shown["allowed_tools"]
    assert answer.headers["ETag"] == f'"{world.workspace.pk}:1"'


def test_limits_are_changed_as_seen_and_told(world: World) -> None:
    answer = change(world, {"max_calls_per_run": 64, "soft_calls_per_run": 48})
    assert answer.status_code == 200, answer.content
    assert (answer.json()["max_calls_per_run"], answer.json()["version"]) == (64, 2)
    row = JournalEvent.objects.get(type="tool_call_config.changed")
    assert open_data(row)["changed"]["max_calls_per_run"] == {"before": 32, "after": 64}
    assert_problem(change(world, {"max_calls_per_run": 65}), 412, "precondition_failed")
    body = json.dumps(WHY | {"max_calls_per_run": 65}).encode()
    assert_problem(fresh(world.owner).send("PATCH", "tool-call-config", body), 428, "precondition_required")


def test_the_preset_of_the_original_comes_before_single_values(world: World) -> None:
    shown = change(world, {"preset": "minimal", "soft_calls_per_run": 3}).json()
    assert (shown["max_calls_per_run"], shown["soft_calls_per_run"]) == (4, 3)
    assert shown["execution_timeout_ms"] == 750
    assert (shown["process_runner_enabled"], shown["wasm_enabled"]) == (False, False)
    back = change(world, {"preset": "default"}, seen=2).json()
    assert {name: back[name] for name in PRESETS["default"]} == PRESETS["default"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, low - 1) for name, (low, _) in BOUNDS.items()),
        *((name, high + 1) for name, (_, high) in BOUNDS.items()),
        *((name, str(low)) for name, (low, _) in BOUNDS.items()),
        *((name, True) for name in BOUNDS),
        *((name, 1) for name in SWITCHES),
        ("soft_calls_per_run", 33),
        ("process_runner_tier", "B"),
        ("process_runner_tier", "none"),
        ("process_egress_mode", "none"),
        ("process_egress_mode", "preflight"),
        ("wasm_inline_modules", True),
        ("preset", "generous"),
        ("allowed_tools", ["../shell"]),
        ("allowed_tools", ["echo", "unknown"]),
        ("allowed_tools", [""]),
        ("reason", "x"),
    ],
)
def test_a_value_out_of_bounds_is_refused_and_nothing_changes(world: World, name: str, value: object) -> None:
    epoch = PolicyEpoch.objects.get().epoch
    answer = change(world, {"max_calls_per_run": 30, "process_cpu_ms": 500} | {name: value})
    assert_problem(answer, 422, "invalid")
    assert answer.json()["errors"][0]["pointer"].startswith(f"/{name}")
    assert limits(world).version == 1
    assert PolicyEpoch.objects.get().epoch == epoch


def test_an_empty_change_is_refused(world: World) -> None:
    assert_problem(change(world, {}), 422, "invalid")
    assert_problem(change(world, {"max_calls": 5}), 400, "unknown_field")


def test_allowed_tools_are_the_allowlist_and_no_second_list(world: World) -> None:
    shown = change(world, {"allowed_tools": ["palyra.echo", "fs.read"]}).json()
    assert shown["allowed_tools"] == ["echo", "fs.read"]
    rows = AllowlistEntry.objects.filter(workspace=world.workspace, kind="tool")
    assert set(rows.values_list("value", flat=True)) == {"echo", "fs.read"}
    denied = world.agent.propose("sleep", {"duration_ms": 0})
    assert denied["decision"]["reason_code"] in {"posture.locked", "policy.tool_not_allowlisted"}
    added = fresh(world.owner).post("allowlist", {"kind": "tool", "value": "sleep"})
    assert added.status_code == 201
    assert world.owner.get("tool-call-config").json()["allowed_tools"] == ["echo", "fs.read", "sleep"]


def test_lists_are_changed_by_holders_of_tools_manage_with_a_fresh_code(world: World) -> None:
    entry = {"kind": "tool", "value": "http.fetch"}
    rule = {"kind": "tool", "value": "fs.read"}
    assert_problem(world.owner.post("allowlist", entry), 401, "step_up_required")
    assert_problem(world.owner.post("sensitive-rules", rule), 401, "step_up_required")
    gone = world.owner.send("DELETE", "allowlist?kind=tool&value=echo", None)
    assert_problem(gone, 401, "step_up_required")
    for caller in (world.approver, world.auditor, world.agent_owner):
        assert_problem(fresh(caller).post("allowlist", entry), 403, "role_required")
        assert_problem(fresh(caller).post("sensitive-rules", rule), 403, "role_required")


def test_the_allowlist_is_listed_and_edited(world: World) -> None:
    made = fresh(world.owner).post("allowlist", {"kind": "tool", "value": "palyra.http.fetch"})
    assert (made.status_code, made.json()["value"]) == (201, "http.fetch")
    again = fresh(world.owner).post("allowlist", {"kind": "tool", "value": "http.fetch"})
    assert again.json()["id"] == made.json()["id"]
    listed = world.auditor.get("allowlist?kind=tool&limit=200").json()["data"]
    assert made.json() in listed
    assert world.auditor.get("allowlist?kind=tool_execute_channel").json()["data"] == []
    path = "allowlist?kind=tool&value=http.fetch"
    assert fresh(world.owner).send("DELETE", path, None).status_code == 204
    assert_problem(fresh(world.owner).send("DELETE", path, None), 404, "not_found")


@pytest.mark.parametrize(
    "query", ["", "kind=tool", "value=echo", "kind=tool&kind=skill&value=echo", "kind=planet&value=echo"]
)
def test_a_delete_names_exactly_one_entry(world: World, query: str) -> None:
    assert_problem(fresh(world.owner).send("DELETE", f"allowlist?{query}", None), 400, "invalid_parameter")


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("tool", "../shell"),
        ("tool", "unknown"),
        ("tool", "a\0b"),
        ("skill", "local.echo"),
        ("tool_execute_principal", "two words"),
        ("planet", "earth"),
    ],
)
def test_what_does_not_exist_is_not_allowed(world: World, kind: str, value: str) -> None:
    answer = fresh(world.owner).post("allowlist", {"kind": kind, "value": value})
    assert_problem(answer, 422, "invalid")


def test_a_sensitive_rule_makes_a_call_ask(world: World) -> None:
    before = world.agent.propose("echo", {"text": "x"})
    assert before["decision"]["effect"] == "allow"
    made = fresh(world.owner).post("sensitive-rules", {"kind": "tool", "value": "palyra.echo"})
    assert (made.status_code, made.json()["value"]) == (201, "echo")
    asked = world.agent.propose("echo", {"text": "x"})
    assert asked["state"] == "awaiting_approval"
    assert world.auditor.get("sensitive-rules").json()["data"] == [made.json()]
    path = f"sensitive-rules?kind=tool&value={quote('echo')}"
    assert fresh(world.owner).send("DELETE", path, None).status_code == 204
    assert world.agent.propose("echo", {"text": "x"})["decision"]["effect"] == "allow"
    told = JournalEvent.objects.filter(type="sensitive_rule.changed").order_by("id")
    assert [open_data(row)["present"] for row in told] == [True, False]


@pytest.mark.parametrize(
    ("kind", "value"),
    [("tool", "nope"), ("action", "memory.forget"), ("capability", "flying"), ("tool", "a\0b"), ("x", "y")],
)
def test_only_what_exists_is_held_to_be_sensitive(world: World, kind: str, value: str) -> None:
    answer = fresh(world.owner).post("sensitive-rules", {"kind": kind, "value": value})
    assert_problem(answer, 422, "invalid")


def test_no_limit_goes_beyond_what_the_sandbox_accepts() -> None:
    for limit, bound in (
        ("execution_timeout_ms", "wall_timeout_ms"),
        ("process_cpu_ms", "cpu_time_limit_ms"),
        ("process_memory_bytes", "memory_limit_bytes"),
        ("process_output_bytes", "max_output_bytes"),
    ):
        assert BOUNDS[limit] == RANGES[bound], limit
    assert set(FIXED) == {"process_runner_tier", "process_egress_mode", "wasm_inline_modules"}
