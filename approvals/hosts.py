"""Where a parameter leads: scheme, host and port of a URL, or a bare host name."""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from dataclasses import dataclass
from functools import cache

from publicsuffixlist import PublicSuffixList

from kernel.uris import DEFAULT_PORTS, UriError, parse_uri

MAX_TEXT = 8_192
_BARE = "bare"
_AUTHORITY = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://([^/?#]*)")
_PORT = re.compile(r":[0-9]{1,5}\Z")
_OTHER_DOTS = frozenset("\u3002\uff0e\uff61")
"""What IDNA reads as a dot and a plain resolver does not."""
_NOT_BARE = frozenset("/?#@%\\ ")


@dataclass(frozen=True, slots=True)
class Origin:
    """`scheme` is empty for a bare host name. `host` is lower-case ASCII, `port` the scheme's own if none."""

    scheme: str
    host: str
    port: int | None
    is_address: bool

    def text(self) -> str:
        """Return the one spelling of an origin, which `origin_of` reads back."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        shown = "" if self.port == DEFAULT_PORTS.get(self.scheme) else f":{self.port}"
        return f"{self.scheme}://{host}{shown}" if self.scheme else f"{host}{shown}"


def origin_of(text: object) -> Origin | None:
    """Return where an absolute URL or a bare host name leads, or None when readers could differ.

    Besides what `parse_uri` refuses: a host with a final dot or with letters that only compatibility
    normalisation makes plain, an address in any but its shortest spelling, and a bare name with anything
    but a port behind it.
    """
    if not isinstance(text, str) or len(text) > MAX_TEXT:
        return None
    bare = "://" not in text
    if bare and not _NOT_BARE.isdisjoint(text):
        return None
    whole = f"{_BARE}://{text}" if bare else text
    try:
        parts = parse_uri(whole)
    except UriError:
        return None
    found = _AUTHORITY.match(whole)
    if found is None or not parts.host:
        return None
    name = _PORT.sub("", found[1])
    address = _is_address(parts.host)
    if not _is_plain_name(name) or (address and name.strip("[]") != parts.host):
        return None
    return Origin("" if bare else parts.scheme, parts.host, parts.port, address)


def read_origin(text: object) -> Origin | None:
    """Return the origin a person typed: a URL without a path, or a bare host name."""
    origin = origin_of(text)
    if origin is None or not isinstance(text, str):
        return None
    tail = text.split("://", 1)[-1]
    return origin if re.fullmatch(r"[^/?#]+/?", tail) else None


def is_beneath_host(origin: Origin, suffix: Origin) -> bool:
    """Tell whether a host is `suffix` or a name beneath it, by the same scheme and port."""
    if (origin.scheme, origin.port) != (suffix.scheme, suffix.port) or origin.is_address:
        return False
    return origin.host == suffix.host or origin.host.endswith("." + suffix.host)


def may_be_suffix(suffix: Origin, approved: Origin) -> bool:
    """Tell whether everything beneath `suffix` may be covered by an approval of `approved`.

    It is the approved host or one label above it, a name of two labels or more, and neither an address
    nor a public suffix, under which anybody can register (publicsuffix.org, both of its sections).
    """
    if suffix.is_address or not is_beneath_host(approved, suffix) or "." not in suffix.host:
        return False
    above = approved.host.count(".") - suffix.host.count(".")
    return above <= 1 and not is_public_suffix(suffix.host)


def is_public_suffix(host: str) -> bool:
    """Tell whether anybody can register a name directly beneath this one; unknown top levels count."""
    return _suffixes().privatesuffix(host) is None


@cache
def _suffixes() -> PublicSuffixList:
    return PublicSuffixList()


def _is_plain_name(name: str) -> bool:
    if name.endswith(".") or not _OTHER_DOTS.isdisjoint(name):
        return False
    return name.isascii() or unicodedata.normalize("NFKC", name) == name


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
