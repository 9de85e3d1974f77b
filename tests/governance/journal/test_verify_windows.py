"""Verification knows which key counted when, who cosigned, and what is gone on purpose."""

from __future__ import annotations

from base64 import b64encode
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.conf import settings
from django.db import transaction

from governance.journal import note
from governance.journal.keys import origin, public_keys, signing_key
from governance.journal.ledger import record
from governance.journal.models import (
    JournalCheckpoint,
    JournalCosignature,
    JournalEvent,
    JournalKey,
    JournalLeaf,
    JournalPending,
    JournalSubjectKey,
)
from governance.journal.rotation import revoke, rotate
from governance.journal.sealing import seal
from governance.journal.verify import Options, Verification
from tests.governance.journal.attesting import attest
from tests.governance.journal.tampering import found_after, set_columns, verified
from tests.governance.journal.writing import AGENT, NOW, PERSON, open_run, write
from vault import services as vault
from vault.types import KeyPurpose

SECOND = timedelta(seconds=1)


def test_an_empty_journal_is_clean(db: None) -> None:
    report = verified(Options(payloads=False))
    assert (report.is_clean, report.events) == (True, 0)


@pytest.mark.usefixtures("ready")
class TestWindows:
    """When signatures count."""

    def _rotated(self) -> list[JournalKey]:
        for turn in range(3):
            write(now=NOW + turn * SECOND)
            seal(now=NOW + turn * SECOND)
            with transaction.atomic():
                rotate(
                    purpose=KeyPurpose.CHECKPOINT,
                    actor=PERSON,
                    now=NOW + turn * SECOND + SECOND / 2,
                    record=record,
                )
        write(now=NOW + 3 * SECOND)
        seal(now=NOW + 3 * SECOND)
        keys = list(JournalKey.objects.filter(purpose="checkpoint").order_by("not_before"))
        assert len(keys) == 4
        return keys

    def test_checkpoints_before_and_after_rotations_hold(self) -> None:
        self._rotated()
        report = verified()
        assert (report.first, report.checkpoints) == ([], 7)

    def test_a_retired_key_signs_nothing_any_more(self) -> None:
        old = vault.signer(KeyPurpose.CHECKPOINT)
        keys = self._rotated()
        newest = JournalCheckpoint.objects.order_by("-tree_size")[0]
        text = note.sign(origin(NOW), newest.tree_size, bytes(newest.root), old)
        changes = {"note": text, "key_id": keys[0].pk}
        expected = {("key_out_of_window", newest.tree_size - 1)}
        assert found_after(lambda: set_columns(JournalCheckpoint, newest.pk, **changes)) == expected

        def hide() -> None:
            """Move the columns that say when: the place in the log stays."""
            set_columns(JournalCheckpoint, newest.pk, **changes)
            JournalKey.objects.filter(pk=keys[0].pk).update(retired_at=NOW + timedelta(days=9))

        assert found_after(hide) == expected

    def test_what_a_revoked_key_signed_since_then_does_not_count(self) -> None:
        keys = self._rotated()
        second = JournalCheckpoint.objects.filter(key_id=keys[1].pk).order_by("tree_size")
        with transaction.atomic():
            revoke(key_id=keys[1].pk, since=NOW, actor=PERSON, now=NOW + 9 * SECOND, record=record)
        found = {(one.code, one.seq) for one in verified().first}
        alone = [row.pk - 1 for row in second if len(note.parse(row.note).signatures) == 1]
        assert found == {("key_out_of_window", seq) for seq in alone} != set()

    def test_a_revocation_that_was_taken_out_of_its_row_still_counts(self) -> None:
        keys = self._rotated()
        with transaction.atomic():
            event_time = NOW + 9 * SECOND
            revoke(key_id=keys[1].pk, since=event_time, actor=PERSON, now=event_time, record=record)
            seal(now=event_time)
        assert verified().first == []
        event = JournalLeaf.objects.get(
            event_id=JournalEvent.objects.get(type="journal.key_revoked", subject=keys[1].pk).pk
        )
        for since in (None, event_time + SECOND):
            JournalKey.objects.filter(pk=keys[1].pk).update(revoked_at=since)
            assert [(one.code, one.seq) for one in verified().first] == [("column_mismatch", event.seq)]
            assert keys[1].pk not in public_keys(KeyPurpose.CHECKPOINT)

    def test_an_attestation_of_a_retired_key_is_found(self) -> None:
        run = open_run().pk
        with transaction.atomic():
            signing_key(KeyPurpose.ATTESTATION, actor=AGENT, now=NOW)
        attest(run=run)
        with transaction.atomic():
            rotate(purpose=KeyPurpose.ATTESTATION, actor=PERSON, now=NOW + SECOND, record=record)
        attest(run=run, call="call_later", now=NOW)
        seal(now=NOW + SECOND)
        assert verified().first == []
        first = JournalKey.objects.filter(purpose="attestation").order_by("not_before")[0]
        JournalKey.objects.filter(pk=first.pk).update(revoked_at=NOW)
        assert set(verified().counts) == {"attestation_invalid"}


