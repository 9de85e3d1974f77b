"""Between a credential and its view: every failure is counted, and so is every request that got in."""

from __future__ import annotations

from datetime import datetime
from typing import NoReturn

from django.http import HttpRequest, HttpResponse

from identity import rate_limit, rejections
from identity.authentication import Authenticated, RejectedCredentialError
from identity.networks import network_of
from identity.sliding_window import SPAN, Allowance
from kernel.errors import RateLimitedError

THROTTLED = "throttled"


def admit(request: HttpRequest, found: Authenticated, now: datetime) -> None:
    """Count a request of a valid token, once however long it takes; RateLimitedError beyond its limit.

    All rotations of a token count together. The answer will carry what is left (`mark`).
    """
    limit = found.rate_per_minute
    allowance = rate_limit.admit(key=f"token:{found.family}", limit=limit, now=now)
    request.palyra_allowance = allowance  # type: ignore[attr-defined]  # read by `mark` only
    if not allowance.admitted:
        raise RateLimitedError(
            "rate_limited",
            f"This token is good for {limit} requests a minute.",
            retry_after=allowance.retry_after_seconds,
        )


def refuse(refusal: RejectedCredentialError, *, client_ip: str, now: datetime) -> NoReturn:
    """Count a failed authentication, an absent credential too, and raise what the caller is told.

    That is `refusal`, or RateLimitedError `authentication_throttled` for an address that failed too
    often; both are the same for every cause. While an address waits its failures are not written
    anywhere, so that a flood of them costs no more than looking.
    """
    turn = rate_limit.count_failure(client_ip=client_ip, now=now)
    if turn.begins or not turn.wait_ms:
        rejections.note(
            kind="token",
            network=network_of(client_ip),
            subject=refusal.token_id or rejections.ANONYMOUS,
            reason=THROTTLED if turn.begins else refusal.reason,
            now=now,
        )
    if not turn.wait_ms:
        raise refusal
    raise RateLimitedError(
        "authentication_throttled",
        "Too many authentications from this address failed.",
        retry_after=-(-turn.wait_ms // 1000),
    ) from None


def mark(request: HttpRequest, response: HttpResponse) -> None:
    """Put the fields of draft-ietf-httpapi-ratelimit-headers on the answer to a counted request."""
    allowance = getattr(request, "palyra_allowance", None)
    if not isinstance(allowance, Allowance):
        return
    response["RateLimit-Policy"] = f'"token";q={allowance.limit};w={SPAN}'
    response["RateLimit"] = f'"token";r={allowance.remaining};t={allowance.reset_seconds}'
    if not allowance.admitted:
        response["retry-after-ms"] = str(max(1, allowance.retry_after_ms))
