"""Validation of a tool's input: size, shape, then JSON Schema draft 2020-12. Nothing is coerced."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend

from kernel.canonical import MAX_DEPTH, canonical
from kernel.errors import Detail, PalyraError
from policy.types import Code, InputCheck

MAX_DETAILS = 20
_SENTENCES = {
    "additionalProperties": "has a property that the schema does not name",
    "const": "must be the one permitted value",
    "enum": "must be one of the permitted values",
    "format": "must have the format {}",
    "maxItems": "must hold at most {} items",
    "maxLength": "must be at most {} characters long",
    "maxProperties": "must have at most {} properties",
    "maximum": "must be at most {}",
    "minItems": "must hold at least {} items",
    "minLength": "must be at least {} characters long",
    "minimum": "must be at least {}",
    "pattern": "must match the pattern of the schema",
    "required": "lacks a required property",
    "type": "must be of type {}",
}


def _pattern(
    validator: Any, pattern: str, instance: object, schema: Mapping[str, object]
) -> Iterator[ValidationError]:
    """Match only texts that are not too long anyway: the bound on an expression's time rests on it."""
    longest = schema.get("maxLength")
    if isinstance(instance, str) and isinstance(longest, int) and len(instance) > longest:
        return
    yield from Draft202012Validator.VALIDATORS["pattern"](validator, pattern, instance, schema) or ()


_Validator = extend(Draft202012Validator, {"pattern": _pattern})  # type: ignore[no-untyped-call]


def check_input(*, schema: Mapping[str, object], raw_input: object, max_bytes: int) -> InputCheck:
    """Accept or refuse `raw_input`. `max_bytes` limits its canonical form and is checked first.

    Details never repeat the input, which may hold secrets. Strings with NUL are refused, because
    not every store and no argument vector can carry them.
    """
    if not isinstance(raw_input, dict):
        return _refused(Code.INPUT_NOT_OBJECT, Detail("", "type", "must be an object"))
    if _is_deeper(raw_input, MAX_DEPTH):
        return _refused(Code.INPUT_INVALID, Detail("", "depth", f"is nested deeper than {MAX_DEPTH}"))
    try:
        size = len(canonical(raw_input))
    except PalyraError:
        return _refused(Code.INPUT_INVALID, Detail("", "json", "has no canonical JSON form"))
    if size > max_bytes:
        return _refused(Code.INPUT_TOO_LARGE, Detail("", "size", f"is larger than {max_bytes} bytes"))
    if any("\0" in text for text in _texts(raw_input)):
        return _refused(Code.INPUT_INVALID, Detail("", "nul", "holds a NUL character"))
    return _check_schema(schema, raw_input)


def pointer(path: Iterable[object]) -> str:
    """Return an RFC 6901 JSON pointer."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


def _check_schema(schema: Mapping[str, object], raw_input: dict[str, object]) -> InputCheck:
    validator = _Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)
    details: list[Detail] = []
    for error in validator.iter_errors(raw_input):
        details.append(_detail(error))
        if len(details) == MAX_DETAILS:
            break
    if details:
        return _refused(
            Code.INPUT_INVALID, *sorted(details, key=lambda detail: (detail.pointer, detail.code))
        )
    return InputCheck(ok=True, reason_code=Code.SCHEMA_OK, errors=(), input=raw_input)


def _refused(code: Code, *details: Detail) -> InputCheck:
    return InputCheck(ok=False, reason_code=code, errors=details, input=None)


def _detail(error: ValidationError) -> Detail:
    keyword = str(error.validator)
    sentence = _SENTENCES.get(keyword, f"does not satisfy {keyword}").format(error.validator_value)
    return Detail(pointer(error.absolute_path), keyword, sentence)


def _is_deeper(value: object, limit: int) -> bool:
    level: list[Any] = [value]
    for _ in range(limit + 1):
        level = [child for item in level for child in _children(item)]
        if not level:
            return False
    return True


def _children(item: object) -> Iterable[object]:
    if isinstance(item, dict):
        return [child for child in item.values() if isinstance(child, dict | list)]
    return [child for child in item if isinstance(child, dict | list)] if isinstance(item, list) else []


def _texts(value: object) -> Iterator[str]:
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict):
            stack.extend(item.keys())
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)
