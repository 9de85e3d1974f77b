"""The keys that sign and the time in which their signatures count. Private halves stay in the vault."""

from __future__ import annotations

from datetime import datetime

from django.conf import settings
from django.db import IntegrityError, transaction

from governance.journal.ledger import instance_id, record
from governance.journal.models import JournalKey
from kernel.canonical import digest_bytes
from kernel.record import Actor
from vault import services as vault
from vault.types import KeyPurpose, Signer


def origin(now: datetime) -> str:
    """Return the name of this log in checkpoints."""
    return settings.PALYRA_JOURNAL_ORIGIN or f"palyra.local/{instance_id(now)}"


def signing_key(purpose: KeyPurpose, *, actor: Actor, now: datetime) -> tuple[Signer, JournalKey]:
    """Return the key in use and its published half, in the caller's transaction."""
    signer = vault.signer(purpose)
    row = JournalKey.objects.filter(key_id=signer.key_id).first()
    return signer, row or _publish(purpose, signer, actor, now)


def public_keys(purpose: KeyPurpose) -> dict[str, bytes]:
    """Return the public keys by id, retired ones too. A key that its id does not name is left out."""
    rows = JournalKey.objects.filter(purpose=purpose, revoked_at__isnull=True)
    keys = {row.key_id: bytes(row.public_key) for row in rows}
    return {key_id: key for key_id, key in keys.items() if digest_bytes(key) == key_id}


def _publish(purpose: KeyPurpose, signer: Signer, actor: Actor, now: datetime) -> JournalKey:
    """Store the public half at its first use; of two at once, one does, and the other leaves no event."""
    try:
        with transaction.atomic():
            event_id = record(
                event="journal.key_rotated",
                actor=actor,
                subject=signer.key_id,
                now=now,
                data={"purpose": purpose.value, "key_id": signer.key_id, "previous": None},
            )
            return JournalKey.objects.create(
                key_id=signer.key_id,
                purpose=purpose,
                public_key=signer.public_key,
                vault_ref=f"system:{purpose.value}",
                not_before=now,
                rotation_event=event_id,
            )
    except IntegrityError:
        return JournalKey.objects.get(key_id=signer.key_id)
