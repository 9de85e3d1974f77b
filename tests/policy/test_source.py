"""Statements, tokens and lines of a policy text, and how deep a statement goes."""

from __future__ import annotations

import json

import cedarpy
import pytest
from hypothesis import given, settings, strategies as st

from policy.nesting import MAX_DEPTH, MAX_NESTING, Measure, is_plain, measure
from policy.source import Kind, Lines, next_statement, runaway, statements, tokens

POLICY = "permit (principal, action, resource)"
PIECES = st.sampled_from(
    [
        '"', "\\", "\\\\", '\\"', "//", "/", "\n", "\r", ";", "{", "}", "(", "@id", "permit", "a", " ", "::",
        "\u2028", "\x85", "\x1c", "\0", "é", "🙂", "1", "&&", "&", "?x", "?", '"text"', POLICY, '@id("a")\n',
    ]
)  # fmt: skip
TEXTS = st.lists(PIECES, max_size=30).map("".join) | st.text(max_size=60)


def parts(text: str) -> list[str]:
    return [text[one.start : one.end] for one in statements(text)]


@settings(max_examples=300, deadline=None)
@given(TEXTS)
def test_statements_and_what_lies_between_are_the_whole_text(text: str) -> None:
    at = 0
    for statement in statements(text):
        assert list(tokens(text, at, statement.start)) == []
        assert statement.end > statement.start >= at
        assert list(tokens(text, statement.start, statement.end))
        at = statement.end
    assert list(tokens(text, at)) == []


@settings(max_examples=300, deadline=None)
@given(TEXTS)
def test_tokens_stand_where_they_say_and_leave_out_only_comments_and_space(text: str) -> None:
    at = 0
    for token in tokens(text):
        assert text[token.start : token.end] == token.text
        assert not list(tokens(text, at, token.start))
        at = token.end


@settings(max_examples=200, deadline=None)
@given(TEXTS)
def test_no_text_raises(text: str) -> None:
    for statement in statements(text):
        runaway(text, statement)
        measure(tokens(text, statement.start, statement.end))


@settings(max_examples=200, deadline=None)
@given(TEXTS)
def test_text_that_cedar_accepts_has_as_many_statements_as_policies(text: str) -> None:
    try:
        document = json.loads(cedarpy.policies_to_json_str(text))
    except (ValueError, UnicodeError):
        return
    assert len(parts(text)) == len(document["staticPolicies"]) + len(document["templates"])


@pytest.mark.parametrize(
    ("text", "number"),
    [
        (f'{POLICY} when {{ "a;\nb" == ";" }}; // ;\n{POLICY};', 2),
        (f"{POLICY}; // x \r{POLICY};", 2),
        (f"{POLICY}; // x \x0b{POLICY};", 1),
        (f'@a(";\\";") {POLICY};', 1),
        (f"{POLICY}\u00a0;", 1),
    ],
)
def test_strings_and_comments_end_where_cedar_ends_them(text: str, number: int) -> None:
    assert len(json.loads(cedarpy.policies_to_json_str(text))["staticPolicies"]) == number
    assert len(parts(text)) == number


def test_last_statement_may_lack_its_end() -> None:
    assert parts("a; b // c") == ["a;", "b // c"]
    assert next_statement("a; // b", 2) is None


def test_kinds_of_tokens() -> None:
    found = [(token.kind, token.text) for token in tokens('@id("a\\"b") x1::"y" != 12 ?principal # "z')]
    assert found == [
        (Kind.SYMBOL, "@"),
        (Kind.NAME, "id"),
        (Kind.SYMBOL, "("),
        (Kind.STRING, '"a\\"b"'),
        (Kind.SYMBOL, ")"),
        (Kind.NAME, "x1"),
        (Kind.SYMBOL, "::"),
        (Kind.STRING, '"y"'),
        (Kind.SYMBOL, "!="),
        (Kind.NUMBER, "12"),
        (Kind.SLOT, "?principal"),
        (Kind.INVALID, "#"),
        (Kind.INVALID, '"z'),
    ]


