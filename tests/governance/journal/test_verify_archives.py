"""Rows that were archived away are proven by their file, and by nothing less."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from pytest_django.fixtures import Settings
from pytest_django.plugin import DjangoDbBlocker

from governance.journal import archive as files, archiving, restoring
from governance.journal.archived_rows import Unit, stored
from governance.journal.findings import Report
from governance.journal.models import (
    JournalArchive,
    JournalEvent,
    JournalLeaf,
    JournalPayload,
    JournalSubjectKey,
)
from governance.journal.sealing import seal
from governance.journal.verify import Options, Verification
from governance.models import Run
from tests.governance.journal.archives import LATER, UNIT, archive, fill, restore
from tests.governance.journal.tampering import flipped, remove
from tests.governance.journal.writing import NOW, write
from tests.module_worlds import rolled_back
from vault import services as vault

ERASED = "agt_gone"
COUNTED = ("keys", "runs", "calls", "approvals", "decisions", "account")


@pytest.fixture(scope="module")
def erasure(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[str]:
    """A log of the module, and the event of an erasure that is among what gets archived."""
    with rolled_back(django_db_blocker):
        vault.ensure_ready(now=NOW)
        erased = write(
            "journal.subject_erased", subject=ERASED, reason="4711", approval="apr_1",
            single_operator=False, counts=dict.fromkeys(COUNTED, 0),
        )  # fmt: skip
        fill(2 * UNIT + 10)
        yield erased.pk


@pytest.fixture(autouse=True)
def archived(
    erasure: str, db: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, settings: Settings
) -> None:
    """The first unit lies in a file, and its rows are gone."""
    settings.PALYRA_JOURNAL_ARCHIVE_DIR = tmp_path / "archive"
    monkeypatch.setattr(archiving, "UNIT", UNIT)
    archive()
    seal(now=LATER)
    assert not JournalEvent.objects.filter(pk__in=_ids(0, UNIT)).exists()


def _ids(first: int, end: int) -> list[str]:
    return list(JournalLeaf.objects.filter(seq__gte=first, seq__lt=end).values_list("event_id", flat=True))


def checked() -> Report:
    return Verification(Options(cross_check=True), LATER).run()


def test_archived_rows_are_said_and_are_no_finding() -> None:
    report = checked()
    assert (report.first, report.archived) == ([], UNIT)
    assert [(one.code, one.seq) for one in report.told] == [("archived", 0)]
    assert any("were archived" in one for one in report.skipped)


def test_restored_rows_are_read_again() -> None:
    restore()
    seal(now=LATER)
    report = checked()
    assert (report.first, report.told, report.archived) == ([], [], 0)


@pytest.mark.parametrize("harm", ["gone", "flipped", "cut"])
def test_without_its_file_an_archive_proves_nothing(harm: str) -> None:
    path = restoring.file_of(0)
    data = path.read_bytes()
    path.unlink()
    if harm != "gone":
        path.write_bytes(data[:-1] if harm == "cut" else bytes([data[0] ^ 1]) + data[1:])
    assert [(one.code, one.seq) for one in checked().first] == [("archive_unproven", 0)]


def test_a_file_that_was_made_to_fit_the_row_does_not_fit_the_leaves(tmp_path: Path) -> None:
    """The digest in the row is that of a file of other events: who writes rows can do that."""
    path = restoring.file_of(0)
    with files.reading(path) as reader:
        origin, note = reader.manifest.origin, reader.checkpoint()
        events = [one for batch in reader.batches() for one in batch]
    forged = tmp_path / "forged.zip"
    with forged.open("wb") as file:
        files.write(file, origin=origin, first_seq=0, checkpoint=note, events=[*events[1:], events[0]])
    shutil.move(forged, path)
    JournalArchive.objects.filter(pk=0).update(sha256=files.sha256_of(path))
    assert [(one.code, one.seq) for one in checked().first] == [("archive_unproven", 0)]


def test_payloads_in_a_file_that_was_made_to_fit_row_and_leaves_are_judged(tmp_path: Path) -> None:
    """Leaves say nothing about ciphertexts: the digests of the payloads do."""
    path = restoring.file_of(0)
    with files.reading(path) as reader:
        origin, note = reader.manifest.origin, reader.checkpoint()
        events = [one for batch in reader.batches() for one in batch]
    events[7] = replace(events[7], ciphertext=flipped(events[7].ciphertext))
    with path.open("wb") as file:
        files.write(file, origin=origin, first_seq=0, checkpoint=note, events=events)
    JournalArchive.objects.filter(pk=0).update(sha256=files.sha256_of(path))
    assert [(one.code, one.seq) for one in checked().first] == [("payload_mismatch", 7)]


@pytest.mark.parametrize("owner", [ERASED, "agt_other"])
def test_an_archived_erasure_explains_the_keys_of_its_subject_alone(erasure: str, owner: str) -> None:
    run = Run.objects.latest("pk")
    Run.objects.filter(pk=run.pk).update(principal_id=owner)
    JournalSubjectKey.objects.filter(subject=run.pk).update(
        wrapped_key=None, destroyed_at=LATER, destroyed_event=erasure
    )
    report = Verification(Options(), LATER).run()
    assert ("payload_mismatch" in report.counts) == (owner != ERASED)
    assert report.erased >= UNIT if owner == ERASED else not report.erased


def test_a_row_of_an_archive_takes_nothing_from_the_cross_check() -> None:
    restore()
    JournalArchive.objects.filter(pk=0).update(removed_at=LATER, restored_at=None, end_seq=2 * UNIT)
    assert not any("were archived" in one for one in checked().skipped)


def test_rows_that_go_beside_an_archive_are_missing() -> None:
    lost = _ids(UNIT, UNIT + 1)
    remove(JournalPayload.objects.filter(pk__in=lost))
    remove(JournalEvent.objects.filter(pk__in=lost))
    assert ("event_missing", UNIT) in {(one.code, one.seq) for one in checked().first}


def test_an_archive_that_no_event_records(tmp_path: Path) -> None:
    """Rows of the second unit go under an archive that somebody wrote into the table."""
    events = list(stored(Unit(UNIT, 2 * UNIT)))
    path = tmp_path / "second.zip"
    with files.reading(restoring.file_of(0)) as reader:
        origin, note = reader.manifest.origin, reader.checkpoint()
    with path.open("wb") as file:
        files.write(file, origin=origin, first_seq=UNIT, checkpoint=note, events=events)
    JournalArchive.objects.create(
        first_seq=UNIT, end_seq=2 * UNIT, uri=path.as_uri(), sha256=files.sha256_of(path),
        bytes=path.stat().st_size, verified_at=LATER, removed_at=LATER, event="evt_none",
    )  # fmt: skip
    gone = _ids(UNIT, 2 * UNIT)
    JournalPayload.objects.filter(pk__in=gone).delete()
    JournalEvent.objects.filter(pk__in=gone).delete()
    assert [(one.code, one.seq) for one in checked().first] == [("archive_unproven", UNIT)]
