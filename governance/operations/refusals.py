"""A refusal rolls back its own trace, so it is recorded in a transaction of its own."""

from __future__ import annotations

import logging
from datetime import datetime

from django.db import DatabaseError, transaction

from governance.authority import needs
from governance.journal.ledger import record
from identity.types import Principal
from kernel.errors import PalyraError

log = logging.getLogger(__name__)


@needs(None)
def record_refusal(principal: Principal, subject: str, refusal: PalyraError, now: datetime) -> None:
    """Leave `request.refused` in a transaction of its own; the refusal stands even if that fails."""
    try:
        with transaction.atomic(durable=True):
            record(
                event="request.refused",
                actor=principal.actor(),
                subject=subject,
                now=now,
                data={"code": refusal.code},
            )
    except (DatabaseError, PalyraError):
        log.exception("a refusal could not be recorded")
