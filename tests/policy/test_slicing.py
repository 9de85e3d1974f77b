"""A slice decides as the whole set does: same decision, same determining rules, same errors."""

from __future__ import annotations

import json
from typing import Any

import cedarpy
import pytest
from hypothesis import given, settings, strategies as st

from policy.slicing import Closure, ScopeIndex, Slices, closures_of, policy_set, uid_of

KINDS = ("P", "Q")
NAMES = ("a", "b", "c", "d", "e", "f")
UIDS = [(kind, name) for kind in KINDS for name in NAMES]
ACTIONS = ("x", "y")
GROUPS = ("g", "h")
REQUESTS = 6
EXAMPLES = 2_000
"""Sets; with the requests put to each, 12,000 comparisons."""

CONDITIONS: list[Any] = [
    [],
    [{"kind": "when", "body": {"Value": True}}],
    [{"kind": "when", "body": {"Value": False}}],
    [{"kind": "when", "body": {".": {"left": {"Var": "context"}, "attr": "missing"}}}],
    [{"kind": "unless", "body": {".": {"left": {"Var": "context"}, "attr": "flag"}}}],
]

uids = st.sampled_from(UIDS)


def ref(uid: tuple[str, str]) -> dict[str, str]:
    return {"type": uid[0], "id": uid[1]}


def entity_scopes() -> st.SearchStrategy[dict[str, Any]]:
    """Every form a constraint on principal or resource can have."""
    return st.one_of(
        st.just({"op": "All"}),
        uids.map(lambda uid: {"op": "==", "entity": ref(uid)}),
        uids.map(lambda uid: {"op": "in", "entity": ref(uid)}),
        st.sampled_from(KINDS).map(lambda kind: {"op": "is", "entity_type": kind}),
        st.tuples(st.sampled_from(KINDS), uids).map(
            lambda pair: {"op": "is", "entity_type": pair[0], "in": {"entity": ref(pair[1])}}
        ),
    )


def action_scopes() -> st.SearchStrategy[dict[str, Any]]:
    named = st.sampled_from([("Action", name) for name in (*ACTIONS, *GROUPS)])
    return st.one_of(
        st.just({"op": "All"}),
        named.map(lambda uid: {"op": "==", "entity": ref(uid)}),
        named.map(lambda uid: {"op": "in", "entity": ref(uid)}),
        st.lists(named, min_size=1, max_size=3).map(
            lambda listed: {"op": "in", "entities": [ref(uid) for uid in listed]}
        ),
    )


rules = st.lists(
    st.fixed_dictionaries(
        {
            "effect": st.sampled_from(["permit", "forbid"]),
            "principal": entity_scopes(),
            "action": action_scopes(),
            "resource": entity_scopes(),
            "conditions": st.sampled_from(CONDITIONS),
        }
    ),
    max_size=10,
)
levels = st.lists(st.integers(0, len(UIDS) - 1), min_size=len(UIDS), max_size=len(UIDS))


def graph(chosen: list[int]) -> list[dict[str, Any]]:
    """Return entities in which each has at most one parent of a later place, so no cycle: depth ≤ 11."""
    return [
        {"uid": ref(uid), "attrs": {}, "parents": [ref(UIDS[parent])] if parent > place else []}
        for place, (uid, parent) in enumerate(zip(UIDS, chosen, strict=True))
    ] + [
        {"uid": ref(("Action", "x")), "attrs": {}, "parents": [ref(("Action", "g"))]},
        {"uid": ref(("Action", "y")), "attrs": {}, "parents": []},
        {"uid": ref(("Action", "g")), "attrs": {}, "parents": [ref(("Action", "h"))]},
        {"uid": ref(("Action", "h")), "attrs": {}, "parents": []},
    ]


