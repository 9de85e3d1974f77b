"""Input validation, and that whatever it accepts has a Cedar form."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import cedarpy
import pytest
from hypothesis import given, settings, strategies as st
from jsonschema import Draft202012Validator

from policy.catalog import BUILTINS, object_schema, short_name
from policy.cedar_types import Kind, UnrepresentableError, kind_of, quote, record_type, record_value
from policy.schema import build_schema
from policy.tool_input import check_input
from policy.types import Code, Effect, ToolFacts
from tests.policy.inputs import bad_inputs
from tests.policy.worlds import INPUTS, TOOLS, ask_tool

COMMON: list[object] = [None, [], "x", 1, True, {"unknown": 1}, {"": 1}, {"a\0": 1}]
BAD: dict[str, list[object]] = {
    "echo": [
        {}, {"text": 1}, {"text": None}, {"text": ["a"]}, {"text": True}, {"text": {}}, {"text": "x" * 4097},
        {"text": "a", "x": 1}, {"Text": "a"}, {"text": "a\0b"}, {"text": "\ud800"}, {"text": "é" * 16_384},
    ],
    "sleep": [
        {}, {"duration_ms": "25"}, {"duration_ms": -1}, {"duration_ms": 5001}, {"duration_ms": 1.5},
        {"duration_ms": True}, {"duration_ms": None}, {"duration_ms": [1]}, {"duration_ms": {}},
        {"duration_ms": 2**63}, {"duration_ms": float("nan")}, {"duration_ms": 1, "unit": "s"},
    ],
    "fs.read": [
        {}, {"path": ""}, {"path": 1}, {"path": None}, {"path": "x" * 1025}, {"path": "a\0b"},
        {"path": ["a"]}, {"path": "a", "max_bytes": 0}, {"path": "a", "max_bytes": 2**20 + 1},
        {"path": "a", "max_bytes": "1"}, {"path": "a", "workspace_root": "/"}, {"max_bytes": 1},
    ],
    "fs.list": [
        {}, {"path": ""}, {"path": 1}, {"path": None}, {"path": "x" * 1025}, {"path": "a\0b"},
        {"path": "a", "depth": 0}, {"path": "a", "depth": 5}, {"path": "a", "depth": "1"},
        {"path": "a", "limit": 0}, {"path": "a", "limit": 1001}, {"path": "a", "follow": True},
    ],
    "fs.write": [
        {}, {"path": "a"}, {"content": "a"}, {"path": "", "content": "a"}, {"path": "a", "content": 1},
        {"path": "a", "content": None}, {"path": "a\0", "content": "a"}, {"path": "a", "content": "a\0"},
        {"path": "a", "content": "a", "create_only": "yes"}, {"path": "a", "content": "a", "create_only": 1},
        {"path": "a", "content": "x" * 262_144}, {"path": "a", "content": "a", "mode": 0o777},
    ],
    "process.run": [
        {}, {"command": ""}, {"command": 1}, {"command": "x" * 129}, {"command": "a\0"},
        {"command": "ls", "args": "-la"}, {"command": "ls", "args": [1]},
        {"command": "ls", "args": ["a"] * 65},
        {"command": "ls", "args": ["x" * 4097]}, {"command": "ls", "env": {"A": 1}},
        {"command": "ls", "env": ["A=1"]}, {"command": "ls", "timeout_ms": 99},
        {"command": "ls", "timeout_ms": 600_001}, {"command": "ls", "shell": True},
        {"command": "ls", "stdin": "x" * 65_537}, {"command": "ls", "requested_egress_hosts": ["a"] * 65},
    ],
    "http.fetch": [
        {}, {"url": 1}, {"url": "not a url"}, {"url": "ftp://a.example/"}, {"url": "https://a b/"},
        {"url": "https://a.example/", "method": "PUT"}, {"url": "https://a.example/", "max_redirects": 6},
        {"url": "https://a.example/", "body": "x" * 49_153}, {"url": "https://a.example/", "headers":
        {"a": 1}},
        {"url": "https://a.example/", "allow_private_targets": True},
        {"url": "https://a.example/", "headers": {str(index): "v" for index in range(33)}},
        {"url": "https://" + "a" * 2048},
    ],
    "plugin.run": [
        {}, {"skill_id": "a"}, {"skill_version": "1"}, {"skill_id": "", "skill_version": "1"},
        {"skill_id": 1, "skill_version": "1"}, {"skill_id": "a", "skill_version": "1", "input": "x"},
        {"skill_id": "a", "skill_version": "1", "input": []}, {"skill_id": "a", "skill_version": 1},
        {"skill_id": "a", "skill_version": "1", "module": "AGFzbQ=="},
        {"skill_id": "a\0", "skill_version": "1"},
        {"skill_id": "x" * 129, "skill_version": "1"},
        {"skill_id": "a", "skill_version": "1", "entrypoint": 1},
    ],
}  # fmt: skip


BAD = {name: [*BAD.get(name, []), *bad_inputs(tool)] for name, tool in TOOLS.items()}


@pytest.mark.parametrize("name", sorted(TOOLS))
def test_good_input_is_accepted_unchanged(name: str) -> None:
    check = check_input(
        schema=TOOLS[name].input_schema, raw_input=INPUTS[name], max_bytes=TOOLS[name].max_input_bytes
    )
    assert (check.ok, check.reason_code, check.input) == (True, Code.SCHEMA_OK, INPUTS[name])


@pytest.mark.parametrize("name", sorted(TOOLS))
def test_bad_input_is_refused_with_a_detail(name: str) -> None:
    tool = TOOLS[name]
    for bad in [*BAD[name], *COMMON]:
        check = check_input(schema=tool.input_schema, raw_input=bad, max_bytes=tool.max_input_bytes)
        assert (check.ok, check.input) == (False, None), bad
        assert check.errors, bad


def test_every_built_in_has_twenty_bad_inputs() -> None:
    assert {name: len(bad) + len(COMMON) >= 20 for name, bad in BAD.items()} == dict.fromkeys(TOOLS, True)


def test_reasons_tell_shape_size_and_content_apart() -> None:
    schema = TOOLS["echo"].input_schema
    assert check_input(schema=schema, raw_input=[], max_bytes=99).reason_code == "schema.input_not_object"
    long = {"text": "x" * 100}
    assert check_input(schema=schema, raw_input=long, max_bytes=99).reason_code == "schema.input_too_large"
    assert check_input(schema=schema, raw_input={}, max_bytes=99).reason_code == "schema.input_invalid"


def test_size_counts_canonical_bytes_and_comes_first() -> None:
    exact = {"text": "é"}
    size = len('{"text":"é"}'.encode())
    schema = TOOLS["echo"].input_schema
    assert check_input(schema=schema, raw_input=exact, max_bytes=size).ok
    assert check_input(schema=schema, raw_input=exact, max_bytes=size - 1).reason_code.endswith("too_large")
    wrong = {"other": "x" * 100}
    assert check_input(schema=schema, raw_input=wrong, max_bytes=50).reason_code.endswith("too_large")


def test_depth_is_bounded() -> None:
    deep: dict[str, Any] = {}
    for _ in range(5000):
        deep = {"a": deep}
    raw = {"skill_id": "a", "skill_version": "1", "input": deep}
    check = check_input(schema=TOOLS["plugin.run"].input_schema, raw_input=raw, max_bytes=10**6)
    assert check.errors[0].code == "depth"


def test_details_never_repeat_the_input() -> None:
    secret = {"text": 1, "hunter2": "hunter2"}
    check = check_input(schema=TOOLS["echo"].input_schema, raw_input=secret, max_bytes=999)
    assert "hunter2" not in str(check.errors)


def test_alias_names_only_built_ins() -> None:
    assert short_name(" Palyra.Echo ") == "echo"
    assert short_name("palyra.unknown") == "palyra.unknown"


@pytest.mark.parametrize(
    ("schema", "kind"),
    [
        ({"type": "integer"}, Kind.LONG),
        ({"type": "number"}, Kind.DECIMAL),
        ({"enum": ["a", "b"]}, Kind.STRING),
        ({"const": "a"}, Kind.STRING),
        ({"enum": ["a", 1]}, Kind.JSON),
        ({"type": "array", "items": {"type": "boolean"}}, Kind.SET),
        ({"type": "array"}, Kind.JSON),
        ({"type": "array", "prefixItems": [{"type": "string"}]}, Kind.JSON),
        ({"type": ["string", "null"]}, Kind.JSON),
        ({"type": "object"}, Kind.JSON),
        ({"type": "object", "additionalProperties": {"type": "string"}}, Kind.PAIRS),
        ({"type": "object", "additionalProperties": False}, Kind.RECORD),
        ({"anyOf": [{"type": "string"}]}, Kind.JSON),
        ({}, Kind.JSON),
    ],
)
def test_json_schema_maps_to_cedar_kinds(schema: dict[str, object], kind: Kind) -> None:
    assert kind_of(schema) is kind


def value_of(schema: Mapping[str, object], value: object) -> dict[str, object]:
    return record_value(object_schema({"x": dict(schema)}, ()), {"x": value})


def test_values_take_their_cedar_form() -> None:
    decimal = value_of({"type": "number"}, 1.25)
    assert decimal == {"x": {"__extn": {"fn": "decimal", "arg": "1.25"}}}
    assert value_of({"type": "number"}, 3) == {"x": {"__extn": {"fn": "decimal", "arg": "3.0"}}}
    assert value_of({"type": "integer"}, 5.0) == {"x": 5}
    headers = {"type": "object", "additionalProperties": {"type": "string"}}
    assert value_of(headers, {"Accept": "A"}) == {"x": [{"name": "accept", "value": "A"}]}
    assert value_of({"type": "object"}, {"b": 1, "a": 2}) == {"x_json": '{"a":2,"b":1}'}
    assert value_of({"type": "string"}, None) == {}


def test_uri_gets_its_parts() -> None:
    uri = {"type": "string", "format": "uri"}
    assert value_of(uri, "HTTPS://Bücher.Example/a") == {
        "x": "HTTPS://Bücher.Example/a",
        "x_scheme": "https",
        "x_host": "xn--bcher-kva.example",
        "x_port": 443,
    }
    assert value_of(uri, "http://127.0.0.1:8080/")["x_port"] == 8080
    assert value_of(uri, "urn:a:b")["x_host"] == ""


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "integer"}, 2**63),
        ({"type": "integer"}, -(2**63) - 1),
        ({"type": "integer"}, "1"),
        ({"type": "number"}, 0.00001),
        ({"type": "number"}, 1e15),
        ({"type": "number"}, float("inf")),
        ({"type": "number"}, float("nan")),
        ({"type": "string"}, "\ud800"),
        ({"type": "string", "format": "uri"}, "https://a:99999/"),
        ({"type": "string", "format": "uri"}, "https://" + "a" * 64 + ".example/"),
        ({"type": "object"}, {"a": 2**60}),
    ],
)
def test_what_cedar_cannot_carry_is_an_error_and_never_dropped(
    schema: dict[str, object], value: object
) -> None:
    with pytest.raises(UnrepresentableError):
        value_of(schema, value)


def test_two_properties_with_one_attribute_are_refused() -> None:
    clash = object_schema({"u": {"type": "string", "format": "uri"}, "u_host": {"type": "string"}}, ())
    with pytest.raises(UnrepresentableError):
        record_type(clash)


@given(st.text(max_size=40))
def test_any_property_name_makes_a_schema_that_parses(name: str) -> None:
    text = "entity E = { " + quote(name) + "?: String };"
    cedarpy.Schema.from_str(text)


def inputs_of(schema: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    properties = {name: value_strategy(inner) for name, inner in schema["properties"].items()}
    required = {name: properties.pop(name) for name in schema["required"]}
    return st.fixed_dictionaries(required, optional=properties)


def value_strategy(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    plain = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if schema.get("format") == "uri":
        return st.sampled_from(["https://a.example/", "http://[::1]:80/", "https://b.example:1/x?y#z"])
    simple: dict[str, st.SearchStrategy[Any]] = {
        "integer": st.integers(schema.get("minimum", 0), schema.get("maximum", 9)),
        "number": st.integers(0, 10_000).map(lambda whole: whole / 10_000),
        "boolean": st.booleans(),
        "string": plain,
        "array": st.deferred(lambda: st.lists(value_strategy(schema["items"]), max_size=4)),
        "object": st.dictionaries(plain, plain, max_size=4),
    }
    return inputs_of(schema) if "properties" in schema else simple[schema["type"]]


@settings(max_examples=60)
@given(st.data(), st.sampled_from(sorted(TOOLS)))
def test_accepted_input_always_reaches_the_rules(data: st.DataObject, name: str) -> None:
    tool = TOOLS[name]
    raw = data.draw(inputs_of(tool.input_schema))
    check = check_input(schema=tool.input_schema, raw_input=raw, max_bytes=tool.max_input_bytes)
    if check.ok:
        decision = ask_tool(name, tool_input=raw)
        assert decision.reason_code not in {"policy.input_unrepresentable", "policy.evaluation_failed"}
        assert decision.explanation.evaluated_with_cedar
        assert decision.effect is not Effect.DENY or not tool.runtime_supported


def test_every_built_in_schema_is_itself_valid() -> None:
    for tool in BUILTINS:
        Draft202012Validator.check_schema(tool.facts().input_schema)


def test_text_that_is_too_long_is_not_matched_against_a_pattern() -> None:
    """The bound on an expression's time is that of a text of `maxLength` characters."""
    schema = object_schema({"a": {"type": "string", "pattern": "^(a+)+$", "maxLength": 8}}, ("a",))
    check = check_input(schema=schema, raw_input={"a": "a" * 4000 + "!"}, max_bytes=9000)
    assert [detail.code for detail in check.errors] == ["maxLength"]


