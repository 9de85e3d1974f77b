"""Cutting values out of text that are known to be secret, in the spellings in which tools repeat them."""

from __future__ import annotations

import re
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable, Iterable, Iterator
from urllib.parse import quote, quote_from_bytes, quote_plus

from governance.safety.secrets import Scanned

SHORTEST = 8
"""Bytes. A shorter value would be found in ordinary words."""
MARK = "[redacted:known_value]"
_LEAD = (0, 2, 3)
"""Characters of base64 that also hold bits of what stands 0, 1 or 2 bytes before the value."""

Scan = Callable[[str], Scanned]


def cutting(known: Iterable[bytes], scan: Scan) -> Scan:
    """Return a scan that first cuts these values: raw, base64 at each alignment, hex, percent-encoded.

    Without any value of at least `SHORTEST` bytes it is `scan` itself. A text is cut once more by the same
    scan without any change.
    """
    pattern = _pattern(known)
    if pattern is None:
        return scan

    def cut(text: str) -> Scanned:
        left, count = pattern.subn(MARK, text)
        scanned = scan(left)
        return Scanned(scanned.text, count + scanned.count)

    return cut


def _pattern(known: Iterable[bytes]) -> re.Pattern[str] | None:
    values = [value for value in known if len(value) >= SHORTEST]
    exact = {form for value in values for form in _exact(value) if form not in MARK}
    loose = {form for value in values for form in _loose(value) if form not in MARK}
    parts = [re.escape(form) for form in _longest_first(exact)]
    parts += [f"(?i:{re.escape(form)})" for form in _longest_first(loose)]
    return re.compile("|".join(parts)) if parts else None


def _exact(value: bytes) -> Iterator[str]:
    text = value.decode("utf-8", errors="replace")
    if text.encode("utf-8") == value:
        yield text
    for encode in (b64encode, urlsafe_b64encode):
        for shift, lead in enumerate(_LEAD):
            whole = (shift + len(value)) * 8 // 6
            yield encode(bytes(shift) + value).decode()[lead:whole]


def _loose(value: bytes) -> Iterator[str]:
    """Spellings in which the case of letters says nothing."""
    yield value.hex()
    yield "".join(f"%{byte:02x}" for byte in value)
    yield quote_from_bytes(value, safe="")
    text = value.decode("utf-8", errors="replace")
    if text.encode("utf-8") == value:
        yield from (quote(text), quote_plus(text))


def _longest_first(forms: set[str]) -> list[str]:
    return sorted(forms, key=lambda form: (-len(form), form))
