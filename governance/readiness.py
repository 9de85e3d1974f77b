"""Is what a call needs there? Asked by `/readyz` and by the console's home."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import DatabaseError, connection

from governance.journal import sealing_state
from governance.journal.event_names import EventName
from governance.models import JournalEvent
from policy import selectors as policy_selectors
from policy.candidates import in_force_since
from sandbox import selectors as sandbox_selectors
from vault import services as vault_services

log = logging.getLogger(__name__)

FAULT_SHOWN = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class Readiness:
    """`failing` parts stop calls, `degraded` ones delay them. Names only, nothing of the inside."""

    failing: tuple[str, ...]
    degraded: tuple[str, ...]


def failing_parts(now: datetime) -> Readiness:
    """Look at database, policy set, vault, journal, workers, and whether rules failed lately.

    `journal` is failing while nothing may be executed: the sealer found it changed, or sealing lags by
    more than a minute; and degraded while sealing lags by more than ten seconds.
    """
    if not _answers("database", _ask_database):
        return Readiness(("database",), ())
    failing = tuple(
        name
        for name, question in (
            ("policy", policy_selectors.has_active_set),
            ("vault", vault_services.is_ready),
            ("journal", lambda: sealing_state.refusal(now) is None),
        )
        if not _answers(name, question)
    )
    degraded = tuple(
        name
        for name, question in (
            ("worker", lambda: sandbox_selectors.worker_seen(now)),
            ("policy_rules", lambda: not _rules_failed(now)),
            ("journal", lambda: not sealing_state.lags(now)),
        )
        if name not in failing and not _answers(name, question)
    )
    return Readiness(failing, degraded)


def _rules_failed(now: datetime) -> bool:
    """Tell whether a rule of the set in force failed within the last quarter of an hour.

    A rule that fails denies, so calls are refused that nobody meant to refuse.
    """
    events = JournalEvent.objects.filter(type=EventName.POLICY_ENGINE_ERROR.value).order_by("-id")
    last = events.values_list("time", flat=True).first()
    since = in_force_since()
    return last is not None and now - last < FAULT_SHOWN and (since is None or last >= since)


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
