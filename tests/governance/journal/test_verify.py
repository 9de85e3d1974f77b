"""An untouched journal verifies, whole, in part and quickly, and a report says what was left out."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator
from datetime import timedelta
from io import StringIO
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from django.core.management import call_command
from django.db import transaction
from django.db.utils import OperationalError
from pytest_django.plugin import DjangoDbBlocker

from governance.journal import checkpoint_log, note
from governance.journal.keys import origin, public_keys, signing_key
from governance.journal.models import (
    JournalCheckpoint,
    JournalEvent,
    JournalKey,
    JournalLeaf,
)
from governance.journal.sealing import seal
from governance.journal.verify import Options, Verification
from governance.journal.verify_anchors import Source, read_key
from kernel.errors import InvalidError, UnavailableError
from tests.governance.journal.attesting import attest
from tests.governance.journal.mass import fill
from tests.governance.journal.tampering import found_after, remove, set_columns, verified
from tests.governance.journal.writing import AGENT, NOW
from tests.module_worlds import rolled_back
from vault import services as vault
from vault.types import KeyPurpose

MANY = 10_000
SECOND = timedelta(seconds=1)


@pytest.fixture(scope="module")
def many(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[int]:
    """Seal 10,000 events and more, in batches; return how many."""
    with rolled_back(django_db_blocker):
        vault.ensure_ready(now=NOW)
        signing_key(KeyPurpose.CHECKPOINT, actor=AGENT, now=NOW)
        attest(run=fill(MANY).pk)
        at = NOW
        while seal(now=at, limit=4_000) is not None:
            at += SECOND
        yield JournalLeaf.objects.count()


@pytest.fixture
def size(many: int, db: None) -> int:
    return many


def test_ten_thousand_untouched_events_have_no_findings(size: int) -> None:
    report = verified()
    assert report.first == report.told == []
    assert (report.is_clean, report.events, report.end_seq) == (True, size, size)
    assert size > MANY
    assert (report.checkpoints, report.attestations) == (JournalCheckpoint.objects.count(), 1)
    assert set(report.keys.values()) == {"vault"}
    assert len(report.keys) == 2


def test_a_report_says_what_was_left_out(size: int) -> None:
    whole = verified(Options(cross_check=True)).skipped
    assert whole == ["nothing held outside the database was compared"]
    part = verified(Options(quick=True, payloads=False))
    assert len(part.skipped) == 4
    assert set(part.keys.values()) == {"the log alone"}


@pytest.mark.parametrize(
    ("first", "last"), [(0, 0), (300, 300), (4_100, 4_300), (9_000, None), (255, 256), (8_000, 8_000)]
)
def test_a_part_is_widened_to_tiles_and_checkpoints(size: int, first: int, last: int | None) -> None:
    report = verified(Options(first=first, last=last))
    assert report.is_clean
    assert report.first_seq == first - first % 256
    assert JournalCheckpoint.objects.filter(tree_size=report.end_seq).exists()
    assert report.end_seq > (last or 0)
    assert report.checkpoints == JournalCheckpoint.objects.count()


def test_quick_reads_the_end_and_every_signature(size: int) -> None:
    report = verified(Options(quick=True))
    assert report.is_clean
    assert report.events == size - (size - MANY) // 256 * 256
    first = JournalCheckpoint.objects.order_by("tree_size")[0]
    found = found_after(
        lambda: set_columns(JournalCheckpoint, first.pk, note=""), Options(quick=True, first=9_000)
    )
    assert found == {("signature_invalid", first.pk - 1)}


@pytest.mark.parametrize(("first", "last"), [(-1, None), (5, 4), (10**9, None), (0, 10**9)])
def test_a_range_outside_the_log_is_refused(size: int, first: int, last: int | None) -> None:
    with pytest.raises(InvalidError) as refused:
        Verification(Options(first=first, last=last), NOW)
    assert refused.value.code == "invalid_range"


def test_a_vault_that_is_locked_is_no_clean_journal(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vault.services.is_ready", lambda: False)
    with pytest.raises(UnavailableError):
        verified()
    assert verified(Options(payloads=False, first=9_000)).is_clean


class TestCommand:
    """`manage.py journal verify`."""

    @staticmethod
    def run(*arguments: str) -> tuple[int, str, str]:
        out, errors = StringIO(), StringIO()
        with pytest.raises(SystemExit) as ended:
            call_command("journal", "verify", *arguments, stdout=out, stderr=errors)
        assert isinstance(ended.value.code, int)
        return ended.value.code, out.getvalue(), errors.getvalue()

    def test_exits_0_when_everything_holds(self, size: int) -> None:
        code, out, errors = self.run("--quick")
        assert code == 0
        assert " 0 findings" in out
        assert "not checked: " in out
        assert "events" in errors

    def test_exits_2_when_a_row_cannot_be_read(self, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
        """What a column of SQLite can hold, where no type of the column keeps it out."""
        monkeypatch.setattr("governance.journal.verify_leaves._shaped", lambda stored: None)
        code, _, errors = self.run("--quick")
        assert code == 2
        assert "could not check: a row cannot be read" in errors

    def test_exits_1_with_findings_and_names_them(self, size: int) -> None:
        with transaction.atomic():
            leaf = JournalLeaf.objects.get(seq=size - 5)
            set_columns(JournalEvent, leaf.event_id, subject="usr_other")
            code, out, _ = self.run("--from", "9000")
            plain, told, _ = self.run("--from", "9000", "--json")
            transaction.set_rollback(True)
        assert (code, plain) == (1, 1)
        assert f"column_mismatch seq={leaf.seq} event={leaf.event_id} event: subject" in out
        report = json.loads(told)
        assert (report["clean"], report["counts"]) == (False, {"column_mismatch": 1})
        assert set(report["findings"][0]) == {"code", "seq", "event", "detail"}

    def test_exits_2_when_it_cannot_check(self, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
        for wrong in (("--from", "999999"), ("--against", "/nowhere"), ("--key", "no key")):
            code, out, errors = self.run(*wrong)
            assert (code, out, "could not check" in errors) == (2, "", True), wrong
        monkeypatch.setattr("vault.services.is_ready", lambda: False)
        assert self.run()[0] == 2

    def test_exits_2_without_its_tables(self, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
        def gone() -> int:
            raise OperationalError("no such table: governance_journalcheckpoint")

        monkeypatch.setattr("governance.journal.verify.newest_size", gone)
        assert self.run()[0] == 2


class TestAnchors:
    """What others hold."""

    def test_the_log_of_checkpoints_is_compared_by_itself(self, size: int) -> None:
        for row in JournalCheckpoint.objects.order_by("tree_size"):
            checkpoint_log.append(row.note)
        report = verified(Options(first=9_000))
        assert (report.is_clean, report.anchors) == (True, JournalCheckpoint.objects.count())
        first = JournalCheckpoint.objects.order_by("tree_size")[0].pk
        assert found_after(
            lambda: remove(JournalCheckpoint.objects.filter(pk=first)), Options(first=9_000)
        ) == {("checkpoint_missing", first - 1)}

    def test_another_history_of_the_same_key_is_named(self, size: int) -> None:
        signer = vault.signer(KeyPurpose.CHECKPOINT)
        forked = note.sign(origin(NOW), 300, b"\1" * 32, signer)
        longer = note.sign(origin(NOW), size + 1, b"\1" * 32, signer)
        for text, code, seq in ((forked, "inconsistent_checkpoints", 299), (longer, "truncated", size)):
            report = verified(Options(first=9_000, against=(Source("x", lines=(text,)),)))
            assert (code, seq) in {(one.code, one.seq) for one in report.first}

    def test_a_note_of_an_unknown_key_is_no_proof_of_anything(self, size: int) -> None:
        stranger = _Stranger()
        text = note.sign(origin(NOW), size + 1, b"\1" * 32, stranger)
        report = verified(Options(first=9_000, against=(Source("x", lines=(text,)),)))
        assert [(one.code, one.seq) for one in report.first] == [("key_unknown", size)]

    @pytest.mark.parametrize("text", ["", "hello", "12 short", '{"note": 1}\n', "a\n1\nx\n\nno\n"])
    def test_a_file_that_holds_no_checkpoint_cannot_be_compared(
        self, size: int, text: str, tmp_path: Path
    ) -> None:
        held = tmp_path / "held"
        held.write_text(text)
        with pytest.raises(UnavailableError):
            verified(Options(first=9_000, against=(Source(str(held)),)))

    def test_a_log_of_another_server_says_nothing_here(self, size: int) -> None:
        text = note.sign("elsewhere/log", 1, b"\1" * 32, _Stranger())
        with pytest.raises(UnavailableError):
            verified(Options(first=9_000, against=(Source("x", lines=(text,)),)))

    def test_a_client_s_value_of_any_size_is_compared(self, size: int) -> None:
        for row in JournalCheckpoint.objects.all():
            value = f"{row.tree_size} {b64encode(bytes(row.root)).decode()}"
            options = Options(first=9_000, against=(Source("c", lines=(value,)),))
            assert verified(options).is_clean
        wrong = f"5000 {b64encode(bytes(32)).decode()}"
        report = verified(Options(first=9_000, against=(Source("c", lines=(wrong,)),)))
        assert {(one.code, one.seq) for one in report.first} == {
            ("checkpoint_missing", 4_999),
            ("inconsistent_checkpoints", 4_999),
        }


class _Stranger:
    """A signer nobody here knows."""

    def __init__(self) -> None:
        private = Ed25519PrivateKey.generate()
        self.public_key, self.sign = private.public_key().public_bytes_raw(), private.sign


class TestKeys:
    """Keys from outside, and keys that were put into the database."""

    def test_a_key_is_read_in_every_form_that_people_have(self) -> None:
        public = Ed25519PrivateKey.generate().public_key()
        raw = public.public_bytes_raw()
        pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        for text in (pem, b64encode(raw).decode(), f" {note.verifier_key('a.log/x', raw)}\n"):
            assert read_key(text) == raw
        plus = "AAP/IbmObkNcKBxlXfKbZsRQ601Kk+3byZYn+cgTT3o="
        assert b64encode(read_key(plus)).decode() == plus
        for text in ("", "x", b64encode(raw[1:]).decode(), note.verifier_key("a", raw)[:-1], pem[:60]):
            with pytest.raises(InvalidError):
                read_key(text)

    def test_the_newest_checkpoint_has_to_be_signed_by_a_given_key(self, size: int) -> None:
        (own,) = public_keys(KeyPurpose.CHECKPOINT).values()
        assert verified(Options(first=9_000, keys=(own,))).is_clean
        report = verified(Options(first=9_000, keys=(_Stranger().public_key,)))
        assert [(one.code, one.seq) for one in report.first] == [("key_unknown", size - 1)]

    def test_a_key_that_somebody_put_beside_is_not_this_vault_s(self, size: int) -> None:
        """Whoever writes the database adds a key, an event that announces it, and signs with it."""
        stranger = _Stranger()
        key_id = note.key_id(stranger.public_key)
        newest = JournalCheckpoint.objects.get(pk=size)

        def tamper() -> None:
            announced = JournalEvent.objects.get(subject=newest.key_id)
            JournalKey.objects.filter(pk=newest.key_id).update(retired_at=NOW)
            JournalKey.objects.create(
                key_id=key_id, purpose="checkpoint", public_key=stranger.public_key, vault_ref="x",
                not_before=NOW, rotation_event=announced.pk,
            )  # fmt: skip
            text = note.sign(origin(NOW), size, bytes(newest.root), stranger)
            set_columns(JournalCheckpoint, size, note=text, key_id=key_id)

        assert ("key_unknown", size - 1) in found_after(tamper, Options(first=9_000))
