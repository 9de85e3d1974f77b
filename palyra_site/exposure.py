"""Whether the server may be reached the way it is set up. Pure: `up`, `check --deploy` and ASGI ask it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from identity.endpoints import is_loopback_host
from identity.networks import Network


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault: its id among Django's system checks, what is wrong, and what to do."""

    id: str
    sentence: str
    hint: str


@dataclass(frozen=True, slots=True)
class Exposure:
    """What decides who can reach the server, and what they could read on the way."""

    bind: str
    public_url: str
    allowed_hosts: Sequence[str] = ()
    debug: bool = False
    cookie_secure: bool = False
    cookie_name: str = ""
    trusted_proxies: Sequence[Network] = ()


def is_local_bind(bind: str) -> bool:
    """Tell whether `host:port` is reached from this machine only. No host means every address."""
    return is_loopback_host(bind.rpartition(":")[0].strip("[]"))


def is_https(public_url: str) -> bool:
    return public_url.startswith("https://")


def plain_faults(bind: str, public_url: str) -> list[Finding]:
    """Return why plain HTTP would leave this machine: cookies, passwords and tokens could be read."""
    found = []
    host = _origin_host(public_url)
    if host is None:
        hint = "Write scheme, host and port only, as in https://palyra.example.com"
        found.append(Finding("palyra.E001", f"PALYRA_PUBLIC_URL is no origin: {public_url}", hint))
    https = "Set PALYRA_PUBLIC_URL to an https:// origin and end TLS in a proxy in front of the server."
    if not is_https(public_url) and not is_local_bind(bind):
        found.append(
            Finding("palyra.E002", f"PALYRA_BIND {bind} is not loopback, and {public_url} is plain", https)
        )
    if not is_https(public_url) and host is not None and not is_loopback_host(host):
        sentence = f"PALYRA_PUBLIC_URL {public_url} is plain HTTP beyond this machine"
        found.append(Finding("palyra.E003", sentence, https))
    return found


def faults(exposure: Exposure) -> list[Finding]:
    """Return everything that is unsafe about how the server is reached, the plain faults first."""
    return (
        plain_faults(exposure.bind, exposure.public_url) + _cookie_faults(exposure) + _trust_faults(exposure)
    )


def _cookie_faults(exposure: Exposure) -> list[Finding]:
    https = is_https(exposure.public_url)
    if exposure.cookie_secure is https and exposure.cookie_name.startswith("__Host-") is https:
        return []
    return [
        Finding(
            "palyra.E004",
            "The session cookie does not fit PALYRA_PUBLIC_URL",
            "Under https it is Secure and named __Host-…, on plain loopback it is neither.",
        )
    ]


def _trust_faults(exposure: Exposure) -> list[Finding]:
    found = []
    if any(host.startswith("*") for host in exposure.allowed_hosts):
        hint = "Name the hosts in PALYRA_ALLOWED_HOSTS."
        found.append(Finding("palyra.E005", "The server answers to every host name", hint))
    if exposure.debug:
        hint = "Unset PALYRA_DEBUG on a server others can reach."
        found.append(Finding("palyra.E006", "Debug mode shows the inside of the server", hint))
    if any(network.prefixlen == 0 for network in exposure.trusted_proxies):
        hint = "Name the proxies' own addresses in PALYRA_TRUSTED_PROXIES."
        found.append(Finding("palyra.E007", "Every address is a trusted proxy", hint))
    return found


def _origin_host(public_url: str) -> str | None:
    try:
        parts = urlsplit(public_url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return None
    bare = not (parts.path or parts.query or parts.fragment or parts.username or parts.password)
    return host if bare and parts.scheme in ("http", "https") else None
