"""JSON Schema as Cedar types, and JSON input as Cedar values of those types.

A value Cedar cannot carry raises UnrepresentableError instead of being left out: a left-out
attribute would switch a forbid off.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import cast

from kernel.canonical import canonical
from kernel.errors import PalyraError
from kernel.uris import UriError, parse_uri

LONG_MIN, LONG_MAX = -(2**63), 2**63 - 1
DECIMAL_LIMIT = 922_337_203_685_477
_COMBINATORS = (
    "anyOf",
    "oneOf",
    "allOf",
    "not",
    "if",
    "$ref",
    "$dynamicRef",
    "prefixItems",
    "patternProperties",
)
PAIRS_TYPE = 'Set<{ "name": String, "value": String }>'

Json = object
Schema = Mapping[str, object]


class Kind(StrEnum):
    LONG = "Long"
    DECIMAL = "decimal"
    STRING = "String"
    BOOL = "Bool"
    SET = "Set"
    RECORD = "Record"
    PAIRS = "Pairs"
    JSON = "Json"


_SCALARS = {
    "integer": Kind.LONG,
    "number": Kind.DECIMAL,
    "string": Kind.STRING,
    "boolean": Kind.BOOL,
}


class UnrepresentableError(Exception):
    """The value, or the schema, has no Cedar counterpart. The text names the attribute."""


def quote(text: str) -> str:
    """Return `text` as a Cedar string literal."""
    plain = "".join(
        character if character.isprintable() and character not in '"\\' else f"\\u{{{ord(character):x}}}"
        for character in text
    )
    return f'"{plain}"'


def kind_of(schema: Schema) -> Kind:
    """Return how values of this schema are carried; anything ambiguous is carried as JSON text."""
    if any(keyword in schema for keyword in _COMBINATORS):
        return Kind.JSON
    declared = schema.get("type")
    if declared is None:
        return _kind_of_choices(schema)
    if isinstance(declared, str) and declared in _SCALARS:
        return _SCALARS[declared]
    if declared == "array":
        return Kind.JSON if _element(schema) is None else Kind.SET
    return _kind_of_object(schema) if declared == "object" else Kind.JSON


def record_type(schema: Schema) -> str:
    """Return the Cedar record type of an object schema, or raise UnrepresentableError."""
    names: set[str] = set()
    members = []
    for name, cedar_type, required in _members(schema):
        if name in names:
            raise UnrepresentableError(f"two properties become the attribute {name}")
        names.add(name)
        members.append(f"{quote(name)}{'' if required else '?'}: {cedar_type}")
    return "{ " + ", ".join(members) + " }"


def record_value(schema: Schema, value: Mapping[str, Json]) -> dict[str, Json]:
    """Return `value`, which fits the object schema, as the JSON form of a Cedar record."""
    record: dict[str, Json] = {}
    properties = _properties(schema)
    for name, item in value.items():
        if name not in properties:
            raise UnrepresentableError(f"{name}: not a property of the schema")
        if item is not None:
            record.update(_attributes(name, properties[name], item))
    return record


def _kind_of_choices(schema: Schema) -> Kind:
    choices = schema.get("enum", [schema["const"]] if "const" in schema else None)
    if isinstance(choices, list) and choices and all(isinstance(choice, str) for choice in choices):
        return Kind.STRING
    return Kind.JSON


def _kind_of_object(schema: Schema) -> Kind:
    extra = schema.get("additionalProperties")
    if extra is False:
        return Kind.RECORD
    if not _properties(schema) and isinstance(extra, Mapping) and kind_of(extra) is Kind.STRING:
        return Kind.PAIRS
    return Kind.JSON


def _element(schema: Schema) -> Schema | None:
    items = schema.get("items")
    if not isinstance(items, Mapping) or kind_of(items) is Kind.JSON:
        return None
    return items


def _properties(schema: Schema) -> dict[str, Schema]:
    return cast(dict[str, Schema], schema.get("properties") or {})


def _members(schema: Schema) -> Iterator[tuple[str, str, bool]]:
    required = cast(list[str], schema.get("required") or [])
    for name, inner in _properties(schema).items():
        needed = name in required and not _admits_null(inner)
        if kind_of(inner) is Kind.JSON:
            yield f"{name}_json", "String", needed
            continue
        yield name, _type(inner), needed
        if _is_uri(inner):
            yield f"{name}_scheme", "String", needed
            yield f"{name}_host", "String", needed
            yield f"{name}_port", "Long", False


def _admits_null(schema: Schema) -> bool:
    """Tell whether null may fit; for policies it is absent, even where the property is required."""
    declared = schema.get("type")
    if isinstance(declared, list):
        return "null" in declared
    return declared == "null" or (declared is None and kind_of(schema) is Kind.JSON)


def _type(schema: Schema) -> str:
    kind = kind_of(schema)
    if kind is Kind.SET:
        element = _element(schema)
        assert element is not None  # kind_of found one
        return f"Set<{_type(element)}>"
    if kind is Kind.RECORD:
        return record_type(schema)
    return PAIRS_TYPE if kind is Kind.PAIRS else kind.value


def _is_uri(schema: Schema) -> bool:
    return schema.get("format") == "uri" and kind_of(schema) is Kind.STRING


def _attributes(name: str, schema: Schema, value: Json) -> dict[str, Json]:
    if kind_of(schema) is Kind.JSON:
        return {f"{name}_json": _json_text(name, value)}
    attributes: dict[str, Json] = {name: _value(name, schema, value)}
    if _is_uri(schema):
        attributes |= _uri_parts(name, str(value))
    return attributes


def _value(name: str, schema: Schema, value: Json) -> Json:
    kind = kind_of(schema)
    if kind is Kind.LONG:
        return _long(name, value)
    if kind is Kind.DECIMAL:
        return {"__extn": {"fn": "decimal", "arg": _decimal(name, value)}}
    if kind is Kind.STRING:
        return _text(name, value)
    if kind is Kind.BOOL:
        return _require(name, isinstance(value, bool), value)
    return _collection(name, kind, schema, value)


def _collection(name: str, kind: Kind, schema: Schema, value: Json) -> Json:
    if kind is Kind.SET:
        _require(name, isinstance(value, list), value)
        element = _element(schema)
        assert element is not None  # kind_of found one
        return [_value(name, element, item) for item in cast(list[Json], value)]
    _require(name, isinstance(value, Mapping), value)
    members = cast(Mapping[str, Json], value)
    if kind is Kind.RECORD:
        return record_value(schema, members)
    return [{"name": _text(name, key).lower(), "value": _text(name, item)} for key, item in members.items()]


def _require(name: str, holds: bool, value: Json) -> Json:
    if not holds:
        raise UnrepresentableError(f"{name}: not of the declared type")
    return value


def _text(name: str, value: Json) -> str:
    _require(name, isinstance(value, str), value)
    text = cast(str, value)
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise UnrepresentableError(f"{name}: holds a lone surrogate")
    return text


def _long(name: str, value: Json) -> int:
    if isinstance(value, float) and value.is_integer():  # JSON Schema counts 5.0 as an integer
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not LONG_MIN <= value <= LONG_MAX:
        raise UnrepresentableError(f"{name}: not a 64-bit integer")
    return value


def _decimal(name: str, value: Json) -> str:
    """Return the fixed-point text of a number with at most four fraction digits."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UnrepresentableError(f"{name}: not a number")
    try:
        number = Decimal(repr(value)).normalize()
    except InvalidOperation as error:
        raise UnrepresentableError(f"{name}: not a finite number") from error
    exponent = number.as_tuple().exponent
    if not isinstance(exponent, int) or exponent < -4 or abs(number) >= DECIMAL_LIMIT:
        raise UnrepresentableError(f"{name}: not a decimal with four fraction digits")
    text = f"{number:f}"
    return text if "." in text else f"{text}.0"


def _json_text(name: str, value: Json) -> str:
    try:
        return canonical(value).decode()
    except PalyraError as error:
        raise UnrepresentableError(f"{name}: has no canonical JSON form") from error


def _uri_parts(name: str, text: str) -> dict[str, Json]:
    try:
        parts = parse_uri(text)
    except UriError as error:
        raise UnrepresentableError(f"{name}: {error}") from error
    found: dict[str, Json] = {f"{name}_scheme": parts.scheme, f"{name}_host": parts.host}
    return found if parts.port is None else found | {f"{name}_port": parts.port}
