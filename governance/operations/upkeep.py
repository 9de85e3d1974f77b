"""Verbs of whoever keeps the server, typed on its own machine."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction

from governance.authority import needs
from governance.journal.ledger import record
from identity import backfill, resealing
from identity.backfill import Backfill
from identity.resealing import Resealed
from kernel.record import system_actor


@needs(None)
def backfill_access(*, dry_run: bool, now: datetime) -> Backfill:
    """Write missing flags down, bring limits back into range, and report orphaned rows."""
    if dry_run:
        return backfill.survey(now)
    with transaction.atomic(durable=True):
        return backfill.backfill(actor=system_actor("shell"), now=now, record=record)


@needs(None)
def reseal_identity(*, dry_run: bool, now: datetime) -> Resealed:
    """Bring every sealed value of identity under the present key file."""
    with transaction.atomic(durable=True):
        done = resealing.reseal(dry_run=dry_run)
        if done.rewritten and not dry_run:
            record(
                event="identity.resealed",
                actor=system_actor("shell"),
                subject="identity",
                now=now,
                data={"rewritten": done.rewritten, "lost": len(done.lost)},
            )
    return done
