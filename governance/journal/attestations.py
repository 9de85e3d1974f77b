"""Storing the one attestation of a call, signed in the transaction that ends it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime

from governance.journal.keys import Window, public_keys, signing_key, windows
from governance.journal.ledger import record
from governance.journal.models import Attestation, JournalEvent, JournalLeaf
from kernel.errors import InvalidError, UnavailableError
from kernel.record import Actor
from sandbox.attestation import ExecutionFacts, Statement, build, seal, verify_envelope
from vault.types import KeyPurpose


@dataclass(frozen=True, slots=True)
class Judgement:
    """What an envelope is worth. `statement` and `key_id` are None unless it is valid; `code` is `ok` then.

    `is_recorded`: the journal holds exactly this envelope.
    """

    code: str
    statement: Statement | None = None
    key_id: str | None = None
    is_recorded: bool = False

    @property
    def is_valid(self) -> bool:
        return self.statement is not None


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


def stored_statement(row: Attestation) -> Statement:
    """Return what a stored attestation says; UnavailableError `integrity_failed` when no key signed it."""
    try:
        return verify_envelope(row.envelope, {key_id: one.public_key for key_id, one in _windows().items()})
    except InvalidError as error:
        raise UnavailableError("integrity_failed", "A stored attestation is not as it was signed.") from error


def sealed_at(row: Attestation) -> int | None:
    """Return the number of its event in the log, None until it is sealed."""
    recorded = JournalEvent.objects.filter(subject=row.pk, type="attestation.recorded").values("pk")
    return JournalLeaf.objects.filter(event_id__in=recorded).values_list("seq", flat=True).first()


def judge(text: str) -> Judgement:
    """Judge an envelope from anywhere. Total: whatever is wrong with it is a code.

    A key in use vouches for what it signed. One that is retired or revoked may be in other hands by now: it
    vouches only for what the journal recorded while the key counted, which nobody can add to afterwards.
    Codes: those of `verify_envelope`, and `attestation.key_out_of_window`.
    """
    code = _form_of(text)
    for key_id, window in _windows().items():
        try:
            statement = verify_envelope(text, {key_id: window.public_key})
        except InvalidError as error:
            code = error.code if error.code != "attestation.key_unknown" else code
            continue
        row = Attestation.objects.filter(call_id=statement.predicate["call_id"], envelope=text).first()
        if not _vouches(window, row):
            code = "attestation.key_out_of_window"
        else:
            return Judgement("ok", statement, key_id, is_recorded=row is not None)
    return Judgement(code)


def _form_of(text: str) -> str:
    """Return what is wrong with an envelope by itself, `attestation.key_unknown` where nothing is."""
    try:
        verify_envelope(text, {})
    except InvalidError as error:
        return error.code
    return "attestation.key_unknown"


def _vouches(window: Window, row: Attestation | None) -> bool:
    """Nobody rotates a key while a transaction signs with it, so the log's order says more than its times."""
    if row is None:
        return window.retired_at is None and window.revoked_at is None
    return window.revoked_at is None or _recorded_at(row) < window.revoked_at


def _recorded_at(row: Attestation) -> datetime:
    """Return when it was signed: the time of its event, or of the run whose event is in an archive."""
    recorded = JournalEvent.objects.filter(subject=row.pk, type="attestation.recorded").first()
    return recorded.time if recorded is not None else row.executed_at or row.key.not_before


def _windows() -> dict[str, Window]:
    return windows(KeyPurpose.ATTESTATION)
