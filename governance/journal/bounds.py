"""How large one event's data may be, and how what is larger gets cut."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from kernel.canonical import canonical

MAX_DEPTH = 12
MAX_ITEMS = 200
MAX_TEXT = 4 * 1024
KEPT_TEXT = 1024
MAX_NAME = 256
MAX_BYTES = 64 * 1024

_MARKS = frozenset(
    {
        frozenset({"_redacted"}),
        frozenset({"_binary", "bytes"}),
        frozenset({"_truncated"}),
        frozenset({"_truncated", "depth"}),
        frozenset({"_truncated", "items"}),
        frozenset({"_truncated", "bytes", "sha256_salted", "text"}),
    }
)
_LONGEST_MARK = 40
_STEPS = ((512, 200), (256, 200), (128, 200), (64, 100), (32, 50), (16, 25), (8, 12), (0, 4))


@dataclass(frozen=True, slots=True)
class Bounded:
    data: dict[str, object]
    count: int


def bound(data: dict[str, object], *, salt: bytes) -> Bounded:
    """Return `data` cut to the bounds: plain JSON values in, at most 64 KiB of canonical JSON out."""
    cut = _Cut(KEPT_TEXT, MAX_TEXT, MAX_ITEMS, salt)
    result = cut.members(data)
    for kept, items in _STEPS:
        if len(canonical(result)) <= MAX_BYTES:
            return Bounded(result, cut.count)
        tighter = _Cut(kept, kept, items, salt)
        result, cut.count = tighter.members(result), cut.count + tighter.count
    if len(canonical(result)) > MAX_BYTES:
        return Bounded({"_truncated": True}, cut.count + 1)
    return Bounded(result, cut.count)


def is_mark(value: object) -> bool:
    """Tell whether a value has the form of what a cut leaves behind: flat and small.

    Anybody can write one, so its text is still searched for secrets.
    """
    if not isinstance(value, dict) or frozenset(value) not in _MARKS:
        return False
    return all(isinstance(item, (bool, int, str)) and len(str(item)) <= KEPT_TEXT for item in value.values())


class _Cut:
    def __init__(self, kept_text: int, max_text: int, max_items: int, salt: bytes) -> None:
        self._kept_text, self._max_text, self._max_items, self._salt = kept_text, max_text, max_items, salt
        self.count = 0

    def value(self, value: object) -> object:
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, list):
            return self._items(value)
        if isinstance(value, dict):
            return self._mark(value) if is_mark(value) else self.members(value)
        return value

    def members(self, members: dict[str, object]) -> dict[str, object]:
        if len(members) <= self._max_items:
            return {self._name(name): self.value(item) for name, item in members.items()}
        self.count += 1
        kept = [name for name in sorted(members) if name not in ("_truncated", "_members")]
        result = {self._name(name): self.value(members[name]) for name in kept[: self._max_items - 2]}
        return {**result, "_truncated": True, "_members": len(members)}

    def _items(self, items: list[object]) -> list[object]:
        if len(items) <= self._max_items:
            return [self.value(item) for item in items]
        self.count += 1
        kept = [self.value(item) for item in items[: self._max_items - 1]]
        return [*kept, {"_truncated": True, "items": len(items)}]

    def _text(self, text: str) -> object:
        encoded = text.encode("utf-8")
        if len(encoded) <= self._max_text:
            return text
        self.count += 1
        return {
            "_truncated": True,
            "bytes": len(encoded),
            "sha256_salted": hashlib.sha256(self._salt + encoded).hexdigest(),
            "text": _head(encoded, self._kept_text),
        }

    def _mark(self, mark: dict[str, object]) -> dict[str, object]:
        text = mark.get("text")
        if not isinstance(text, str) or len(text.encode()) <= self._kept_text:
            return mark
        self.count += 1
        return {**mark, "text": _head(text.encode(), self._kept_text)}

    def _name(self, name: str) -> str:
        encoded = name.encode("utf-8")
        if len(encoded) <= MAX_NAME:
            return name
        self.count += 1
        digest = hashlib.sha256(self._salt + encoded).hexdigest()[:16]
        return f"{_head(encoded, MAX_NAME - 32)}…{digest}"


def _head(encoded: bytes, size: int) -> str:
    """Return at most `size` bytes of text that end neither inside a character nor inside a mark."""
    text = encoded[:size].decode("utf-8", errors="ignore")
    opened = text.rfind("[")
    inside = opened >= len(text) - _LONGEST_MARK and "]" not in text[opened:]
    return text[:opened] if opened >= 0 and inside else text
