"""Validation of a whole set: every fault with its code and place, warnings, limits, and no crash."""

from __future__ import annotations

from policy.reading import SourceFile
from policy.types import Finding
from policy.validation import KnownNames, validate_files
from tests.policy.worlds import SCHEMA, TOOLS

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
