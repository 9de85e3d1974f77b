"""The text of a bearer token: `plr_<kind>_<lookup12>_<secret43><crc6>`, 70 characters of base62 parts.

`lookup` is public and finds the row. Only the SHA-256 of the whole text is stored. The checksum lets
a leak scanner and the server refuse a mistyped text without asking the database.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import string
import zlib
from dataclasses import dataclass, field
from enum import StrEnum

ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
SECRET_BYTES = 32
TOKEN_LENGTH = 70
_VALUES = {character: value for value, character in enumerate(ALPHABET)}
PATTERN = "plr_(agt|usr|svc|adm)_[0-9A-Za-z]{12}_[0-9A-Za-z]{49}"
"""How a token reads, as published for leak scanners."""
_TEXT = re.compile(r"plr_(agt|usr|svc|adm)_([0-9A-Za-z]{12})_([0-9A-Za-z]{43})([0-9A-Za-z]{6})", re.ASCII)


class TokenKind(StrEnum):
    AGENT = "agt"
    USER = "usr"
    SERVICE = "svc"
    ADMIN = "adm"


@dataclass(frozen=True, slots=True)
class TokenParts:
    """What a token text says. The secret stays out of `repr`."""

    kind: TokenKind
    lookup: str
    secret: bytes = field(repr=False)


def new_token(kind: TokenKind) -> TokenParts:
    """Return fresh parts: a random lookup and 32 random bytes."""
    lookup = "".join(secrets.choice(ALPHABET) for _ in range(12))
    return TokenParts(kind, lookup, secrets.token_bytes(SECRET_BYTES))


def format_token(parts: TokenParts) -> str:
    """Return the text. `parse_token` of it gives equal parts."""
    body = f"plr_{parts.kind}_{parts.lookup}_{_base62(int.from_bytes(parts.secret), 43)}"
    return body + _checksum(body)


def parse_token(text: str) -> TokenParts | None:
    """Return the parts, or None when the form, the checksum or the secret's range is wrong."""
    match = _TEXT.fullmatch(text)
    if match is None or _checksum(text[:-6]) != match[4]:
        return None
    number = _number(match[3])
    if number >= 1 << (8 * SECRET_BYTES):
        return None
    return TokenParts(TokenKind(match[1]), match[2], number.to_bytes(SECRET_BYTES))


def find_tokens(text: str) -> tuple[str, ...]:
    """Return every well-formed token within a longer text, each once, in the order they come."""
    if "plr_" not in text:
        return ()
    found = (match[0] for match in _TEXT.finditer(text))
    return tuple(dict.fromkeys(one for one in found if parse_token(one) is not None))


def token_digest(text: str) -> bytes:
    """Return the 32 bytes that are stored for a token text."""
    return hashlib.sha256(text.encode()).digest()


def _checksum(body: str) -> str:
    return _base62(zlib.crc32(body.encode()), 6)


def _base62(number: int, width: int) -> str:
    digits = []
    while number:
        number, rest = divmod(number, 62)
        digits.append(ALPHABET[rest])
    return "".join(reversed(digits)).rjust(width, ALPHABET[0])


def _number(text: str) -> int:
    number = 0
    for character in text:
        number = number * 62 + _VALUES[character]
    return number
