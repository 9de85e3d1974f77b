"""Refused credentials, summed per minute until the sweeper writes each sum to the journal.

Whoever fails on purpose decides how often this runs, so it bounds what it keeps: a minute has a row
for each of the first few networks; later ones are summed as `many`, at last for all subjects together.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from django.db import IntegrityError, transaction
from django.db.models import F

from identity.models import RejectionTally
from kernel.errors import ConflictError
from kernel.ids import is_id

Kind = Literal["login", "token"]

ANONYMOUS = "anonymous"
MANY_NETWORKS = "many"
ROWS_BY_NETWORK = 50
ROWS_BY_SUBJECT = 100
MINUTE = timedelta(minutes=1)
LATECOMERS = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class Rejections:
    """`count` refusals of one kind within one minute, as one row held them."""

    kind: Kind
    network: str
    subject: str
    reason: str
    count: int


def note(*, kind: Kind, network: str, subject: str, reason: str, now: datetime) -> None:
    """Count one refusal.

    `subject` is the id of the person or token that the credential named; anything else counts as
    `anonymous`, so that no text somebody typed comes to stand in the journal. Call it outside the
    transaction of what was refused: a rollback would forget the count.
    """
    minute = now.replace(second=0, microsecond=0)
    known = subject if is_id("usr", subject) or is_id("tok", subject) else ANONYMOUS
    places = ((network, known), (MANY_NETWORKS, known), (MANY_NETWORKS, ANONYMOUS))
    for (place, whom), room in zip(places, (ROWS_BY_NETWORK, ROWS_BY_SUBJECT, None), strict=True):
        row = {"kind": kind, "network": place, "subject": whom, "reason": reason, "minute": minute}
        if _counted(row) or (_has_room(kind, minute, room) and _opened(row)) or _counted(row):
            return
    raise ConflictError("conflict", "The refusal could not be counted.")


def closed_minutes(now: datetime, limit: int) -> tuple[str, ...]:
    """Return the rows that are due to be taken: their minute is over, for slow processes too."""
    due = RejectionTally.objects.filter(minute__lte=now - MINUTE - LATECOMERS).order_by("minute")
    return tuple(str(pk) for pk in due.values_list("pk", flat=True)[:limit])


def take(row_id: str) -> Rejections:
    """Remove one row and return what it held; ConflictError when somebody else has taken it."""
    row = RejectionTally.objects.select_for_update().filter(pk=row_id).first()
    if row is None:
        raise ConflictError("state_changed", "These refusals were taken already.")
    row.delete()
    kind: Kind = "login" if row.kind == "login" else "token"
    return Rejections(kind, row.network, row.subject, row.reason, row.count)


def _counted(row: dict[str, object]) -> bool:
    return RejectionTally.objects.filter(**row).update(count=F("count") + 1) == 1


def _has_room(kind: str, minute: datetime, room: int | None) -> bool:
    return room is None or RejectionTally.objects.filter(kind=kind, minute=minute).count() < room


def _opened(row: dict[str, object]) -> bool:
    """Open a row; False when another process was first."""
    try:
        with transaction.atomic():
            RejectionTally.objects.create(**row, count=1)
    except IntegrityError:
        return False
    return True
