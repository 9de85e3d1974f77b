"""Opening what is encrypted: a read that leaves its own trace, before anybody sees anything."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from django.db import transaction

from governance import authority
from governance.authority import needs
from governance.journal.ledger import record
from identity.roles import Permission
from identity.types import Principal


@needs(Permission.JOURNAL_REVEAL)
def note_view(*, principal: Principal, what: str, ids: Sequence[str] | None, now: datetime) -> str:
    """Record that `principal` opens these records, and return the `evt_` id of the event.

    `what` says what kind of record; `ids` is None for records that are still to come. Call it before
    anything is opened: whoever cannot be written down sees nothing. Raises as `require_verb` does.
    """
    with transaction.atomic(durable=True):
        authority.require_verb(principal, Permission.JOURNAL_REVEAL, principal.workspace_id, now)
        return record(
            event="record.viewed",
            actor=principal.actor(),
            subject=principal.workspace_id,
            now=now,
            data={"what": what, "count": None if ids is None else len(ids), "ids": list(ids or ())},
        )
