"""Every call has one attestation: signed, verifiable by strangers, in the transaction of its event."""

from __future__ import annotations

import base64
import hashlib
import json
from datetime import datetime

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.db import IntegrityError, transaction
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import SSlibKey  # type: ignore[attr-defined]  # untyped package

from governance.journal import attestations, keys
from governance.journal.attestations import attestation_keys
from governance.journal.models import Attestation, JournalEvent, JournalKey
from governance.journal.reading import open_data
from kernel.canonical import digest_bytes
from kernel.errors import InvalidError, UnavailableError
from kernel.record import Actor
from sandbox.attestation import verify_envelope
from tests.governance.journal.attesting import attest
from tests.governance.journal.writing import CALL, NOW, open_run, write
from vault import services as vault
from vault.types import KeyPurpose, Signer

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("ready")]
STRANGER = Ed25519PrivateKey.generate().public_key().public_bytes_raw()


def events(name: str) -> list[JournalEvent]:
    return list(JournalEvent.objects.filter(type=name).order_by("id"))


def test_the_row_repeats_what_the_signed_statement_says() -> None:
    row = attest(run=open_run().id)
    predicate = verify_envelope(row.envelope, attestation_keys()).predicate
    assert (row.id, row.call_id) == (predicate["attestation_id"], predicate["call_id"])
    assert (row.executor, row.sandbox_enforcement) == (
        predicate["executor"],
        predicate["sandbox_enforcement"],
    )
    assert (row.outcome, row.timed_out) == (predicate["outcome"], predicate["timed_out"])
    assert row.execution_sha256 == predicate["execution_sha256"]
    assert row.executed_at == NOW
    assert row.envelope_sha256 == hashlib.sha256(row.envelope.encode()).hexdigest()


def test_its_event_holds_the_digest_of_the_envelope() -> None:
    run = open_run()
    row = attest(run=run.id)
    (event,) = events("attestation.recorded")
    assert (event.subject, event.run_id, event.call_id) == (row.id, run.id, CALL)
    assert open_data(event)["envelope_sha256"] == row.envelope_sha256


def test_another_implementation_of_dsse_verifies_it() -> None:
    row = attest(run=None)
    envelope = Envelope.from_dict(json.loads(row.envelope))
    assert set(envelope.verify([_as_their_key(bytes(row.key.public_key), row.key_id)], 1)) == {row.key_id}
    with pytest.raises(VerificationError):
        envelope.verify([_as_their_key(STRANGER, row.key_id)], 1)


def _as_their_key(public: bytes, key_id: str) -> SSlibKey:
    return SSlibKey(key_id, "ed25519", "ed25519", {"public": public.hex()})


def test_one_changed_character_of_the_payload_fails() -> None:
    envelope = json.loads(attest(run=None).envelope)
    statement = base64.b64decode(envelope["payload"]).replace(b'"deny"', b'"allow"')
    envelope["payload"] = base64.b64encode(statement).decode()
    with pytest.raises(InvalidError) as refused:
        verify_envelope(json.dumps(envelope), attestation_keys())
    assert refused.value.code == "attestation.signature_invalid"


def test_a_call_has_one_attestation() -> None:
    run = open_run()
    first = attest(run=run.id)
    with pytest.raises(IntegrityError):
        attest(run=run.id)
    assert Attestation.objects.get() == first
    assert len(events("attestation.recorded")) == 1


def test_without_its_event_there_is_no_attestation(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(**_: object) -> str:
        raise UnavailableError("journal_unavailable")

    write()
    run = open_run().id
    attest(run=run, call="call_before")
    monkeypatch.setattr(attestations, "record", broken)
    with pytest.raises(UnavailableError):
        attest(run=run)
    assert not Attestation.objects.filter(call_id=CALL).exists()


def test_a_rolled_back_attestation_leaves_neither_row_nor_event_nor_key() -> None:
    with transaction.atomic():
        attest(run=None)
        transaction.set_rollback(True)
    assert not Attestation.objects.exists()
    assert not JournalEvent.objects.exists()
    assert not JournalKey.objects.exists()


def test_the_public_key_is_published_once_with_its_event() -> None:
    for number in range(3):
        attest(run=None, call=f"call_{number}")
    signer = vault.signer(KeyPurpose.ATTESTATION)
    assert attestation_keys() == {signer.key_id: signer.public_key}
    (event,) = events("journal.key_rotated")
    assert JournalKey.objects.get().rotation_event == event.id
    assert open_data(event) == {"purpose": "attestation", "key_id": signer.key_id, "previous": None}


def _published_anew(purpose: KeyPurpose, *, actor: Actor, now: datetime) -> tuple[Signer, JournalKey]:
    signer = vault.signer(purpose)
    return signer, keys._publish(purpose, signer, actor, now)


def test_a_key_published_meanwhile_is_used_and_leaves_no_second_event(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    attest(run=None)
    with monkeypatch.context() as blind:
        blind.setattr(attestations, "signing_key", _published_anew)
        second = attest(run=None, call="call_2")
    assert second.key == JournalKey.objects.get()
    assert len(events("journal.key_rotated")) == 1


def test_a_public_key_under_a_foreign_id_is_not_trusted() -> None:
    row = attest(run=None)
    JournalKey.objects.filter(key_id=row.key_id).update(public_key=STRANGER)
    assert attestation_keys() == {}
    assert digest_bytes(STRANGER) != row.key_id


def test_the_checkpoint_key_and_a_revoked_key_verify_no_attestation() -> None:
    row = attest(run=None)
    JournalKey.objects.update(purpose=KeyPurpose.CHECKPOINT)
    assert attestation_keys() == {}
    JournalKey.objects.update(purpose=KeyPurpose.ATTESTATION, revoked_at=NOW)
    assert attestation_keys() == {}
    JournalKey.objects.update(revoked_at=None, retired_at=NOW)
    assert set(attestation_keys()) == {row.key_id}
