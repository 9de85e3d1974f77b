"""The fields of the events about session labels."""

from __future__ import annotations

from governance.journal.event_names import EventName as E
from governance.journal.event_register import event


@event(E.LABEL_ADDED)
class LabelAdded:
    holder: str
    label: str


@event(E.LABEL_DECLASSIFIED)
class LabelDeclassified:
    holder: str
    label: str
    reason: str
