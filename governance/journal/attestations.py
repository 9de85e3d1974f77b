"""Storing the one attestation of a call, signed in the transaction that ends it."""

from __future__ import annotations

import hashlib
from datetime import datetime

from django.db import IntegrityError, transaction

from governance.journal.ledger import record
from governance.journal.models import Attestation, JournalKey
from kernel.canonical import digest_bytes
from kernel.record import Actor
from sandbox.attestation import ExecutionFacts, build, seal
from vault import services as vault
from vault.types import KeyPurpose, Signer


def record_attestation(
    *, facts: ExecutionFacts, execution_id: str | None, actor: Actor, now: datetime
) -> Attestation:
    """Build, sign and insert; a second attestation of one call violates the unique `call_id`."""
    signer = vault.signer(KeyPurpose.ATTESTATION)
    statement = build(facts)
    envelope = seal(statement, signer)
    row = Attestation.objects.create(
        id=facts.attestation_id,
        call_id=facts.call_id,
        execution_id=execution_id,
        execution_sha256=statement.execution_sha256,
        executor=facts.executor.value,
        sandbox_enforcement=facts.sandbox_enforcement.value,
        timed_out=facts.timed_out,
        executed_at=facts.executed_at,
        outcome=facts.outcome,
        envelope=envelope,
        envelope_sha256=hashlib.sha256(envelope.encode()).hexdigest(),
        key=_public_half(signer, actor, now),
    )
    record(
        event="attestation.recorded",
        actor=actor,
        subject=row.id,
        now=now,
        data={
            "execution_sha256": row.execution_sha256,
            "envelope_sha256": row.envelope_sha256,
            "executor": row.executor,
            "sandbox_enforcement": row.sandbox_enforcement,
            "outcome": row.outcome,
        },
        run=facts.run_id,
        call=facts.call_id,
    )
    return row


def attestation_keys() -> dict[str, bytes]:
    """Return the public keys by id, for verifying envelopes. A key that its id does not name is left out."""
    rows = JournalKey.objects.filter(purpose=KeyPurpose.ATTESTATION, revoked_at__isnull=True)
    keys = {row.key_id: bytes(row.public_key) for row in rows}
    return {key_id: key for key_id, key in keys.items() if digest_bytes(key) == key_id}


def _public_half(signer: Signer, actor: Actor, now: datetime) -> JournalKey:
    row = JournalKey.objects.filter(key_id=signer.key_id).first()
    return row or _publish(signer, actor, now)


def _publish(signer: Signer, actor: Actor, now: datetime) -> JournalKey:
    """Store the public half at its first use; of two at once, one does, and the other leaves no event."""
    purpose = KeyPurpose.ATTESTATION
    try:
        with transaction.atomic():
            event_id = record(
                event="journal.key_rotated",
                actor=actor,
                subject=signer.key_id,
                now=now,
                data={"purpose": purpose.value, "key_id": signer.key_id},
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
