"""Where a webhook may go: https to public addresses, and what an installation opens besides."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

from identity.endpoints import is_loopback_host, is_usable_url
from identity.networks import Network, parse_networks
from kernel.uris import UriError, parse_uri

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
LONGEST_URL = 2_000

NEVER = parse_networks(
    (
        "0.0.0.0/8",
        "169.254.0.0/16",  # link-local, and where clouds keep a machine's credentials
        "100.100.100.200",  # the same of one cloud, in shared address space
        "168.63.129.16",  # the host's agent of another, a public address
        "192.0.0.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
        "::/96",
        "::ffff:0:0/96",  # IPv4 in another dress, as are the next five
        "::ffff:0:0:0/96",
        "64:ff9b::/96",
        "64:ff9b:1::/48",
        "2001::/32",
        "2002::/16",
        "fe80::/10",
        "fec0::/10",
        "fd00:ec2::254",
        "ff00::/8",
    )
)
PRIVATE = parse_networks(("10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"))
LOOPBACK = parse_networks(("127.0.0.0/8", "::1"))


@dataclass(frozen=True, slots=True)
class Reach:
    """What an installation opens: private addresses, and plain http that stays on this machine."""

    private: bool = False
    plain_loopback: bool = False


@dataclass(frozen=True, slots=True)
class Target:
    """The parts of a URL that a client connects to. `path` is at least `/` and holds the query."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """The value of `Host`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        usual = {"https": 443, "http": 80}[self.scheme]
        return host if self.port == usual else f"{host}:{self.port}"


def parse_target(url: str, reach: Reach) -> Target | None:
    """Return where a URL leads, or None for one that webhooks are not sent to.

    Refused are http (but to this machine where `reach` says so), user information, fragments, what
    readers of URLs could understand differently, and an address that is never connected to. A name is
    looked up only when something is sent.
    """
    if len(url) > LONGEST_URL or not is_usable_url(url, plain_loopback=reach.plain_loopback):
        return None
    try:
        uri, parts = parse_uri(url), urlsplit(url)
    except (UriError, ValueError):
        return None
    if uri.port is None:
        return None
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    target = Target(uri.scheme, uri.host, uri.port, path)
    return target if _parsed(uri.host) is None or may_connect(uri.host, target, reach) else None


def may_connect(address: str, target: Target, reach: Reach) -> bool:
    """Tell whether a webhook for `target` may be sent to this address. An unreadable one: no.

    What `NEVER` lists stays shut whatever is opened. Plain http connects to this machine alone.
    """
    parsed = _parsed(address)
    if parsed is None:
        return False
    if _lies_in(parsed, LOOPBACK):
        own = reach.plain_loopback and is_loopback_host(target.host)
        return own or (reach.private and target.scheme == "https")
    if target.scheme != "https" or _lies_in(parsed, NEVER):
        return False
    if _lies_in(parsed, PRIVATE):
        return reach.private
    return parsed.is_global


def _parsed(text: str) -> Address | None:
    """Return an address as it is: one that maps IPv4 stays IPv6, for nobody's name has it."""
    if "%" in text:
        return None
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _lies_in(address: Address, networks: tuple[Network, ...]) -> bool:
    return any(address.version == network.version and address in network for network in networks)
