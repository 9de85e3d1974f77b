"""Tools and patterns that tests of patterns share."""

from __future__ import annotations

from collections.abc import Mapping

from approvals.fields import ToolShape
from approvals.patterns import BoundPattern, Pattern, bind, parse_pattern
from policy.catalog import BUILTINS
from policy.definitions import check_schema

BUILT_IN: Mapping[str, ToolShape] = {
    tool.name: ToolShape(tool.facts().input_schema, tool.capabilities, name=tool.name) for tool in BUILTINS
}
WRITE = BUILT_IN["fs.write"]
RUN = BUILT_IN["process.run"]
FETCH = BUILT_IN["http.fetch"]


def text(**more: object) -> dict[str, object]:
    return {"type": "string", **more}


def custom(
    properties: Mapping[str, object], *capabilities: str, argv: tuple[str, ...] = (), name: str = "pay.send"
) -> ToolShape:
    """Return a tool as somebody registers it; its schema is one that the catalog takes."""
    schema = {"type": "object", "properties": dict(properties), "required": [], "additionalProperties": False}
    assert list(check_schema(schema)) == []
    return ToolShape(schema, frozenset(capabilities), argv, name)


PAY = custom(
    {
        "recipient": text(),
        "amount": {"type": "number"},
        "copies": {"type": "integer"},
        "subject": text(),
        "urgent": {"type": "boolean"},
        "site": text(format="uri"),
        "folder": text(),
        "currency": text(enum=["EUR", "USD"]),
        "api_key": text(),
        "details": {
            "type": "object",
            "properties": {"note": text()},
            "required": [],
            "additionalProperties": False,
        },
        "labels": {"type": "array", "items": text()},
    },
    "network",
)


def pattern(*constraints: tuple[object, ...], rest: object = "equal") -> dict[str, object]:
    """Return the JSON of a pattern from `(pointer, op)` and `(pointer, op, value)`."""
    listed = [dict(zip(("pointer", "op", "value"), one, strict=False)) for one in constraints]
    return {"v": 1, "constraints": listed, "rest": rest}


def parsed(*constraints: tuple[object, ...], rest: object = "equal") -> Pattern:
    return parse_pattern(pattern(*constraints, rest=rest))


def bound(
    approved: Mapping[str, object], tool: ToolShape, *constraints: tuple[object, ...], rest: object = "equal"
) -> BoundPattern:
    return bind(parsed(*constraints, rest=rest), approved, tool)
