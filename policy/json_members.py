"""Strict reading of JSON objects that people write: each member by its type, and none that is unknown."""

from __future__ import annotations

from collections.abc import Mapping, Set as AbstractSet
from datetime import datetime
from typing import NoReturn

_REQUIRED = object()


class MemberError(ValueError):
    """A member is unknown, missing or of the wrong type. The message names its place, never its value."""


class Members:
    """One JSON object at a place of a document. Reading a member takes it; `done` refuses what is left."""

    def __init__(self, value: object, place: str = "") -> None:
        if not isinstance(value, Mapping):
            raise MemberError(f"{place or 'it'} must be an object")
        self._left: dict[str, object] = dict(value)
        self._known: set[str] = set()
        self._place = place

    def has(self, name: str) -> bool:
        """Tell whether a member is there and not null; an absent one is known from now on."""
        self._known.add(name)
        if self._left.get(name) is None:
            self._left.pop(name, None)
            return False
        return True

    def inner(self, name: str) -> Members:
        """Take an object; an absent one is empty."""
        return Members(self._take(name, {}), self._at(name))

    def mapping(self, name: str) -> dict[str, object]:
        """Take an object as it is."""
        found = self._take(name, {})
        return dict(found) if isinstance(found, Mapping) else self.refuse(name, "must be an object")

    def text(self, name: str, default: object = _REQUIRED) -> str:
        found = self._take(name, default)
        return found if isinstance(found, str) else self.refuse(name, "must be a text")

    def flag(self, name: str, default: bool) -> bool:
        found = self._take(name, default)
        return found if isinstance(found, bool) else self.refuse(name, "must be true or false")

    def count(self, name: str, default: int) -> int:
        found = self._take(name, default)
        if isinstance(found, bool) or not isinstance(found, int) or found < 0:
            self.refuse(name, "must be a whole number, 0 or more")
        return found

    def texts(self, name: str, default: AbstractSet[str] = frozenset()) -> frozenset[str]:
        """Take a list of texts as a set."""
        found = self._take(name, list(default))
        if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
            self.refuse(name, "must be a list of texts")
        return frozenset(found)

    def choice(self, name: str, allowed: AbstractSet[str], default: object = _REQUIRED) -> str:
        found = self.text(name, default)
        return found if found in allowed else self.refuse(name, f"must be one of {_listed(allowed)}")

    def moment(self, name: str, default: datetime) -> datetime:
        """Take a time in RFC 3339, which has a zone."""
        if not self.has(name):
            return default
        try:
            found = datetime.fromisoformat(self.text(name))
        except ValueError:
            self.refuse(name, "must be a time such as 2026-03-02T09:30:00Z")
        return found if found.tzinfo is not None else self.refuse(name, "must have a time zone")

    def done(self) -> None:
        """Refuse the members that were not read."""
        for name in sorted(self._left):
            self.refuse(ascii(name)[1:65].rstrip("'"), f"is unknown; known are {_listed(self._known)}")

    def refuse(self, name: str, why: str) -> NoReturn:
        """Raise MemberError about a member."""
        raise MemberError(f"{self._at(name)} {why}")

    def _take(self, name: str, default: object) -> object:
        self._known.add(name)
        found = self._left.pop(name, default)
        return found if found is not _REQUIRED else self.refuse(name, "is missing")

    def _at(self, name: str) -> str:
        return f"{self._place}.{name}" if self._place else name


def _listed(names: AbstractSet[str]) -> str:
    return ", ".join(sorted(names))
