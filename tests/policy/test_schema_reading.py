"""What a schema declares is read from Cedar's own rendering, whichever form it was written in."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import cedarpy
import pytest
from hypothesis import given, settings, strategies as st

from policy.domains import parse_schema
from policy.schema_cost import MAX_ENVIRONMENTS, MAX_EXPANDED, schema_cost
from policy.schema_reading import MAX_NESTING, Reader, SchemaShape, prune, read_schema

SCHEMA = r"""
namespace A::B {
  @doc("; { } \" entity")
  type R = { x: Long, "y z"?: Set<C>, n: { q: Inner } };
  type Inner = { k?: ipaddr };
  type C = { m: Bool };
  entity Z, Y = { r: R, many?: Set<R> } tags String;
  entity Gp in [Z];
  action "do\"it\u{1F600}" in [Action::"g"] appliesTo { principal: Z, resource: [Y, U], context: R };
  action g;
}
entity U enum ["a", "b;}"];
action read appliesTo { principal: U, resource: A::B::Z, context: { flag?: Bool } };
"""
RECORD: dict[str, Any] = {"type": "Record", "attributes": {}}
APPLIES = {"principalTypes": ["user"], "resourceTypes": ["user"], "context": RECORD}
LONGS = {"type": "Record", "attributes": {"a": {"type": "Long"}}}
NAMED = {"type": "Record", "attributes": {"t": {"type": "EntityOrCommon", "name": "T"}}}
JSON_SCHEMA = {
    "": {
        "commonTypes": {"T": {"type": "Set", "element": LONGS}},
        "entityTypes": {"user": {"shape": NAMED}},
        "actions": {'a"b': {"appliesTo": APPLIES}},
    }
}


def shape(text: str) -> SchemaShape:
    return read_schema(parse_schema(text))


def test_entities_actions_and_contexts_are_read_through_names_and_namespaces() -> None:
    read = shape(SCHEMA)
    assert set(read.entities) == {"U", "A::B::Z", "A::B::Y", "A::B::Gp"}
    action = read.actions[("A::B::Action", 'do"it😀')]
    assert action.principals == {"A::B::Z"}
    assert action.resources == {"A::B::Y", "U"}
    assert set(action.context.members or {}) == {"x", "y z", "n"}
    assert read.actions[("A::B::Action", "g")].principals == frozenset()
    assert read.actions[("Action", "read")].resources == {"A::B::Z"}


def test_the_json_form_is_read_as_the_other() -> None:
    read = shape(json.dumps(JSON_SCHEMA))
    assert prune({"t": [{"a": 1, "b": 2}], "u": 3}, read.entities["user"]) == {"t": [{"a": 1}]}
    assert ("Action", 'a"b') in read.actions


def test_an_action_is_found_by_its_name_unless_two_namespaces_have_it() -> None:
    read = shape("namespace N { action x, y; } namespace M { action y; }")
    assert read.action_named("x") == ("N::Action", "x")
    assert read.action_named("y") is None
    assert read.action_named("z") is None


def test_what_is_not_declared_and_what_is_null_is_left_out_at_every_depth() -> None:
    given_value = {
        "r": {"x": 1, "n": {"q": {"k": "10.0.0.1", "evil": 1}}, "y z": [{"m": True, "w": 1}], "other": 2},
        "many": None,
        "unknown": {"x": 1},
    }
    assert prune(given_value, shape(SCHEMA).entities["A::B::Z"]) == {
        "r": {"x": 1, "n": {"q": {"k": "10.0.0.1"}}, "y z": [{"m": True}]}
    }


def test_a_value_of_another_type_is_kept_for_cedar_to_refuse() -> None:
    assert prune({"r": "text", "many": {"x": 1}}, shape(SCHEMA).entities["A::B::Z"]) == {
        "r": "text",
        "many": {"x": 1},
    }


@pytest.mark.parametrize(
    "text",
    [
        "entity",
        "entity U",
        "namespace N {",
        "what U;",
        "action a appliesTo { owner: [U] };",
        "entity U; }",
        "§",
    ],
)
def test_text_that_is_no_schema_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Reader(text)


@given(st.text(alphabet='entity U=<>{}[]();:,?@"\\ \naction', max_size=60))
@settings(max_examples=300)
def test_no_text_does_anything_but_raise_a_value_error(text: str) -> None:
    with contextlib.suppress(ValueError):
        Reader(text).shape()
        schema_cost(text)


NAMES = st.sampled_from(["a", "b", "c d", "e"])
TYPES: st.SearchStrategy[str] = st.recursive(
    st.sampled_from(["Long", "String", "Bool", "U", "ipaddr"]),
    lambda inner: st.one_of(
        inner.map(lambda one: f"Set<{one}>"),
        st.dictionaries(NAMES, inner, max_size=3).map(
            lambda members: "{" + ", ".join(f'"{name}": {kind}' for name, kind in members.items()) + "}"
        ),
    ),
    max_leaves=6,
)


@given(st.dictionaries(NAMES, TYPES, max_size=4))
@settings(max_examples=150)
def test_every_attribute_that_cedar_demands_is_one_that_was_read(members: dict[str, str]) -> None:
    record = "{" + ", ".join(f'"{name}": {kind}' for name, kind in members.items()) + "}"
    read = shape(f"entity U; entity E = {record};")
    assert set(read.entities["E"].members or {}) == set(members)


def doubling(levels: int) -> str:
    """Return a short schema whose context, written out, has 2 to the power of `levels` members."""
    types = "".join(f"type T{i} = {{ a: T{i + 1}, b: T{i + 1} }};\n" for i in range(levels))
    last = f"type T{levels} = {{ z: Long }};\n"
    return f"entity U;\n{types}{last}action r appliesTo {{ principal: U, resource: U, context: T0 }};"


def doubling_json(levels: int) -> str:
    def record(members: dict[str, Any]) -> dict[str, Any]:
        return {"type": "Record", "attributes": members}

    commons = {
        f"T{i}": record({name: {"type": "EntityOrCommon", "name": f"T{i + 1}"} for name in "ab"})
        for i in range(levels)
    }
    return json.dumps(
        {"": {"commonTypes": {**commons, f"T{levels}": record({})}, "entityTypes": {}, "actions": {}}}
    )


@pytest.mark.parametrize("text", [doubling(100), doubling_json(100), doubling(200)])
def test_a_short_schema_that_grows_without_end_costs_too_much(text: str) -> None:
    cost = schema_cost(text)
    assert cost.expanded > MAX_EXPANDED
    assert not cost.allows(1)


def test_a_schema_with_too_many_pairs_of_types_costs_too_much() -> None:
    names = [f"E{number}" for number in range(200)]
    listed = ", ".join(names)
    text = f"entity {listed}; action r appliesTo {{ principal: [{listed}], resource: [{listed}] }};"
    assert schema_cost(text).environments == 40_000 > MAX_ENVIRONMENTS
    assert not schema_cost(text).allows(0)
    assert schema_cost("entity U; action r appliesTo { principal: U, resource: U };").allows(20_000)


@pytest.mark.parametrize(
    "text",
    [
        "type A = { a: B }; type B = { b: A };",
        '{"": {"commonTypes": {"A": {"type": "A"}}}}',
        "entity U = " + "{ a: " * (MAX_NESTING + 1) + "Long" + " }" * (MAX_NESTING + 1) + ";",
        '{"": ' * 300 + "1" + "}" * 300,
        '{"": 5}',
        '{"a": 1, "a": 2}',
    ],
)
def test_a_schema_that_holds_itself_or_goes_too_deep_is_refused_before_cedar_sees_it(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        schema_cost(text)


def test_a_chain_of_names_that_is_too_long_to_follow_is_refused() -> None:
    chain = "".join(f"type T{i} = {{ a: T{i + 1} }};\n" for i in range(5_000)) + "type T5000 = { z: Long };"
    with pytest.raises(ValueError, match="cannot be read"):
        schema_cost(chain)


def test_the_actions_read_are_those_that_cedar_knows() -> None:
    handle = cedarpy.Schema.from_str(SCHEMA)
    assert set(read_schema(handle).actions) == {
        (entity["uid"]["type"], entity["uid"]["id"])
        for entity in json.loads(str(cedarpy.Entities.from_json_str("[]", handle)))
    }
