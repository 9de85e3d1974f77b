"""The feature flags of this process, kept for a second while Redis says that nothing changed.

Redis holds one number that every committed change raises. Without Redis, or when it does not answer,
nothing is kept and every reader asks the database.
"""

from __future__ import annotations

import logging
import secrets
import time
from dataclasses import dataclass
from functools import lru_cache

from django.conf import settings
from django.db import transaction
from redis import Redis, RedisError

from identity.access import Registry

log = logging.getLogger(__name__)

VERSION_KEY = "palyra:flags:version"
LONGEST_KEPT_SECONDS = 1.0
PATIENCE_SECONDS = 0.25
PAUSE_SECONDS = 1.0
"""How long a Redis that did not answer is left alone, so that not every request waits for it."""


@dataclass(frozen=True, slots=True)
class Kept:
    """Flags as they were read under one number, and until when that may be believed."""

    version: int
    registry: Registry
    until: float


@dataclass(slots=True)
class Memory:
    """What this process remembers."""

    kept: Kept | None = None
    silent_until: float = 0.0


MEMORY = Memory()


def version() -> int | None:
    """Return the number under which the flags stand now, or None when nothing may be kept."""
    if not settings.PALYRA_REDIS_URL or time.monotonic() < MEMORY.silent_until:
        return None
    try:
        client = _client(settings.PALYRA_REDIS_URL)
        found = client.get(VERSION_KEY)
        if found is None:
            # A number never seen before: a Redis that lost its data must not repeat an old one.
            client.set(VERSION_KEY, secrets.randbits(48), nx=True)
            return None
        return int(found)
    except (RedisError, ValueError):
        log.warning("Redis does not say whether feature flags changed; the database is asked instead")
        MEMORY.silent_until = time.monotonic() + PAUSE_SECONDS
        return None


def kept(number: int | None) -> Registry | None:
    """Return the flags kept under this number, if that was less than a second ago."""
    found = MEMORY.kept
    if found is None or found.version != number or time.monotonic() >= found.until:
        return None
    return found.registry


def keep(number: int | None, registry: Registry) -> None:
    """Keep what was read from the database after this number was read from Redis."""
    if number is not None:
        MEMORY.kept = Kept(number, registry, time.monotonic() + LONGEST_KEPT_SECONDS)


def changed() -> None:
    """Tell every process, once the present transaction is committed, that a flag changed."""
    if settings.PALYRA_REDIS_URL:
        transaction.on_commit(_raise, robust=True)


def _raise() -> None:
    """A number that cannot be raised costs the second for which others keep what they read."""
    MEMORY.kept = None
    try:
        _client(settings.PALYRA_REDIS_URL).incr(VERSION_KEY)
    except RedisError:
        log.warning("Redis was not told that a feature flag changed; it counts within a second")


@lru_cache(maxsize=2)
def _client(url: str) -> Redis:
    return Redis.from_url(
        url, socket_timeout=PATIENCE_SECONDS, socket_connect_timeout=PATIENCE_SECONDS, retry=None
    )
