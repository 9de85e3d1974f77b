"""Forged headers seen: one row for a network and minute, so that one event stands for any number."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import IntegrityError, transaction

from identity.models import SpoofSighting

MOST_NETWORKS = 50
MANY = "many"
KEPT_FOR = timedelta(hours=1)


def first_sighting(*, network: str, now: datetime) -> str | None:
    """Return the network to record, or None when this minute has its event already.

    After the first `MOST_NETWORKS` of a minute all others together are `many`.
    """
    minute = now.replace(second=0, microsecond=0)
    seen = SpoofSighting.objects.filter(minute=minute)
    if seen.filter(network=network).exists():
        return None
    place = network if seen.count() < MOST_NETWORKS else MANY
    if place == MANY and seen.filter(network=MANY).exists():
        return None
    try:
        with transaction.atomic():
            SpoofSighting.objects.create(network=place, minute=minute)
    except IntegrityError:
        return None
    return place


def sweep(now: datetime) -> int:
    """Delete what no limit looks at any more, and return how many rows that were."""
    over = SpoofSighting.objects.filter(minute__lte=now - KEPT_FOR)
    return over.delete()[0] if over.exists() else 0
