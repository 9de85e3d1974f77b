"""What the edge of the server notices, before anybody has proved who they are."""

from __future__ import annotations

import logging
from datetime import datetime

from django.db import DatabaseError, transaction

from governance.authority import needs
from governance.journal.ledger import record
from identity.sightings import first_sighting
from kernel.errors import PalyraError
from kernel.record import system_actor

log = logging.getLogger(__name__)


@needs(None)
def note_spoof(*, header: str, network: str, now: datetime) -> None:
    """Leave `auth.spoof_attempt`, at most one for a network and minute.

    The request is refused in any case, so a journal that cannot be written only shows in the log.
    """
    log.warning("%s came from %s, which is no trusted proxy", header, network)
    try:
        with transaction.atomic(durable=True):
            place = first_sighting(network=network, now=now)
            if place is not None:
                record(
                    event="auth.spoof_attempt",
                    actor=system_actor("api"),
                    subject="anonymous",
                    now=now,
                    data={"header": header, "network": place},
                )
    except (DatabaseError, PalyraError):
        log.exception("a forged header could not be recorded")
