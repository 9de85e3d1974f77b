"""Where in a statement an error is. Cedar's messages carry no position, so the statement is asked again.

The parser stops at the first token it cannot take: the same message for the first k tokens, and not
for fewer, places it. What it finds wrong after parsing names something; then the place is where that
name stands. The number of questions is bounded, however long the statement.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

from policy.source import Kind, Statement, Token, tokens

MessageOf = Callable[[str], str]
"""Parses one statement alone and returns Cedar's message, or the empty text when it parses."""

MAX_OCCURRENCES = 16
MAX_PREFIXES = 200
MAX_PREFIX_CHARACTERS = 1024 * 1024
_UNEXPECTED = re.compile(r"unexpected token `(?P<token>.+)`", re.DOTALL)
_QUOTED = re.compile(r"`([^`]+)`")
_AFTER_COLON = re.compile(r": (\S+)$")
_CLOSING = {"(": ")", "[": "]", "{": "}"}


def syntax_offset(text: str, statement: Statement, message: str, message_of: MessageOf) -> int:
    """Return the offset in the file of the token that a parser's message is about.

    `message` is what `message_of` says about the whole statement. Falls back to the statement's start.
    """
    found = list(tokens(text, statement.start, statement.end))
    if not found:
        return statement.start
    unexpected = _UNEXPECTED.fullmatch(message)
    if message == "unexpected end of input" or (unexpected and unexpected["token"] == ";"):
        return _last(found).start
    if message == "invalid token" or unexpected:
        wanted = unexpected["token"] if unexpected else ""
        return _stopping(text, statement, found, wanted, message, message_of).start
    return _complained(text, statement, found, message, message_of).start


def name_offset(text: str, statement: Statement, name: str) -> int | None:
    """Return the offset of the first occurrence of a name outside strings and comments.

    The name may have several tokens, such as `input.url` or `Type::"id"`; of a dotted one it is the last
    part that counts, also where it is written `["url"]`, or stands behind `has`.
    """
    found = _tokens_of(text, statement)
    parts = [token.text for token in tokens(name)]
    at = next(_occurrences(found, parts), None)
    if at is not None:
        return found[at + len(parts) - 1 if "." in parts else at].start
    last = name.rpartition(".")[2]
    places = (token for token in found[1:] if token.text in (last, f'"{last}"'))
    return next((token.start for token in places if token.kind in (Kind.NAME, Kind.STRING)), None)


@lru_cache(maxsize=2)
def _tokens_of(text: str, statement: Statement) -> tuple[Token, ...]:
    """The tokens of a statement, which is often asked about many names in a row."""
    return tuple(tokens(text, statement.start, statement.end))


def _last(found: Sequence[Token]) -> Token:
    """Return the last token, or the one before the `;` that ends the statement."""
    return found[-2] if found[-1].text == ";" and len(found) > 1 else found[-1]


def _stopping(
    text: str, statement: Statement, found: Sequence[Token], wanted: str, message: str, message_of: MessageOf
) -> Token:
    """Return the token at which the parser stops: whatever follows it does not change the message."""
    places = [index for index, token in enumerate(found) if not wanted or token.text == wanted]
    low, high = 0, len(places) - 1
    while low < high:
        middle = (low + high) // 2
        if message_of(_prefix(text, statement, found, places[middle]) + ";") == message:
            high = middle
        else:
            low = middle + 1
    if not places or message_of(_prefix(text, statement, found, places[low]) + ";") != message:
        return found[0]
    return found[places[low]]


def _complained(
    text: str, statement: Statement, found: Sequence[Token], message: str, message_of: MessageOf
) -> Token:
    """Return what a message about a statement of good grammar names, else where it first comes up."""
    names = [*_QUOTED.findall(message), *_AFTER_COLON.findall(message)]
    for name in reversed(names):
        parts = [token.text for token in tokens(name)]
        places = [at for at, _ in zip(_occurrences(found, parts), range(MAX_OCCURRENCES), strict=False)]
        for at in places:
            if message_of(_without(text, statement, found[at + len(parts) - 1])) != message:
                return found[at]
        if places:
            return found[places[0]]
    return _first_prefix(text, statement, found, message, message_of) or found[0]


def _first_prefix(
    text: str, statement: Statement, found: Sequence[Token], message: str, message_of: MessageOf
) -> Token | None:
    """Return the last token of the shortest prefix that, with its brackets closed, gives the message."""
    open_brackets: list[str] = []
    characters = 0
    for index, token in enumerate(found[:MAX_PREFIXES]):
        if token.text in _CLOSING:
            open_brackets.append(_CLOSING[token.text])
        elif open_brackets and token.text == open_brackets[-1]:
            open_brackets.pop()
        prefix = _prefix(text, statement, found, index)
        characters += len(prefix)
        if characters > MAX_PREFIX_CHARACTERS:
            return None
        if message_of(f"{prefix}{''.join(reversed(open_brackets))};") == message:
            return token
    return None


def _occurrences(found: Sequence[Token], parts: Sequence[str]) -> Iterator[int]:
    """Yield the index of each place where the tokens read as the parts, a string only as a part of more."""
    if not parts or (len(parts) == 1 and parts[0].startswith('"')):
        return
    for index in range(len(found) - len(parts) + 1):
        if found[index].text == parts[0] and all(
            found[index + step].text == part for step, part in enumerate(parts)
        ):
            yield index


def _prefix(text: str, statement: Statement, found: Sequence[Token], index: int) -> str:
    return text[statement.start : found[index].end]


def _without(text: str, statement: Statement, token: Token) -> str:
    """Return the statement with one token replaced by a name that nothing has."""
    return f"{text[statement.start : token.start]} zzz {text[token.end : statement.end]}"
