"""What a custom tool's definition may say, and what it may not keep quiet about."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from policy.catalog import object_schema
from policy.definitions import RESERVED, check_definition, check_schema
from policy.types import SecretSlot, ToolDefinition, UnitRule

TEXT = {"type": "string", "maxLength": 100}
SEND = ToolDefinition(
    name="ops.send",
    description="Sends a mail.",
    input_schema=object_schema(
        {
            "to": {"type": "array", "maxItems": 9, "items": TEXT},
            "amount": {"type": "number"},
            "note": TEXT,
            "order": object_schema({"lines": {"type": "integer"}}, ("lines",)),
        },
        ("to", "amount", "order"),
    ),
    argv_template=("/usr/bin/true", "--", "{to...}"),
    capabilities=frozenset({"process_exec", "network", "secrets_read"}),
    risk="high",
    sinks=frozenset({"external_communication"}),
    egress_hosts=("mail.a.example",),
    secrets=(SecretSlot("token", ("header", "file")),),
    units=(
        UnitRule("mails_sent", count="/input/to"),
        UnitRule("eur_moved", scale=2, amount="/input/amount", max="10000"),
        UnitRule("rows_deleted", amount="/input/order/lines"),
        UnitRule("requests_sent", amount="1"),
        UnitRule("files_written", reported=True, max="25"),
    ),
)


def pointers(definition: ToolDefinition) -> list[str]:
    return [detail.pointer for detail in check_definition(definition)]


def test_a_whole_definition_is_accepted() -> None:
    assert list(check_definition(SEND)) == []


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"capabilities": SEND.capabilities - {"process_exec"}}, "/capabilities"),
        ({"capabilities": SEND.capabilities - {"network"}}, "/capabilities"),
        ({"capabilities": SEND.capabilities - {"secrets_read"}}, "/capabilities"),
        ({"sinks": frozenset()}, "/sinks"),
    ],
)
def test_a_definition_may_not_understate_what_it_does(change: dict[str, Any], pointer: str) -> None:
    assert pointers(replace(SEND, **change)) == [pointer]


@pytest.mark.parametrize(
    "host",
    ["*", "*.a.example", "A.example", "a.example:443", "10.0.0.1", "[::1]", "localhost", "https://a.example",
     "a..example", "-a.example", "a.example.", "1.2", "", "a b.example", "bücher.example", "a" * 254],
)  # fmt: skip
def test_a_host_is_one_exact_name(host: str) -> None:
    assert pointers(replace(SEND, egress_hosts=(host,))) == ["/egress_hosts/0"]


def test_too_many_hosts_are_refused() -> None:
    hosts = tuple(f"h{number}.a.example" for number in range(65))
    assert pointers(replace(SEND, egress_hosts=hosts)) == ["/egress_hosts"]


@pytest.mark.parametrize(
    "slot",
    [SecretSlot("Token", ("file",)), SecretSlot("token", ()), SecretSlot("token", ("mail",)),
     SecretSlot("token", ("file", "file")), SecretSlot("", ("file",)), SecretSlot("t" * 33, ("file",))],
)  # fmt: skip
def test_a_secret_slot_has_a_word_and_known_deliveries(slot: SecretSlot) -> None:
    assert pointers(replace(SEND, secrets=(slot,)))[0].startswith("/secrets/0/")


def test_a_slot_or_a_unit_is_named_once() -> None:
    slot = SEND.secrets[0]
    assert pointers(replace(SEND, secrets=(slot, slot))) == ["/secrets"]
    assert pointers(replace(SEND, units=(SEND.units[0], SEND.units[0]))) == ["/units"]


@pytest.mark.parametrize(
    "rule",
    [
        UnitRule("Mails", amount="1"),
        UnitRule("mails_sent"),
        UnitRule("mails_sent", amount="1", count="/input/to"),
        UnitRule("mails_sent", amount="-1"),
        UnitRule("mails_sent", amount="1e9"),
        UnitRule("mails_sent", amount="NaN"),
        UnitRule("mails_sent", amount="0.0000000001"),
        UnitRule("mails_sent", amount="/input/note"),
        UnitRule("mails_sent", amount="/input/to"),
        UnitRule("mails_sent", amount="/input/nope"),
        UnitRule("mails_sent", amount="/amount"),
        UnitRule("mails_sent", amount="/input/order/nope"),
        UnitRule("mails_sent", count="/input/amount"),
        UnitRule("mails_sent", reported=True),
        UnitRule("mails_sent", reported=True, max="lots"),
        UnitRule("mails_sent", amount="1", scale=10),
    ],
)
def test_a_unit_that_could_not_be_counted_is_refused(rule: UnitRule) -> None:
    assert pointers(replace(SEND, units=(rule,))) == ["/units/0"]


@pytest.mark.parametrize("word", sorted(RESERVED))
def test_reserved_first_words_are_refused(word: str) -> None:
    assert "/name" in pointers(replace(SEND, name=f"{word}.thing"))
    assert "/name" in pointers(replace(SEND, name=word))


@pytest.mark.parametrize(
    "name",
    ["", "A.b", "a..b", ".a", "a.", "1a", "a-b", "a b", "a\n", "a/b", "c\u0430t", "a" * 65, "a.b.c.d.e.f",
     "é", "__proto__", "ops.count\0"],
)  # fmt: skip
def test_a_name_is_dotted_lower_case_ascii(name: str) -> None:
    assert "/name" in pointers(replace(SEND, name=name))


@pytest.mark.parametrize(
    "inner",
    [
        {"type": "string", "enum": ["x"] * 257},
        {"type": "string", "enum": [{"a": 1}]},
        {"type": "string", "enum": "abc"},
        {"type": "string", "const": ["a"]},
        {"type": "string", "x-allow-leading-dash": "yes"},
        {"$ref": "#/properties/a"},
        {"type": "string", "$ref": "https://a.example/"},
        {"type": "object", "properties": {}, "additionalProperties": True},
        {"type": "array", "items": [TEXT]},
        {"type": "string", "contentMediaType": "text/html"},
        {"type": "string", "pattern": "((a+))+"},
        {"type": "string", "format": ["uri"]},
        {"type": "string", "minLength": -1},
        True,
        None,
    ],
)
def test_a_property_outside_the_subset_is_refused(inner: object) -> None:
    assert list(check_schema({**object_schema({}, ()), "properties": {"a": inner}}))


def test_a_property_like_those_of_other_languages_cannot_pass_for_a_cedar_escape() -> None:
    for name in ("__proto__", "__entity", "__extn", "__expr", "a-b", "a.b", "", "é", "a" * 65):
        assert list(check_schema(object_schema({name: TEXT}, ()))), name
    for name in ("constructor", "prototype", "toString", "hasOwnProperty"):
        assert not list(check_schema(object_schema({name: TEXT}, ()))), name


@pytest.mark.parametrize("required", [["b"], "a", [1], [["a"]], None])
def test_only_declared_properties_can_be_required(required: object) -> None:
    assert list(check_schema({**object_schema({"a": TEXT}, ()), "required": required}))


def test_a_schema_that_is_too_large_is_refused() -> None:
    rows = {f"p{number}": TEXT | {"description": "x" * 1_000} for number in range(100)}
    assert [detail.code for detail in check_schema(object_schema(rows, ()))] == ["size"]


def test_a_property_that_hides_the_host_of_another_is_refused() -> None:
    clash = object_schema({"u": {"type": "string", "format": "uri"}, "u_host": {"type": "string"}}, ())
    assert [detail.code for detail in check_schema(clash)] == ["schema"]
