"""Cedar text for reading: highlighted on the server, one numbered line each."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from pygments.lexer import RegexLexer, words
from pygments.token import Comment, Keyword, Name, Number, Punctuation, String, Text, Token

_ID = re.compile(r'@id\("([A-Za-z0-9_.-]{1,128})"\)')
_CLASSES = {
    Comment: "tok-c",
    Keyword: "tok-k",
    String: "tok-s",
    Number: "tok-n",
    Name.Decorator: "tok-a",
    Name.Variable: "tok-n",
}


class CedarLexer(RegexLexer):
    """The tokens of Cedar 4 policies."""

    name = "Cedar"
    aliases: ClassVar[list[str]] = ["cedar"]
    tokens: ClassVar = {
        "root": [
            (r"//[^\n]*", Comment),
            (r'"(\\.|[^"\\])*"', String),
            (r"@[A-Za-z_]\w*", Name.Decorator),
            (words(("permit", "forbid", "when", "unless", "if", "then", "else", "in", "is", "has", "like",
                    "true", "false"), prefix=r"\b", suffix=r"\b"), Keyword),
            (words(("principal", "action", "resource", "context"), prefix=r"\b", suffix=r"\b"),
             Name.Variable),
            (r"\b\d+\b", Number),
            (r"\w+", Text),
            (r"\s+", Text),
            (r".", Punctuation),
        ]
    }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a policy file: its number, its pieces as (class, text) and the policy that begins here."""

    number: int
    pieces: tuple[tuple[str, str], ...]
    policy_id: str


def lines(text: str, *, first: int = 1) -> list[Line]:
    """Return the lines of a text, numbered from `first`. Joined, the pieces of all give the text back."""
    rows: list[list[tuple[str, str]]] = [[]]
    for css, piece in _pieces(text):
        head, *rest = piece.split("\n")
        rows[-1].append((css, head))
        for part in rest:
            rows.append([(css, part)])
    return [_line(number, pieces) for number, pieces in enumerate(rows, start=first)]


def _line(number: int, pieces: list[tuple[str, str]]) -> Line:
    found = _ID.search("".join(text for _, text in pieces))
    kept = tuple((css, text) for css, text in pieces if text)
    return Line(number, kept, found[1] if found else "")


def _pieces(text: str) -> Iterator[tuple[str, str]]:
    for _, token, value in CedarLexer(stripnl=False, ensurenl=False).get_tokens_unprocessed(text):
        yield _class_of(token), value


def _class_of(token: object) -> str:
    while token is not Token and token is not None:
        if token in _CLASSES:
            return _CLASSES[token]
        token = getattr(token, "parent", None)
    return ""