@pytest.mark.parametrize(
    "given", ["browser.tabs.list", " PALYRA.Browser.Tabs.List ", "palyra.browser.tabs_list"]
)
def test_original_names_of_built_ins_are_aliases(given: str) -> None:
    assert short_name(given) == "browser.tabs_list"


def test_alias_of_no_built_in_stays_as_it_is() -> None:
    assert short_name("palyra.nothing") == "palyra.nothing"


SPEC_TABLE = """
echo - no/low 16 none builtin | - > -
sleep - no/low 8 none builtin | - > -
memory.search memory_read no/low 64 none builtin | - > -
memory.recall memory_read no/low 64 none builtin | - > -
memory.retain memory_write no/medium 64 none builtin | - > -
memory.reflect memory_write no/low 64 none builtin | - > -
artifact.read artifacts_read no/medium 16 none builtin | - > -
http.fetch network yes/high 64 none builtin_http | untrusted_content > external_communication
http.request network,secrets_read yes/high 64 none builtin_http | private_data,untrusted_content > \
external_communication
process.run process_exec yes/high 128 C sandbox_tier_c | untrusted_content > external_communication
fs.read filesystem_read no/medium 16 none builtin_fs | private_data > -
fs.list filesystem_read no/medium 16 none builtin_fs | private_data > -
fs.write filesystem_write yes/high 256 none builtin_fs | - > -
fs.apply_patch filesystem_write yes/critical 256 none builtin_fs | - > -
plugin.run filesystem_write,network,secrets_read yes/critical 448 A sandbox_tier_a | untrusted_content > -
tool_program.run - yes/high 256 none builtin | - > -
routines.query - no/low 64 none none | - > -
routines.control - yes/high 128 none none | - > -
"""
BROWSER = (
    "session_create session_close navigate click type press select highlight scroll wait_for title"
    " screenshot pdf observe network_log console_log reset_state tabs_list tabs_open tabs_switch tabs_close"
    " permissions_get permissions_set"
)


