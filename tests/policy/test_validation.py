"""Validation of a whole set: every fault with its code and place, warnings, limits, and no crash."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import cedarpy
import pytest
from hypothesis import given, settings, strategies as st

from policy import type_errors
from policy.compilation import CompiledSet, compile_set
from policy.installation import baseline_files
from policy.nesting import measure
from policy.reading import MAX_POLICIES, MAX_TEXT_BYTES, SourceFile, read_set
from policy.schema import CedarSchema
from policy.source import tokens
from policy.type_errors import schema_handle
from policy.types import Finding
from policy.validation import KnownNames, validate_files
from tests.policy.worlds import SCHEMA, TOOLS

ROOT = Path(__file__).parents[2]
PERMIT = "permit (principal, action, resource);"
PEOPLE = "principal is Palyra::User, action, resource"
GET, RUN = 'Palyra::Action::"cron.get"', 'Palyra::Action::"cron.run"'
CRON, ROLE = 'Palyra::Action::"cron"', 'Palyra::Group::"role:owner"'
KNOWN = KnownNames(frozenset(TOOLS), frozenset(), frozenset({"owner", "operator"}))
FETCH = 'action == Palyra::Action::"tool.execute:http.fetch"'


def found(*texts: str, known: KnownNames | None = KNOWN) -> tuple[Finding, ...]:
    files = [SourceFile(f"f{index}.cedar", text) for index, text in enumerate(texts)]
    return validate_files(files, SCHEMA, known)


def errors(*texts: str) -> list[tuple[str, int, int, str]]:
    return [(one.file, one.line, one.column, one.code) for one in found(*texts) if one.severity == "error"]


def warnings(*texts: str, known: KnownNames = KNOWN) -> set[tuple[str, str]]:
    return {(one.code, one.policy_id) for one in found(*texts, known=known) if one.severity == "warning"}


def test_syntax_error_on_line_7_column_12_of_the_second_file_is_reported_there() -> None:
    good = '@id("fine") permit (principal is Palyra::User, action, resource);'
    bad = (
        '// one\n// two\n@id("bad")\n@description("ünïcödé 🙂;")\n'
        "permit (\n  principal,\n  action,  / resource\n);"
    )
    assert errors(good, bad) == [("f1.cedar", 7, 12, "syntax_error")]


def test_three_faulty_policies_in_one_file_give_three_findings() -> None:
    text = (
        '@id("one") permit (principal, action resource);\n'
        '@id("two") permit (principal is Palyra::User, action, resource) when { principal.actve };\n'
        '@id("three") @quorum("9") permit (principal is Palyra::User, action, resource);\n'
    )
    assert errors(text) == [
        ("f0.cedar", 1, 38, "syntax_error"),
        ("f0.cedar", 2, 82, "type_error"),
        ("f0.cedar", 3, 14, "bad_annotation"),
    ]


def test_unguarded_optional_argument_does_not_validate() -> None:
    """A rule on `context.input.max` would fail at run time for every tool without that argument."""
    text = '@id("abc") forbid (principal, action, resource) when { context.input.max > 5 };'
    assert {one.code for one in found(text) if one.severity == "error"} == {"type_error"}


def test_unknown_attribute_is_named_once_with_the_one_that_was_meant() -> None:
    text = f'@id("no_ftp") forbid (principal, {FETCH}, resource)\nwhen {{ context.input.urll == "x" }};'
    (finding,) = [one for one in found(text) if one.severity == "error"]
    assert (finding.line, finding.column, finding.policy_id) == (2, 22, "no_ftp")
    assert finding.message.startswith("attribute `urll` not found on `input`; did you mean `url`?")


@pytest.mark.parametrize(
    ("text", "place", "code"),
    [
        (f"{PERMIT}\n  @id() {PERMIT}", (1, 1), "missing_id"),
        (f"@id {PERMIT}", (1, 1), "missing_id"),
        (f'@id("same") {PERMIT}\n@id("same") {PERMIT}', (2, 1), "duplicate_id"),
        (f'@risk("high") @id("Bad Id") {PERMIT}', (1, 15), "bad_annotation"),
        (f'@id("abc")\n @obligation("dance") {PERMIT}', (2, 2), "bad_annotation"),
        (f'@id("abc") @quorum("6") {PERMIT}', (1, 12), "bad_annotation"),
        (f'@id("abc") @quorum("") {PERMIT}', (1, 12), "bad_annotation"),
        (f'@id("abc") @risk("huge") {PERMIT}', (1, 12), "bad_annotation"),
        (f'@id("abc") @mode("loud") {PERMIT}', (1, 12), "bad_annotation"),
        (f'@id("abc") @advice("{"x" * 301}") {PERMIT}', (1, 12), "bad_annotation"),
        (f'@id("abc") @approver_role("king") {PERMIT}', (1, 12), "unknown_role"),
        ('@id("abc") permit (principal == ?principal, action, resource);', (1, 33), "template_unsupported"),
        ('@id("abc") permit (principal, action, resource) when { ?x };', (1, 56), "template_unsupported"),
        ('@id("abc") permit (principal, action == Palyra::Action::"x", resource);',
         (1, 41), "unknown_action"),
        ('@id("abc") permit (principal is Palyra::Usr, action, resource);', (1, 33), "unknown_entity_type"),
        ('@id("abc") permit (principal is Palyra::User, action, resource) when { 1 + true == 2 };',
         (1, 1), "type_error"),
        ('@id("abc") permit (principal, action, resource) when { ' + "(" * 10_000, (1, 119), "too_large"),
        (f'@id("abc") @description("{"é" * 40_000}") {PERMIT}', (1, 1), "too_large"),
        (f'@id("abc") {PERMIT} // \ud800', (1, 53), "not_utf8"),
    ],
)  # fmt: skip
def test_each_error_has_its_code_and_place(text: str, place: tuple[int, int], code: str) -> None:
    assert ("f0.cedar", *place, code) in errors(text)


@pytest.mark.parametrize(
    ("scope", "hint"),
    [
        (
            'principal, action == Palyra::Action::"cron.crate", resource',
            'did you mean `Palyra::Action::"cron.create"`?',
        ),
        ("principal is Palyra::Usr, action, resource", "did you mean `Palyra::User`?"),
    ],
)
def test_unknown_names_are_answered_with_the_closest(scope: str, hint: str) -> None:
    (finding,) = [one for one in found(f'@id("abc") permit ({scope});') if one.severity == "error"]
    assert finding.message.endswith(hint)


def test_type_error_is_one_finding_with_its_actions_listed() -> None:
    scope = 'principal, action in Palyra::Action::"memory", resource'
    text = f'@id("abc") forbid ({scope}) when {{ context.url == "" }};'
    (finding,) = [one for one in found(text) if one.severity == "error"]
    assert "memory.delete, memory.get, memory.ingest" in finding.message


def test_string_that_is_not_closed_costs_only_its_policy() -> None:
    bad = f'@id("one") {PERMIT[:-1]} when {{ context.a == "x }};'
    assert errors(f'{bad}\n@id("two") {PERMIT}\n{bad}\n@id("Bad") {PERMIT}') == [
        ("f0.cedar", 1, 69, "syntax_error"),
        ("f0.cedar", 3, 69, "syntax_error"),
        ("f0.cedar", 4, 1, "bad_annotation"),
    ]


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        ('permit (principal, action, resource) when { context has device };', "unscoped_policy"),
        ('permit (principal, action, resource == Palyra::Tool::"ehco");', "never_matches_entity"),
        ('permit (principal in Palyra::Group::"role:king", action, resource);', "never_matches_entity"),
        ('permit (principal in Palyra::Group::"nobody", action, resource);', "never_matches_entity"),
        ('permit (principal is Palyra::User, action, resource) when { resource in Palyra::ToolGroup::"no" };',
         "never_matches_entity"),
        ("forbid (principal is Palyra::User, action, resource) unless { context has approval };",
         "approval_read_without_obligation"),
        ("forbid (principal is Palyra::User, action, resource) when { !context.allow_sensitive_tools };",
         "approval_read_without_obligation"),
    ],
)  # fmt: skip
def test_each_warning(text: str, warning: str) -> None:
    assert (warning, "abc") in warnings(f'@id("abc") {text}')


@pytest.mark.parametrize(
    "text",
    [
        'permit (principal in Palyra::Group::"role:owner", action, resource == Palyra::Tool::"echo");',
        'permit (principal in Palyra::Group::"workspace_members", action, resource);',
        "forbid (principal is Palyra::User, action, resource) unless { context has device };",
        f'permit ({PEOPLE}) when {{ {{"type": "Palyra::Tool", "id": "x"}}.id == "x" }};',
    ],
)
def test_sound_policies_give_no_warning(text: str) -> None:
    assert warnings(f'@id("abc") {text}') == set()
    obliged = f'@obligation("approval") forbid ({PEOPLE}) unless {{ context has approval }};'
    assert warnings(f'@id("abc") {obliged}') == set()


@pytest.mark.parametrize(
    ("shut", "rule", "shadowed"),
    [
        ("principal, action, resource", PEOPLE, True),
        (PEOPLE, 'principal == Palyra::User::"a", action, resource', True),
        (PEOPLE, f"principal in {ROLE}, action, resource", False),
        (f"principal, action in {CRON}, resource", f"principal, action == {GET}, resource", True),
        (f"principal, action == {GET}, resource", f"principal, action in {CRON}, resource", False),
        (
            f"principal, action in [{GET}, {RUN}], resource",
            f"principal, action in [{RUN}, {GET}], resource",
            True,
        ),
        (f"principal, action == {GET}, resource", f"principal, action in [{RUN}, {GET}], resource", False),
        (
            'principal, action, resource in Palyra::Workspace::"w"',
            'principal, action, resource == Palyra::CronJob::"w"',
            False,
        ),
        ('principal, action, resource == Palyra::Tool::"echo"',) * 2 + (True,),
        (
            f"principal in {ROLE}, action, resource",
            f"principal is Palyra::User in {ROLE}, action, resource",
            True,
        ),
    ],
)
def test_rule_under_an_unconditional_forbid_is_shadowed(shut: str, rule: str, shadowed: bool) -> None:
    found_codes = warnings(f'@id("shut") forbid ({shut}); @id("rule") permit ({rule});')
    assert (("shadowed_by_forbid", "rule") in found_codes) is shadowed
    assert ("shadowed_by_forbid", "shut") not in found_codes
    conditional = f'@id("shut") forbid ({shut}) when {{ context has device }}; @id("rule") permit ({rule});'
    assert ("shadowed_by_forbid", "rule") not in warnings(conditional)
    asleep = f'@id("shut") @mode("shadow") forbid ({shut}); @id("rule") permit ({rule});'
    assert ("shadowed_by_forbid", "rule") not in warnings(asleep)


def test_shipped_policy_that_is_gone_or_asleep_is_named() -> None:
    known = KnownNames(
        KNOWN.tools, KNOWN.groups, KNOWN.roles, frozenset({"kept", "gone", "asleep", "broken"})
    )
    scope = "permit (principal is Palyra::User, action, resource);"
    text = f'@id("kept") {scope} @id("asleep") @mode("shadow") {scope} @id("broken") permit (;'
    assert warnings(text, known=known) == {
        ("policy_removed_baseline", "gone"),
        ("policy_removed_baseline", "asleep"),
    }


def test_shipped_rules_give_no_finding_but_the_one_that_covers_everything() -> None:
    names = {file.name for file in baseline_files()}
    listed = validate_files(baseline_files(), SCHEMA, KNOWN)
    assert names
    assert {(one.severity, one.code) for one in listed} <= {("warning", "unscoped_policy")}


def test_text_of_another_domain_needs_no_id_and_gets_no_warning() -> None:
    assert found(f'{PERMIT} @colour("red") @quorum("99") {PERMIT}', known=None) == ()
    (finding,) = found(f"{PERMIT} permit (principal, action, resource) when {{ foo }};", known=None)
    assert finding.code == "syntax_error"
    (typed,) = found(f"{PERMIT} permit (principal is Palyra::Nobody, action, resource);", known=None)
    assert (typed.code, typed.policy_id) == ("unknown_entity_type", "policy1")


def test_schema_that_does_not_parse_is_a_finding() -> None:
    broken = CedarSchema("entity (", "", {}, {})
    (finding,) = validate_files([SourceFile("a.cedar", PERMIT)], broken, None)
    assert (finding.severity, finding.code) == ("error", "syntax_error")


def test_tests_among_the_files_are_not_compiled() -> None:
    files = [SourceFile("a.cedar", f'@id("abc") {PERMIT}'), SourceFile("a.test.json", "[]")]
    assert not [one for one in validate_files(files, SCHEMA, KNOWN) if one.severity == "error"]
    assert isinstance(compile_set(files, SCHEMA), CompiledSet)


def test_errors_come_first_and_two_hundred_findings_are_the_most() -> None:
    unscoped = "\n".join(f'@id("rule_{number}") {PERMIT}' for number in range(205))
    listed = found(f"{unscoped}\npermit (;")
    assert (len(listed), listed[0].severity, listed[1].severity) == (200, "error", "warning")
    assert len(found("permit (;\n" * 205)) == 200
    assert len(found(f"{PERMIT}\n" * 205)) == 200


@pytest.mark.parametrize(
    "texts",
    [
        ("// " + "x" * MAX_TEXT_BYTES,),
        ("é" * (MAX_TEXT_BYTES // 2), "x"),
        (";" * (MAX_POLICIES + 1),),
        (PERMIT * MAX_POLICIES, PERMIT),
        ("x" * MAX_TEXT_BYTES,),
        ("(" * MAX_TEXT_BYTES,),
        ('"' + '\\"' * (MAX_TEXT_BYTES // 2 - 1),),
        ('""' * (MAX_TEXT_BYTES // 2),),
        ("permit (principal, action, resource) when { context has a.b.c.d.e };" * 19_000,) * 6,
    ],
    ids=lambda texts: texts[0][:20],
)
def test_bombs_are_too_large_before_cedar_sees_them(
    texts: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(_: str) -> str:
        raise AssertionError("Cedar was asked")

    monkeypatch.setattr("policy.reading.cedarpy.policies_to_json_str", never)
    monkeypatch.setattr("policy.type_errors.cedarpy.validate_policies", never)
    assert {one.code for one in found(*texts) if one.severity == "error"} == {"too_large"}


@pytest.mark.parametrize(("count", "codes"), [(60, []), (64, ["too_large"]), (500, ["too_large"])])
def test_chain_that_cedar_would_not_read_back_is_too_large(count: int, codes: list[str]) -> None:
    chain = " || ".join(["principal.active"] * count)
    text = f'@id("abc") permit (principal is Palyra::User, action, resource) when {{ {chain} }};'
    assert [one[3] for one in errors(text)] == codes
    assert isinstance(compile_set([SourceFile("a.cedar", text)], SCHEMA), tuple) is bool(codes)


WRAPPERS = (
    "({})", "!({})", "-({})", "[{}]", "{{a: {}}}", "({}).a", "({})[\"a\"]", "ip({})",
    "context.contains({})",
    "(if {} then 1 else 2)", "if context then {} else 2", "{} && context", "context || {}", "({} == 1)",
    "({} in [principal])",
    "({} like \"a\")", "({} has a)", "({} has a.b.c)", "({} is T)", "1 * {}", "({} + 1)",
    "({} is T in U::\"a\")", "!!!({})", "{}.isInRange(1)", "( ] {}", "({}", "{}}}", "a[{}]",
)  # fmt: skip
NARROW = f"principal is Palyra::User, action == {GET}, resource is Palyra::Workspace"
CHILD = """
import sys, threading
from policy.reading import SourceFile
from policy.schema import build_schema
from policy.validation import validate_files
schema = build_schema({})
def work():
    for text in sys.stdin.read().split("\\0"):
        validate_files([SourceFile("a.cedar", text)], schema, None)
