"""Cedar policy text as statements and tokens with their places. Works in linear time and never raises.

Cedar's own lexer decides what a token is: a comment ends at a line feed or a carriage return, a string
may span lines, white space is Unicode's. Offsets count code points.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

MAX_STATEMENT_BYTES = 64 * 1024
_SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_TRIVIA = re.compile(rf"(?:[{_SPACE}]++|//[^\n\r]*+)*+")
_STATEMENT = re.compile(r'(?:[^";/]++|"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|//[^\n\r]*+|/)*+;?', re.DOTALL)
_STRING = re.compile(r'//[^\n\r]*+|"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)', re.DOTALL)
_OPENING = re.compile(r"[\n\r][ \t]*+(?=@[ \t]*+id\b|(?:permit|forbid)[ \t]*+\()")
_TOKEN = re.compile(
    rf"""
    (?P<trivia>(?:[{_SPACE}]++|//[^\n\r]*+)++)
    | (?P<string>"(?:[^"\\]++|\\.)*+")
    | (?P<name>[_a-zA-Z][_a-zA-Z0-9]*+)
    | (?P<number>[0-9]++)
    | (?P<slot>\?[_a-zA-Z][_a-zA-Z0-9]*+)
    | (?P<symbol>::|&&|\|\||==|!=|<=|>=|[@(){{}}\[\],;:.<>+\-*/%!=])
    | (?P<invalid>"(?:[^"\\]++|\\.)*+\\?\Z|.)
    """,
    re.VERBOSE | re.DOTALL,
)


class Kind(StrEnum):
    STRING = "string"
    NAME = "name"
    NUMBER = "number"
    SLOT = "slot"
    SYMBOL = "symbol"
    INVALID = "invalid"


@dataclass(frozen=True, slots=True)
class Token:
    """One token: its kind, its text and the offset of its first character in the file."""

    kind: Kind
    text: str
    start: int

    @property
    def end(self) -> int:
        return self.start + len(self.text)


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement of a file from its first token to behind its `;`, or to the end of the file."""

    start: int
    end: int


def statements(text: str) -> Iterator[Statement]:
    """Yield the statements in order. What lies between two of them is white space and comments."""
    found = next_statement(text, 0)
    while found is not None:
        yield found
        found = next_statement(text, found.end)


def next_statement(text: str, position: int) -> Statement | None:
    """Return the first statement at or behind an offset, or None when only comments follow."""
    start = _end(_TRIVIA.match(text, position))
    end = _end(_STATEMENT.match(text, start))
    return Statement(start, end) if end > start else None


def tokens(text: str, start: int = 0, end: int | None = None) -> Iterator[Token]:
    """Yield the tokens of a part of a text, without white space and comments."""
    for match in _TOKEN.finditer(text, start, len(text) if end is None else end):
        kind = match.lastgroup
        if kind != "trivia":
            yield Token(Kind(str(kind)), match[0], match.start())


def runaway(text: str, statement: Statement) -> int | None:
    """Return where the next statement seems to open inside a string of this one, which then is not closed.

    Only a text that does not parse is worth asking about: a string may hold such a line by right. At
    most the first 64 KiB of the statement are looked at.
    """
    end = min(statement.end, statement.start + MAX_STATEMENT_BYTES)
    for string in _STRING.finditer(text, statement.start, end):
        opening = _OPENING.search(text, string.start(), string.end()) if string[0][0] == '"' else None
        if opening is not None:
            return opening.end()
    return None


class Lines:
    """The lines of one text; a line ends with a line feed."""

    def __init__(self, text: str) -> None:
        self._starts = [0, *(match.end() for match in re.finditer("\n", text))]

    def place(self, offset: int) -> tuple[int, int]:
        """Return line and column of an offset, both from 1, columns in code points."""
        line = bisect_right(self._starts, offset)
        return line, offset - self._starts[line - 1] + 1


def _end(match: re.Match[str] | None) -> int:
    assert match is not None  # both patterns match the empty text
    return match.end()
