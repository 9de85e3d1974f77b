"""Opening payloads for people who may see them."""

from __future__ import annotations

import json
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from governance.journal import envelope
from governance.journal.ledger import key_context, payload_context
from governance.journal.models import JournalEvent, JournalPayload
from kernel.canonical import digest_bytes
from kernel.errors import UnavailableError
from vault import services as vault
from vault.types import WrappedKey


def open_data(event: JournalEvent) -> dict[str, Any]:
    """Return an event's data, or `{"_erased": true}` when its key was destroyed.

    Raises UnavailableError `integrity_failed` when the stored bytes are not what the envelope says.
    """
    payload = JournalPayload.objects.select_related("key").filter(event=event).first()
    if payload is None or payload.key.wrapped_key is None:
        return {"_erased": True}
    wrapped = WrappedKey(payload.key.kek_id, bytes(payload.key.wrapped_key))
    key = vault.unwrap_data_key(wrapped, aad=key_context(payload.key.subject, payload.key.id))
    context = payload_context(event.id, payload.key.id)
    try:
        plain = AESGCM(key).decrypt(bytes(payload.nonce), bytes(payload.ciphertext), context)
    except InvalidTag as error:
        raise UnavailableError("integrity_failed", "The event's payload was changed.") from error
    if envelope.parse(bytes(event.envelope))["data_digest"] != digest_bytes(plain):
        raise UnavailableError("integrity_failed", "The event's payload is not the recorded one.")
    data: dict[str, Any] = json.loads(plain)["data"]
    return data
