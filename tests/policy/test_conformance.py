"""A conformance case is answered as plain Cedar would: the same decision, reasons and number of errors."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import cedarpy
import pytest
from hypothesis import given, settings, strategies as st

from policy.conformance import Case, CaseError, read_uid, run_case

OWN = Path(__file__).parent / "conformance"
CORPUS = os.environ.get("PALYRA_CEDAR_CORPUS", "")
"""A directory of the official corpus, which is not part of this repository."""


def described(directory: Path) -> list[Path]:
    return sorted(path for path in directory.glob("*.json") if not path.name.endswith(".entities.json"))


def read_case(path: Path, **more: Any) -> tuple[dict[str, Any], Case]:
    stated = json.loads(path.read_text())
    keys = ("principal", "action", "resource", "context")
    case = Case(
        policies=path.with_suffix(".cedar").read_text(),
        schema=path.with_suffix(".cedarschema").read_text(),
        entities=json.loads(path.with_suffix(".entities.json").read_text()),
        requests=[{key: request[key] for key in keys} for request in stated["requests"]],
        **more,
    )
    return stated, case


def answers(case: Case) -> list[dict[str, Any]]:
    found = run_case(case)["results"]
    assert isinstance(found, list)
    return found


def differences(path: Path, *, slicing: bool) -> list[str]:
    stated, case = read_case(path, slicing=slicing)
    found = run_case(case)
    validation = found["validation"]
    assert isinstance(validation, dict)
    differing = [] if validation["passed"] == stated["shouldValidate"] else [f"{path.stem}: validation"]
    for wanted, given_answer in zip(stated["requests"], answers(case), strict=True):
        expected = (wanted["decision"], sorted(wanted["reason"]), len(wanted["errors"]))
        got = (given_answer["decision"], given_answer["reasons"], len(given_answer["errors"]))
        if expected != got:
            differing.append(f"{path.stem}: {wanted['description']}: {expected} is {got}")
    return differing


@pytest.mark.parametrize("slicing", [True, False])
@pytest.mark.parametrize("path", described(OWN), ids=lambda path: path.stem)
def test_the_cases_beside_this_test_have_no_differences(path: Path, slicing: bool) -> None:
    assert differences(path, slicing=slicing) == []


@pytest.mark.skipif(not CORPUS, reason="PALYRA_CEDAR_CORPUS names no directory of the official corpus")
def test_the_official_corpus_has_no_differences() -> None:
    cases = described(Path(CORPUS))
    assert len(cases) > 7_000
    assert [found for path in cases for found in differences(path, slicing=True)] == []


KINDS = ("User", "Team", "Doc")
NAMES = ("a", "b", "c", 'q"\\\n')
SCHEMA = """
entity Team in [Team];
entity User in [Team] { level?: Long, boss?: User };
entity Doc in [Doc] { owner?: User, open?: Bool, tags?: Set<String> };
action all; action some in [all];
action view, edit in [some] appliesTo { principal: [User, Team], resource: [Doc], context: { n?: Long } };
action drop in [all] appliesTo { principal: [User], resource: [Doc, Team], context: { n?: Long } };
"""
names = st.sampled_from(NAMES)


def literal(kind: str, name: str) -> str:
    return f"{kind}::{json.dumps(name)}"


def references(*kinds: str) -> st.SearchStrategy[str]:
    return st.tuples(st.sampled_from(kinds), names).map(lambda pair: literal(*pair))


def scopes(variable: str, *kinds: str) -> st.SearchStrategy[str]:
    kind = st.sampled_from(kinds)
    return st.one_of(
        st.just(variable),
        references(*kinds).map(lambda one: f"{variable} == {one}"),
        references(*kinds).map(lambda one: f"{variable} in {one}"),
        kind.map(lambda one: f"{variable} is {one}"),
        st.tuples(kind, references(*kinds)).map(lambda two: f"{variable} is {two[0]} in {two[1]}"),
    )


ACTIONS = st.one_of(
    st.just("action"),
    st.sampled_from(["view", "edit", "drop", "some", "all"]).flatmap(
        lambda one: st.sampled_from([f'action == Action::"{one}"', f'action in Action::"{one}"'])
    ),
    st.lists(st.sampled_from(["view", "drop", "some"]), min_size=1, max_size=2).map(
        lambda listed: "action in [" + ", ".join(f'Action::"{one}"' for one in listed) + "]"
    ),
)
CONDITIONS = st.sampled_from(
    [
        "",
        "when { true }",
        "unless { context has n && context.n > 3 }",
        "when { principal.level > 1 }",
        "when { context.n + 9223372036854775807 > 0 }",
        "when { resource has open && resource.open }",
        "when { resource.owner == principal }",
        'when { principal in Team::"a" || resource in Doc::"b" }',
        'when { resource has tags && resource.tags.contains("x") }',
        "unless { principal has boss && principal.boss in principal }",
    ]
)
POLICIES = st.lists(
    st.tuples(
        st.sampled_from(["", '@id("named")', '@id("")', '@other("x")']),
        st.sampled_from(["permit", "forbid"]),
        scopes("principal", "User", "Team"),
        ACTIONS,
        scopes("resource", "Doc", "Team"),
        CONDITIONS,
    ),
    max_size=8,
    unique_by=lambda drawn: drawn[0] if drawn[0] == '@id("named")' else id(drawn),
).map(
    lambda drawn: "\n".join(
        f"{note} {effect}({p}, {a}, {r}) {when};" for note, effect, p, a, r, when in drawn
    )
)
LONGS = st.one_of(st.integers(-5, 5), st.sampled_from([2**63 - 1, -(2**63), 2**53 + 1]))


@st.composite
def stores(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Draw entities; parents go to later names only, so that there is no cycle."""
    built: list[dict[str, Any]] = []
    for kind, above in (("Team", "Team"), ("User", "Team"), ("Doc", "Doc")):
        for place, name in enumerate(NAMES):
            if not draw(st.booleans()):
                continue
            parents = NAMES[place + 1 :] if kind == above else NAMES
            chosen = draw(st.lists(st.sampled_from(parents), max_size=2, unique=True)) if parents else []
            attrs: dict[str, Any] = {}
            if kind == "User" and draw(st.booleans()):
                attrs = {"level": draw(LONGS), "boss": {"type": "User", "id": draw(names)}}
            if kind == "Doc" and draw(st.booleans()):
                attrs = {
                    "owner": {"type": "User", "id": draw(names)},
                    "open": draw(st.booleans()),
                    "tags": ["x"],
                }
            built.append(
                {
                    "uid": {"type": kind, "id": name},
                    "attrs": attrs,
                    "parents": [{"type": above, "id": one} for one in chosen],
                }
            )
    return built


