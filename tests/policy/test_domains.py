"""Sets of other domains: what may be put into force, and the ids and entities they are judged with."""

from __future__ import annotations

import json
from typing import Any

import pytest

from policy.compilation import SourceFile, TemplateError
from policy.domains import (
    MAX_ENTITIES,
    CedarRequest,
    CompiledDomain,
    bodies_by_id,
    compile_domain,
    parse_schema,
    read_entities,
    validate_domain,
)
from tests.policy.authzen_fixture import ENTITIES, FILES, POLICIES, SCHEMA, compiled, entity

ALICE, RECORD = ("user", "alice"), ("record", "record-1")


def codes(*texts: str, schema: str = SCHEMA, entities: str = ENTITIES) -> list[str]:
    files = [SourceFile(f"f{number}.cedar", text) for number, text in enumerate(texts)]
    return [finding.code for finding in validate_domain(files, schema, entities)]


def test_a_sound_set_has_no_findings_and_compiles() -> None:
    assert validate_domain(FILES, SCHEMA, ENTITIES) == ()
    assert set(compiled().rules) == {
        "staff_read",
        "alice_writes_what_is_live",
        "admins_write_archives",
        "soft_delete",
    }


def test_policies_without_an_id_are_named_by_their_place_in_the_whole_set() -> None:
    files = [
        SourceFile("a.cedar", "permit(principal, action, resource);"),
        SourceFile(
            "b.cedar",
            '@id("named") forbid(principal, action, resource);\npermit(principal, action, resource);',
        ),
    ]
    found = compile_domain(files, SCHEMA, ENTITIES)
    assert isinstance(found, CompiledDomain)
    assert list(found.rules) == ["policy0", "named", "policy2"]
    verdict = found.ground.judge(CedarRequest(ALICE, ("Action", "read"), RECORD, {}), found.facts)
    assert verdict.reasons == ("named",)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("permit(", "syntax_error"),
        ("permit(principal == ?principal, action, resource);", "template_unsupported"),
        ("permit(principal, action, resource) when { principal.nothing };", "type_error"),
        ('permit(principal, action == Action::"nothing", resource);', "type_error"),
        ('@id("one_one") permit(principal, action, resource);' * 2, "duplicate_id"),
        ('@id("x y") permit(principal, action, resource);', "bad_annotation"),
        ('@id("one_one") @obligation("dance") permit(principal, action, resource);', "bad_annotation"),
        ('@id("one_one") @quorum("9") permit(principal, action, resource);', "bad_annotation"),
        (
            'permit(principal, action, resource); @id("policy0") forbid(principal, action, resource);',
            "duplicate_id",
        ),
    ],
)
def test_a_faulty_policy_is_found(text: str, code: str) -> None:
    assert code in codes(text)


@pytest.mark.parametrize(
    "schema",
    ["", "   ", "entity", '{"": 5}', "entity U = { a: Nothing };", " " * 300_000 + SCHEMA],
)
def test_a_schema_that_is_none_is_found(schema: str) -> None:
    assert codes(POLICIES, schema=schema) == ["schema_invalid"]


def test_a_schema_that_would_take_for_ever_is_found_at_once() -> None:
    types = "".join(f"type T{i} = {{ a: T{i + 1}, b: T{i + 1} }};\n" for i in range(60))
    schema = f"{SCHEMA}\n{types}type T60 = {{ z: Long }};\nentity deep {{ t: T0 }};"
    assert codes(POLICIES, schema=schema) == ["schema_invalid"]


@pytest.mark.parametrize(
    "entities",
    [
        "{}",
        "[1]",
        "[",
        '[{"uid": {"type": "user"}}]',
        '[{"attrs": {}, "parents": []}]',
        json.dumps([entity("user", "a", role=5)]),
        json.dumps([entity("user", "a", unknown="x")]),
        json.dumps([entity("dragon", "a")]),
        json.dumps([entity("user", "a"), entity("user", "a", role="x")]),
        json.dumps([entity("user", "a") | {"parents": [{"type": "record", "id": "r"}]}]),
        json.dumps([entity("user", str(number)) for number in range(MAX_ENTITIES + 1)]),
        '[{"uid": {"type": "user", "id": "a"}, "attrs": {}, "attrs": {}, "parents": []}]',
    ],
)
def test_entities_that_do_not_fit_are_found(entities: str) -> None:
    assert codes(POLICIES, entities=entities) == ["entities_invalid"]


