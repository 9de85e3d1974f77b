"""How far sealing lags behind, and whether something may still be executed. Reads only."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Exists, QuerySet, Subquery

from governance.journal.event_names import EventName
from governance.journal.models import JournalCheckpoint, JournalEvent, JournalPending
from kernel.errors import UnavailableError

LAG_SHOWN = timedelta(seconds=10)
LAG_ALLOWED = timedelta(seconds=60)
PENDING_ALLOWED = 100_000
RETRY_SECONDS = 5


@dataclass(frozen=True, slots=True)
class SealingState:
    """What waits to be sealed, and since when.

    `pending` is counted up to PENDING_ALLOWED; `oldest_age_s` is 0 when nothing waits. `stalled`:
    nothing new is executed until sealing has caught up. `inconsistent`: the sealer found the journal
    not to be what was signed, said so, and has sealed nothing since.
    """

    pending: int
    oldest_age_s: float
    checkpoint: JournalCheckpoint | None
    stalled: bool
    inconsistent: bool


@dataclass(frozen=True, slots=True)
class _Waiting:
    """The two ends of what waits; nothing waits while `since` is None."""

    first: int = 0
    last: int = 0
    since: datetime | None = None
    inconsistent: bool = False


def sealing_state(now: datetime) -> SealingState:
    """Return how sealing stands, for people."""
    waiting = _waiting()
    return SealingState(
        pending=JournalPending.objects.order_by()[:PENDING_ALLOWED].count() if waiting.since else 0,
        oldest_age_s=_age(waiting, now).total_seconds(),
        checkpoint=newest_checkpoint(),
        stalled=_is_stalled(waiting, now),
        inconsistent=waiting.inconsistent,
    )


def refusal(now: datetime) -> UnavailableError | None:
    """Return why nothing may be executed now, or None. One query, whose cost does not grow."""
    waiting = _waiting()
    if waiting.inconsistent:
        return UnavailableError("journal_inconsistent", "The journal is not what was signed.")
    if _is_stalled(waiting, now):
        detail = "Sealing of the journal lags behind; nothing new is executed."
        return UnavailableError("journal_sealing_stalled", detail, retry_after=RETRY_SECONDS)
    return None


def lags(now: datetime) -> bool:
    """Tell whether an event has waited for more than ten seconds."""
    return _age(_waiting(), now) > LAG_SHOWN


def newest_checkpoint() -> JournalCheckpoint | None:
    """Return the checkpoint over the most leaves."""
    return JournalCheckpoint.objects.order_by("-tree_size").first()


def said_inconsistent() -> QuerySet[JournalPending]:
    """Return the alarm that still waits to be sealed: it does as long as the sealer refuses."""
    alarms = JournalEvent.objects.filter(type=EventName.JOURNAL_INCONSISTENT.value).order_by("-id")
    return JournalPending.objects.filter(event_id=Subquery(alarms.values("id")[:1]))


def _waiting() -> _Waiting:
    rows = JournalPending.objects.order_by("n")
    newest = JournalPending.objects.order_by("-n").values("n")[:1]
    ends = rows.annotate(newest=Subquery(newest), alarm=Exists(said_inconsistent()))
    found = ends.values_list("n", "newest", "event__time", "alarm").first()
    return _Waiting() if found is None else _Waiting(*found)


def _is_stalled(waiting: _Waiting, now: datetime) -> bool:
    if waiting.since is None:
        return False
    if _age(waiting, now) > LAG_ALLOWED:
        return True
    # Numbers have gaps where a writer rolled back, so the range only tells when it is worth counting.
    if waiting.last - waiting.first + 1 < PENDING_ALLOWED:
        return False
    return JournalPending.objects.order_by("n").values("n")[PENDING_ALLOWED - 1 :].exists()


def _age(waiting: _Waiting, now: datetime) -> timedelta:
    return max(timedelta(), now - waiting.since) if waiting.since is not None else timedelta()
