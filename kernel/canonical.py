"""Canonical JSON (RFC 8785), digests over it, and strict parsing of JSON from outside."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import NoReturn

import rfc8785

from kernel.errors import InvalidError, MalformedError

MAX_DEPTH = 32
MAX_KEYS = 10_000
MAX_SAFE_INTEGER = 2**53 - 1
SAFE_INTEGERS = (-MAX_SAFE_INTEGER, MAX_SAFE_INTEGER)
LONG_INTEGERS = (-(2**63), 2**63 - 1)
"""What a signed 64-bit integer holds. Canonical JSON cannot carry all of it."""


def canonical(value: object) -> bytes:
    """Return the RFC 8785 form of a JSON value; any value it cannot express is an InvalidError."""
    try:
        return rfc8785.dumps(value)  # type: ignore[arg-type]  # the library checks the type itself
    except (rfc8785.CanonicalizationError, ValueError, TypeError, RecursionError) as error:
        raise InvalidError("invalid", "The value has no canonical JSON form.") from error


def digest(value: object) -> str:
    """Return `sha256:` and the hex SHA-256 of the canonical form."""
    return digest_bytes(canonical(value))


def digest_bytes(data: bytes) -> str:
    """Return `sha256:` and the hex SHA-256 of raw bytes."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def parse(
    data: bytes,
    *,
    max_depth: int = MAX_DEPTH,
    max_keys: int = MAX_KEYS,
    integers: tuple[int, int] = SAFE_INTEGERS,
) -> object:
    """Parse one JSON document strictly.

    Refuses, as MalformedError: invalid UTF-8, a byte order mark, duplicate keys, NaN and infinities,
    nesting over `max_depth`, more than `max_keys` keys in all, lone surrogates and integers outside
    `integers`, by default those that RFC 8785 can carry.
    """
    try:
        text = data.decode("utf-8")
        if _depth_of(text) > max_depth:
            raise MalformedError("malformed_json", f"Nesting is deeper than {max_depth}.")
        value = json.loads(text, object_pairs_hook=_unique_keys, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise MalformedError("malformed_json", "The text is not acceptable JSON.") from error
    _check_scalars(value, max_keys, integers)
    return value


def _depth_of(text: str) -> int:
    depth = deepest = 0
    quoted = escaped = False
    for character in text:
        if quoted:
            if escaped:
                escaped = False
            elif character == "\\":
                escaped = True
            elif character == '"':
                quoted = False
        elif character == '"':
            quoted = True
        elif character in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in "]}":
            depth -= 1
    return deepest


def _unique_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise MalformedError("malformed_json", "An object repeats a key.")
    return members


def _refuse_constant(name: str) -> NoReturn:
    raise MalformedError("malformed_json", f"{name} is not JSON.")


def _check_scalars(value: object, max_keys: int, integers: tuple[int, int]) -> None:
    keys = 0
    least, greatest = integers
    for item in _walk(value):
        if isinstance(item, dict):
            keys += len(item)
            if keys > max_keys:
                raise MalformedError("malformed_json", f"More than {max_keys} keys.")
        elif isinstance(item, str):
            if any("\ud800" <= character <= "\udfff" for character in item):
                raise MalformedError("malformed_json", "A string holds a lone surrogate.")
        elif isinstance(item, float) and item in (float("inf"), float("-inf")):
            raise MalformedError("malformed_json", "A number is out of range.")
        elif isinstance(item, int) and not least <= item <= greatest:
            raise MalformedError("malformed_json", "An integer is out of range.")


def _walk(value: object) -> Iterator[object]:
    stack = [value]
    while stack:
        item = stack.pop()
        yield item
        if isinstance(item, dict):
            stack.extend(item.keys())
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)
