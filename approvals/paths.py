"""Relative POSIX paths, read so that no reader of the same text finds another place."""

from __future__ import annotations

import re
import unicodedata

MAX_PATH = 4_096
_NEVER = frozenset('\\~:`$;|&<>*?"')
_ESCAPED = re.compile(r"%[0-9A-Fa-f]{2}")
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"})
_MEANING = frozenset("./\\~:%")


def path_parts(text: object) -> tuple[str, ...] | None:
    """Return the components of a relative path without `.` and empty ones; `()` is the root.

    None for everything else: an absolute path, `..`, NUL and other control or format characters,
    backslash, `~`, `:`, what a shell would act on, percent escapes, and characters that compatibility
    normalisation turns into one with a meaning in a path. Components are compared as they are written;
    links are not followed here, whoever opens the file stays beneath the workspace.
    """
    if not isinstance(text, str) or not text or len(text) > MAX_PATH or text.startswith("/"):
        return None
    if not _NEVER.isdisjoint(text) or _ESCAPED.search(text) or not _is_plain(text):
        return None
    parts = tuple(part for part in text.split("/") if part not in ("", "."))
    return None if ".." in parts else parts


def is_beneath(parts: tuple[str, ...], prefix: tuple[str, ...]) -> bool:
    """Tell whether a place lies strictly beneath another, component by component, and not hidden there.

    A name that begins with a dot (`.git`, `.env`, `.github`) holds what other programs obey, so it counts
    only where the prefix itself leads into it.
    """
    if len(parts) <= len(prefix) or parts[: len(prefix)] != prefix:
        return False
    return not any(part.startswith(".") for part in parts[len(prefix) :])


def _is_plain(text: str) -> bool:
    if text.isascii():
        return text.isprintable()
    for character in text:
        if character == " ":
            continue
        if unicodedata.category(character) in _UNSEEN:
            return False
        if ord(character) > 127 and not _MEANING.isdisjoint(unicodedata.normalize("NFKC", character)):
            return False
    return True
