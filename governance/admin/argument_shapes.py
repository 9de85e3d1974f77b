"""What a text argument is, and its parts: an address, a path, words of a command, a patch. Pure.

A shape is an aid to the eye. Whatever does not parse stays the plain text it is, and the parts of a
shape always hold the whole text.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import SplitResult, unquote, urlsplit

from governance.admin.patches import Patch, patch_of
from governance.safety.visible import visible

MOST_WORDS = 64
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{1,15}://\S+")
_PATH = re.compile(r"[^\n\0]{1,1024}")
_PATH_NAMES = frozenset(
    {"path", "file", "filename", "directory", "dir", "cwd", "root", "folder", "target_path", "source_path"}
)
_SHELL_WORDS = re.compile(r"[A-Za-z0-9_@%+=:,./-]+")


@dataclass(frozen=True, slots=True)
class Address:
    """The parts of a URL. `ascii_host` is there when the host is spelled with other letters.

    `user` is what stands before `@` and is no part of the host. `query` holds each key with its value.
    """

    scheme: str
    host: str
    ascii_host: str
    user: str
    port: str
    path: str
    query: tuple[tuple[str, str], ...]
    fragment: str


@dataclass(frozen=True, slots=True)
class Step:
    """One component of a path; `is_odd` marks one that leads elsewhere or hides."""

    text: str
    is_last: bool
    is_odd: bool


@dataclass(frozen=True, slots=True)
class Word:
    """One element of a command line as a shell would have to be given it."""

    number: int
    text: str
    is_quoted: bool
    is_option: bool


@dataclass(frozen=True, slots=True)
class Shape:
    """What was recognised in a text; one of these is set, or none for plain text."""

    address: Address | None = None
    path: tuple[Step, ...] = ()
    patch: Patch | None = None


PLAIN = Shape()


def shape_of(name: str, text: str) -> Shape:
    """Return what the text argument of this name is."""
    if _ADDRESS.fullmatch(text):
        address = address_of(text)
        return Shape(address=address) if address else PLAIN
    if name.lower() in _PATH_NAMES and _PATH.fullmatch(text):
        return Shape(path=steps_of(text))
    patch = patch_of(text)
    return Shape(patch=patch) if patch else PLAIN


def address_of(text: str) -> Address | None:
    """Return the parts of a URL, or None for what no parser agrees on."""
    try:
        parts = urlsplit(text)
        port, host = parts.port, parts.hostname or ""
    except ValueError:
        return None
    if not host or "\\" in text:
        return None
    return Address(
        scheme=visible(parts.scheme),
        host=visible(host),
        ascii_host=_ascii_host(host),
        user=visible(_user(parts)),
        port=str(port) if port is not None else "",
        path=visible(parts.path),
        query=_query(parts.query),
        fragment=visible(parts.fragment),
    )


def steps_of(text: str) -> tuple[Step, ...]:
    """Return the components of a path in order; joined by `/` they are the path."""
    names = text.split("/")
    last = max((at for at, name in enumerate(names) if name), default=len(names) - 1)
    return tuple(
        Step(visible(name), at == last, name in ("..", "~") or name.startswith("~") or "\\" in name)
        for at, name in enumerate(names)
    )


def words_of(words: Sequence[str]) -> tuple[Word, ...]:
    """Return each element of a list of strings, quoted where a shell would need it."""
    return tuple(
        Word(
            number=at,
            text=visible(shlex.quote(word)),
            is_quoted=not _SHELL_WORDS.fullmatch(word),
            is_option=word.startswith("-"),
        )
        for at, word in enumerate(words, start=1)
    )


def _user(parts: SplitResult) -> str:
    return parts.netloc.rpartition("@")[0]


def _ascii_host(host: str) -> str:
    """Return how the host is spelled on the wire when that is not how it is shown, else nothing."""
    if host.isascii():
        return ""
    try:
        return host.encode("idna").decode()
    except UnicodeError:
        return "no valid host name"


def _query(text: str) -> tuple[tuple[str, str], ...]:
    pairs = (part.partition("=") for part in text.split("&") if part)
    return tuple((visible(unquote(key)), visible(unquote(value))) for key, _, value in pairs)
