"""Tools, limits and lists from the shell."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cli.shell import Shell, answer, problem

TAG = '"ops.count:3"'
LIMITS_TAG = '"wsp_01JD2Q8ZV0C3M4N5P6R7S8T9VW:2"'
DEFINITION = {"name": "ops.count", "description": "Counts.", "argv_template": ["/usr/bin/wc", "{path}"]}


def tool(**changes: Any) -> httpx.Response:
    body = {"name": "ops.count", "object": "tool", "version": "1", "enabled": True, "description": "Counts."}
    return answer({**body, "input_schema": {"type": "object"}, **changes}, ETag=TAG)


def limits(**changes: Any) -> httpx.Response:
    body = {"object": "tool_call_config", "max_calls_per_run": 32, "process_runner_enabled": True}
    return answer({**body, **changes}, ETag=LIMITS_TAG)


@pytest.fixture
def definition(tmp_path: Path) -> str:
    path = tmp_path / "count.json"
    path.write_text(json.dumps(DEFINITION))
    return str(path)


def test_a_new_tool_is_registered(shell: Shell, definition: str) -> None:
    shell.replies = [problem(404, "tool_not_found"), tool()]
    result = shell("tools", "register", "-f", definition, "--yes")
    assert (result.code, result.sent) == (0, ["GET /api/v1/tools/ops.count", "POST /api/v1/tools"])
    assert result.body() == DEFINITION
    assert "/usr/bin/wc" in result.err
    assert result.requests[1].headers["Idempotency-Key"]


def test_a_known_tool_gets_a_new_version(shell: Shell, definition: str) -> None:
    shell.replies = [tool(), tool(version="2")]
    result = shell("tools", "register", "-f", definition, "--yes")
    assert result.sent == ["GET /api/v1/tools/ops.count", "POST /api/v1/tools/ops.count/versions"]
    assert "name" not in result.body()


def test_a_refused_definition_names_what_is_wrong(shell: Shell, definition: str) -> None:
    finding = {"pointer": "/argv_template/1", "code": "element", "detail": "must be a literal"}
    shell.replies = [problem(404, "tool_not_found"), problem(422, "schema_invalid", errors=[finding])]
    result = shell("tools", "register", "-f", definition, "--yes")
    assert result.code == 2
    assert "/argv_template/1 element: must be a literal" in result.err


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"name":""}', '{"name":3}', '{"name":"a","name":"b"}', "x"]
)
def test_a_file_that_is_no_definition_is_not_sent(shell: Shell, tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(text)
    result = shell("tools", "register", "-f", str(path), "--yes")
    assert (result.code, result.sent) == (2, [])
    assert shell("tools", "register", "-f", str(tmp_path / "none.json"), "--yes").code == 2


def test_nobody_is_asked_about_a_registration_without_a_terminal(shell: Shell, definition: str) -> None:
    result = shell("tools", "register", "-f", definition)
    assert (result.code, result.sent) == (2, [])


@pytest.mark.parametrize(("verb", "on"), [("enable", True), ("disable", False)])
def test_a_tool_is_switched_against_what_was_shown(shell: Shell, verb: str, on: bool) -> None:
    shell.replies = [tool(enabled=not on), tool(enabled=on)]
    result = shell("tools", verb, "ops.count", "--reason", "a test", "--yes")
    assert result.sent == ["GET /api/v1/tools/ops.count", "PATCH /api/v1/tools/ops.count"]
    assert result.requests[1].headers["If-Match"] == TAG
    assert result.body() == {"enabled": on, "reason": "a test"}
    assert f"enabled: {str(not on).lower()} -> {str(on).lower()}" in result.err


def test_a_second_person_is_needed_exits_as_refused(shell: Shell) -> None:
    shell.replies = [problem(403, "four_eyes_required")]
    result = shell("tools", "enable", "ops.count", "--reason", "a test", "--if-match", TAG, "--yes")
    assert result.code == 6


def test_a_description_is_changed(shell: Shell) -> None:
    shell.replies = [tool(), tool(description="New.")]
    result = shell("tools", "describe", "ops.count", "--text", "New.", "--reason", "a test", "--yes")
    assert result.body() == {"description": "New.", "reason": "a test"}


def test_the_catalog_tells_what_cannot_be_called_on_standard_error(shell: Shell) -> None:
    filtered = [
        {"name": "http.fetch\x1b[2J", "reason_code": "schema.runtime_unsupported", "repair": "Other."}
    ]
    row = {"name": "echo", "version": "1", "tier": "none", "risk": "low", "posture": "always_allow"}
    body = {"object": "tool_catalog", "data": [row], "filtered": filtered, "catalog_digest": "sha256:0"}
    shell.replies = [answer(body)]
    result = shell("tools", "catalog")
    assert result.sent == ["GET /api/v1/tools/catalog"]
    assert result.out.splitlines()[1].split("\t") == ["echo", "1", "none", "low", "always_allow"]
    assert "schema.runtime_unsupported Other." in result.err
    assert "\x1b" not in result.err


def test_the_schema_of_a_tool_is_written_alone(shell: Shell) -> None:
    shell.replies = [tool()]
    result = shell("tools", "show", "ops.count", "--schema", "--json")
    assert json.loads(result.out) == {"type": "object"}


def test_tools_are_filtered(shell: Shell) -> None:
    shell.replies = [answer({"object": "list", "data": [], "has_more": False})]
    result = shell("tools", "list", "--risk", "high", "--risk", "critical", "--posture", "disabled")
    assert dict(result.requests[0].url.params.multi_items()) == {"risk": "critical", "posture": "disabled"}
    assert result.requests[0].url.params.get_list("risk") == ["high", "critical"]


def test_limits_are_sent_against_the_version_that_was_shown(shell: Shell) -> None:
    shell.replies = [limits(), limits(max_calls_per_run=64)]
    result = shell(
        "tools", "limits", "set", "max_calls_per_run=64", "process_runner_enabled=false",
        "--reason", "long jobs", "--yes",
    )  # fmt: skip
    assert result.sent == ["GET /api/v1/tool-call-config", "PATCH /api/v1/tool-call-config"]
    assert result.requests[1].headers["If-Match"] == LIMITS_TAG
    assert result.body() == {
        "max_calls_per_run": 64, "process_runner_enabled": False, "reason": "long jobs",
    }  # fmt: skip
    assert "max_calls_per_run: 32 -> 64" in result.err


def test_a_preset_is_sent_alone(shell: Shell) -> None:
    shell.replies = [limits(), limits()]
    result = shell("tools", "limits", "set", "--preset", "minimal", "--reason", "an incident", "--yes")
    assert result.body() == {"preset": "minimal", "reason": "an incident"}


def test_limits_without_a_change_are_not_sent(shell: Shell) -> None:
    result = shell("tools", "limits", "set", "--reason", "why", "--yes")
    assert (result.code, result.sent) == (2, [])
    shell.replies = [limits()]
    assert shell("tools", "limits", "show").sent == ["GET /api/v1/tool-call-config"]


@pytest.mark.parametrize(("noun", "route"), [("allowlist", "allowlist"), ("sensitive", "sensitive-rules")])
def test_lists_are_read_added_to_and_taken_from(shell: Shell, noun: str, route: str) -> None:
    entry = {"id": "1", "object": "entry", "kind": "tool", "value": "echo"}
    shell.replies = [
        answer({"object": "list", "data": [entry], "has_more": False}), answer(entry, 201), answer(None, 204),
    ]  # fmt: skip
    assert shell("tools", noun, "list").out.splitlines()[1] == "1\ttool\techo"
    added = shell("tools", noun, "add", "tool", "echo", "--yes")
    assert (added.sent[-1], added.body()) == (f"POST /api/v1/{route}", {"kind": "tool", "value": "echo"})
    gone = shell("tools", noun, "remove", "tool", "echo", "--yes")
    assert gone.sent[-1] == f"DELETE /api/v1/{route}?kind=tool&value=echo"
