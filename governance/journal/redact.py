"""What an event's data loses before it is digested and stored: secrets first, then size."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from governance.journal import bounds
from governance.journal.known_values import cutting
from governance.safety.secrets import Scanned
from kernel.canonical import MAX_SAFE_INTEGER, canonical
from kernel.clock import exact_time

Scan = Callable[[str], Scanned]

SECRET_TOKENS = frozenset(
    [
        *("password", "passwd", "passphrase", "secret", "token", "apikey", "authorization", "cookie"),
        *("credential", "privatekey", "signature", "pin", "otp", "totp"),
    ]
)
SECRET_PAIRS = frozenset({("api", "key"), ("private", "key"), ("set", "cookie")})
MEASURE_TOKENS = frozenset(
    ["count", "counts", "limit", "max", "min", "used", "usage", "budget", "id", "ids", "kind", "type", "ttl"]
)

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z0-9]+|[A-Z0-9]+")
_SURROGATE = re.compile("[\ud800-\udfff]")
_MAX_EMBEDDING = 4
_REDACTED = ({"_redacted": "secret"}, {"_redacted": "key"})


@dataclass(frozen=True, slots=True)
class Cleaned:
    """Data fit to be stored, and in how many places something was taken away or replaced."""

    data: dict[str, object]
    count: int


def clean(
    data: Mapping[str, object],
    *,
    scan: Scan,
    salt: bytes,
    secret_fields: frozenset[str] = frozenset(),
    known: frozenset[bytes] = frozenset(),
) -> Cleaned:
    """Return `data` without secrets and within the bounds, ready for its canonical form.

    Fields named in `secret_fields` go whole, then values under secret-like names at any depth, then
    the values in `known` and the spans that `scan` finds inside strings; JSON inside a string is treated
    as JSON. What is too
    large or too deep is cut and marked, never refused. `salt` (32 bytes) keeps the digest of a cut
    text from being guessed. Deterministic, and idempotent under the same salt.
    """
    sweep = _Sweep(cutting(known, scan))
    swept = {
        name: sweep.secret("secret", value) if name in secret_fields else sweep.member(name, value, depth=2)
        for name, value in data.items()
    }
    bounded = bounds.bound(swept, salt=salt)
    return Cleaned(data=bounded.data, count=sweep.count + bounded.count)


def clean_text(text: str, *, scan: Scan) -> Scanned:
    """Return one text without secrets, as `clean` does inside data; nothing is cut for its size."""
    sweep = _Sweep(scan)
    cleaned = sweep.text(text)
    return Scanned(cleaned, sweep.count)


def is_secret_name(name: str) -> bool:
    """Tell whether a member name says that its value is a secret: whole words, any spelling of case.

    A name that says it measures or identifies one (`token_count`, `token_id`) is not secret.
    """
    words = tuple(word.lower() for word in _WORD.findall(name))
    if not words or words[-1] in MEASURE_TOKENS:
        return False
    return not SECRET_TOKENS.isdisjoint(words) or not SECRET_PAIRS.isdisjoint(pairwise(words))


class _Sweep:
    """One pass over one event's data. Nothing below the depth bound is kept, so nothing is read there."""

    def __init__(self, scan: Scan) -> None:
        self._scan = scan
        self._embedding = 0
        self.count = 0

    def secret(self, why: str, value: object) -> object:
        if value is None or value in _REDACTED:
            return value
        self.count += 1
        return {"_redacted": why}

    def member(self, name: str, value: object, depth: int) -> object:
        return self.secret("key", value) if is_secret_name(name) else self.value(value, depth)

    def value(self, value: object, depth: int) -> object:
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            return self.text(str(value))
        if isinstance(value, (int, float)):
            return self._number(value)
        if isinstance(value, (bytes, bytearray, memoryview)):
            self.count += 1
            return {"_binary": True, "bytes": len(bytes(value))}
        if isinstance(value, datetime):
            return exact_time(value)
        return self._container(value, depth)

    def text(self, text: str) -> str:
        """Return the text without lone surrogates and secrets; JSON in it stays JSON."""
        text, replaced = _SURROGATE.subn("\N{REPLACEMENT CHARACTER}", text)
        self.count += replaced
        embedded = _embedded_json(text)
        if embedded is not None:
            return self._embedded(text, embedded)
        scanned = self._scan(text)
        self.count += scanned.count
        return scanned.text

    def _embedded(self, text: str, embedded: _Embedded) -> str:
        if self._embedding == _MAX_EMBEDDING:
            self.count += 1
            return "[redacted:nested_json]"
        before = self.count
        self.count += embedded.repeats
        self._embedding += 1
        swept = self.value(embedded.value, depth=1)
        self._embedding -= 1
        return text if self.count == before else canonical(swept).decode()

    def _number(self, value: float) -> object:
        if isinstance(value, float) and not math.isfinite(value):
            self.count += 1
            return str(value)
        if abs(value) > MAX_SAFE_INTEGER:
            self.count += 1
            return _decimal(int(value))
        return value

    def _container(self, value: object, depth: int) -> object:
        if isinstance(value, dict) and bounds.is_mark(value):
            return {name: self.text(item) if isinstance(item, str) else item for name, item in value.items()}
        if not isinstance(value, (Mapping, list, tuple, set, frozenset)):
            raise TypeError(f"an event cannot hold a {type(value).__name__}")
        if depth > bounds.MAX_DEPTH:
            self.count += 1
            return {"_truncated": True, "depth": bounds.MAX_DEPTH}
        if isinstance(value, Mapping):
            return {key: self.member(key, item, depth + 1) for key, item in self._named(value)}
        items = sorted(value, key=repr) if isinstance(value, (set, frozenset)) else value
        return [self.value(item, depth + 1) for item in items]

    def _named(self, members: Mapping[object, object]) -> list[tuple[str, object]]:
        return [(self.text(str(name)), item) for name, item in members.items()]


@dataclass(frozen=True, slots=True)
class _Embedded:
    value: object
    repeats: int


def _embedded_json(text: str) -> _Embedded | None:
    """Return the JSON container or string that a text is, or None when it is ordinary text.

    A repeated member is counted: the parser keeps one of the values, so the text may not stay.
    """
    if text.lstrip()[:1] not in ("{", "[", '"'):
        return None
    repeats = 0

    def members(pairs: list[tuple[str, object]]) -> dict[str, object]:
        nonlocal repeats
        result = dict(pairs)
        repeats += len(pairs) - len(result)
        return result

    try:
        value = json.loads(text, object_pairs_hook=members)
    except RecursionError:
        return _Embedded({"_truncated": True, "depth": bounds.MAX_DEPTH}, repeats=1)
    except ValueError:
        return None
    return _Embedded(value, repeats)


def _decimal(value: int) -> str:
    """Return the decimal digits, or hexadecimal ones where Python refuses so long a conversion."""
    try:
        return str(value)
    except ValueError:
        return hex(value)