def answer(handle: cedarpy.PolicySet, entities: cedarpy.Entities, request: dict[str, Any]) -> tuple[Any, ...]:
    result = cedarpy.is_authorized(request, handle, entities)
    return result.decision, sorted(result.diagnostics.reasons), len(result.diagnostics.errors)


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    rules=rules,
    chosen=levels,
    asked=st.lists(
        st.tuples(uids, st.sampled_from(ACTIONS), uids, st.booleans()),
        min_size=REQUESTS,
        max_size=REQUESTS,
    ),
)
def test_a_slice_answers_as_the_whole_set_does(
    rules: list[dict[str, Any]], chosen: list[int], asked: list[Any]
) -> None:
    bodies = {f"rule{number}": body for number, body in enumerate(rules)}
    entities = graph(chosen)
    closures = closures_of(entities)
    handle = cedarpy.Entities.from_json_str(json.dumps(entities))
    whole, index, slices = policy_set(bodies), ScopeIndex(bodies), Slices(bodies)
    for principal, verb, resource, flag in asked:
        action = ("Action", verb)
        request = {
            "principal": ref(principal),
            "action": ref(action),
            "resource": ref(resource),
            "context": {"flag": flag},
        }
        ids = index.candidates(closures[principal], closures[action], closures[resource])
        assert answer(slices.get(ids), handle, request) == answer(whole, handle, request)


@pytest.mark.parametrize(
    ("constraint", "holds"),
    [
        ({"op": "All"}, True),
        ({"op": "==", "entity": ref(("P", "a"))}, True),
        ({"op": "==", "entity": ref(("P", "b"))}, False),
        ({"op": "==", "entity": {"__entity": ref(("P", "a"))}}, True),
        ({"op": "in", "entity": ref(("P", "a"))}, True),
        ({"op": "in", "entity": ref(("Q", "team"))}, True),
        ({"op": "in", "entity": ref(("Q", "other"))}, False),
        ({"op": "is", "entity_type": "P"}, True),
        ({"op": "is", "entity_type": "Q"}, False),
        ({"op": "is", "entity_type": "P", "in": {"entity": ref(("Q", "team"))}}, True),
        ({"op": "is", "entity_type": "Q", "in": {"entity": ref(("Q", "team"))}}, False),
        ({"op": "is", "entity_type": "P", "in": {"slot": "?principal"}}, True),
        ({"op": "something new"}, True),
    ],
)
def test_a_constraint_selects_and_an_unknown_form_never_drops_a_rule(
    constraint: dict[str, Any], holds: bool
) -> None:
    body = {"principal": constraint, "action": {"op": "All"}, "resource": {"op": "All"}}
    principal = Closure(("P", "a"), frozenset({("Q", "team")}))
    found = ScopeIndex({"one": body}).candidates(principal, Closure(("A", "x")), Closure(("R", "r")))
    assert found == (("one",) if holds else ())


def test_candidates_keep_the_order_of_the_set_and_name_a_rule_once() -> None:
    twice = {"op": "in", "entities": [ref(("Action", "x")), ref(("Action", "g"))]}
    free = {"op": "All"}
    bodies = {name: {"principal": free, "action": twice, "resource": free} for name in ("b", "a", "c")}
    action = Closure(("Action", "x"), frozenset({("Action", "g")}))
    assert ScopeIndex(bodies).candidates(Closure(("P", "a")), action, Closure(("R", "r"))) == ("b", "a", "c")


def test_handles_are_kept_up_to_the_size_and_the_oldest_goes_first() -> None:
    free = {"op": "All"}
    body = {"effect": "permit", "principal": free, "action": free, "resource": free, "conditions": []}
    slices = Slices({"one": body, "two": body}, size=2)
    first = slices.get(("one",))
    slices.get(("two",))
    assert slices.get(("one",)) is first
    slices.get(("one", "two"))
    assert slices.get(("one",)) is first
    assert len(slices._handles) == 2


def test_ancestors_are_found_through_parents_given_in_any_order() -> None:
    entities: list[dict[str, Any]] = [
        {"uid": ref(("G", "top")), "parents": []},
        {"uid": ref(("P", "a")), "parents": [ref(("G", "mid")), ref(("G", "absent"))]},
        {"uid": ref(("G", "mid")), "parents": [{"__entity": ref(("G", "top"))}]},
    ]
    assert closures_of(entities)[("P", "a")].ancestors == {("G", "mid"), ("G", "top"), ("G", "absent")}
    assert uid_of({"__entity": ref(("G", "top"))}) == ("G", "top")
