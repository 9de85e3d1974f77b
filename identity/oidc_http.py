"""Asking the provider: small answers, soon, from exactly the address that was asked."""

from __future__ import annotations

import json
import logging
import ssl
import time
from collections.abc import Mapping
from typing import Any

import httpx

from identity.oidc import (
    Client,
    OidcRefusedError,
    Provider,
    Reason,
    metadata_url,
    read_metadata,
    token_request,
)
from kernel.errors import UnavailableError

SECONDS = 10.0
MAX_BYTES = 65536
log = logging.getLogger(__name__)


def discover(client: Client) -> Provider:
    """Return what the provider publishes about itself. Raises UnavailableError `oidc_unavailable`."""
    status, document = _ask("GET", metadata_url(client.issuer))
    if status != 200:
        raise _unavailable(f"discovery answered {status}")
    return read_metadata(document, client)


def fetch_keys(provider: Provider) -> Mapping[str, Any]:
    """Return the provider's JWK set as it is at this moment."""
    status, document = _ask("GET", provider.jwks_uri)
    if status != 200:
        raise _unavailable(f"the key set answered {status}")
    return document


def exchange(provider: Provider, client: Client, *, code: str, verifier: str) -> Mapping[str, Any]:
    """Give the code to the token endpoint, once, and return its answer."""
    headers, body = token_request(provider, client, code=code, verifier=verifier)
    status, document = _ask("POST", provider.token_endpoint, headers=headers, content=body)
    if status >= 500:
        raise _unavailable(f"the token endpoint answered {status}")
    if status != 200:
        log.warning("the provider refused the code: %s %r", status, str(document.get("error", ""))[:80])
        raise OidcRefusedError(Reason.PROVIDER_ERROR, "The provider did not accept this sign-in.")
    return document


def _ask(method: str, url: str, **sent: Any) -> tuple[int, dict[str, Any]]:
    """Return status and JSON object of an answer. Redirects are answers like any other, not followed.

    No proxy and no credentials of the environment are used; certificates are checked against the
    system's store. The whole answer has to come within `SECONDS`.
    """
    deadline = time.monotonic() + SECONDS
    try:
        with (
            httpx.Client(trust_env=False, timeout=SECONDS, verify=ssl.create_default_context()) as http,
            http.stream(method, url, follow_redirects=False, **sent) as answer,
        ):
            return answer.status_code, _object(_bounded(answer, deadline))
    except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError) as error:
        raise _unavailable(type(error).__name__) from None


def _bounded(answer: httpx.Response, deadline: float) -> bytes:
    body = bytearray()
    for piece in answer.iter_bytes():
        body += piece
        if len(body) > MAX_BYTES:
            raise _unavailable(f"more than {MAX_BYTES} bytes")
        if time.monotonic() > deadline:
            raise _unavailable("too slow")
    return bytes(body)


def _object(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise _unavailable("not JSON") from None
    if not isinstance(document, dict):
        raise _unavailable("no JSON object")
    return document


def _unavailable(why: str) -> UnavailableError:
    log.warning("the OIDC provider cannot be used: %s", why)
    return UnavailableError("oidc_unavailable", "The provider does not answer as it should.", retry_after=30)
