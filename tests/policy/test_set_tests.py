"""Tests that a set carries: read strictly, evaluated by the live function, and told apart when they fail."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from policy import set_tests
from policy.reading import SourceFile
from policy.set_tests import MAX_TESTS, finding_of, read_tests, run_set_tests
from policy.types import Finding
from tests.policy.worlds import BASELINE, TOOLS, compiled

ECHO: dict[str, Any] = {
    "name": "an agent may echo",
    "request": {
        "principal": {"type": "Agent", "id": "agt_one"},
        "action": "tool.execute",
        "resource": {"type": "Tool", "id": "echo"},
    },
    "context": {"input": {"text": "hello"}},
    "entities": {"allowlist": {"tools": ["echo"]}},
    "expect": {"effect": "allow"},
}


def file(document: object) -> SourceFile:
    return SourceFile("a.test.json", document if isinstance(document, str) else json.dumps(document))


def run(document: object, *texts: str) -> tuple[set_tests.TestResult, ...]:
    tests, findings = read_tests([file(document)])
    assert findings == ()
    return run_set_tests(tests, compiled(*texts) if texts else BASELINE, TOOLS)


def outcome(**changes: Any) -> set_tests.TestResult:
    (result,) = run(ECHO | changes)
    return result


def bad(document: object) -> Finding:
    tests, (finding,) = read_tests([file(document)])
    assert (tests, finding.severity, finding.code) == ((), "error", "bad_test")
    return finding


def test_test_that_holds_passes() -> None:
    result = outcome()
    assert result.passed
    assert (result.effect, result.message) == ("allow", "")


def test_example_of_the_documentation_passes() -> None:
    page = (Path(__file__).parents[2] / "docs" / "policy-tests.md").read_text()
    example = page.split("```json\n")[1].split("```")[0]
    assert [result.passed for result in run(example)] == [True]


@pytest.mark.parametrize(
    ("expect", "message"),
    [
        ({"effect": "deny"}, "expected deny, decided allow"),
        ({"effect": "allow", "determining": []}, "expected no policy to decide"),
        ({"effect": "allow", "reason_code": "policy.denied"}, "expected the code policy.denied"),
    ],
)
def test_test_that_does_not_hold_says_what_was_decided(expect: dict[str, Any], message: str) -> None:
    result = outcome(expect=expect)
    assert not result.passed
    assert message in result.message


def test_nothing_is_on_an_allowlist_that_is_not_given() -> None:
    assert outcome(
        entities={}, expect={"effect": "deny", "reason_code": "policy.tool_not_allowlisted"}
    ).passed


@pytest.mark.parametrize(
    ("changes", "effect", "code"),
    [
        ({"principal": {"active": False}}, "deny", "policy.denied"),
        ({"principal": {"owner": {"active": False}}}, "allow", "policy.allowed"),
        ({"principal": {"member": False}}, "deny", "policy.principal_not_allowlisted"),
        ({"tool": {"enabled": False}}, "deny", "policy.no_permit"),
        ({"tool": {"sensitive": True}}, "require_approval", "policy.approval_required"),
        ({"sensitive": {"tools": ["echo"]}}, "require_approval", "policy.approval_required"),
        ({"tool": {"capabilities": ["network"]}}, "require_approval", "policy.approval_required"),
        ({"allowlist": {"tools": ["echo"], "channels": ["c"]}}, "deny", "policy.channel_not_allowlisted"),
        ({"allowlist": {"tools": ["palyra.Echo"]}}, "allow", "policy.allowed"),
    ],
)
def test_the_world_is_the_one_that_is_described(changes: dict[str, Any], effect: str, code: str) -> None:
    result = outcome(entities=ECHO["entities"] | changes, expect={"effect": effect, "reason_code": code})
    assert result.passed, result.message


def test_approval_and_posture_count_as_they_do_live() -> None:
    sensitive = ECHO["entities"] | {"tool": {"sensitive": True}}
    approved = outcome(context={"input": {"text": "x"}, "approval": {}}, entities=sensitive)
    explicit = outcome(context={"input": {"text": "x"}, "allow_sensitive_tools": True}, entities=sensitive)
    assert (approved.passed, explicit.passed) == (True, True)


def test_labels_and_sinks_of_the_call_are_those_of_the_tool_unless_given() -> None:
    fetch = ECHO | {
        "request": ECHO["request"] | {"resource": {"type": "Tool", "id": "http.fetch"}},
        "entities": {"allowlist": {"tools": ["http.fetch"]}, "tool": {"runtime_supported": True}},
    }
    context = {"input": {"url": "https://a.example/"}, "allow_sensitive_tools": True}
    rule = (
        '@id("abc") permit (principal, action, resource);'
        '@id("out") forbid (principal, action, resource) when'
        ' { context.sinks.contains("external_communication") };'
    )
    (own,) = run(fetch | {"context": context}, rule)
    (given_,) = run(fetch | {"context": context | {"sinks": []}}, rule)
    assert (own.effect, given_.effect) == ("deny", "allow")


def test_people_and_skills_are_described_too() -> None:
    request = {
        "principal": {"type": "User", "id": "usr_one"},
        "action": "skill.execute",
        "resource": {"type": "Skill", "id": "skl_A"},
    }
    entities = {"principal": {"roles": ["owner"], "mfa": True}, "allowlist": {"skills": ["skl_A"]}}
    expect = {"effect": "allow", "determining": ["allow_allowlisted_skill_execute"]}
    assert outcome(request=request, context={}, entities=entities, expect=expect).passed
    staged = entities | {"skill": {"status": "staged"}}
    assert not outcome(request=request, context={}, entities=staged, expect=expect).passed


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (ECHO | {"color": 1}, "color is unknown"),
        (ECHO | {"context": {"allow_sensitive": True}}, "context.allow_sensitive is unknown"),
        (ECHO | {"entities": {"tool": {"enabeld": False}}}, "entities.tool.enabeld is unknown"),
        (ECHO | {"entities": {"skill": {}}}, "entities.skill is unknown"),
        (
            ECHO | {"entities": {"principal": {"permissions": []}}},
            "entities.principal.permissions is unknown",
        ),
        (ECHO | {"expect": {}}, "expect.effect is missing"),
        (ECHO | {"expect": {"effect": "maybe"}}, "expect.effect must be one of"),
        (ECHO | {"expect": {"effect": "deny", "determining": "x"}}, "expect.determining must be a list"),
        ({"name": "x"}, "request.principal.type is missing"),
        (ECHO | {"name": 7}, "name must be a text"),
        (ECHO | {"context": []}, "context must be an object"),
        (ECHO | {"context": {"calls_in_run": True}}, "context.calls_in_run must be a whole number"),
        (ECHO | {"context": {"now": "2026-01-01"}}, "context.now must have a time zone"),
        (ECHO | {"context": {"now": "noon"}}, "context.now must be a time"),
        (ECHO | {"context": {"approval": {"risk": "huge"}}}, "context.approval.risk must be one of"),
        ("7", "it must be an object"),
    ],
)
def test_test_that_is_not_understood_is_refused(document: object, message: str) -> None:
    assert bad(document).message.startswith(message)


def test_request_of_another_kind_of_principal_is_refused() -> None:
    request = ECHO["request"] | {"principal": {"type": "Device", "id": "dev_one"}}
    assert "request.principal.type must be one of" in bad(ECHO | {"request": request}).message


@pytest.mark.parametrize(
    "text",
    ["", "{", '{"a": NaN}', '{"name": "a", "name": "b"}', "[" * 100_000, "\ufeff{}", '"\\ud800"', "[1,]"],
)
def test_file_that_is_no_strict_json_is_one_finding(text: str) -> None:
    bad(text)


def test_error_in_json_names_its_place() -> None:
    finding = bad('[\n  {"name": x}]')
    assert (finding.line, finding.column) == (2, 12)


def test_each_test_of_a_list_has_its_own_place() -> None:
    text = f"[\n  {json.dumps(ECHO)},\n\n    {json.dumps(ECHO | {'expect': {'effect': 'deny'}})}, 1 ]"
    tests, (unreadable,) = read_tests([file(text)])
    passed, failed = run_set_tests(tests, BASELINE, TOOLS)
    assert (unreadable.line, unreadable.column) == (4, len(text.splitlines()[3]) - 2)
    assert (passed.passed, passed.line, passed.column) == (True, 2, 3)
    finding = finding_of(failed)
    assert (finding.code, finding.line, finding.column) == ("test_failed", 4, 5)
    assert finding.message.startswith("an agent may echo: expected deny, decided allow")


def test_tests_beyond_the_limit_are_refused() -> None:
    tests, (finding,) = read_tests([file([ECHO] * (MAX_TESTS + 1))])
    assert (tests, finding.code) == ((), "too_large")


def test_only_test_files_are_read() -> None:
    assert read_tests([SourceFile("a.cedar", "permit"), SourceFile("b.json", "[]")]) == ((), ())


KEYS = st.sampled_from([*ECHO, *ECHO["request"], "type", "id", "x", "now"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([*ECHO, *ECHO["request"], "type", "id", "x", "now"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(JSON)
def test_any_json_is_tests_or_findings(document: object) -> None:
    tests, _ = read_tests([file(document)])
    run_set_tests(tests, BASELINE, TOOLS)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted({*ECHO, "request", "entities", "context"} - {"name", "expect"})), JSON)
def test_any_part_may_be_anything(part: str, value: object) -> None:
    tests, findings = read_tests([file(ECHO | {part: value})])
    assert len(tests) + len(findings) == 1
    run_set_tests(tests, BASELINE, TOOLS)
