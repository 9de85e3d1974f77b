"""Which addresses of another party are used at all: https, or plain http that stays on this machine."""

from __future__ import annotations

import ipaddress
from urllib.parse import SplitResult, urlsplit

_LONGEST = 2048


def is_usable_url(url: str, *, plain_loopback: bool = False) -> bool:
    """Tell whether a URL is https with a host and neither user, password nor fragment.

    With `plain_loopback`, http to a loopback address (or `localhost`) counts too.
    """
    parts = _parts(url)
    if parts is None:
        return False
    return parts.scheme == "https" or (plain_loopback and _is_plain_loopback(parts))


def is_plain_loopback(url: str) -> bool:
    """Tell whether a URL is plain http to this machine."""
    parts = _parts(url)
    return parts is not None and _is_plain_loopback(parts)


def is_loopback_host(host: str) -> bool:
    """Tell whether a host name or address without brackets means this machine."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def _parts(url: str) -> SplitResult | None:
    if len(url) > _LONGEST or not url.isascii() or any(ord(sign) <= 32 or ord(sign) == 127 for sign in url):
        return None
    try:
        parts = urlsplit(url)
        named, port = parts.hostname, parts.port
    except ValueError:
        return None
    if not named or "@" in parts.netloc or "#" in url or "\\" in url or port == 0:
        return None
    return parts


def _is_plain_loopback(parts: SplitResult) -> bool:
    return parts.scheme == "http" and is_loopback_host(parts.hostname or "")
