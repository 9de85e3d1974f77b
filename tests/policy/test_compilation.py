"""From text to a compiled set: every finding, and rules that hold over random sets."""

from __future__ import annotations

import pytest
from hypothesis import given, settings, strategies as st

from policy.compilation import MAX_TEXT_BYTES, CompiledSet, SourceFile, compile_set, set_hash
from policy.schema import build_schema
from policy.types import Effect, Finding
from tests.policy.worlds import APPROVAL, SCHEMA, TOOLS, ask_tool, compiled, deciding

PERMIT = "permit (principal, action, resource);"


def findings(*texts: str) -> tuple[Finding, ...]:
    result = compile_set([SourceFile(f"f{index}.cedar", text) for index, text in enumerate(texts)], SCHEMA)
    assert not isinstance(result, CompiledSet)
    return result


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("permit (principal", "syntax_error"),
        (PERMIT, "missing_id"),
        (f'@id("same") {PERMIT} @id("same") {PERMIT}', "duplicate_id"),
        (f'@id("Bad Id") {PERMIT}', "bad_annotation"),
        (f'@id("abc") @obligation("dance") {PERMIT}', "bad_annotation"),
        (f'@id("abc") @quorum("0") {PERMIT}', "bad_annotation"),
        (f'@id("abc") @quorum("6") {PERMIT}', "bad_annotation"),
        (f'@id("abc") @risk("huge") {PERMIT}', "bad_annotation"),
        (f'@id("abc") @mode("loud") {PERMIT}', "bad_annotation"),
        (f'@id("abc") @advice("{"x" * 301}") {PERMIT}', "bad_annotation"),
        (f'@id("abc") @approver_role("king") {PERMIT}', "unknown_role"),
        ('@id("abc") permit (principal == ?principal, action, resource);', "template_unsupported"),
        ('@id("abc") permit (principal, action == Palyra::Action::"nope", resource);', "unknown_action"),
        ('@id("abc") permit (principal is Palyra::Nobody, action, resource);', "unknown_entity_type"),
        ('@id("abc") forbid (principal, action, resource) when { context.input.max > 5 };', "type_error"),
        ('@id("abc") permit (principal, action, resource) when { ' + "(" * 10_000, "too_large"),
        ("// " + "x" * MAX_TEXT_BYTES, "too_large"),
    ],
)
def test_faulty_text_gives_its_finding(text: str, code: str) -> None:
    assert code in {finding.code for finding in findings(text)}


def test_every_fault_is_found_and_named_by_file() -> None:
    found = findings("permit (", f'@id("abc") @quorum("9") {PERMIT}', PERMIT)
    assert {(finding.file, finding.code) for finding in found} == {
        ("f0.cedar", "syntax_error"),
        ("f1.cedar", "bad_annotation"),
        ("f2.cedar", "missing_id"),
    }


def test_unknown_annotation_is_only_a_warning() -> None:
    assert deciding(ask_tool("echo", policies=compiled(f'@id("abc") @colour("red") {PERMIT}'))) == ["abc"]


def test_brackets_inside_strings_and_comments_do_not_count() -> None:
    text = f'@id("abc") @description("{"(" * 200}") {PERMIT} // {"[" * 200}'
    assert "abc" in compiled(text).rules


def test_shadow_policy_is_not_in_force() -> None:
    shadow = '@id("shadow_one") @mode("shadow") forbid (principal, action, resource);'
    policies = compiled(f'@id("abc") {PERMIT}', shadow)
    assert set(policies.rules) == {"abc"}
    assert ask_tool("echo", policies=policies).effect is Effect.ALLOW


def test_hash_depends_on_files_and_not_on_their_order_or_the_catalog() -> None:
    one, two = SourceFile("a.cedar", "1"), SourceFile("b.cedar", "2")
    assert set_hash([one, two], SCHEMA) == set_hash([two, one], build_schema({}))
    assert set_hash([one], SCHEMA) != set_hash([two], SCHEMA)
    assert set_hash([one], SCHEMA) != set_hash([SourceFile("a.cedar", "3")], SCHEMA)


def test_empty_set_denies_everything() -> None:
    empty = compile_set([], SCHEMA)
    assert isinstance(empty, CompiledSet)
    assert ask_tool("echo", policies=empty).effect is Effect.DENY


SCOPES = st.sampled_from(
    [
        "principal, action, resource",
        'principal, action in Palyra::Action::"tool.execute", resource',
        'principal is Palyra::Agent, action, resource == Palyra::Tool::"process.run"',
        "principal is Palyra::User, action, resource",
    ]
)
CONDITIONS = st.sampled_from(
    [
        "",
        "when { context has approval }",
        "unless { context has approval }",
        "when { context.allow_sensitive_tools }",
    ]
)
ANNOTATIONS = st.sampled_from(["", '@obligation("approval")', '@obligation("approval") @quorum("3")'])
POLICIES = st.lists(
    st.tuples(st.sampled_from(["permit", "forbid"]), SCOPES, CONDITIONS, ANNOTATIONS), max_size=6
)


@settings(max_examples=60, deadline=None)
@given(POLICIES)
def test_approval_never_turns_a_plain_deny_into_anything_else(rules: list[tuple[str, str, str, str]]) -> None:
    text = "\n".join(
        f'@id("rule_{index}") {marks} {effect} ({scope}) {condition};'
        for index, (effect, scope, condition, marks) in enumerate(rules)
    )
    small = build_schema({"process.run": TOOLS["process.run"].input_schema})
    policies = compiled(text, schema=small)
    bare = ask_tool("process.run", policies=policies)
    approved = ask_tool("process.run", policies=policies, approval=APPROVAL)
    if bare.effect is Effect.DENY:
        assert approved.effect is Effect.DENY
    if approved.effect is Effect.ALLOW:
        assert bare.effect in {Effect.ALLOW, Effect.REQUIRE_APPROVAL}
