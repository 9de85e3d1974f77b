"""Addresses: the network somebody comes from, and who a client behind proxies is."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
UNKNOWN_NETWORK = "unknown"


def network_of(address: str) -> str:
    """Return the /24 (IPv4) or /64 (IPv6) network of an address, or `unknown` for anything else."""
    parsed = _parsed(address)
    if parsed is None:
        return UNKNOWN_NETWORK
    return str(ipaddress.ip_network((parsed, 24 if parsed.version == 4 else 64), strict=False))


def subscriber_of(address: str) -> str:
    """Return what one subscriber can hardly change: an IPv4 address, the /64 of IPv6, or `unknown`.

    Somebody with IPv6 has more addresses than any table of them could hold.
    """
    parsed = _parsed(address)
    if parsed is None:
        return UNKNOWN_NETWORK
    return str(parsed) if parsed.version == 4 else network_of(address)


def parse_networks(texts: Sequence[str]) -> tuple[Network, ...]:
    """Return CIDRs or single addresses as networks; ValueError names the first that is none."""
    return tuple(ipaddress.ip_network(text.strip(), strict=False) for text in texts)


def is_within(address: str, networks: Sequence[Network]) -> bool:
    """Tell whether an address lies in one of the networks; an unreadable address lies in none."""
    parsed = _parsed(address)
    return parsed is not None and any(
        parsed.version == network.version and parsed in network for network in networks
    )


def client_address(remote: str, forwarded: str, trusted: Sequence[Network]) -> str:
    """Return the address of the client, or an empty text when a trusted proxy speaks of nobody readable.

    It is the peer's, unless the peer is a trusted proxy: then it is the right-most address of
    `X-Forwarded-For` that is no trusted proxy. What stands further left is never looked at, however much
    of it there is, and an address that cannot be read is never taken for the proxy's own: a client could
    otherwise write itself into a network that only the proxy is in.
    """
    if not forwarded or not is_within(remote, trusted):
        return remote
    for hop in reversed(forwarded.split(",")):
        parsed = _parsed(hop.strip())
        if parsed is None:
            return ""
        if not is_within(str(parsed), trusted):
            return str(parsed)
    return remote


def _parsed(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return None
    if isinstance(parsed, ipaddress.IPv4Address):
        return parsed
    # A zone ("%eth0") may be any text, and means nothing beyond the host that wrote it.
    return parsed.ipv4_mapped or ipaddress.IPv6Address(int(parsed))
