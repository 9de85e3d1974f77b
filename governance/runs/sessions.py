"""Sessions: conversations that outlive a run, under a key that the caller chooses."""

from __future__ import annotations

from datetime import datetime

from governance.models import Session
from kernel.errors import Detail, InvalidError
from kernel.ids import new_id

MAX_KEY = 128


def session_under(key: str, *, workspace_id: str, principal_id: str, now: datetime) -> Session:
    """Return the principal's session of this key in this workspace, and make it when it is new.

    Keys of two principals never meet, those of two tokens of one principal do. Raises InvalidError for a
    key that is blank, longer than 128 characters or holds what nobody can see.
    """
    if not 1 <= len(key) <= MAX_KEY or not key.isprintable() or key != key.strip():
        sentence = f"must be 1 to {MAX_KEY} printable characters without space around them"
        raise InvalidError("invalid", f"session_key {sentence}.", errors=(_detail(sentence),))
    made = Session(
        id=new_id("ses", now), workspace_id=workspace_id, principal_id=principal_id, key=key, created_at=now
    )
    Session.objects.bulk_create([made], ignore_conflicts=True)
    return Session.objects.get(workspace_id=workspace_id, principal_id=principal_id, key=key)


def _detail(sentence: str) -> Detail:
    return Detail("/session_key", "invalid", sentence)
