"""Legal holds: what stands against erasing and archiving away."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from django.db.models import Q

from governance.journal.models import LegalHold

Period = tuple[datetime, datetime]
"""The first and the last moment of what is asked about, both included."""


def standing(subject: str, runs: Collection[str] = (), period: Period | None = None) -> LegalHold | None:
    """Return a hold that has not been lifted on this subject, one of its runs or a part of this period.

    A hold that names a subject and a period holds that subject within that period alone.
    """
    named = Q(subject__in=[subject, *runs])
    everybody = Q(subject="")
    if period is None:
        everybody = Q(pk__in=())
    else:
        since, until = period
        within = (Q(since__isnull=True) | Q(since__lte=until)) & (Q(until__isnull=True) | Q(until__gte=since))
        named, everybody = named & within, everybody & within
    return LegalHold.objects.filter(named | everybody, lifted_at__isnull=True).order_by("pk").first()
