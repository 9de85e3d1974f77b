"""Opening payloads for people who may see them."""

from __future__ import annotations

import json
from typing import Any

from governance.journal import envelope
from governance.journal.ledger import key_context, payload_context
from governance.journal.models import JournalEvent, JournalPayload
from kernel.canonical import digest_bytes
from kernel.clock import wire_time
from vault import services as vault
from vault.envelope import IntegrityError, Sealed, open_sealed
from vault.types import WrappedKey


def open_data(event: JournalEvent) -> dict[str, Any]:
    """Return an event's data, or `{"_erased": true, "at": …}` when its key was destroyed.

    Raises UnavailableError `vault.integrity_failed` when the payload is missing or not what the envelope
    says, and the vault's own errors when the key cannot be had.
    """
    payload = JournalPayload.objects.select_related("key").filter(event=event).first()
    if payload is None:
        raise IntegrityError
    if payload.key.wrapped_key is None:
        return {"_erased": True, "at": wire_time(payload.key.destroyed_at)}
    plain = _open(payload, bytes(payload.key.wrapped_key))
    if not _belongs(bytes(event.envelope), event, plain):
        raise IntegrityError
    data: dict[str, Any] = json.loads(plain)["data"]
    return data


def _belongs(stored: bytes, event: JournalEvent, plain: bytes) -> bool:
    try:
        fields = envelope.parse(stored)
    except ValueError:
        return False
    return fields.get("id") == event.id and fields.get("data_digest") == digest_bytes(plain)


def _open(payload: JournalPayload, wrapped_key: bytes) -> bytes:
    subject_key = payload.key
    key = vault.unwrap_data_key(
        WrappedKey(subject_key.kek_id, wrapped_key), aad=key_context(subject_key.subject, subject_key.id)
    )
    sealed = Sealed(nonce=bytes(payload.nonce), ciphertext=bytes(payload.ciphertext))
    return open_sealed(sealed, key=key, context=payload_context(payload.event_id, subject_key.id))
