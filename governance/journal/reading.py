"""Opening payloads for people who may see them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from governance.journal import envelope
from governance.journal.ledger import key_context, payload_context
from governance.journal.models import JournalEvent, JournalPayload, JournalSubjectKey
from kernel.canonical import digest_bytes
from kernel.clock import wire_time
from vault import services as vault
from vault.envelope import IntegrityError, Sealed, open_sealed
from vault.types import WrappedKey


@dataclass(frozen=True, slots=True)
class Opened:
    """The data of an event, and the salt with which its digest is recomputed; None once it is erased."""

    data: dict[str, Any]
    salt: str | None = field(default=None, repr=False)


def open_data(event: JournalEvent) -> dict[str, Any]:
    """Return an event's data, or `{"_erased": true, "at": …}` when its key was destroyed.

    Raises UnavailableError `vault.integrity_failed` when the payload is missing or not what the envelope
    says, and the vault's own errors when the key cannot be had.
    """
    return open_all([event])[0]


def open_all(events: Sequence[JournalEvent]) -> list[dict[str, Any]]:
    """Return the data of many events in their order, in one query; each key is unwrapped once.

    As `open_data`; the first event that cannot be opened raises.
    """
    return [one.data for one in open_salted(events)]


def open_salted(events: Sequence[JournalEvent]) -> list[Opened]:
    """As `open_all`, with the salts."""
    payloads = JournalPayload.objects.select_related("key").in_bulk([event.pk for event in events])
    keys: dict[str, bytes] = {}
    return [_data_of(event, payloads.get(event.pk), keys) for event in events]


def _data_of(event: JournalEvent, payload: JournalPayload | None, keys: dict[str, bytes]) -> Opened:
    if payload is None:
        raise IntegrityError
    if payload.key.wrapped_key is None:
        return Opened({"_erased": True, "at": wire_time(payload.key.destroyed_at)})
    if payload.key_id not in keys:
        keys[payload.key_id] = _unwrapped(payload.key)
    plain = _open(payload, keys[payload.key_id])
    if not _belongs(bytes(event.envelope), event, plain):
        raise IntegrityError
    found = json.loads(plain)
    return Opened(found["data"], found["salt"])


def _belongs(stored: bytes, event: JournalEvent, plain: bytes) -> bool:
    try:
        fields = envelope.parse(stored)
    except ValueError:
        return False
    return fields.get("id") == event.id and fields.get("data_digest") == digest_bytes(plain)


def _unwrapped(key: JournalSubjectKey) -> bytes:
    wrapped = WrappedKey(key.kek_id, bytes(key.wrapped_key or b""))
    return vault.unwrap_data_key(wrapped, aad=key_context(key.subject, key.id))


def _open(payload: JournalPayload, key: bytes) -> bytes:
    sealed = Sealed(nonce=bytes(payload.nonce), ciphertext=bytes(payload.ciphertext))
    return open_sealed(sealed, key=key, context=payload_context(payload.event_id, payload.key_id))
