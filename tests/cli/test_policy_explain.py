"""`palyra policy explain` and `schema` from the shell."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cli.shell import Shell, answer, problem

AGENT = "agt_01JD2Q8ZV0C3M4N5P6R7S8T9VW"
CALL = "call_01JD2Q8ZV0C3M4N5P6R7S8T9VW"
EXPLAIN = "POST /api/v1/policy/explain"


def explanation(effect: str = "allow", **changes: Any) -> httpx.Response:
    rule = {"id": "all_tools", "effect": "permit", "file": "f.cedar", "line": 3, "holds": "true"}
    body = {
        "object": "policy_explanation",
        "outcome": {"effect": effect, "reason_code": "policy.allowed"},
        "decision": {
            "effect": effect,
            "reason_code": "policy.allowed",
            "reason": "Fine.",
            "determining_policies": [rule],
        },
        "gates": [{"gate": "posture", "verdict": "ask", "reason_code": "posture.ask", "reason": "Ask."}],
        "near_misses": [],
        "outweighed": [],
        "clauses": [
            {"policy": "all_tools", "condition": "when", "path": "0", "text": "context.a", "value": None}
        ],
        "labels": {"private_data": [CALL]},
        "minimal_change": [["attach_approval", "allowlist_tool"]],
        "diagnostics_errors": [],
    }
    return answer({**body, **changes})


@pytest.mark.parametrize(("effect", "code"), [("allow", 0), ("require_approval", 0), ("deny", 6)])
def test_the_exit_code_is_the_answer(shell: Shell, effect: str, code: int) -> None:
    shell.replies = [explanation(effect)]
    result = shell("policy", "explain", "--tool", "echo", "--agent", AGENT)
    assert (result.code, result.sent) == (code, [EXPLAIN])


def test_a_person_reads_what_decided_each_clause_and_the_way_out(shell: Shell) -> None:
    shell.replies = [explanation()]
    rows = shell("policy", "explain", "--call", CALL).out.splitlines()
    assert "decided by\tpermit all_tools (f.cedar:3) true" in rows
    assert "when all_tools 0\terror  context.a" in rows
    assert "would allow\tattach_approval + allowlist_tool" in rows
    assert f"label private_data\t{CALL}" in rows
    assert "gate posture\task posture.ask: Ask." in rows


@pytest.mark.parametrize(
    ("arguments", "body"),
    [
        (
            (
                "--tool",
                "http.fetch",
                "--agent",
                AGENT,
                "--input",
                "url=https://a.example/",
                "--session",
                "s1",
            ),
            {
                "principal": {"type": "Agent", "id": AGENT},
                "action": "tool.execute",
                "resource": {"type": "Tool", "id": "http.fetch"},
                "context": {"input": {"url": "https://a.example/"}, "session_id": "s1"},
            },
        ),
        (
            ("--principal", "User:usr_1", "--action", "policy.activate", "--resource", "Server:palyra"),
            {
                "principal": {"type": "User", "id": "usr_1"},
                "action": "policy.activate",
                "resource": {"type": "Server", "id": "palyra"},
            },
        ),
        (
            (
                "--principal",
                f'Palyra::Agent::"{AGENT}"',
                "--action",
                "a",
                "--resource",
                "echo",
                "--set",
                "pol_1",
            ),
            {
                "principal": {"type": "Agent", "id": AGENT},
                "action": "a",
                "resource": {"type": "Tool", "id": "echo"},
                "policy_set": "pol_1",
            },
        ),
        (("--call", CALL, "--set", "recorded"), {"call_id": CALL, "policy_set": "recorded"}),
    ],
)
def test_what_is_asked_is_what_is_sent(
    shell: Shell, arguments: tuple[str, ...], body: dict[str, Any]
) -> None:
    shell.replies = [explanation()]
    result = shell("policy", "explain", *arguments)
    assert result.code == 0
    assert result.body() == body


def test_a_context_comes_from_a_file(shell: Shell, tmp_path: Path) -> None:
    source = tmp_path / "context.json"
    source.write_text(json.dumps({"channel": "ops", "input": {"text": "a"}}))
    shell.replies = [explanation()]
    result = shell("policy", "explain", "--tool", "echo", "--agent", AGENT, "--context", f"@{source}")
    assert result.body()["context"] == {"channel": "ops", "input": {"text": "a"}}


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--principal", AGENT),
        ("--tool", "echo"),
        ("--tool", "echo", "--agent", AGENT, "--action", "x"),
        ("--tool", "echo", "--agent", CALL),
        ("--call", CALL, "--tool", "echo"),
        ("--call", AGENT),
        ("--tool", "echo", "--agent", AGENT, "--context", "plain"),
        ("--tool", "echo", "--agent", AGENT, "--input", "novalue"),
    ],
)
def test_half_a_question_is_not_sent(shell: Shell, arguments: tuple[str, ...]) -> None:
    result = shell("policy", "explain", *arguments)
    assert (result.code, result.sent) == (2, [])


def test_a_refusal_keeps_its_code(shell: Shell) -> None:
    shell.replies = [problem(404, "not_found")]
    assert shell("policy", "explain", "--call", CALL).code == 8


def test_the_schema_is_printed_as_text_and_kept_whole_as_json(shell: Shell) -> None:
    body = {"object": "policy_schema", "tool": "echo", "schema": "namespace Palyra {\n}\n"}
    shell.replies = [answer(body), answer(body)]
    printed = shell("policy", "schema", "--tool", "echo")
    assert (printed.out, printed.sent) == ("namespace Palyra {\n}\n", ["GET /api/v1/policy/schema?tool=echo"])
    assert json.loads(shell("policy", "schema", "--json").out) == body
