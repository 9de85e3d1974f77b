"""What a custom tool's definition may say. Findings, never exceptions."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, cast

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from kernel.canonical import canonical
from kernel.errors import Detail, PalyraError
from policy.argv_template import LEADING_DASH, check_template
from policy.catalog import ALIASES, BUILTIN_NAMES
from policy.cedar_types import UnrepresentableError, record_type
from policy.patterns import pattern_problem
from policy.side_effects import check_secrets, check_units
from policy.types import Parallelism, Projection, Risk, ToolCapability, ToolDefinition

NAME = re.compile(r"(?=.{1,64}\Z)[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*){0,4}")
LABEL = re.compile(r"[a-z_]{3,32}")
HOST = re.compile(
    r"(?=.{1,253}\Z)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?"
)
SINKS = frozenset({"external_communication", "destructive"})
CUSTOM_TIERS = ("B", "C")
MAX_DEPTH = 8
MAX_PROPERTIES = 128
MAX_CHOICES = 256
MAX_SCHEMA_BYTES = 64 * 1024
MAX_INPUT_BYTES = 1024 * 1024
MAX_HOSTS = 64
RESERVED = frozenset(
    {
        "mcp", "palyra", "catalog", "limits", "posture", "labels", "new", "allowlist", "reset", "events",
        "presets", "recommendations", "undo", "tool",
    }
) | {name.partition(".")[0] for name in (*BUILTIN_NAMES, *ALIASES)}  # fmt: skip
"""First words of names that are not for custom tools: those of built-ins, of upstreams, and addresses."""

_PROPERTY = re.compile(r"(?!__)[A-Za-z_][A-Za-z0-9_]{0,63}")
_KEYWORDS = frozenset(
    {
        "type", "description", "properties", "required", "items", "additionalProperties", "enum", "const",
        "minimum", "maximum", "minLength", "maxLength", "pattern", "format", "minItems", "maxItems",
        "writeOnly", LEADING_DASH,
    }
)  # fmt: skip
_SCALARS = (str, int, float, bool)

Schema = Mapping[str, Any]


def check_definition(definition: ToolDefinition) -> Iterator[Detail]:
    """Yield everything that is wrong with a definition."""
    yield from _check_name(definition.name)
    yield from _check_words(definition)
    yield from _check_limits(definition)
    yield from _check_reach(definition)
    yield from _check_understatement(definition)
    longest = definition.max_input_bytes
    problems = tuple(check_schema(definition.input_schema, longest=longest))
    yield from problems
    if definition.output_schema is not None:
        yield from check_schema(definition.output_schema, at="/output_schema", longest=longest)
    if problems:
        return
    yield from check_template(definition.argv_template, definition.input_schema)
    yield from _check_resource(definition)
    yield from check_units(definition.units, definition.input_schema)


def check_schema(
    schema: object, *, at: str = "/input_schema", longest: int = MAX_INPUT_BYTES
) -> Iterator[Detail]:
    """Yield what makes a schema unacceptable: the subset, its bounds, its Cedar record.

    `longest` is the length of the longest text that an input can hold.
    """
    if not isinstance(schema, dict) or schema.get("type") != "object":
        yield Detail(at, "type", "must be a schema of type object")
        return
    problems = tuple(_walk(schema, at, 1, [0], longest))
    yield from problems
    if problems:
        return
    try:
        Draft202012Validator.check_schema(schema)
        record_type(schema)
        if len(canonical(schema)) > MAX_SCHEMA_BYTES:
            yield Detail(at, "size", f"is larger than {MAX_SCHEMA_BYTES} bytes")
    except (SchemaError, UnrepresentableError, PalyraError, RecursionError) as error:
        text = error.message if isinstance(error, SchemaError) else str(error)
        yield Detail(at, "schema", text[:200])


def _check_name(name: str) -> Iterator[Detail]:
    if not NAME.fullmatch(name):
        yield Detail("/name", "pattern", "must be dotted lower-case words, at most 64 characters")
    elif name.partition(".")[0] in RESERVED:
        yield Detail("/name", "reserved", "begins with a word that custom tools may not use")


def _check_words(definition: ToolDefinition) -> Iterator[Detail]:
    if not 1 <= len(definition.description) <= 2000 or "\0" in definition.description:
        yield Detail("/description", "maxLength", "must have 1 to 2000 characters")
    for pointer, value, known in (
        ("/tier", definition.tier, CUSTOM_TIERS),
        ("/risk", definition.risk, tuple(Risk)),
        ("/parallelism", definition.parallelism, tuple(Parallelism)),
        ("/projection", definition.projection, tuple(Projection)),
    ):
        if value not in known:
            yield Detail(pointer, "enum", f"must be one of {', '.join(known)}")
    if definition.capabilities - set(ToolCapability):
        yield Detail("/capabilities", "enum", "names an unknown capability")
    if definition.sinks - SINKS:
        yield Detail("/sinks", "enum", "names an unknown sink")
    if len(definition.adds_labels) > 16 or not all(map(LABEL.fullmatch, definition.adds_labels)):
        yield Detail("/adds_labels", "pattern", "must be at most 16 words of 3 to 32 letters")


def _check_limits(definition: ToolDefinition) -> Iterator[Detail]:
    if not 1 <= definition.max_input_bytes <= MAX_INPUT_BYTES:
        yield Detail("/max_input_bytes", "range", f"must be 1 to {MAX_INPUT_BYTES}")
    if not 100 <= definition.timeout_ms <= 600_000:
        yield Detail("/timeout_ms", "range", "must be 100 to 600000")


def _check_reach(definition: ToolDefinition) -> Iterator[Detail]:
    if len(definition.egress_hosts) > MAX_HOSTS:
        yield Detail("/egress_hosts", "maxItems", f"must name at most {MAX_HOSTS} hosts")
        return
    for index, host in enumerate(definition.egress_hosts):
        if not HOST.fullmatch(host):
            sentence = "must be one lower-case host name, without wildcard, port or address"
            yield Detail(f"/egress_hosts/{index}", "host", sentence)
    yield from check_secrets(definition.secrets)


def _check_understatement(definition: ToolDefinition) -> Iterator[Detail]:
    """What the rest of a definition implies must be among its capabilities and sinks."""
    for implied, needed, why in (
        (True, ToolCapability.PROCESS_EXEC, "an argv template"),
        (definition.egress_hosts, ToolCapability.NETWORK, "a list of egress hosts"),
        (definition.secrets, ToolCapability.SECRETS_READ, "a secret slot"),
    ):
        if implied and needed not in definition.capabilities:
            yield Detail("/capabilities", "understated", f"{why} needs {needed}")
    if definition.egress_hosts and "external_communication" not in definition.sinks:
        yield Detail("/sinks", "understated", "a list of egress hosts needs external_communication")


def _check_resource(definition: ToolDefinition) -> Iterator[Detail]:
    names = re.findall(r"\{([^{}]*)\}", definition.resource_template)
    properties = cast(Schema, definition.input_schema).get("properties") or {}
    if len(definition.resource_template) > 256 or any(name not in properties for name in names):
        yield Detail("/resource_template", "pattern", "names an unknown property")


def _walk(schema: object, at: str, depth: int, seen: list[int], longest: int) -> Iterator[Detail]:
    if not isinstance(schema, dict):
        yield Detail(at, "type", "must be a schema object")
        return
    if depth > MAX_DEPTH:
        yield Detail(at, "depth", f"is nested deeper than {MAX_DEPTH}")
        return
    for keyword in sorted(str(key) for key in set(schema) - _KEYWORDS):
        yield Detail(at, "keyword", f"{keyword[:64]} is not supported")
    yield from _check_keywords(schema, at, longest)
    properties = schema.get("properties", {})
    if not isinstance(properties, dict):
        yield Detail(f"{at}/properties", "type", "must be an object")
        return
    seen[0] += len(properties)
    if seen[0] > MAX_PROPERTIES:
        yield Detail(at, "size", f"declares more than {MAX_PROPERTIES} properties")
        return
    yield from _check_required(schema, properties, at)
    for name, inner in properties.items():
        if not _PROPERTY.fullmatch(name):
            yield Detail(f"{at}/properties", "name", "a property name is not a plain identifier")
        yield from _walk(inner, f"{at}/properties/{name[:64]}", depth + 1, seen, longest)
    if "items" in schema:
        yield from _walk(schema["items"], f"{at}/items", depth + 1, seen, longest)


def _check_keywords(schema: Schema, at: str, longest: int) -> Iterator[Detail]:
    kinds = {"object", "array", "string", "integer", "number", "boolean"}
    if not isinstance(schema.get("type"), str) or schema["type"] not in kinds:
        yield Detail(f"{at}/type", "enum", "must be one plain type")
    if schema.get("type") == "object" and schema.get("additionalProperties") is not False:
        yield Detail(f"{at}/additionalProperties", "const", "must be false")
    if "format" in schema and not _is_known_format(schema["format"]):
        yield Detail(f"{at}/format", "enum", "is not a known format")
    if "pattern" in schema:
        problem = pattern_problem(schema["pattern"], min(_whole(schema.get("maxLength"), longest), longest))
        if problem:
            yield Detail(f"{at}/pattern", "pattern", problem)
    for name in ("writeOnly", LEADING_DASH):
        if not isinstance(schema.get(name, False), bool):
            yield Detail(f"{at}/{name}", "type", "must be true or false")
    yield from _check_choices(schema, at)


def _check_choices(schema: Schema, at: str) -> Iterator[Detail]:
    choices = schema.get("enum", [])
    if not isinstance(choices, list) or len(choices) > MAX_CHOICES:
        yield Detail(f"{at}/enum", "maxItems", f"must list at most {MAX_CHOICES} values")
    elif not all(isinstance(value, _SCALARS) for value in (*choices, schema.get("const", ""))):
        yield Detail(at, "enum", "permitted values must be texts, numbers or booleans")


def _check_required(schema: Schema, properties: Schema, at: str) -> Iterator[Detail]:
    required = schema.get("required", [])
    if not isinstance(required, list) or any(
        not isinstance(name, str) or name not in properties for name in required
    ):
        yield Detail(f"{at}/required", "unknown", "must list properties of the schema")


def _is_known_format(name: object) -> bool:
    return isinstance(name, str) and name in Draft202012Validator.FORMAT_CHECKER.checkers


def _whole(value: object, otherwise: int) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else otherwise
