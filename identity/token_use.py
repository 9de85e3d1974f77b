"""Marks on a token: when and from where it was last used, and that its text was seen where it may not be."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from identity.authentication import Authenticated, genuine_tokens
from identity.models import ApiToken
from identity.networks import network_of
from kernel.record import Actor, Record

USE_INTERVAL = timedelta(seconds=60)


def is_due(used: Authenticated, now: datetime) -> bool:
    """Tell whether the last noted use is old enough to note another."""
    return used.last_used_at is None or now - used.last_used_at >= USE_INTERVAL


def note_use(*, used: Authenticated, now: datetime) -> bool:
    """Note a use at most once a minute; of several at once one is noted. Leaves no event."""
    if not is_due(used, now):
        return False
    rows = ApiToken.objects.filter(pk=used.token_id, last_used_at=used.last_used_at)
    return bool(rows.update(last_used_at=now, last_used_network=network_of(used.principal.client_ip)))


def has_unflagged(texts: Sequence[str]) -> bool:
    """Tell whether one of the texts is that of a token not yet flagged as exposed."""
    return bool(texts) and any(token.exposed_at is None for token in genuine_tokens(texts))


def note_exposure(
    *, texts: Sequence[str], place: str, client_ip: str, actor: Actor, now: datetime, record: Record
) -> int:
    """Flag each token whose text was sent in a query or a body; return how many were not flagged before."""
    count = 0
    for token in genuine_tokens(texts):
        if not ApiToken.objects.filter(pk=token.pk, exposed_at__isnull=True).update(exposed_at=now):
            continue
        count += 1
        record(
            event="token.exposed",
            actor=actor,
            subject=token.pk,
            now=now,
            data={"place": place, "network": network_of(client_ip)},
        )
    return count
