"""Inputs made from a schema: the smallest that fits, and variations that must not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

from policy.types import ToolFacts

WRONG: dict[str, list[object]] = {
    "string": [1, None, True, ["a"], {}, "\ud800", "a\0b"],
    "integer": ["1", None, True, 1.5, [1], {}, float("nan"), 2**63],
    "number": ["1", None, True, [1], {}, float("inf"), -1, 2],
    "boolean": ["true", 1, None, [True], {}],
    "array": ["a", 1, None, {}, [None], [{}]],
    "object": ["a", 1, None, []],
}

Schema = Mapping[str, Any]


def good_value(schema: Schema) -> object:
    """Return a small value that fits."""
    if "enum" in schema:
        return schema["enum"][0]
    kind = schema["type"]
    if kind == "string":
        return "https://a.example/x" if schema.get("format") == "uri" else "a"
    if kind in ("integer", "number"):
        return schema.get("minimum", 0)
    if kind == "array":
        return [good_value(schema["items"])]
    return good_input(schema) if kind == "object" else True


def good_input(schema: Schema) -> dict[str, object]:
    """Return the required properties with values that fit."""
    return {name: good_value(schema["properties"][name]) for name in schema.get("required", [])}


def bad_inputs(tool: ToolFacts) -> Iterator[object]:
    """Yield variations of a good input, each wrong in one place."""
    schema = cast(Schema, tool.input_schema)
    good = good_input(schema)
    for name in good:
        yield {key: value for key, value in good.items() if key != name}
        yield {key.upper(): value for key, value in good.items()}
    yield good | {"workspace_root": "/"}
    yield good | {"module": "AGFzbQ=="}
    yield good | {"allow_private_targets": True}
    yield good | {"filler": "x" * tool.max_input_bytes}
    for name, inner in schema["properties"].items():
        for wrong in WRONG[inner["type"]]:
            yield good | {name: wrong}
        for bound in _beyond(inner):
            yield good | {name: bound}


def _beyond(schema: Schema) -> Iterator[object]:
    if "maxLength" in schema:
        yield "x" * (schema["maxLength"] + 1)
    if schema.get("minLength"):
        yield ""
    if "enum" in schema:
        yield "unheard of"
    if "minimum" in schema:
        yield schema["minimum"] - 1
        yield schema["maximum"] + 1
    if "maxItems" in schema:
        yield [good_value(schema["items"])] * (schema["maxItems"] + 1)
