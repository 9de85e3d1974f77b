"""Every accepted input reaches the rules whole, or the call is denied: nothing is left out."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from kernel.errors import PalyraError
from policy.catalog import object_schema
from policy.cedar_types import Kind, UnrepresentableError, kind_of, record_type, record_value
from policy.compilation import CompiledSet, SourceFile, compile_set
from policy.engine import evaluate
from policy.schema import build_schema
from policy.tool_input import check_input
from policy.types import (
    EntityRef,
    PolicyDecision,
    PolicyEvaluationConfig,
    PolicyRequest,
    PolicyRequestContext,
    ToolEntity,
    World,
)
from tests.policy.worlds import AGENT, NOW, ref_of

PERMIT = '@id("all") permit (principal, action, resource);'
TOOL = ToolEntity("t", frozenset(), "none", "low", sensitive=False, enabled=True, runtime_supported=True)


def compiled_for(schema: dict[str, Any], rules: str = PERMIT) -> CompiledSet:
    made = compile_set([SourceFile("f.cedar", rules)], build_schema({"t": schema}))
    assert isinstance(made, CompiledSet), made
    return made


def ask(schema: dict[str, Any], value: dict[str, Any], rules: str = PERMIT) -> PolicyDecision:
    """Put an input to rules that were type-checked against its schema."""
    return evaluate(
        request=PolicyRequest(ref_of(AGENT), "tool.execute", EntityRef("Tool", "t")),
        context=PolicyRequestContext(now=NOW, tool_input=value),
        config=PolicyEvaluationConfig(),
        world=World("wsp_one", AGENT, tool=TOOL),
        policies=compiled_for(schema, rules),
    )


def forbidden(schema: dict[str, Any], value: dict[str, Any], condition: str) -> bool:
    """Tell whether a forbid on this condition stops the call."""
    rules = PERMIT + f'@id("never") forbid (principal, action, resource) when {{ {condition} }};'
    every = 'forbid (principal, action == Palyra::Action::"tool.execute:t",'
    scoped = rules.replace("forbid (principal, action,", every)
    return ask(schema, value, scoped).reason_code == "policy.denied"


def one(schema: dict[str, Any], *, required: bool = True) -> dict[str, Any]:
    return object_schema({"x": schema}, ("x",) if required else ())


URI: dict[str, object] = {"type": "string", "format": "uri"}
PAIR = object_schema({"a": {"type": "string"}, "b": {"type": "integer"}}, ("a", "b"))
CASES: list[tuple[dict[str, Any], Any, str]] = [
    ({"type": "integer"}, 2**53 - 1, "context.input.x == 9007199254740991"),
    ({"type": "integer"}, 5.0, "context.input.x == 5"),
    ({"type": "number"}, -0.0, 'context.input.x == decimal("0.0")'),
    ({"type": "number"}, 1e14, 'context.input.x == decimal("100000000000000.0")'),
    ({"type": "number"}, 0.0001, 'context.input.x.lessThan(decimal("0.0002"))'),
    ({"type": "string"}, "a\u202e\n\U0001f600", 'context.input.x == "a\\u{202e}\\n\\u{1f600}"'),
    ({"enum": ["a", "b"]}, "b", 'context.input.x == "b"'),
    ({"type": "boolean"}, True, "context.input.x"),
    ({"type": "array", "items": {"type": "integer"}}, [3, 3, 1], "context.input.x == [1, 3]"),
    ({"type": "array", "items": {"type": "string"}}, [], "context.input.x.isEmpty()"),
    (
        {"type": "array", "items": {"type": "array", "items": {"type": "number"}}},
        [[1.5], []],
        'context.input.x.contains([decimal("1.5")])',
    ),
    (
        {"type": "array", "items": PAIR},
        [{"a": "q", "b": 2}, {"a": "r", "b": 1}],
        'context.input.x.contains({a: "q", b: 2}) && context.input.x.contains({a: "r", b: 1})',
    ),
    (
        {"type": "object", "additionalProperties": {"type": "string"}},
        {"X-Host": "e", "__entity": "f"},
        'context.input.x.containsAll([{name: "x-host", value: "e"}, {name: "__entity", value: "f"}])',
    ),
    ({"type": ["string", "null"]}, "a", "context.input.x_json == \"\\\"a\\\"\""),
    ({"type": "array"}, [1, "a"], 'context.input.x_json == "[1,\\"a\\"]"'),
    ({"type": "array", "items": {}}, [{"b": 1, "a": 2}], 'context.input.x_json == "[{\\"a\\":2,\\"b\\":1}]"'),
    (
        {"type": "object"},
        {"__entity": {"type": "Palyra::User", "id": "u"}},
        'context.input.x_json like "*__entity*"',
    ),
    ({"anyOf": [{"type": "integer"}, {"type": "string"}]}, 7, 'context.input.x_json == "7"'),
    (URI, "https://A.example/", 'context.input.x_host == "a.example"'),
    (URI, "https://a.example./", 'context.input.x_host == "a.example"'),
    (URI, "http://[::ffff:10.0.0.1]:8/", 'context.input.x_host == "10.0.0.1"'),
    (URI, "https://a/", "context.input has x_port && context.input.x_port == 443"),
    (URI, "urn:a", 'context.input.x_scheme == "urn" && !(context.input has x_port)'),
    (
        object_schema({"u": URI}, ("u",)),
        {"u": "ftp://b.example"},
        "context.input.x has u_port && context.input.x.u_port == 21",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("schema", "value", "condition"), CASES)
def test_a_rule_reads_the_value_that_was_sent(schema: dict[str, Any], value: Any, condition: str) -> None:
    guarded = one(schema)
    optional = ("x_json" in condition and schema.get("type") not in ("object", "array")) and "x_json"
    text = f"context.input has {optional} && {condition}" if optional else condition
    assert forbidden(guarded, {"x": value}, text)
    assert not forbidden(guarded, {"x": value}, f"context has device_id && {text}")


UNREPRESENTABLE: list[tuple[dict[str, Any], Any]] = [
    ({"type": "integer"}, 2**63),
    ({"type": "integer"}, -(2**63) - 1),
    ({"type": "integer"}, 1e300),
    ({"type": "number"}, 0.00001),
    ({"type": "number"}, 922337203685477),
    ({"type": "number"}, 1e300),
    ({"type": "array", "items": {"type": "integer"}}, [1, 2**63]),
    ({"type": "array", "items": {"type": "number"}}, [0.12345]),
    (object_schema({"n": {"type": "number"}}, ()), {"n": 0.12345}),
    ({"type": "object"}, {"n": 2**60}),
    (URI, "https://evil.example\\@good.example/"),
    (URI, "https://good.example@evil.example/"),
    (URI, "https://ex%61mple.example/"),
    (URI, "http://127.1/"),
    (URI, "http://0x7f000001/"),
    (URI, "https://a.example\t.evil.example/"),
    (URI, "https:///evil.example/"),
    (object_schema({"u": URI}, ()), {"u": "https:evil.example"}),
]


@pytest.mark.parametrize(("schema", "value"), UNREPRESENTABLE)
def test_what_cannot_be_judged_is_denied_although_a_rule_permits_everything(
    schema: dict[str, Any], value: Any
) -> None:
    decision = ask(one(schema), {"x": value})
    assert (decision.effect, decision.reason_code) == ("deny", "policy.input_unrepresentable")
    assert str(value) not in decision.reason


@pytest.mark.parametrize(
    "schema",
    [
        {"type": ["string", "null"]},
        {"type": "null"},
        {},
        {"enum": ["a", None]},
        {"anyOf": [{"type": "null"}]},
    ],
)
def test_null_is_absent_even_where_the_property_is_required(schema: dict[str, Any]) -> None:
    assert ask(one(schema), {"x": None}).effect == "allow"
    assert forbidden(one(schema), {"x": None}, "!(context.input has x_json)")
    with pytest.raises(AssertionError, match="x_json"):
        forbidden(one(schema), {"x": None}, 'context.input.x_json == "null"')


def test_a_required_object_needs_no_guard() -> None:
    assert forbidden(one({"type": "object"}), {"x": {}}, 'context.input.x_json == "{}"')


def test_a_value_of_an_undeclared_property_is_denied() -> None:
    assert ask(one({"type": "string"}), {"x": "a", "y": 1}).reason_code == "policy.input_unrepresentable"


@pytest.mark.parametrize(
    "clash",
    [
        {"u": URI, "u_host": {"type": "string"}},
        {"u": URI, "u_port": {"type": "integer"}},
        {"a": {"type": "array"}, "a_json": {"type": "string"}},
        {"u_scheme": {"type": "string"}, "u": URI},
    ],
)
def test_a_property_cannot_stand_for_a_derived_attribute(clash: dict[str, Any]) -> None:
    with pytest.raises(UnrepresentableError):
        record_type(object_schema(clash, ()))
    with pytest.raises(UnrepresentableError):
        record_type(object_schema({"inner": object_schema(clash, ())}, ()))


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
numbers = st.one_of(
    st.integers(-(2**53) + 1, 2**53 - 1), st.floats(allow_nan=False, allow_infinity=False), st.just(-0.0)
)
free = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**53) + 1, 2**53 - 1), texts),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(texts, inner, max_size=2)),
    max_leaves=4,
)
places = st.sampled_from(
    [
        "https://a.example/",
        "http://[::1]:80/",
        "https://u@b.example/",
        "http://127.1/",
        "urn:x",
        "https://a:/",
    ]
)
Typed = tuple[dict[str, Any], st.SearchStrategy[Any]]

leaves: st.SearchStrategy[Typed] = st.sampled_from(
    [
        ({"type": "integer"}, st.integers(-(2**53) + 1, 2**53 - 1)),
        ({"type": "number"}, numbers),
        ({"type": "string"}, texts),
        ({"type": "boolean"}, st.booleans()),
        ({"enum": ["a", "b"]}, st.sampled_from(["a", "b"])),
        ({"const": "c"}, st.just("c")),
        ({"enum": ["a", 1, None]}, st.sampled_from(["a", 1, None])),
        ({"type": ["integer", "null"]}, st.one_of(st.none(), st.integers(0, 9))),
        ({"anyOf": [{"type": "string"}, {"type": "boolean"}]}, st.one_of(texts, st.booleans())),
        ({"type": "object"}, st.dictionaries(texts, free, max_size=3)),
        ({"type": "array"}, st.lists(free, max_size=3)),
        ({}, free),
        (
            {"type": "object", "additionalProperties": {"type": "string"}},
            st.dictionaries(texts, texts, max_size=3),
        ),
        (URI, places),
    ]
)


def larger(inner: st.SearchStrategy[Typed]) -> st.SearchStrategy[Typed]:
    lists = inner.map(lambda item: ({"type": "array", "items": item[0]}, st.lists(item[1], max_size=3)))
    return st.one_of(lists, records(inner))


def records(inner: st.SearchStrategy[Typed]) -> st.SearchStrategy[Typed]:
    members = st.dictionaries(st.sampled_from(["a", "b", "if", "x_y"]), inner, max_size=3)
    return st.tuples(members, st.integers(0, 3)).map(lambda pair: record(*pair))


def record(members: dict[str, Typed], wanted: int) -> Typed:
    required = {name: values for name, (_, values) in list(members.items())[:wanted]}
    optional = {name: values for name, (_, values) in list(members.items())[wanted:]}
    schema = object_schema({name: inner for name, (inner, _) in members.items()}, tuple(required))
    return schema, st.fixed_dictionaries(required, optional=optional)


schemas = records(st.recursive(leaves, larger, max_leaves=4))


def missing(schema: dict[str, Any], value: dict[str, Any], made: dict[str, Any]) -> list[str]:
    """Return the names of what was sent and is not in the record that rules read."""
    lost = []
    for name, item in value.items():
        inner = schema["properties"][name]
        attribute = f"{name}_json" if kind_of(inner) is Kind.JSON else name
        if item is not None and attribute not in made:
            lost.append(name)
        elif item is not None and kind_of(inner) is Kind.RECORD:
            lost.extend(missing(inner, item, made[attribute]))
        elif (isinstance(item, list) and attribute == name) or kind_of(inner) is Kind.PAIRS:
            lost.extend([name] * (len(item) - len(made[attribute])))
    return lost


@settings(max_examples=80, deadline=None)
@given(schemas, st.data())
def test_accepted_input_is_judged_whole_or_denied(typed: Typed, data: st.DataObject) -> None:
    schema, values = typed
    raw = data.draw(values)
    if not check_input(schema=schema, raw_input=raw, max_bytes=10**6).ok:
        return
    decision = ask(schema, raw)
    try:
        made = record_value(schema, raw)
    except UnrepresentableError:
        assert (decision.effect, decision.reason_code) == ("deny", "policy.input_unrepresentable")
        return
    assert missing(schema, raw, made) == []
    assert (decision.effect, decision.reason_code) == ("allow", "policy.allowed"), decision.explanation


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(["integer", "number", "string", "boolean", "array", "object"]), free)
def test_a_value_of_another_type_never_passes_for_one(kind: str, value: Any) -> None:
    """Behind the schema gate none arrives; if one did, it would be refused and not be turned into one."""
    schema = object_schema({"x": {"type": kind}}, ())
    fits = check_input(schema=schema, raw_input={"x": value}, max_bytes=10**6).ok
    try:
        made = record_value(schema, {"x": value})
    except (UnrepresentableError, PalyraError):
        return
    if kind in ("array", "object"):
        return
    assert fits or value is None or made == {}
