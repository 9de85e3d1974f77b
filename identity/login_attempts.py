"""How often somebody may try: counted for an account from a network, for a network, and for an account.

Nothing here locks an account: who comes from a network with a success in the last 30 days waits only
for that network's own failures. An attempt is counted as failed before anything is verified, so that
any number of parallel attempts gets no more tries than one after the other would.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from identity import totp
from identity.models import LoginFailure, LoginSuccess
from identity.sealing import keyed_digest

NETWORK_LIMIT, NETWORK_WINDOW = 20, timedelta(minutes=10)
ACCOUNT_LIMIT, ACCOUNT_WINDOW = 100, timedelta(hours=1)
STRANGE_NETWORK_WAIT = timedelta(minutes=15)
FAMILIAR_FOR = timedelta(days=30)
KEPT_FOR = timedelta(hours=24)
ALL = ""
"""In place of an account or a network: the row that counts over all of them."""


class Limit(StrEnum):
    """Which limit makes somebody wait."""

    NONE = "none"
    PAIR = "pair"
    NETWORK = "network"
    ACCOUNT = "account"


@dataclass(frozen=True, slots=True)
class Wait:
    """How many seconds are left to wait and by which limit; 0 means that the attempt was counted."""

    seconds: float
    limit: Limit = Limit.NONE


def account_key(username: str) -> str:
    """Return the name under which attempts on an account are counted, whether it exists or not."""
    return keyed_digest("LoginFailure", username.strip().lower()).hex()


def may_attempt(*, account_key: str, network: str, now: datetime) -> float:
    """As `begin_attempt`, returning the seconds alone."""
    return begin_attempt(account_key=account_key, network=network, now=now).seconds


def begin_attempt(*, account_key: str, network: str, now: datetime) -> Wait:
    """Count one attempt as failed, or return how long to wait, in which case nothing is counted.

    Call it in a transaction that commits before anything is verified; afterwards call `note_success`,
    which takes the count back. The rows are locked in one order: network, account, pair; the row of the
    network is held first, so a pair needs no lock to be read.
    """
    whole = _locked(ALL, network, now)
    if seconds := _window_wait(whole, now):
        return Wait(seconds, Limit.NETWORK)
    if seconds := _pair_wait(account_key, network, now):
        return Wait(seconds, Limit.PAIR)
    account = _locked(account_key, ALL, now)
    if seconds := _strange_wait(account, network, now):
        return Wait(seconds, Limit.ACCOUNT)
    _count(whole, now, NETWORK_WINDOW, NETWORK_LIMIT)
    _count(account, now, ACCOUNT_WINDOW, ACCOUNT_LIMIT)
    _count(_locked(account_key, network, now), now, timedelta(0), 0)
    return Wait(0.0)


def note_failure(*, account_key: str, network: str, now: datetime) -> float:
    """Return the seconds until this pair may try again. The failure was counted by `begin_attempt`."""
    return _pair_wait(account_key, network, now)


def note_success(*, account_key: str, network: str, now: datetime) -> None:
    """Clear the pair, take this attempt out of the other counts, remember the network as familiar.

    Call it in the transaction of the login, with the `now` of `begin_attempt`.
    """
    for row in (_locked(ALL, network, now), _locked(account_key, ALL, now)):
        _take_back(row, now)
    LoginFailure.objects.filter(account_key=account_key, network=network).delete()
    LoginSuccess.objects.update_or_create(account_key=account_key, network=network, defaults={"last_at": now})


def sweep(now: datetime) -> int:
    """Delete what no limit looks at any more, and return how many rows that were."""
    old = (
        LoginFailure.objects.filter(last_at__lte=now - KEPT_FOR),
        LoginSuccess.objects.filter(last_at__lte=now - FAMILIAR_FOR),
    )
    return sum(rows.delete()[0] for rows in old if rows.exists())  # a delete of nothing locks SQLite too


def _locked(account: str, network: str, now: datetime) -> LoginFailure:
    wanted = {"account_key": account, "network": network}
    LoginFailure.objects.get_or_create(**wanted, defaults={"last_at": now})
    return LoginFailure.objects.select_for_update().get(**wanted)


def _window_wait(row: LoginFailure, now: datetime) -> float:
    recent = _within(row, now, NETWORK_WINDOW)
    if len(recent) < NETWORK_LIMIT:
        return 0.0
    return recent[-NETWORK_LIMIT] + NETWORK_WINDOW.total_seconds() - now.timestamp()


def _pair_wait(account: str, network: str, now: datetime) -> float:
    pair = LoginFailure.objects.filter(account_key=account, network=network).first()
    if pair is None:
        return 0.0
    return max(0.0, totp.wait_seconds(pair.count) - (now - pair.last_at).total_seconds())


def _strange_wait(account: LoginFailure, network: str, now: datetime) -> float:
    if len(_within(account, now, ACCOUNT_WINDOW)) < ACCOUNT_LIMIT:
        return 0.0
    left = (account.last_at + STRANGE_NETWORK_WAIT - now).total_seconds()
    known = LoginSuccess.objects.filter(
        account_key=account.account_key, network=network, last_at__gt=now - FAMILIAR_FOR
    )
    return 0.0 if left <= 0 or known.exists() else left


def _within(row: LoginFailure, now: datetime, window: timedelta) -> list[float]:
    start = (now - window).timestamp()
    return [moment for moment in row.recent if moment > start]


def _count(row: LoginFailure, now: datetime, window: timedelta, kept: int) -> None:
    """Add one; `recent` keeps as many moments as its limit needs and no more."""
    row.count, row.last_at = row.count + 1, now
    row.recent = [*_within(row, now, window), now.timestamp()][-kept:] if kept else []
    row.save(update_fields=["count", "last_at", "recent"])


def _take_back(row: LoginFailure, now: datetime) -> None:
    moment = now.timestamp()
    if moment in row.recent:
        row.recent.remove(moment)
        row.count = max(0, row.count - 1)
        row.save(update_fields=["count", "recent"])
