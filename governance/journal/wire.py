"""One event as every adapter shows it."""

from __future__ import annotations

import base64
from typing import Any

from governance.journal.lookup import Found, masked, shown_envelope
from governance.journal.models import JournalEvent
from identity.types import Principal
from kernel.clock import wire_time


def render_event(found: Found, principal: Principal) -> dict[str, Any]:
    """Return an event with its place in the log; hashes are standard base64, as in proofs and notes."""
    sealed = found.sealed
    return {
        "object": "journal_event",
        "id": found.event_id,
        "seq": sealed.seq if sealed else None,
        **_facts(found.event, principal),
        "data": found.data,
        "withheld": found.withheld,
        "leaf_hash": encoded(sealed.leaf_hash) if sealed else None,
        "checkpoint": {"tree_size": sealed.tree_size, "root": encoded(sealed.root)} if sealed else None,
        "erased": found.erased,
    }


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _facts(event: JournalEvent | None, principal: Principal) -> dict[str, Any]:
    if event is None:
        names = ("type", "time", "actor", "subject", "run_id", "call_id", "envelope")
        return dict.fromkeys(names)
    return {
        "type": event.type,
        "time": wire_time(event.time),
        "actor": masked(event.actor, principal),
        "subject": masked(event.subject, principal),
        "run_id": event.run_id,
        "call_id": event.call_id,
        "envelope": shown_envelope(event, principal),
    }
