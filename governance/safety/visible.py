"""Hostile text made visible: what an agent, tool or skill wrote can't hide or reorder anything."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

FOLD_AT = 400
_KEPT = frozenset("\n\t")
_NAMED = {"\x1b": "\\e", "\r": "\\r", "\x00": "\\0", "\x07": "\\a", "\x08": "\\b"}
_INVISIBLE_LETTERS = frozenset("\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0\u034f\u2028\u2029")
_SUSPECT = re.compile(r"[^\n\t\x20-\x7e]")


@dataclass(frozen=True, slots=True)
class Folded:
    """The beginning of a text that is fit to show, and how much there is of it."""

    head: str
    size: int
    is_cut: bool


def visible(text: str) -> str:
    """Return `text` with nothing in it that a screen would hide, move or obey.

    Bidirectional controls, zero-width and other format characters, private-use and unassigned code
    points, surrogates and letters that render as nothing become `⟦U+202E⟧`. C0 and C1 controls become
    backslash escapes, except newline and tab. A combining mark that stands on no letter gets its
    code point too, and runs of more than four marks are broken up. Total and idempotent.
    """
    if not _SUSPECT.search(text):
        return text
    shown: list[str] = []
    marks = 0
    for character in text:
        category = unicodedata.category(character)
        marks = marks + 1 if category in ("Mn", "Me") else 0
        shown.append(_shown(character, category, marks, is_first=not shown))
    return "".join(shown)


def _shown(character: str, category: str, marks: int, *, is_first: bool) -> str:
    if character in _KEPT:
        return character
    if category == "Cc":
        return _NAMED.get(character) or f"\\x{ord(character):02x}"
    if category in ("Cf", "Co", "Cn", "Cs") or character in _INVISIBLE_LETTERS:
        return f"⟦U+{ord(character):04X}⟧"
    if marks > 4 or (marks and is_first) or _is_variation(character):
        return f"⟦U+{ord(character):04X}⟧"
    return character


def _is_variation(character: str) -> bool:
    return "\ufe00" <= character <= "\ufe0f" or "\U000e0100" <= character <= "\U000e01ef"


def hides_something(text: str) -> bool:
    """Tell whether `visible` had to change the text."""
    return visible(text) != text


def fold(text: str, *, limit: int = FOLD_AT) -> Folded:
    """Return the first `limit` characters of the visible form and the UTF-8 size of the whole."""
    size = len(text.encode("utf-8", "surrogatepass"))
    return Folded(head=visible(text[:limit]), size=size, is_cut=len(text) > limit)


def size_in_words(count: int) -> str:
    """Return a byte count as people read it: `812 B`, `12 KiB`, `1.4 MiB`."""
    if count < 1024:
        return f"{count} B"
    if count < 1024 * 1024:
        return f"{count / 1024:.0f} KiB"
    return f"{count / (1024 * 1024):.1f}".removesuffix(".0") + " MiB"


def shorten_id(text: str) -> str:
    """Return a prefixed ULID or digest shortened in its middle; a short text stays whole."""
    if len(text) <= 18:
        return text
    prefix, colon, rest = text.partition(":")
    if colon and len(rest) > 16:
        return f"{prefix}:{rest[:8]}…{rest[-4:]}"
    return f"{text[:9]}…{text[-4:]}"
