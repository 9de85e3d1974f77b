"""Where a URI leads: scheme, host and port, read so that no other reader can find another place.

What policy judges and what a client connects to must be one host. So a client connects to the parts
returned here, and a text on whose authority readers of RFC 3986, of RFC 3987 and of the WHATWG URL
standard could differ is refused instead of being repaired.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from dataclasses import dataclass

import idna

DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443, "ftp": 21}
MAX_HOST = 253
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_AUTHORITY = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<name>[^][:@%]*))(?::(?P<port>[0-9]{1,5}))?")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Zs", "Zl", "Zp"})


class UriError(ValueError):
    """The text is no URI, or one on which readers could differ. The message never repeats it."""


@dataclass(frozen=True, slots=True)
class UriParts:
    """`host` is lower-case ASCII: a name without its final dot, or an address without brackets.

    It is empty for a scheme without one, such as `urn:`. `port` is the scheme's own when none is given.
    """

    scheme: str
    host: str
    port: int | None


def parse_uri(text: str) -> UriParts:
    """Return the parts of an absolute URI, or raise UriError.

    Refused besides what is malformed: blanks, control and format characters and backslashes anywhere,
    user information, percent signs in the host, an empty port, and numbers that are no plain IPv4
    address (`127.1`, `0x7f.1`, `2130706433`), which some resolvers read as one.
    """
    if any(character == "\\" or unicodedata.category(character) in _UNSEEN for character in text):
        raise UriError("holds a blank, a backslash or a character that cannot be seen")
    found = _SCHEME.match(text)
    if found is None:
        raise UriError("has no scheme")
    scheme, rest = found[1].lower(), text[found.end() :]
    if not rest.startswith("//"):
        if scheme in DEFAULT_PORTS:
            raise UriError("names no host")
        return UriParts(scheme, "", None)
    host, port = _authority(re.split(r"[/?#]", rest[2:], maxsplit=1)[0])
    if not host and (scheme in DEFAULT_PORTS or port is not None):
        raise UriError("names no host")
    return UriParts(scheme, host, DEFAULT_PORTS.get(scheme) if port is None else port)


def _authority(text: str) -> tuple[str, int | None]:
    if "@" in text:
        raise UriError("holds user information")
    found = _AUTHORITY.fullmatch(text)
    if found is None:
        raise UriError("has a host or port that is not plain")
    port = None if found["port"] is None else int(found["port"])
    if port is not None and port > 65_535:
        raise UriError("has a port out of range")
    return _address(found["six"]) if found["six"] is not None else _name(found["name"]), port


def _address(text: str) -> str:
    """Return an IPv6 address in its shortest form; one that maps IPv4 is that IPv4 address."""
    try:
        address = ipaddress.IPv6Address(text)
    except ValueError as error:
        raise UriError("has no IPv6 address within its brackets") from error
    return str(address.ipv4_mapped or address)


def _name(text: str) -> str:
    if not text:
        return ""
    name = (text if text.isascii() else _ascii(text)).lower().removesuffix(".")
    labels = name.split(".")
    if len(name) > MAX_HOST or not all(map(_LABEL.fullmatch, labels)):
        raise UriError("has a host that is no host name")
    if _NUMBER.fullmatch(labels[-1]):
        return _plain_ipv4(name)
    if any(label.startswith("xn--") for label in labels):
        _require_idna(labels)
    return name


def _ascii(text: str) -> str:
    """Return an international name as its A-labels (UTS 46, not transitional)."""
    try:
        return idna.encode(text, uts46=True).decode("ascii")
    except UnicodeError as error:
        raise UriError("has an international host name that is not valid") from error


def _plain_ipv4(name: str) -> str:
    try:
        return str(ipaddress.IPv4Address(name))
    except ValueError as error:
        raise UriError("has a host that ends in a number and is no plain IPv4 address") from error


def _require_idna(labels: list[str]) -> None:
    """Refuse an A-label that no U-label has: readers decode it differently, or not at all."""
    try:
        for label in labels:
            if label.startswith("xn--"):
                idna.decode(label)
    except UnicodeError as error:
        raise UriError("has an international host name that is not valid") from error
