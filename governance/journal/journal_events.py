"""What the journal says about itself."""

from __future__ import annotations

from governance.journal.event_names import EventName as E
from governance.journal.event_register import event


@event(E.JOURNAL_KEY_ROTATED)
class KeyRotated:
    """`previous` is null for the first key of a purpose."""

    purpose: str
    key_id: str
    previous: str | None


@event(E.RECORD_VIEWED)
class RecordViewed:
    """Somebody had what is encrypted opened: `count` records of the kind `what`, or those from now on.

    `ids` are the records, as far as an event has room for them.
    """

    what: str
    count: int | None
    ids: list[str]
