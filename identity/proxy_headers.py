"""Headers by which a proxy says whose TLS certificate it saw. From anybody else they are a forgery."""

from __future__ import annotations

import hmac
from collections.abc import Mapping

CERTIFICATE = "X-Palyra-Client-Cert"
SECRET = "X-Palyra-Proxy-Secret"
PROXY_ONLY = (
    CERTIFICATE,
    SECRET,
    "SSL-Client-Cert",
    "SSL-Client-Verify",
    "X-SSL-Client-Cert",
    "X-SSL-Client-Verify",
    "X-Client-Cert",
    "X-Forwarded-Client-Cert",
    "Client-Cert",
    "Client-Cert-Chain",
)
"""Palyra's own two, the usual names of others, and those of RFC 9440."""


def forged_header(headers: Mapping[str, str], *, peer_is_trusted: bool, secret: str) -> str | None:
    """Return the first header that this peer had no right to send, or None.

    A peer that is no trusted proxy may send none of them. A trusted one proves itself by the proxy
    secret when it speaks of a certificate; without a secret set up, nothing proves it. Other names than
    Palyra's own are of no effect from a proxy and are let pass.
    """
    present = [name for name in PROXY_ONLY if headers.get(name) is not None]
    if not peer_is_trusted:
        return present[0] if present else None
    if CERTIFICATE not in present and SECRET not in present:
        return None
    given = headers.get(SECRET) or ""
    proved = bool(secret) and hmac.compare_digest(given.encode("utf-8", "replace"), secret.encode())
    return None if proved else next(name for name in present if name in (CERTIFICATE, SECRET))