@pytest.mark.usefixtures("ready")
class TestWaiting:
    """What has no place in the log yet, and what is gone on purpose."""

    def test_events_that_wait_too_long(self) -> None:
        first = write(now=NOW - timedelta(seconds=61))
        assert [(one.code, one.event) for one in verified().first] == [("unsealed_stale", first.pk)]

    def test_an_erased_subject_is_said_and_is_no_finding(self) -> None:
        run = open_run()
        for _ in range(3):
            write(run=run.pk)
        event = write("journal.key_rotated", purpose="checkpoint", key_id="sha256:x", previous=None)
        seal(now=NOW)
        JournalSubjectKey.objects.filter(subject=run.pk).update(
            wrapped_key=None, destroyed_at=NOW, destroyed_event=event.pk
        )
        assert verified().counts == {"payload_mismatch": 3}
        set_columns(JournalEvent, event.pk, type="journal.subject_erased", subject=run.pk)
        report = verified()
        assert (report.erased, report.counts) == (3, {"column_mismatch": 1})

    def test_witnesses_that_are_demanded(self, settings_of_witness: Ed25519PrivateKey) -> None:
        write()
        sealed = seal(now=NOW)
        assert sealed is not None
        assert [one.code for one in verified().first] == ["signature_invalid"]
        body = note.parse(sealed.note).body
        key = settings_of_witness.public_key().public_bytes_raw()
        stamp = int(NOW.timestamp())
        signature = settings_of_witness.sign(note.cosigned_bytes(body, stamp))
        data = note.key_hash("witness.one", key, note.COSIGNED) + stamp.to_bytes(8, "big") + signature
        line = f"— witness.one {b64encode(data).decode()}"
        kept = JournalCosignature.objects.create(checkpoint=sealed, witness="witness.one", line=line)
        assert verified().first == []
        for changed in (line[:-6] + "AAAA==", "nonsense"):
            with transaction.atomic():
                set_columns(JournalCosignature, kept.pk, line=changed)
                assert set(verified().counts) == {"signature_invalid"}
                transaction.set_rollback(True)
        write(now=NOW + timedelta(hours=25))
        seal(now=NOW + timedelta(hours=25))
        assert [(one.code, one.seq) for one in verified().first] == [("signature_invalid", sealed.tree_size)]

    @pytest.fixture
    def settings_of_witness(self, monkeypatch: pytest.MonkeyPatch) -> Ed25519PrivateKey:
        private = Ed25519PrivateKey.generate()
        key = private.public_key().public_bytes_raw()
        hashed = note.key_hash("witness.one", key, note.COSIGNED).hex()
        entry = f"witness.one+{hashed}+{b64encode(note.COSIGNED + key).decode()}"
        monkeypatch.setattr(settings, "PALYRA_JOURNAL_WITNESSES", (entry,))
        monkeypatch.setattr(settings, "PALYRA_JOURNAL_REQUIRE_WITNESS", 1)
        return private

    def test_what_is_sealed_meanwhile_is_left_to_the_next_time(self) -> None:
        write()
        seal(now=NOW)
        verification = Verification(Options(), NOW)
        write()
        seal(now=NOW + SECOND)
        assert verification.run().first == []
        assert not JournalPending.objects.exists()
