"""Taking the journal away: recorded before the first line leaves."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction

from governance.authority import needs
from governance.journal.export import Shape, Wanted, bounds, newest_checkpoint
from governance.journal.ledger import instance_id, record
from governance.journal_taking import require_taker, reveals
from identity.roles import Permission
from identity.types import Principal


@needs(Permission.JOURNAL_EXPORT)
def export(
    *, principal: Principal, shape: Shape, first: int | None, last: int | None, follow: bool, now: datetime
) -> Wanted:
    """Note who takes which leaves, with or without their data, and return what they may take.

    `first` and `last` are numbers, by default all that is sealed; data is told to those who may open it at
    this moment. The journal is one: whoever stands in one workspace
    only takes none of it (RefusedError `role_required`). InvalidError `invalid_range`.
    """
    with transaction.atomic(durable=True):
        require_taker(principal, now)
        signed = newest_checkpoint()
        size = 0 if signed is None else signed.tree_size
        low, high = bounds(first, last, size)
        revealing = reveals(principal, now)
        event = record(
            event="journal.exported",
            actor=principal.actor(),
            subject=principal.workspace_id,
            now=now,
            data={
                "format": shape.value,
                "first_seq": low,
                "end_seq": high,
                "tree_size": size,
                "follow": follow,
                "revealed": revealing,
            },
        )
        return Wanted(shape, low, high, signed, revealing, event, instance_id(now), now)
