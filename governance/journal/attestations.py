"""Storing the one attestation of a call, signed in the transaction that ends it."""

from __future__ import annotations

import hashlib
from datetime import datetime

from governance.journal.keys import public_keys, signing_key
from governance.journal.ledger import record
from governance.journal.models import Attestation
from kernel.record import Actor
from sandbox.attestation import ExecutionFacts, build, seal
from vault.types import KeyPurpose


def record_attestation(
    *, facts: ExecutionFacts, execution_id: str | None, actor: Actor, now: datetime
) -> Attestation:
    """Build, sign and insert; a second attestation of one call violates the unique `call_id`."""
    signer, published = signing_key(KeyPurpose.ATTESTATION, actor=actor, now=now)
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
        key=published,
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
    """Return the public keys by id, for verifying envelopes."""
    return public_keys(KeyPurpose.ATTESTATION)
