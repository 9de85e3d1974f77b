"""An expression is written so that parsing the text gives the expression again."""

from __future__ import annotations

import json
from typing import Any

import cedarpy
import pytest
from hypothesis import given, settings, strategies as st

from policy.expressions import chain_of, operator_of, text_of

TEXTS = (
    "context.a && (context.b && context.c) || context.d && (context.e || context.f)",
    "(1 == 1) == (2 == 2)",
    "-(context.a + 1) < 3 - -1",
    "-(-1) == -(5)",
    "!(context.a == 1) && !!context.b",
    "(-1).x == (1 + 2) * 3 - (4 - 5)",
    'context["a b"]["if"].c has "d e"',
    "context has a.b.c",
    'principal is A::B in A::"x"',
    'principal in [A::"x\\"\\n", B::"y"]',
    "(if context.a then 1 else 2) == 1",
    'principal.hasTag("x") && principal.getTag("x") == "y" || [].isEmpty()',
    'context.d like "a\\**b\\"\\n\\u{200b}"',
    '{"a": 1, "b c": [1, {"if": true}]}.a == -9223372036854775808',
    'ip("1.2.3.4").isInRange(ip("1.0.0.0/8")) && context.ip.isLoopback()',
    'context.now.offset(duration("1h")) < datetime("2024-01-01")',
    'decimal("1.0").lessThan(context.price)',
)


def parsed(text: str) -> dict[str, Any]:
    document = json.loads(cedarpy.policies_to_json_str(f"permit(principal,action,resource) when {{{text}}};"))
    body: dict[str, Any] = document["staticPolicies"]["policy0"]["conditions"][0]["body"]
    return body


@pytest.mark.parametrize("text", TEXTS)
def test_every_form_comes_back_as_it_was(text: str) -> None:
    assert parsed(text_of(parsed(text))) == parsed(text)


def test_text_has_no_bracket_where_precedence_does() -> None:
    text = "context.a && (context.b || !context.c) && context.d + 1 < 2 * 3"
    assert text_of(parsed(f"(({text}))")) == text


names = st.sampled_from(["a", "b c", "if", "", 'q"', "*", "\u202e"])
leaves = st.one_of(
    st.booleans().map(lambda value: {"Value": value}),
    st.integers(-(2**63), 2**63 - 1).map(lambda value: {"Value": value}),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=6).map(lambda value: {"Value": value}),
    st.sampled_from(["principal", "action", "resource", "context"]).map(lambda name: {"Var": name}),
    names.map(lambda name: {"Value": {"__entity": {"type": "A::B", "id": name}}}),
)


def nodes(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Every operator over smaller expressions; types do not matter to a parser."""
    binary = st.sampled_from(["&&", "||", "==", "!=", "<", "<=", ">", ">=", "in", "+", "-", "contains"])
    two = st.fixed_dictionaries({"left": inner, "right": inner})
    pattern = st.lists(
        st.one_of(st.just("Wildcard"), st.sampled_from('a*"\\').map(lambda one: {"Literal": one})), max_size=3
    )
    return st.one_of(
        st.tuples(binary, two).map(lambda pair: {pair[0]: pair[1]}),
        inner.map(lambda one: {"!": {"arg": one}}),
        st.tuples(inner, names).map(lambda pair: {".": {"left": pair[0], "attr": pair[1]}}),
        st.tuples(inner, names).map(lambda pair: {"has": {"left": pair[0], "attr": pair[1]}}),
        st.tuples(inner, pattern).map(lambda pair: {"like": {"left": pair[0], "pattern": pair[1]}}),
        st.tuples(inner, inner, inner).map(
            lambda three: {"if-then-else": dict(zip(("if", "then", "else"), three, strict=True))}
        ),
        st.lists(inner, max_size=2).map(lambda items: {"Set": items}),
        st.dictionaries(names, inner, max_size=2).map(lambda members: {"Record": members}),
        inner.map(lambda one: {"isEmpty": {"arg": one}}),
        inner.map(lambda one: {"toTime": [one]}),
    )


@settings(max_examples=250, deadline=None)
@given(st.recursive(leaves, nodes, max_leaves=12))
def test_any_expression_comes_back_as_it_was(expression: dict[str, Any]) -> None:
    assert parsed(text_of(expression)) == expression


@pytest.mark.parametrize(
    "expression",
    [{}, {"Slot": "?principal", "x": 1}, {"Unknown": 1}, {"Value": None}, {"Value": {"__extn": {}}}],
)
def test_an_unknown_form_is_an_error_and_no_guess(expression: dict[str, Any]) -> None:
    with pytest.raises((ValueError, KeyError)):
        text_of(expression)


def test_a_long_chain_is_flat() -> None:
    chain: dict[str, Any] = {"Var": "context"}
    for _ in range(5_000):
        chain = {"&&": {"left": chain, "right": {"Value": True}}}
    assert len(chain_of(chain, "&&")) == 5_001
    assert text_of(chain).count("&&") == 5_000
    assert operator_of(chain) == "&&"
    assert operator_of({"Value": True}) == ""