@st.composite
def requests(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a request, not always one that the schema knows, in either form of references."""
    request: dict[str, Any] = {}
    for part, kinds in (("principal", ("User", "Team", "Doc")), ("resource", ("Doc", "Team", "Nothing"))):
        kind, name = draw(st.sampled_from(kinds)), draw(names)
        request[part] = draw(
            st.sampled_from(
                [{"type": kind, "id": name}, {"__entity": {"type": kind, "id": name}}, literal(kind, name)]
            )
        )
    action = draw(st.sampled_from(["view", "edit", "drop", "all", "absent"]))
    request["action"] = draw(st.sampled_from([{"type": "Action", "id": action}, f'Action::"{action}"']))
    request["context"] = draw(st.one_of(st.just({}), LONGS.map(lambda n: {"n": n}), st.just({"n": "text"})))
    return request


def plainly(text: str, entities: list[dict[str, Any]], request: dict[str, Any]) -> tuple[str, list[str], int]:
    """Ask Cedar as its documentation does: everything as text, nothing sliced."""
    asked = {
        key: value.get("__entity", value) if isinstance(value, dict) and key != "context" else value
        for key, value in request.items()
    }
    result = cedarpy.is_authorized(asked, text, json.dumps(entities), SCHEMA)
    named = result.diagnostics.id_annotations_by_reason
    reasons = sorted(named.get(reason) or reason for reason in result.diagnostics.reasons)
    return result.decision.value.lower(), reasons, len(result.diagnostics.errors)


@given(POLICIES, stores(), st.lists(requests(), min_size=1, max_size=4))
@settings(max_examples=250)
def test_any_case_is_answered_as_plain_cedar_does(
    text: str, entities: list[dict[str, Any]], asked: list[dict[str, Any]]
) -> None:
    found = run_case(Case(text, SCHEMA, entities, asked))
    validation = found["validation"]
    assert isinstance(validation, dict)
    assert validation["passed"] == cedarpy.validate_policies(text, SCHEMA).validation_passed
    for request, answer in zip(asked, answers(Case(text, SCHEMA, entities, asked)), strict=True):
        decision, reasons, errors = plainly(text, entities, request)
        assert answer["decision"] == {"nodecision": "no_decision"}.get(decision, decision)
        assert (answer["reasons"], len(answer["errors"])) == (reasons, errors)
        closed = "allow" if decision == "allow" and not errors else "deny"
        assert answer["fail_closed_decision"] == closed


def test_an_error_beside_an_allow_is_cedars_allow_and_our_denial() -> None:
    stated, case = read_case(OWN / "numbers.json")
    last = answers(case)[-1]
    assert (last["decision"], last["fail_closed_decision"]) == ("allow", "deny")
    assert stated["requests"][-1]["context"]["amount"] == -(2**63)


def test_validation_is_left_out_where_nobody_asked_for_it() -> None:
    _, case = read_case(OWN / "library.json", validate=False)
    assert run_case(case)["validation"] is None


def test_findings_of_validation_name_their_policy() -> None:
    text = '@id("odd_one") permit(principal, action, resource) when { principal.nothing };'
    found = run_case(Case(text, SCHEMA, [], []))
    assert isinstance(found["validation"], dict)
    (error, *_) = found["validation"]["errors"]
    assert error["policy"] == "odd_one"


@pytest.mark.parametrize(
    ("part", "changes"),
    [
        ("policies", {"policies": "permit("}),
        ("policies", {"policies": "permit(principal == ?principal, action, resource);"}),
        ("policies", {"policies": '@id("a") permit(principal, action, resource);' * 2}),
        ("schema", {"schema": "entity"}),
        ("schema", {"schema": '{"": 1}'}),
        ("entities", {"entities": [{"uid": {"type": "Dragon", "id": "a"}, "attrs": {}, "parents": []}]}),
        ("entities", {"entities": [{"attrs": {}}]}),
        (
            "entities",
            {"entities": [{"uid": {"type": "User", "id": "a"}, "attrs": {"level": "x"}, "parents": []}]},
        ),
    ],
)
def test_a_case_that_cannot_be_judged_names_its_part(part: str, changes: dict[str, Any]) -> None:
    sound: dict[str, Any] = {"policies": "", "schema": SCHEMA, "entities": [], "requests": []}
    with pytest.raises(CaseError) as caught:
        run_case(Case(**{**sound, **changes}))
    assert caught.value.part == part


@pytest.mark.parametrize(
    ("text", "uid"),
    [
        ('User::"a"', ("User", "a")),
        ('A::B::User::"a"', ("A::B::User", "a")),
        (r'User::"a\"\\\n\u{41}\x42"', ("User", 'a"\\\nAB')),
        ({"type": "User", "id": "a"}, ("User", "a")),
        ({"__entity": {"type": "User", "id": "a"}}, ("User", "a")),
    ],
)
def test_a_reference_is_read_in_every_form(text: object, uid: tuple[str, str]) -> None:
    assert read_uid(text) == uid


@pytest.mark.parametrize(
    "text",
    [
        "User",
        "",
        'User::"a" ',
        'User::"a", action, resource); permit(principal == User::"b"',
        'User::"a", action, resource); //"',
        'User::"a" when { true } "',
        '?principal::"a"',
        'User::"\\q"',
        'if::"a"',
        5,
        None,
        {},
        {"type": "User"},
        ["User", "a"],
    ],
)
def test_what_is_no_reference_is_refused_and_nothing_can_be_smuggled_in(text: object) -> None:
    with pytest.raises(ValueError, match=r".+"):
        read_uid(text)
