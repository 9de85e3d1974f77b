"""Rotations, sealers, archivers and holds at the same moment, each on a connection of its own."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from django.core.management import call_command
from django.db import transaction
from pytest_django.fixtures import Settings

from governance.journal import archiving, holds, note, restoring
from governance.journal.keys import public_keys, windows
from governance.journal.ledger import record
from governance.journal.models import (
    JournalArchive,
    JournalCheckpoint,
    JournalEvent,
    JournalKey,
    JournalLeaf,
)
from governance.journal.rotation import rotate
from governance.journal.sealer_lock import hold_sealer_lock
from governance.journal.sealing import current_head, seal
from governance.journal.verify import Options, Verification
from kernel.errors import PalyraError
from tests.governance.journal.archives import FIRST, LATER, UNIT, archive, carry_out, fill, restore, rows_of
from tests.governance.journal.attesting import attest
from tests.governance.journal.writing import NOW, PERSON, open_run, write
from tests.racing import at_once
from vault import services as vault
from vault.types import KeyPurpose

pytestmark = [pytest.mark.postgres, pytest.mark.django_db(transaction=True)]
CHECKPOINT, ATTESTATION = KeyPurpose.CHECKPOINT, KeyPurpose.ATTESTATION


@pytest.fixture(autouse=True)
def place(
    transactional_db: None, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.PALYRA_HOME = tmp_path
    settings.PALYRA_JOURNAL_ARCHIVE_DIR = tmp_path / "archive"
    monkeypatch.setattr(archiving, "UNIT", UNIT)
    monkeypatch.setattr(archiving, "ROWS_AT_ONCE", 64)
    vault.ensure_ready(now=NOW)


def turn(purpose: KeyPurpose = CHECKPOINT, minutes: int = 1) -> JournalKey:
    with transaction.atomic(durable=True):
        return rotate(purpose=purpose, actor=PERSON, now=NOW + timedelta(minutes=minutes), record=record)


def seal_once() -> None:
    with transaction.atomic(durable=True):
        if hold_sealer_lock(wait=False):
            seal(now=NOW)


def findings() -> list[str]:
    """What a verification of everything finds, but that some of it waits."""
    verification = Verification(Options(), LATER)
    found = [one.code.value for step in verification.steps() for one in step.findings if not one.is_info]
    return [code for code in found if code != "unsealed_stale"]


def test_rotations_at_once_follow_each_other_with_sealers_and_writers_between() -> None:
    for _ in range(5):
        write()
    codes = at_once(turn, turn, seal_once, seal_once, write, write)
    assert codes == [""] * 6
    keys = list(JournalKey.objects.filter(purpose=CHECKPOINT).order_by("not_before"))
    assert [key.retired_at is None for key in keys].count(True) == 1
    assert len(keys) == 3
    for row in JournalCheckpoint.objects.all():
        signed = note.open(row.note, public_keys(CHECKPOINT))
        assert any(windows(CHECKPOINT)[one].covers(row.sealed_at) for one in signed.signed_by)
        assert row.key_id in signed.signed_by
    assert current_head().frontier.size == JournalLeaf.objects.count()
    seal_once()
    assert findings() == []


def test_whoever_attests_during_a_rotation_used_a_key_that_counts() -> None:
    """In the log everything an attestation key signed stands before its rotation, whatever clocks say."""
    run = open_run()
    calls = [f"call_01J0000000000000000000000{digit}" for digit in range(6)]
    acts = [lambda call=call: attest(run=run.id, call=call, now=NOW + timedelta(minutes=3)) for call in calls]
    codes = at_once(lambda: turn(ATTESTATION), *acts)
    assert codes == [""] * 7
    seal_once()
    assert findings() == []


def test_two_archivers_make_one_archive() -> None:
    fill(UNIT)
    codes = at_once(archive, archive)
    assert "" in codes
    assert set(codes) <= {"", "state_changed"}
    assert (JournalArchive.objects.count(), rows_of()) == (1, [[], []])
    assert JournalEvent.objects.filter(type="journal.archived").count() == 1
    seal_once()
    assert findings() == []


def test_restoring_twice_at_once_inserts_every_row_once() -> None:
    fill(UNIT)
    before = rows_of()
    archive()
    codes = at_once(restore, restore)
    assert codes == ["", ""]
    assert rows_of() == before
    seal_once()
    assert findings() == []


def test_restoring_while_rows_go_ends_with_all_of_them() -> None:
    fill(UNIT)
    before = rows_of()
    archive(most=2)
    codes = at_once(archive, restore)
    assert codes[1] == ""
    assert codes[0] in ("", "state_changed")
    if codes[0] == "":  # it was done before the restoring began
        restore()
    assert rows_of() == before


def test_a_hold_that_stands_before_a_step_keeps_what_the_step_would_take() -> None:
    """Whatever is left when a hold is set stays; nothing goes between its commit and the next step."""
    run = fill(UNIT)
    seen: list[int] = []

    def hold() -> None:
        with transaction.atomic(durable=True):
            holds.set_hold(
                subject=run.pk, since=None, until=None, reason="case", actor=PERSON, now=NOW, record=record
            )
            seen.append(len(rows_of()[0]))

    codes = at_once(archive, hold)
    assert codes[0] in ("", "legal_hold")
    assert codes[1] == ""
    assert len(rows_of()[0]) == seen[0]


def test_the_shell_restores_and_refuses(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    fill(UNIT)
    before = rows_of()
    archive()
    path = restoring.file_of(FIRST.first)
    with pytest.raises(SystemExit) as ended:
        call_command("journal", "restore", "--archive", str(path))
    assert (ended.value.code, rows_of()) == (0, before)
    assert f"restored {UNIT} events" in capsys.readouterr().out
    (tmp_path / "other.zip").write_bytes(path.read_bytes()[1:])
    with pytest.raises(SystemExit) as ended:
        call_command("journal", "restore", "--archive", str(tmp_path / "other.zip"))
    assert ended.value.code == 2
    assert "not restored" in capsys.readouterr().err


def test_a_crash_between_two_steps_leaves_a_log_that_verifies() -> None:
    """After each step the journal is whole: archived rows are told, and no finding stands."""
    fill(UNIT)
    steps = archiving.steps(FIRST, actor=PERSON, clock=lambda: LATER, record=record)
    while carry_out(steps, most=1):
        seal_once()
        assert findings() == []


def test_a_rotation_that_fails_leaves_both_halves_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    """The vault's key and the published one change together or not at all."""
    write()
    seal_once()
    before = (vault.signer(CHECKPOINT).key_id, JournalKey.objects.count(), JournalCheckpoint.objects.count())
    write()
    with monkeypatch.context() as patch:
        patch.setattr("governance.journal.rotation.MOST_WAITING", 1)
        with pytest.raises(PalyraError):
            turn()
    after = (vault.signer(CHECKPOINT).key_id, JournalKey.objects.count(), JournalCheckpoint.objects.count())
    assert before == after
    seal_once()
    assert findings() == []
