"""A custom tool's fixed argument vector: literals and placeholders, never a shell string.

An element is a literal, `{name}` (one property, one element of argv) or `{name...}` (an array
property, one element per item). Element 0 is a literal absolute path.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import cast

from kernel.errors import Detail, InvalidError

MAX_ELEMENTS = 64
MAX_LITERAL = 4096
LEADING_DASH = "x-allow-leading-dash"
_PLACEHOLDER = re.compile(r"\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<splat>\.\.\.)?\}")
_SCALARS = frozenset({"string", "integer", "number", "boolean"})

Schema = Mapping[str, object]


def expand(template: Sequence[str], values: Mapping[str, object], schema: Schema) -> tuple[str, ...]:
    """Return argv for input that fits `schema`, or raise InvalidError.

    A value that starts with `-` is refused, because the program would take it for an option, unless
    the element before it is `--` or the property says `x-allow-leading-dash`. An absent property of
    `{name...}` gives no element.
    """
    findings = tuple(check_template(template, schema))
    if findings:
        raise _refusal(findings[0])
    argv: list[str] = []
    for index, element in enumerate(template):
        match = _PLACEHOLDER.fullmatch(element)
        if match is None:
            argv.append(element)
            continue
        dash = template[index - 1] == "--" or _property(schema, match["name"]).get(LEADING_DASH) is True
        argv.extend(_filled(match["name"], bool(match["splat"]), values, dash))
    return tuple(argv)


def check_template(template: Sequence[str], schema: Schema) -> Iterator[Detail]:
    """Yield what is wrong with a template for inputs of this schema."""
    if not 1 <= len(template) <= MAX_ELEMENTS:
        yield Detail("/argv_template", "size", f"must have 1 to {MAX_ELEMENTS} elements")
        return
    if not _is_program(template[0]):
        yield Detail("/argv_template/0", "program", "must be a literal absolute path")
    for index, element in enumerate(template):
        message = _problem(element, schema)
        if message:
            yield Detail(f"/argv_template/{index}", "element", message)


def _refusal(detail: Detail) -> InvalidError:
    """Return the error; it names the property and never repeats its value."""
    return InvalidError("invalid", f"{detail.pointer} {detail.detail}.", errors=(detail,))


def _is_program(text: str) -> bool:
    parts = text.split("/")
    plain = text.startswith("/") and "{" not in text and "\0" not in text
    return plain and all(part not in {"", ".", ".."} for part in parts[1:])


def _problem(element: str, schema: Schema) -> str:
    match = _PLACEHOLDER.fullmatch(element)
    if match is None:
        literal = not set(element) & {"{", "}", "\0"} and 0 < len(element) <= MAX_LITERAL
        return "" if literal else "must be a literal, {name} or {name...}"
    declared = _property(schema, match["name"])
    if match["splat"]:
        items = cast(Schema, declared.get("items") or {})
        fits = declared.get("type") == "array" and items.get("type") in _SCALARS
        return "" if fits else "must name an array of scalars"
    if match["name"] not in cast(list[str], schema.get("required") or []):
        return "must name a required property"
    return "" if declared.get("type") in _SCALARS else "must name a scalar property"


def _property(schema: Schema, name: str) -> Schema:
    properties = cast(Mapping[str, Schema], schema.get("properties") or {})
    return properties.get(name, {})


def _filled(name: str, splat: bool, values: Mapping[str, object], dash: bool) -> list[str]:
    if splat:
        items = values.get(name, [])
        if not isinstance(items, list):
            raise _refusal(Detail(f"/{name}", "type", "must be an array"))
        return [_element(name, item, dash) for item in items]
    if name not in values:
        raise _refusal(Detail(f"/{name}", "required", "is missing"))
    return [_element(name, values[name], dash)]


def _element(name: str, value: object, dash: bool) -> str:
    if isinstance(value, dict | list) or value is None:
        raise _refusal(Detail(f"/{name}", "type", "must be a scalar"))
    text = value if isinstance(value, str) else json.dumps(value)
    if "\0" in text:
        raise _refusal(Detail(f"/{name}", "nul", "holds a NUL character"))
    if text.startswith("-") and not dash:
        raise _refusal(Detail(f"/{name}", "leading_dash", "must not start with a dash"))
    return text
