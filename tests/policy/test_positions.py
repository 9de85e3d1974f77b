"""Where an error stands, found by asking Cedar about parts of the statement."""

from __future__ import annotations

import pytest
from hypothesis import given, settings, strategies as st

from policy.positions import name_offset, syntax_offset
from policy.reading import message_of
from policy.source import Statement, statements, tokens

SCOPE = "permit (principal, action, resource)"


def marked(text: str) -> tuple[str, int]:
    """Return a text without its mark `»`, and where the mark stood."""
    return text.replace("»", ""), text.index("»")


def placed(text: str) -> int:
    (statement,) = statements(text)
    message = message_of(text)
    assert message
    return syntax_offset(text, statement, message, message_of)


@pytest.mark.parametrize(
    "condition",
    [
        "context.a == »}",
        "{ a: 1 } == »}",
        "true } »}",
        "context.x in [1 »}",
        "if true then 1 »}",
        "a.b»::\"c\"",
        "1 »# 2",
        "»foo",
        "»foo(1)",
        "context.foo == 1 && »foo",
        'context["foo"] == "foo" && »foo',
        "context.a.»bar(1)",
        "»99999999999999999999 == 1",
        '"a" == »"\\q"',
        "principal like »3",
        "1 < 2 < »3",
        "{ a: 1 } == { »a: 1, a: 2 }",
        'context.a == »"x ',
        "true && »&& true",
    ],
)  # fmt: skip
def test_error_in_a_condition_is_placed(condition: str) -> None:
    text, offset = marked(f'@id("é🙂")\n{SCOPE} // foo }} a ::\nwhen {{ {condition} }};')
    assert placed(text) == offset


@pytest.mark.parametrize(
    "text",
    [
        "»permt (principal, action, resource);",
        "permit (»prncipal, action, resource);",
        "permit (principal, action »resource);",
        "permit (principal == »User, action, resource);",
        f"{SCOPE} »whn {{ true }};",
        f"{SCOPE} »when {{ }};",
        f"»@a @a {SCOPE};",
        "»;",
        "permit (principal, action, »resource",
        f"{SCOPE} when {{ »true",
        f"{SCOPE} when {{ »true;",
        "»permit",
    ],
)
def test_error_outside_a_condition_is_placed(text: str) -> None:
    plain, offset = marked(text)
    assert placed(plain) == offset


def test_message_without_a_place_falls_back_to_the_start() -> None:
    text = f"  {SCOPE};"
    assert syntax_offset(text, Statement(2, len(text)), "something `nowhere` else", lambda _: "") == 2
    assert syntax_offset(text, Statement(2, len(text)), "invalid token", lambda _: "") == 2


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 60), st.sampled_from(["}", "{", "&&", "foo", "#", '"', "1", ";;", "when", "@", "::"]))
def test_any_damage_is_placed_within_the_statement(at: int, damage: str) -> None:
    good = f'@id("a") {SCOPE} when {{ context.a.b == "x" && !(1 < 2) }} unless {{ [1, 2].contains(3) }};'
    found = list(tokens(good))
    place = found[at % len(found)].start
    text = f"{good[:place]} {damage} {good[place:]}"
    first = next(statements(text))
    message = message_of(text[first.start : first.end])
    if message:
        assert first.start <= syntax_offset(text, first, message, message_of) < first.end


def test_number_of_questions_is_bounded() -> None:
    asked = 0

    def counted(text: str) -> str:
        nonlocal asked
        asked += 1
        return message_of(text)

    text = f"{SCOPE} when {{ {' && '.join(['true'] * 3_000)} && foo == }};"
    (statement,) = statements(text)
    assert syntax_offset(text, statement, message_of(text), counted) == text.rindex("}")
    assert asked < 20
    text = f"{SCOPE} when {{ {' && '.join(['1 < 2'] * 3_000)} && 1 < 2 < 3 }};"
    (statement,) = statements(text)
    asked = 0
    syntax_offset(text, statement, message_of(text), counted)
    assert asked <= 250


def test_name_is_found_outside_strings_and_comments() -> None:
    text = 'permit (principal, action, resource) // input.url\nwhen { "input.url" == context.input.url };'
    (statement,) = statements(text)
    assert name_offset(text, statement, "input.url") == text.rindex("url")
    assert name_offset(text, statement, "other") is None
    assert name_offset(text, statement, "") is None


def test_attribute_is_found_in_brackets_and_behind_has() -> None:
    for condition in ('context["a b"] == 1', 'context has "a b"'):
        text = f"{SCOPE} when {{ {condition} }};"
        (statement,) = statements(text)
        assert name_offset(text, statement, "a b") == text.index('"a b"')
    text = f"{SCOPE} when {{ context has url }};"
    (statement,) = statements(text)
    assert name_offset(text, statement, "input.url") == text.index("url")


def test_entity_is_found_as_a_whole() -> None:
    text = 'permit (principal in T::"b", action, resource) when { principal == T::"a" };'
    (statement,) = statements(text)
    assert name_offset(text, statement, 'T::"a"') == text.rindex("T::")
