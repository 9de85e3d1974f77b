"""Taking what was erased out of the pages that the database keeps beside its tables."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import connection

from governance.journal.models import JournalSubjectKey

TERM = timedelta(hours=1)
"""For so long after an erasure the sweeper tries, in case a reader kept the log from being emptied."""
PATIENCE_MS = 1_000


def is_due(now: datetime) -> bool:
    """Tell whether something was erased lately, on a database whose log keeps old pages."""
    if connection.vendor != "sqlite":
        return False
    return JournalSubjectKey.objects.filter(destroyed_at__gt=now - TERM, destroyed_at__lte=now).exists()


def scrub() -> bool:
    """Empty SQLite's write-ahead log, which holds pages from before the erasure; False while it is read.

    Old bytes in the tables themselves are overwritten at once (`secure_delete`). PostgreSQL frees old rows
    by `VACUUM`, which is its own process's matter. Call it outside a transaction.
    """
    if connection.vendor != "sqlite" or connection.in_atomic_block:
        return False
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA busy_timeout")
        before = int(cursor.fetchone()[0])
        cursor.execute(f"PRAGMA busy_timeout = {PATIENCE_MS}")
        try:
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            busy = cursor.fetchone()[0]
        finally:
            cursor.execute(f"PRAGMA busy_timeout = {before}")
    return not busy
