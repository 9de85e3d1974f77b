"""Words about tools: their categories, and the properties of a schema one by one. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from governance.safety.visible import visible

CATEGORIES = {
    "custom": ("Custom tools", "Registered here by a person; each runs one fixed program."),
    "skill": ("Skills and programs", "Signed WebAssembly modules, and programs of several calls."),
    "files": ("Files and processes", "What works in the agent's workspace."),
    "network": ("Network", "What reaches other hosts."),
    "memory": ("Memory and artifacts", "What is kept from call to call."),
    "basic": ("Basics", "What touches nothing."),
    "browser": ("Browser", "Declared for rules and postures; nothing here runs them."),
    "routines": ("Routines", "Declared for rules and postures; nothing here runs them."),
}
"""By key: the title and what belongs there, in the order of the page."""

_BY_WORD = {
    "fs": "files", "process": "files", "http": "network", "memory": "memory", "artifact": "memory",
    "browser": "browser", "routines": "routines", "plugin": "skill", "tool_program": "skill",
}  # fmt: skip
_BOUNDS = (
    ("minLength", "at least {} characters"),
    ("maxLength", "at most {} characters"),
    ("minimum", "at least {}"),
    ("maximum", "at most {}"),
    ("minItems", "at least {} items"),
    ("maxItems", "at most {} items"),
    ("format", "a {}"),
    ("pattern", "like {}"),
)
MOST_CHOICES = 12


@dataclass(frozen=True, slots=True)
class PropertyRow:
    """One property of an input. Texts hold no hidden character."""

    name: str
    kind: str
    required: bool
    bounds: str
    about: str


def category_of(name: str, kind: str) -> str:
    """Return the key of a tool's category."""
    if kind in ("custom", "skill"):
        return kind
    return _BY_WORD.get(name.partition(".")[0], "basic")


def property_rows(schema: Mapping[str, Any]) -> tuple[PropertyRow, ...]:
    """Return the top-level properties of an object schema in its order."""
    properties, required = schema.get("properties") or {}, schema.get("required") or []
    return tuple(
        PropertyRow(
            name=visible(str(name)),
            kind=_kind(inner),
            required=name in required,
            bounds=visible(", ".join(_bounds(inner))),
            about=visible(str(inner.get("description", ""))),
        )
        for name, inner in properties.items()
    )


def schema_text(schema: object) -> str:
    """Return a schema as indented JSON without a hidden character."""
    return visible(json.dumps(schema, indent=2, ensure_ascii=False))


def _kind(schema: Mapping[str, Any]) -> str:
    kind = str(schema.get("type", "any"))
    items = schema.get("items")
    return f"list of {_kind(items)}" if kind == "array" and isinstance(items, Mapping) else kind


def _bounds(schema: Mapping[str, Any]) -> Iterator[str]:
    choices = schema.get("enum")
    if isinstance(choices, list):
        more = "" if len(choices) <= MOST_CHOICES else f" and {len(choices) - MOST_CHOICES} more"
        yield "one of " + ", ".join(map(str, choices[:MOST_CHOICES])) + more
    for keyword, sentence in _BOUNDS:
        if keyword in schema:
            yield sentence.format(schema[keyword])