def row_of(tool: ToolFacts) -> str:
    """Return a tool as the table of the specification shows it."""
    listed = [",".join(sorted(names)) or "-" for names in (tool.capabilities, tool.adds_labels, tool.sinks)]
    sensitive = "yes" if tool.sensitive else "no"
    return (
        f"{tool.name} {listed[0]} {sensitive}/{tool.risk} {tool.max_input_bytes // 1024} {tool.tier}"
        f" {tool.executor} | {listed[1]} > {listed[2]}"
    )


def test_catalog_is_the_table_of_the_specification() -> None:
    browser = [
        f"browser.{verb} network yes/high 128 none none | untrusted_content > external_communication"
        for verb in BROWSER.split()
    ]
    assert sorted(map(row_of, TOOLS.values())) == sorted([*SPEC_TABLE.strip().splitlines(), *browser])


def test_only_tools_with_an_executor_are_said_to_run() -> None:
    runnable = {name for name, tool in TOOLS.items() if tool.runtime_supported}
    assert runnable == {"echo", "sleep", "fs.read", "fs.list", "fs.write", "process.run"}
    declared = {name for name, tool in TOOLS.items() if tool.kind == "declared"}
    assert {name.partition(".")[0] for name in declared} == {"browser", "routines"}
    assert not declared & runnable


def test_schema_names_one_action_per_tool_and_permission() -> None:
    schema = build_schema({"echo": TOOLS["echo"].input_schema})
    assert "tool.execute:echo" in schema.actions
    assert schema.actions["policy.activate"].groups == ("governance",)
    assert schema.actions["vault.use"].groups == ("vault",)
    assert build_schema({}).static_digest == schema.static_digest
    assert json.dumps(sorted(schema.actions)) != json.dumps(sorted(build_schema({}).actions))
