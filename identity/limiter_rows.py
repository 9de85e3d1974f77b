"""The limiter without Redis: one `RateBucket` row per key, changed under its lock.

Hosts that share one database without Redis need clocks that agree: a host that is ahead by some
seconds forgets by so much too early.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from datetime import datetime, timedelta
from typing import Any

from django.db import connection, transaction

from identity import sliding_window, throttle
from identity.models import RateBucket
from identity.sliding_window import Allowance
from identity.throttle import Trouble, Turn

IDLE = timedelta(milliseconds=throttle.LONGEST_WAIT_MS + throttle.MEMORY_MS) + timedelta(minutes=5)
"""After this nothing in a row counts any more."""

SQLITE_PATIENCE_MS = 5_000
"""SQLite has one write lock for everything, and each writer holds it until its data is on the disk: a
quarter of a second, as for a row lock of PostgreSQL, would turn calls away on any busy afternoon. Five
seconds outlast a queue of ordinary writers and are far below the patience of clients."""

# A commit that is lost with the power costs a few counts; waiting for the disk would cost every request.
_POSTGRES = (
    "SET LOCAL lock_timeout = '250ms'; SET LOCAL statement_timeout = '250ms'; "
    "SET LOCAL synchronous_commit = off"
)


def admit(*, key: str, limit: int, now: datetime) -> Allowance:
    """Count one request of `key` if it fits; DatabaseError when its turn did not come in time."""
    with _row(key, now) as row:
        counts = _counts(row.buckets)
        kept, allowance = sliding_window.admit(counts, limit=limit, now_ms=_ms(now))
        if kept != counts:
            _store(row, kept, now)
    return allowance


def fail(*, key: str, now: datetime) -> Turn:
    """Count one failed authentication of `key`; DatabaseError when its turn did not come in time."""
    with _row(key, now) as row:
        stored: dict[str, Any] = row.buckets
        trouble = Trouble(
            _counts(stored.get("failures", {})), stored.get("waits", 0), stored.get("until_ms", 0)
        )
        after, turn = throttle.fail(trouble, now_ms=_ms(now))
        if after != trouble:
            changed = {"failures": after.failures, "waits": after.waits, "until_ms": after.until_ms}
            _store(row, changed, now)
    return turn


def sweep(now: datetime) -> int:
    """Forget the keys that nobody used for so long that nothing of them counts."""
    return RateBucket.objects.filter(updated_at__lt=now - IDLE).delete()[0]


@contextmanager
def _row(key: str, now: datetime) -> Iterator[RateBucket]:
    """Yield the row of a key, locked, in a transaction of its own that waits only so long."""
    outermost = not connection.in_atomic_block
    on_sqlite = outermost and connection.vendor == "sqlite"
    with _sqlite_settings() if on_sqlite else nullcontext(), transaction.atomic():
        if outermost and connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute(_POSTGRES)
        yield _locked(key) or _made(key, now)


def _locked(key: str) -> RateBucket | None:
    return RateBucket.objects.select_for_update().filter(pk=key).first()


def _made(key: str, now: datetime) -> RateBucket:
    """Insert the row; whoever inserted it first meanwhile is waited for."""
    RateBucket.objects.bulk_create([RateBucket(key=key, updated_at=now)], ignore_conflicts=True)
    return RateBucket.objects.select_for_update().get(pk=key)


@contextmanager
def _sqlite_settings() -> Iterator[None]:
    """Wait only so long for the write lock, and not for the disk, as on PostgreSQL."""
    with connection.cursor() as cursor:
        before = {name: cursor.execute(f"PRAGMA {name}").fetchone()[0] for name in _SQLITE}
        _set(cursor, _SQLITE)
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            _set(cursor, before)


_SQLITE = {"busy_timeout": SQLITE_PATIENCE_MS, "synchronous": 1}


def _set(cursor: Any, pragmas: Mapping[str, int]) -> None:
    for name, value in pragmas.items():
        cursor.execute(f"PRAGMA {name} = {int(value)}")


def _store(row: RateBucket, buckets: Mapping[Any, Any], now: datetime) -> None:
    row.buckets, row.updated_at = dict(buckets), now
    row.save(update_fields=["buckets", "updated_at"])


def _counts(stored: Mapping[str, Any]) -> dict[int, int]:
    return {int(second): int(count) for second, count in stored.items()}


def _ms(now: datetime) -> int:
    return int(now.timestamp() * 1000)
