"""Is what a call needs there? Asked by `/readyz` and by the console's home."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime

from django.db import DatabaseError, connection

from policy import selectors as policy_selectors
from sandbox import selectors as sandbox_selectors
from vault import services as vault_services

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Readiness:
    """`failing` parts stop calls, `degraded` ones delay them. Names only, nothing of the inside."""

    failing: tuple[str, ...]
    degraded: tuple[str, ...]


def failing_parts(now: datetime) -> Readiness:
    """Look at database, policy set, vault and workers."""
    if not _answers("database", _ask_database):
        return Readiness(("database",), ())
    failing = tuple(
        name
        for name, question in (
            ("policy", policy_selectors.has_active_set),
            ("vault", vault_services.is_ready),
        )
        if not _answers(name, question)
    )
    seen = _answers("worker", lambda: sandbox_selectors.worker_seen(now))
    return Readiness(failing, () if seen else ("worker",))


def _ask_database() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        return cursor.fetchone() is not None


def _answers(name: str, question: object) -> bool:
    try:
        return bool(question())  # type: ignore[operator]  # every question takes nothing
    except (DatabaseError, OSError, ValueError):
        log.exception("readiness: %s", name)
        return False
