"""Values that a session has seen, and the arguments of a call that repeat them.

Text is split to values; each value is kept as a keyed digest of 16 bytes, so that the table shows
nothing of it. An argument is tainted when a value in it came from untrusted content and was not part of
the task. Both sides read a text in the same ways: as it stands, and as what its percent signs, character
references and base64 stand for. What is not seen is written down in docs/labels.md.
"""

from __future__ import annotations

import base64
import binascii
import html
import re
import unicodedata
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import unquote

MARK_BYTES = 16
MAX_MARKS = 20_000
MAX_TASK_BYTES = 32 * 1024
SHORTEST = 6
DIGITS = 4
MAX_PARENTS = 6
ORIGINS = ("task", "untrusted", "private")

Digests = Callable[[str], tuple[bytes, ...]]
"""A value's keyed digests: under the present key first, then under older ones."""

_APART = re.compile(r"""[\s"'`<>(){}\[\],;|\\]+""")
_PARTS = re.compile(r"[^\w.\-]+")
_EDGE = ".:!?-_*#~…"
_GROUPED = re.compile(r"\d(?:[ .\-()/]{0,2}\d){3,}")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{8,}={0,2}")
_DIGIT = re.compile(r"\d")
_ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}|&[#\w]+;|\\[ux][0-9A-Fa-f]{2}")
_CODE_UNIT = re.compile(r"\\u([0-9A-Fa-f]{4})|\\x([0-9A-Fa-f]{2})")
_INVISIBLE = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\ufe00-\ufe0f\U000e0100-\U000e01ef]")


@dataclass(frozen=True, slots=True)
class Seen:
    """The marks of one holder, or those of them that a question is about. `full`: too many to keep."""

    untrusted: Container[bytes] = frozenset()
    task: Container[bytes] = frozenset()
    full: bool = False


class TooManyValuesError(Exception):
    """More values than a session keeps marks of."""


def normalise(text: str) -> str:
    """Return the form in which texts are compared: NFKC, lower case, without invisible characters."""
    folded = unicodedata.normalize("NFKC", text).lower()
    if folded.isascii():
        return folded
    shown = (" " if char.isspace() else char for char in folded if unicodedata.category(char) != "Cf")
    return unicodedata.normalize("NFKC", _INVISIBLE.sub("", "".join(shown)))


def is_telling(value: str) -> bool:
    """Tell whether a value says enough to be followed: six characters, an address, or four digits."""
    if len(value) >= SHORTEST or "@" in value or "://" in value:
        return len(value) > 1
    return len(_DIGIT.findall(value)) >= DIGITS


def values_of(text: str) -> frozenset[str]:
    """Return the telling values of a text, in every way it can be read."""
    return frozenset(_values_of(text))


def values_in(data: object, *, limit: int = MAX_MARKS) -> frozenset[str]:
    """Return the telling values of a JSON value, keys included. TooManyValuesError above `limit`."""
    found: set[str] = set()
    for text in _texts(data):
        for value in _values_of(text):
            found.add(value)
            if len(found) > limit:
                raise TooManyValuesError
    return frozenset(found)


def arguments_of(tool_input: Mapping[str, object]) -> dict[str, list[str]]:
    """Return the texts and numbers of an input by dotted path.

    The elements of a list stand under the list's own path, the keys of a map under the map's.
    """
    found: dict[str, list[str]] = {}
    stack: list[tuple[str, object]] = [(name, value) for name, value in tool_input.items()]
    while stack:
        path, value = stack.pop()
        if isinstance(value, dict):
            found.setdefault(path, []).extend(value)
            stack.extend((f"{path}.{name}", inner) for name, inner in value.items())
        elif isinstance(value, list):
            stack.extend((path, inner) for inner in value)
        elif (text := _text_of(value)) is not None:
            found.setdefault(path, []).append(text)
    return {path: texts for path, texts in found.items() if texts}


def tainted_arguments(tool_input: Mapping[str, object], seen: Seen, digests: Digests) -> frozenset[str]:
    """Return the dotted paths of the arguments that carry an untrusted value the task does not name.

    When `seen` is full every argument is tainted, and so is one that holds more values than are kept.
    """
    arguments = arguments_of(tool_input)
    if seen.full:
        return frozenset(arguments)
    return frozenset(path for path, texts in arguments.items() if _carries_taint(texts, seen, digests))


def _carries_taint(texts: list[str], seen: Seen, digests: Digests) -> bool:
    try:
        return any(_is_tainted(value, seen, digests) for value in values_in(texts))
    except TooManyValuesError:
        return True


def _is_tainted(value: str, seen: Seen, digests: Digests) -> bool:
    known = digests(value)
    return any(mark in seen.untrusted for mark in known) and not any(mark in seen.task for mark in known)


def _text_of(value: object) -> str | None:
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return format(value, "f").rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def _texts(data: object) -> Iterator[str]:
    stack = [data]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            yield from item
            stack.extend(item.values())
        elif isinstance(item, list | tuple):
            stack.extend(item)
        elif (text := _text_of(item)) is not None:
            yield text


def _values_of(text: str) -> Iterator[str]:
    for reading in _readings(text):
        yield from _values(normalise(reading))


def _readings(text: str) -> Iterator[str]:
    """Yield the text and what its escapes and its base64 stand for, one level deep each."""
    yield text
    plain = _unescaped(text) if _ESCAPE.search(text) else text
    if plain != text:
        yield plain
    for match in _BASE64.finditer(plain):
        decoded = _decoded(match[0])
        if decoded is not None:
            yield decoded


def _unescaped(text: str) -> str:
    units = _CODE_UNIT.sub(lambda match: chr(int(match[1] or match[2], 16)), html.unescape(text))
    return unquote(units).encode("utf-8", "replace").decode()


def _decoded(text: str) -> str | None:
    """Return what base64 stands for when that is readable text, else None."""
    body = text.rstrip("=").replace("-", "+").replace("_", "/")
    if len(body) % 4 == 1:
        return None
    try:
        found = base64.b64decode(body + "=" * (-len(body) % 4), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
    return found if found.isprintable() else None


def _values(text: str) -> Iterator[str]:
    whole = " ".join(text.split())
    if is_telling(whole):
        yield whole
    for match in _GROUPED.finditer(text):
        yield "".join(_DIGIT.findall(match[0]))
    met: set[str] = set()
    for word in _APART.split(text):
        if word not in met:
            met.add(word)
            yield from _of_word(word.strip(_EDGE))


def _of_word(word: str) -> Iterator[str]:
    """Yield a word, the parts it is made of, and the parent domains of each."""
    if is_telling(word):
        yield word
    for piece in _PARTS.split(word):
        part = piece.strip(_EDGE)
        labels = part.split(".")
        first = max(1, len(labels) - MAX_PARENTS)
        parents = (".".join(labels[start:]) for start in range(first, len(labels) - 1))
        yield from filter(is_telling, (part, *parents))
