"""States of a run and what its limits may be."""

from __future__ import annotations

from datetime import timedelta

ALLOWED: dict[str, frozenset[str]] = {"open": frozenset({"completed", "failed", "cancelled", "expired"})}

CALLER_ORIGINS = ("manual", "retry", "cron", "delegation", "background")
SERVER_ORIGINS = ("facade", "mcp")
"""Origins that only the server's own surfaces name: a caller cannot pass its run off as one of theirs."""

DEFAULT_LIFETIME = timedelta(hours=24)
MIN_LIFETIME_SECONDS = 60
MAX_LIFETIME_SECONDS = 2_592_000
MAX_CALLS_CEILING = 1_000