def test_entities_hold_the_whole_range_of_a_long() -> None:
    schema = "entity user { n: Long }; action go appliesTo { principal: user, resource: user };"
    policy = "permit(principal, action, resource) when { principal.n == -9223372036854775808 };"
    stored = json.dumps([entity("user", "a", n=-(2**63)), entity("user", "b", n=2**63 - 1)])
    found = compile_domain([SourceFile("a.cedar", policy)], schema, stored)
    assert isinstance(found, CompiledDomain)
    asked = {name: CedarRequest(("user", name), ("Action", "go"), ("user", name), {}) for name in "ab"}
    assert [found.ground.judge(asked[name], found.facts).allowed for name in "ab"] == [True, False]


def test_no_entities_are_none() -> None:
    assert read_entities("") == read_entities(" \n") == []


def test_a_policy_in_shadow_is_not_in_force() -> None:
    shadow = '@id("all_denied") @mode("shadow") forbid(principal, action, resource);'
    text = f"{shadow}\npermit(principal, action, resource);"
    found = compile_domain([SourceFile("a.cedar", text)], SCHEMA, ENTITIES)
    assert isinstance(found, CompiledDomain)
    verdict = found.ground.judge(CedarRequest(ALICE, ("Action", "read"), RECORD, {}), found.facts)
    assert verdict.allowed


def test_action_groups_come_from_the_schema() -> None:
    schema = (
        SCHEMA + "\naction every; action peek in [every] appliesTo { principal: [user], resource: [record] };"
    )
    text = 'permit(principal, action in Action::"every", resource);'
    found = compile_domain([SourceFile("a.cedar", text)], schema, ENTITIES)
    assert isinstance(found, CompiledDomain)
    for action, allowed in (("peek", True), ("read", False)):
        asked = CedarRequest(ALICE, ("Action", action), RECORD, {})
        for sliced in (True, False):
            assert found.ground.judge(asked, found.facts, sliced=sliced).allowed is allowed


def test_a_schema_in_json_form_means_the_same() -> None:
    kinds: dict[str, Any] = {
        "user": {"shape": {"type": "Record", "attributes": {"role": {"type": "String", "required": False}}}},
        "record": {},
    }
    applies = {"principalTypes": ["user"], "resourceTypes": ["record"]}
    schema = json.dumps({"": {"entityTypes": kinds, "actions": {"read": {"appliesTo": applies}}}})
    text = 'permit(principal, action, resource) when { principal has role && principal.role == "x" };'
    stored = json.dumps([entity("user", "alice", role="x")])
    found = compile_domain([SourceFile("a.cedar", text)], schema, stored)
    assert isinstance(found, CompiledDomain), found
    assert found.ground.judge(CedarRequest(ALICE, ("Action", "read"), RECORD, {}), found.facts).allowed


def test_ids_are_positions_where_there_is_no_annotation() -> None:
    text = 'permit(principal, action, resource);@id("b")forbid(principal, action, resource);'
    assert list(bodies_by_id(text + "permit(principal, action, resource);")) == ["policy0", "b", "policy2"]


def test_more_than_ten_policies_keep_their_order() -> None:
    text = "permit(principal, action, resource);" * 12
    assert list(bodies_by_id(text)) == [f"policy{number}" for number in range(12)]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("permit(", ValueError),
        ('@id("a")permit(principal, action, resource);' * 2, ValueError),
        ("permit(principal in ?principal, action, resource);", TemplateError),
    ],
)
def test_texts_that_name_nothing_are_refused(text: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        bodies_by_id(text)


def test_a_schema_of_neither_form_is_refused() -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_schema("[]")
