"""The epoch: one row that moves in the same transaction as every write that can change a decision."""

from __future__ import annotations

import secrets

from django.db.models import F

from policy.models import PolicyEpoch


def hold_epoch() -> None:
    """Keep other writers waiting until the transaction ends, without moving the epoch."""
    PolicyEpoch.objects.select_for_update().filter(pk=1).first()


def raise_epoch() -> None:
    """Move the epoch. Also serialises the writers, because all of them update this one row first."""
    stamp = secrets.token_hex(16)
    if not PolicyEpoch.objects.filter(pk=1).update(epoch=F("epoch") + 1, stamp=stamp):
        PolicyEpoch.objects.create(pk=1, epoch=1, stamp=stamp)
