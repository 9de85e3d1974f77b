"""Time-based one-time passwords (RFC 6238): SHA-1, 6 digits, 30 s, one step of skew either way."""

from __future__ import annotations

import base64
import secrets
from datetime import datetime
from urllib.parse import quote, urlencode

from django_otp.oath import TOTP

SEED_BYTES = 20
STEP_SECONDS = 30
SKEW_STEPS = 1
FREE_FAILURES = 4
LONGEST_WAIT_SECONDS = 900


def new_seed() -> bytes:
    """Return 20 random bytes, the size RFC 4226 recommends."""
    return secrets.token_bytes(SEED_BYTES)


def provisioning_uri(*, account: str, seed: bytes, issuer: str = "Palyra") -> str:
    """Return the `otpauth://` text an authenticator app reads. It holds the seed."""
    query = urlencode({"secret": base64.b32encode(seed).decode().rstrip("="), "issuer": issuer})
    return f"otpauth://totp/{quote(issuer)}:{quote(account)}?{query}"


def matching_step(seed: bytes, code: str, *, now: datetime, after: int) -> int | None:
    """Return the time step whose code this is, if it is near `now` and later than step `after`."""
    if len(code) != 6 or not (code.isascii() and code.isdigit()):
        return None
    clock = TOTP(seed, step=STEP_SECONDS)
    clock.time = now.timestamp()
    if not clock.verify(int(code), tolerance=SKEW_STEPS, min_t=after + 1):
        return None
    return int(clock.t())


def wait_seconds(failures: int) -> int:
    """Return the wait after this many failures in a row: four are free, then 30 s doubling to 900 s."""
    if failures <= FREE_FAILURES:
        return 0
    return min(30 << min(failures - FREE_FAILURES - 1, 5), LONGEST_WAIT_SECONDS)
