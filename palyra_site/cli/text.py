"""Text from a server, made harmless for a terminal."""

from __future__ import annotations

import re

_CONTROLS = r"\x00-\x1f\x7f-\x9f"
# Bidirectional controls reorder, zero-width and separator characters hide what is really there;
# lone surrogates cannot be encoded at all.
_INVISIBLE = r"\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff"
_UNSAFE = re.compile(f"[{_CONTROLS}{_INVISIBLE}]")
_UNSAFE_IN_JSON = re.compile(f"[\x7f-\x9f{_INVISIBLE}]")
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def visible(text: str) -> str:
    r"""Return `text` on one line with control characters as `\x1b` and invisible ones as `⟦U+202E⟧`."""
    return _UNSAFE.sub(_name, text)


def visible_lines(text: str) -> str:
    """Like `visible`, for text of several lines: line feeds stay."""
    return "\n".join(visible(line) for line in text.split("\n"))


def safe_json(text: str) -> str:
    r"""Return the same JSON value with unsafe characters as `\uXXXX`.

    `text` must be valid JSON: there such characters can only stand inside strings, so that replacing
    them changes no value.
    """
    return _UNSAFE_IN_JSON.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _name(match: re.Match[str]) -> str:
    character = match[0]
    if character in _SHORT:
        return _SHORT[character]
    point = ord(character)
    return f"\\x{point:02x}" if point < 0xA0 else f"⟦U+{point:04X}⟧"
