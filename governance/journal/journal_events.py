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