def test_lines_and_columns_count_from_one_in_code_points() -> None:
    lines = Lines("é🙂x\r\n\ny")
    assert [lines.place(offset) for offset in (0, 2, 5, 6, 7)] == [(1, 1), (1, 3), (2, 1), (3, 1), (3, 2)]


def test_string_that_was_not_closed_is_seen_by_the_statement_it_swallows() -> None:
    text = f'{POLICY} when {{ context.a == "x }};\n@id("b") {POLICY};'
    (first, *_) = statements(text)
    assert runaway(text, first) == text.index("@id")
    harmless = f'@id("a") // "\n@description("see\nforbid it") {POLICY};'
    assert runaway(harmless, next(statements(harmless))) is None


def condition(expression: str) -> str:
    return f"{POLICY} when {{ {expression} }};"


def measured(expression: str) -> Measure:
    return measure(tokens(condition(expression)))


@pytest.mark.parametrize(
    "expression",
    [
        "(" * 10_000,
        "[" * (MAX_NESTING + 1),
        "{a:" * (MAX_NESTING + 1),
        "!" * 10_000 + "true",
        "- " * 10_000 + "1",
        "if " * 10_000,
        "if true then " * 10_000,
        "if true then true else " * 10_000,
        "true && " * 10_000,
        "true || " * 10_000,
        "1 + " * 10_000,
        "1 - " * 10_000,
        "1 * " * 10_000,
        "1 < " * 10_000,
        "context" + ".a" * 10_000,
        "context" + '["a"]' * 10_000,
        "context" + ".contains(1)" * 10_000,
        "context has a" + ".a" * 10_000,
        "context has a && " * 10_000,
        '"a" like "b" && ' * 10_000,
        "principal in " * 10_000,
        "( ]" * 10_000,
        "( // \r" * 10_000,
        "f(]" * 10_000,
        "!(" * 10_000,
        "ip(" * 10_000,
        "true } when { " * 10_000,
        "((1))" + " + 1" * 10_000,
        "(" * 40 + "1" + " + 1)" * 40 + " + 1" * 60,
    ],
)
def test_whatever_is_deep_goes_too_deep(expression: str) -> None:
    assert not is_plain(condition(expression))
    assert measured(expression).excess is not None


@pytest.mark.parametrize("operator", ["&&", "||", "+", "==", "."])
def test_operators_count_by_chain_and_not_by_text(operator: str) -> None:
    chain = operator.join(["a"] * 40)
    assert measured(f"[{', '.join([chain] * 50)}]").excess is None
    assert measured(operator.join(["a"] * (MAX_DEPTH + 2))).excess is not None


def test_nesting_is_accepted_up_to_the_limit() -> None:
    inside = MAX_NESTING - 1  # the condition itself is a bracket
    assert measured("(" * inside + "true" + ")" * inside).excess is None
    assert measured("(" * (inside + 1) + "true" + ")" * (inside + 1)).excess is not None


def test_what_is_written_again_is_counted() -> None:
    """`x has a.b` stands for `x has a && x.a has b`: within each other, these double each time."""
    assert measured("context has a").copies == 0
    assert 0 < measured("context has a.b").copies < 10
    assert measured("(" * 12 + "context" + " has a.b.c)" * 12).excess is not None
    assert measured("(" * 20 + "principal" + ' is T in U::"a")' * 20).excess is not None
    assert not is_plain(condition("(context has a) has a.b"))
    assert not is_plain(condition("context has a // &&\n.b"))
    assert measured(" && ".join(["context has a.b.c"] * 60)).excess is None


@settings(max_examples=150, deadline=None)
@given(TEXTS)
def test_plain_statements_exceed_nothing(text: str) -> None:
    for statement in statements(text):
        if is_plain(text[statement.start : statement.end]):
            assert measure(tokens(text, statement.start, statement.end)) == Measure()
