"""One sealer at a time, in whichever process it runs."""

from __future__ import annotations

from django.db import connection

LOCK = 7_203_606
"""The key of the advisory lock in this database; another one than that of freezes."""


def hold_sealer_lock(*, wait: bool) -> bool:
    """Be the only sealer until the caller's transaction ends.

    False when another one is and `wait` is off; then nothing is held. SQLite needs no lock of its own:
    transactions there are IMMEDIATE, so whoever is inside one is alone.
    """
    if not connection.in_atomic_block:
        raise RuntimeError("the sealer's lock ends with a transaction, so it needs one")
    if connection.vendor != "postgresql":
        return True
    function = "pg_advisory_xact_lock" if wait else "pg_try_advisory_xact_lock"
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {function}(%s)", [LOCK])
        return wait or bool(cursor.fetchone()[0])
