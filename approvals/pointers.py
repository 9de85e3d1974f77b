"""JSON Pointer (RFC 6901) into the parameters of a call: reading, finding, leaving out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from kernel.canonical import canonical
from kernel.errors import PalyraError

MAX_POINTER = 512
MAX_PARTS = 32
_INDEX = re.compile(r"0|[1-9][0-9]{0,8}")
_ESCAPES = re.compile(r"~(?![01])")


class _Missing:
    __slots__ = ()


MISSING = _Missing()
"""What a pointer finds where there is nothing; `null` is something."""


def parts_of(pointer: object) -> tuple[str, ...] | None:
    """Return the unescaped parts, or None for what is no pointer to a part of a document.

    The whole document (the empty pointer) is no part. `~` not followed by 0 or 1 is malformed.
    """
    if not isinstance(pointer, str) or not pointer.startswith("/") or len(pointer) > MAX_POINTER:
        return None
    if _ESCAPES.search(pointer) or "\0" in pointer:
        return None
    parts = tuple(part.replace("~1", "/").replace("~0", "~") for part in pointer[1:].split("/"))
    return parts if len(parts) <= MAX_PARTS else None


def pointer_of(parts: Iterable[str]) -> str:
    """Return the one text of a pointer."""
    return "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in parts)


def find(document: object, parts: tuple[str, ...]) -> object:
    """Return the value at a place, or MISSING. A part of an array is a plain index without a sign."""
    found = document
    for part in parts:
        if isinstance(found, Mapping) and part in found:
            found = found[part]
        elif isinstance(found, list) and _INDEX.fullmatch(part) and int(part) < len(found):
            found = found[int(part)]
        else:
            return MISSING
    return found


def without(document: object, places: Iterable[tuple[str, ...]]) -> object:
    """Return the document with null at each place that there is, none of which lies under another.

    Null and not nothing: whatever stands beside a place keeps its own, also in an array.
    """
    rest = document
    for parts in places:
        if find(document, parts) is not MISSING:
            rest = _emptied(rest, parts)
    return rest


def _emptied(document: object, parts: tuple[str, ...]) -> object:
    """Return the document with null at a place that there is; what the change does not touch is shared."""
    if not parts:
        return None
    first, *others = parts
    if isinstance(document, Mapping):
        return {**document, first: _emptied(document[first], tuple(others))}
    if not isinstance(document, list):
        raise TypeError("only objects and arrays have places")
    items = list(document)
    items[int(first)] = _emptied(items[int(first)], tuple(others))
    return items


def same(one: object, other: object) -> bool:
    """Tell whether two values are one in canonical JSON (RFC 8785), as the digest of an action does.

    So 1 is 1.0 but neither True nor "1". A value without a canonical form equals nothing.
    """
    try:
        return canonical(one) == canonical(other)
    except PalyraError:
        return False
