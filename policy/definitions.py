"""What a custom tool's definition may say. Findings, never exceptions."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, cast

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from kernel.errors import Detail
from policy.argv_template import LEADING_DASH, check_template
from policy.cedar_types import UnrepresentableError, record_type
from policy.types import Risk, ToolCapability, ToolDefinition

NAME = re.compile(r"(?=.{1,64}\Z)[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*){0,4}")
LABEL = re.compile(r"[a-z_]{3,32}")
SINKS = frozenset({"external_communication", "destructive"})
MAX_DEPTH = 8
MAX_PROPERTIES = 128
MAX_PATTERN = 256
MAX_INPUT_BYTES = 1024 * 1024
_PROPERTY = re.compile(r"(?!__)[A-Za-z_][A-Za-z0-9_]{0,63}")
_KEYWORDS = frozenset(
    {
        "type", "description", "properties", "required", "items", "additionalProperties", "enum", "const",
        "minimum", "maximum", "minLength", "maxLength", "pattern", "format", "minItems", "maxItems",
        LEADING_DASH,
    }
)  # fmt: skip
_NOT_REGULAR = re.compile(r"\(\?(?:[=!>(]|<[=!]|P=)|\\[1-9]|\\k")
_NESTED_REPEAT = re.compile(r"\((?:[^()\\]|\\.)*(?:[*+|]|\{\d+,\})(?:[^()\\]|\\.)*\)(?:[*+]|\{\d+,)")

Schema = Mapping[str, Any]


def check_definition(definition: ToolDefinition) -> Iterator[Detail]:
    """Yield everything that is wrong with a definition."""
    yield from _check_labels(definition)
    yield from _check_limits(definition)
    problems = tuple(check_schema(definition.input_schema))
    yield from problems
    if not problems:
        yield from check_template(definition.argv_template, definition.input_schema)
    if ToolCapability.PROCESS_EXEC not in definition.capabilities:
        yield Detail("/capabilities", "understated", "an argv template needs process_exec")


def check_schema(schema: object) -> Iterator[Detail]:
    """Yield what makes an input schema unacceptable: the subset, its bounds, its Cedar record."""
    if not isinstance(schema, dict) or schema.get("type") != "object":
        yield Detail("/input_schema", "type", "must be a schema of type object")
        return
    problems = tuple(_walk(schema, "/input_schema", 1, [0]))
    yield from problems
    if problems:
        return
    try:
        Draft202012Validator.check_schema(schema)
        record_type(schema)
    except (SchemaError, UnrepresentableError, RecursionError) as error:
        text = error.message if isinstance(error, SchemaError) else str(error)
        yield Detail("/input_schema", "schema", text[:200])


def _check_labels(definition: ToolDefinition) -> Iterator[Detail]:
    if not NAME.fullmatch(definition.name) or definition.name.startswith("palyra."):
        yield Detail("/name", "pattern", "must be dotted lower-case words, at most 64 characters")
    if not 1 <= len(definition.description) <= 2000:
        yield Detail("/description", "maxLength", "must have 1 to 2000 characters")
    if definition.tier != "C":
        yield Detail("/tier", "enum", "must be C")
    if definition.risk not in set(Risk):
        yield Detail("/risk", "enum", "must be low, medium, high or critical")
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
    names = re.findall(r"\{([^{}]*)\}", definition.resource_template)
    properties = cast(Schema, definition.input_schema).get("properties") or {}
    if len(definition.resource_template) > 256 or any(name not in properties for name in names):
        yield Detail("/resource_template", "pattern", "names an unknown property")


def _walk(schema: object, at: str, depth: int, seen: list[int]) -> Iterator[Detail]:
    if not isinstance(schema, dict):
        yield Detail(at, "type", "must be a schema object")
        return
    if depth > MAX_DEPTH:
        yield Detail(at, "depth", f"is nested deeper than {MAX_DEPTH}")
        return
    for keyword in sorted(str(key) for key in set(schema) - _KEYWORDS):
        yield Detail(at, "keyword", f"{keyword[:64]} is not supported")
    yield from _check_keywords(schema, at)
    properties = schema.get("properties", {})
    if not isinstance(properties, dict):
        yield Detail(f"{at}/properties", "type", "must be an object")
        return
    seen[0] += len(properties)
    if seen[0] > MAX_PROPERTIES:
        yield Detail(at, "size", f"declares more than {MAX_PROPERTIES} properties")
        return
    for name, inner in properties.items():
        if not _PROPERTY.fullmatch(name):
            yield Detail(f"{at}/properties", "name", "a property name is not a plain identifier")
        yield from _walk(inner, f"{at}/properties/{name[:64]}", depth + 1, seen)
    if "items" in schema:
        yield from _walk(schema["items"], f"{at}/items", depth + 1, seen)


def _check_keywords(schema: Schema, at: str) -> Iterator[Detail]:
    kinds = {"object", "array", "string", "integer", "number", "boolean"}
    if not isinstance(schema.get("type"), str) or schema["type"] not in kinds:
        yield Detail(f"{at}/type", "enum", "must be one plain type")
    if schema.get("type") == "object" and schema.get("additionalProperties") is not False:
        yield Detail(f"{at}/additionalProperties", "const", "must be false")
    if "format" in schema and schema["format"] not in Draft202012Validator.FORMAT_CHECKER.checkers:
        yield Detail(f"{at}/format", "enum", "is not a known format")
    if "pattern" in schema and not _is_plain_pattern(schema["pattern"]):
        yield Detail(f"{at}/pattern", "pattern", "must be a plain regular expression")


def _is_plain_pattern(pattern: object) -> bool:
    """Tell whether the expression is short, regular, and free of repeats within repeats."""
    if not isinstance(pattern, str) or len(pattern) > MAX_PATTERN or _NOT_REGULAR.search(pattern):
        return False
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError):
        return False
    return _NESTED_REPEAT.search(pattern) is None
