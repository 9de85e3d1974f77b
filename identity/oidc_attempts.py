"""Sign-ins through the provider under way. Rows, not cookies, so that each is used once, by any process."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any

from identity.lifecycle import OIDC_ALLOWED, OidcState
from identity.models import OidcAttempt, User
from identity.oidc import OidcRefusedError, Provider, Reason
from identity.sealing import open_field, seal_field
from kernel.errors import ConflictError, RateLimitedError
from kernel.ids import new_id
from kernel.state import transition

LIFE = timedelta(minutes=10)
KEPT_FOR = timedelta(hours=1)
MOST_OF_A_NETWORK = 100
MOST_OF_ALL = 5000
NOT_YOURS = "This sign-in was not started in this browser, or its ten minutes are over."
_LONGEST_TEXT = 200


@dataclass(frozen=True, slots=True)
class Begun:
    """What leaves the server: `state` and the two secrets with the request, `browser` as the cookie."""

    state: str = field(repr=False)
    browser: str = field(repr=False)
    nonce: str = field(repr=False)
    verifier: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Taken:
    """An attempt on the way to its exchange, which nobody else makes any more."""

    id: str
    provider: Provider
    nonce: str = field(repr=False)
    verifier: str = field(repr=False)


def open_attempt(*, provider: Provider, network: str, now: datetime) -> Begun:
    """Store a new attempt. RateLimitedError when this network, or everybody, has too many open."""
    open_now = OidcAttempt.objects.filter(state=OidcState.PENDING, expires_at__gt=now)
    if open_now.filter(network=network).count() >= MOST_OF_A_NETWORK or open_now.count() >= MOST_OF_ALL:
        raise RateLimitedError("rate_limited", "Too many sign-ins are under way. Try again soon.")
    begun = Begun(*(secrets.token_urlsafe(size) for size in (32, 32, 32, 64)))
    attempt_id = new_id("oat", now)
    private = json.dumps({"nonce": begun.nonce, "verifier": begun.verifier}).encode()
    OidcAttempt.objects.create(
        id=attempt_id,
        state=OidcState.PENDING,
        state_digest=_digest(begun.state),
        browser_digest=_digest(begun.browser),
        secrets_sealed=seal_field("OidcAttempt", attempt_id, "secrets", private),
        provider=asdict(provider),
        network=network,
        created_at=now,
        expires_at=now + LIFE,
    )
    return begun


def take_attempt(*, state: str, browser: str, now: datetime) -> Taken:
    """Move the attempt of this `state` to its exchange, if this browser began it.

    Raises OidcRefusedError for an unknown state, another browser or one that is over, ConflictError for
    a callback that came before: there is one exchange.
    """
    row = OidcAttempt.objects.select_for_update().filter(state_digest=_digest(state)).first()
    if row is None or not _is_of(row, browser) or row.expires_at <= now:
        raise OidcRefusedError(Reason.STATE, NOT_YOURS)
    if row.state != OidcState.PENDING:
        raise ConflictError("conflict", "This sign-in was used already. Start a new one.")
    private = json.loads(open_field("OidcAttempt", row.pk, "secrets", bytes(row.secrets_sealed or b"")))
    _move(row.pk, OidcState.PENDING, OidcState.EXCHANGING, secrets_sealed=None)
    return Taken(row.pk, Provider(**row.provider), private["nonce"], private["verifier"])


def prove_attempt(*, attempt_id: str, user: User, multi_factor: bool) -> None:
    """Keep whom the provider named."""
    _move(attempt_id, OidcState.EXCHANGING, OidcState.PROVED, user=user, multi_factor=multi_factor)


def fail_attempt(*, attempt_id: str) -> None:
    """End an attempt whose exchange led to nobody."""
    _move(attempt_id, OidcState.EXCHANGING, OidcState.FAILED)


def finish_attempt(*, attempt_id: str) -> None:
    """End an attempt with a login; ConflictError for whoever comes second."""
    _move(attempt_id, OidcState.PROVED, OidcState.SUCCEEDED)


def proved_attempt(*, browser: str, now: datetime) -> OidcAttempt | None:
    """Return the attempt of this browser that waits for the person, with the person."""
    rows = OidcAttempt.objects.select_related("user").filter(browser_digest=_digest(browser))
    return rows.filter(state=OidcState.PROVED, expires_at__gt=now).first()


def sweep(now: datetime) -> int:
    """Delete what is over for good, and return how many rows that were."""
    over = OidcAttempt.objects.filter(expires_at__lte=now - KEPT_FOR)
    return over.delete()[0] if over.exists() else 0


def _move(attempt_id: str, source: OidcState, target: OidcState, **changes: Any) -> None:
    rows = OidcAttempt.objects.filter(pk=attempt_id)
    transition(rows, OIDC_ALLOWED, source=source, target=target, **changes)


def _is_of(row: OidcAttempt, browser: str) -> bool:
    return hmac.compare_digest(bytes(row.browser_digest), _digest(browser))


def _digest(text: str) -> bytes:
    return hashlib.sha256(text[:_LONGEST_TEXT].encode("utf-8", "replace")).digest()
