"""Host names inside text: a letter that looks like another one must not lead somewhere else."""

from __future__ import annotations

import re

_DOTS = ".\u3002\uff0e\uff61"
"""Full stops, with those that a resolver reads as the dot between two labels."""
_AUTHORITY = re.compile(r"(?<=://)[^\s/?#\\]+")
_RUN = re.compile(rf"[\w{_DOTS}-]+")
"""A run has one end only, so that time grows with the text and not faster."""
_PART = re.compile(r"[^\W_]+")
_ASCII_LETTER = re.compile(r"[A-Za-z]")
_FOREIGN = re.compile(r"[^\x00-\x7f]")
_ACCENTED = frozenset(map(chr, (*range(0xC0, 0xD7), *range(0xD8, 0xF7), *range(0xF8, 0x100))))
"""Letters of Western Europe: nobody takes `ü` for another letter."""


def with_plain_hosts(text: str, *, is_host: bool = False) -> str:
    """Return text in which no host mixes ASCII letters with letters of another script.

    The foreign ones become `⟦U+0430⟧`. In the authority of a URL, and in a text that `is_host`, one host
    is one script; in any other dotted word one run of letters is, since `отчёт.pdf` is no host. Total and
    idempotent.
    """
    if text.isascii():
        return text
    if is_host:
        return _mixed(text)
    text = _AUTHORITY.sub(lambda found: _mixed(found[0]), text)
    return _RUN.sub(lambda found: _dotted(found[0]), text)


def _dotted(run: str) -> str:
    if run.isascii() or not any(dot in run.strip(_DOTS) for dot in _DOTS):
        return run
    return _PART.sub(lambda part: _mixed(part[0]), run)


def _mixed(text: str) -> str:
    if text.isascii() or not _ASCII_LETTER.search(text):
        return text
    return _FOREIGN.sub(_mark, text)


def _mark(found: re.Match[str]) -> str:
    letter = found[0]
    return letter if letter in _ACCENTED or letter in "⟦⟧" else f"⟦U+{ord(letter):04X}⟧"