threading.stack_size(1024 * 1024)
thread = threading.Thread(target=work)
thread.start()
thread.join()
print("alive")
"""


def test_nothing_that_passes_the_limits_overflows_the_stack_or_unfolds_without_end() -> None:
    """Each construct, alone and with another, as deep as it is let through, on a stack of 1 MiB."""
    texts = []
    for one in WRAPPERS:
        for other in ("{} && context", one):
            expression = "principal.nope"
            for number in range(300):
                grown = (one, other)[number % 2].format(expression)
                text = f"permit ({NARROW}) when {{ {grown} }};"
                if measure(tokens(text)).excess is not None:
                    break
                expression = grown
            texts += [f"permit ({NARROW}) when {{ {expression} }};", text]
    child = subprocess.run(
        [sys.executable, "-c", CHILD],
        input="\0".join(texts),
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
        cwd=ROOT,
        check=False,
    )
    assert (child.returncode, child.stdout) == (0, "alive\n")


PIECES = st.sampled_from(
    [
        '@id("a1b")', "@risk(", "permit", "forbid", "(principal, action, resource)", "when", "{", "}", ";",
        "&&",
        "context", ".", "a", "==", '"', "\\", "//", "\n", "(", ")", "[", "]", "?principal", "is", "in", "has",
        'Palyra::User::"x"', "Palyra::User", "1", "!", "-", "\r", "é", "\0", PERMIT,
    ]
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.lists(PIECES, max_size=30).map(" ".join) | st.text(max_size=40))
def test_any_text_is_findings_or_nothing(text: str) -> None:
    for finding in found(text) + found(text, known=None):
        assert finding.line <= text.count("\n") + 1
        assert finding.column <= len(text) + 1


@settings(max_examples=80, deadline=None)
@given(st.lists(st.sampled_from(["good", "syntax", "type", "template"]), max_size=6))
def test_every_faulty_policy_gives_one_finding_on_its_line(kinds: list[str]) -> None:
    lines = {
        "good": "permit (principal is Palyra::User, action, resource) when {{ principal.active }};",
        "syntax": "permit (principal action, resource);",
        "type": "permit (principal is Palyra::User, action, resource) when {{ principal.nope }};",
        "template": "permit (principal == ?principal, action, resource);",
    }
    text = "\n".join(f'@id("rule_{at}") {lines[kind].format()}' for at, kind in enumerate(kinds))
    codes = {"syntax": "syntax_error", "type": "type_error", "template": "template_unsupported"}
    wanted = [(at + 1, codes[kind]) for at, kind in enumerate(kinds) if kind in codes]
    assert [(one[1], one[3]) for one in errors(text)] == wanted


ACTIONS = st.sampled_from(
    [
        "action", f"action == {GET}", f"action in {CRON}", f"action in [{GET}, {RUN}]",
        'action in Palyra::Action::"tool.execute"', 'action == Palyra::Action::"tool.execute:http.fetch"',
        'action == Palyra::Action::"nope"', "action in []", f'action in [{GET}, Palyra::Action::"nope"]',
        'action == Palyra::Agent::"x"',
    ]
)  # fmt: skip
PRINCIPALS = st.sampled_from(["principal", "principal is Palyra::User", 'principal == Palyra::Agent::"a"'])
RESOURCES = st.sampled_from(["resource", "resource is Palyra::Workspace", 'resource == Palyra::Tool::"echo"'])
CONDITIONS = st.sampled_from(
    [
        "true", "principal.active", "principal.nope", 'context.input.url == "x"', "context has approval",
        f"action == {RUN}", f"action in {CRON}", 'action == Palyra::Action::"memory.get"', "1 + true == 2",
        'action in Palyra::Action::"nope"', 'context.input has url && context.input.url == "x"',
    ]
)  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(PRINCIPALS, ACTIONS, RESOURCES, CONDITIONS), min_size=1, max_size=4))
def test_checking_against_part_of_the_schema_finds_what_the_whole_finds(
    rules: list[tuple[str, str, str, str]],
) -> None:
    text = "\n".join(f"permit ({', '.join(rule[:3])}) when {{ {rule[3]} }};" for rule in rules)
    reading = read_set([SourceFile("a.cedar", text)])
    whole = cedarpy.validate_policies(text, schema_handle(SCHEMA.text))
    wanted = {(error.policy_id, _unnumbered(error.error)) for error in whole.errors}
    if not reading.errors:
        mine = type_errors._check(reading.files[0], type_errors._Parts(SCHEMA))
        assert {(f"policy{number}", _unnumbered(message)) for number, message in mine} == wanted


def _unnumbered(message: str) -> str:
    return re.sub(r"for policy `policy\d+`, ", "", message)
