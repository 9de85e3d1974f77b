"""How often somebody may ask, and how often fail to prove who they are.

Counted in Redis when there is one, else in the database. A limiter that does not answer admits nobody.
Every function is called outside transactions: a count stands whatever becomes of the request.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import datetime
from typing import TypeVar

from django.conf import settings

from identity import limiter_redis, limiter_rows
from identity.networks import subscriber_of
from identity.sliding_window import Allowance
from identity.throttle import Turn
from kernel.errors import RateLimitedError, UnavailableError

log = logging.getLogger(__name__)

T = TypeVar("T")
ALARM_SECONDS = 60.0
_last_alarm = float("-inf")


def admit(*, key: str, limit: int, now: datetime) -> Allowance:
    """Count one request of `key` if no rolling minute holds `limit` of them already.

    `now` counts without Redis only; Redis has its own clock. Raises UnavailableError
    `rate_limiter_unavailable` when the limiter fails or does not answer in time.
    """
    url = settings.PALYRA_REDIS_URL
    if url:
        return _answered(lambda: limiter_redis.admit(url=url, key=key, limit=limit))
    return _answered(lambda: limiter_rows.admit(key=key, limit=limit, now=now))


def admit_public(name: str, client_ip: str, *, limit: int, now: datetime) -> None:
    """Count one request to the public route `name`; RateLimitedError once the address is over `limit`."""
    allowance = admit(key=f"{name}:{subscriber_of(client_ip)}", limit=limit, now=now)
    if not allowance.admitted:
        raise RateLimitedError(
            "rate_limited",
            f"This route takes {limit} requests a minute from one address.",
            retry_after=allowance.retry_after_seconds,
        )


def count_failure(*, client_ip: str, now: datetime) -> Turn:
    """Count one failed authentication of an address and return how it is to be answered.

    Raises UnavailableError as `admit` does.
    """
    url, key = settings.PALYRA_REDIS_URL, f"auth:{subscriber_of(client_ip)}"
    if url:
        return _answered(lambda: limiter_redis.fail(url=url, key=key))
    return _answered(lambda: limiter_rows.fail(key=key, now=now))


def sweep(now: datetime) -> int:
    """Forget what counts no longer; Redis does so by itself."""
    return limiter_rows.sweep(now)


def _answered(ask: Callable[[], T]) -> T:
    """Whatever goes wrong in a limiter, and a broken row is one way, nobody is admitted by it."""
    try:
        return ask()
    except Exception as error:
        _alarm(error)
        raise UnavailableError(
            "rate_limiter_unavailable", "The rate limiter does not answer.", retry_after=1
        ) from None


def _alarm(error: Exception) -> None:
    """Say so in the log once a minute, not once a request."""
    global _last_alarm  # noqa: PLW0603  # one number for the process
    if time.monotonic() - _last_alarm >= ALARM_SECONDS:
        _last_alarm = time.monotonic()
        log.error("the rate limiter does not answer, nobody is admitted: %s", error, exc_info=error)
