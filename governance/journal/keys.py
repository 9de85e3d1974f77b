"""The keys that sign and the time in which their signatures count. Private halves stay in the vault."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from django.conf import settings
from django.db import IntegrityError, connection, transaction
from django.db.models import Exists, OuterRef

from governance.journal.ledger import instance_id, record
from governance.journal.models import JournalEvent, JournalKey
from kernel.canonical import digest_bytes
from kernel.record import Actor
from vault import services as vault
from vault.types import KeyPurpose, Signer

_LOCKS = {KeyPurpose.ATTESTATION: 7_203_607, KeyPurpose.CHECKPOINT: 7_203_608}
"""The keys of advisory locks in this database."""


class Window(NamedTuple):
    """A public key and the time in which what it signed counts."""

    public_key: bytes
    not_before: datetime
    retired_at: datetime | None
    revoked_at: datetime | None

    def covers(self, at: datetime) -> bool:
        """Tell whether a signature of this moment counts; one of the moment of a revocation does not."""
        return (
            self.not_before <= at
            and (self.retired_at is None or at <= self.retired_at)
            and (self.revoked_at is None or at < self.revoked_at)
        )


def origin(now: datetime) -> str:
    """Return the name of this log in checkpoints."""
    return settings.PALYRA_JOURNAL_ORIGIN or f"palyra.local/{instance_id(now)}"


def signing_key(purpose: KeyPurpose, *, actor: Actor, now: datetime) -> tuple[Signer, JournalKey]:
    """Return the key in use and its published half, in the caller's transaction.

    Until that ends nobody rotates the key, so in the log everything it signed stands before its rotation.
    """
    hold_key(purpose, alone=False)
    signer = vault.signer(purpose)
    row = JournalKey.objects.filter(key_id=signer.key_id).first()
    return signer, row or _publish(purpose, signer, actor, now)


def public_keys(purpose: KeyPurpose) -> dict[str, bytes]:
    """Return the public keys by id, retired ones too. A key that its id does not name is left out.

    So is one whose revocation is recorded, whatever its row says by now.
    """
    revoked = JournalEvent.objects.filter(type="journal.key_revoked", subject=OuterRef("pk"))
    rows = JournalKey.objects.filter(~Exists(revoked), purpose=purpose, revoked_at__isnull=True)
    keys = {row.key_id: bytes(row.public_key) for row in rows}
    return {key_id: key for key_id, key in keys.items() if digest_bytes(key) == key_id}


def windows(purpose: KeyPurpose) -> dict[str, Window]:
    """Return every key by id, revoked ones too. A key that its id does not name is left out."""
    rows = JournalKey.objects.filter(purpose=purpose).order_by("not_before", "key_id")
    found = {
        row.key_id: Window(bytes(row.public_key), row.not_before, row.retired_at, row.revoked_at)
        for row in rows
    }
    return {key_id: one for key_id, one in found.items() if digest_bytes(one.public_key) == key_id}


def hold_key(purpose: KeyPurpose, *, alone: bool) -> None:
    """Keep the key from being rotated, or `alone` from being used, until the transaction ends.

    SQLite has one writer at a time, so there the transaction itself is the lock.
    """
    if connection.vendor == "postgresql":
        function = "pg_advisory_xact_lock" if alone else "pg_advisory_xact_lock_shared"
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT {function}(%s)", [_LOCKS[purpose]])


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
