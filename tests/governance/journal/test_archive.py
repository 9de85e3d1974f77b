"""A unit goes into a file, its rows go, proofs stay, and the rows come back to the byte."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import DatabaseError, transaction
from pytest_django.fixtures import Settings
from pytest_django.plugin import DjangoDbBlocker

from governance.journal import archive as files, archiving, restoring
from governance.journal.archived_rows import Unit
from governance.journal.keys import public_keys
from governance.journal.ledger import record
from governance.journal.merkle import inclusion_proof
from governance.journal.models import (
    JournalArchive,
    JournalCheckpoint,
    JournalEvent,
    JournalLeaf,
    JournalPayload,
    JournalSubjectKey,
    JournalTile,
)
from governance.journal.note import open as open_note
from governance.journal.proof import check, render
from governance.journal.reading import open_all
from governance.journal.sealing import current_head
from governance.journal.tiles import reader
from governance.models import Run
from kernel.errors import ConflictError, InvalidError, NotFoundError, PalyraError, UnavailableError
from tests.governance.journal.archives import FIRST, LATER, UNIT, archive, fill, restore, rows_of
from tests.governance.journal.attesting import attest
from tests.governance.journal.writing import NOW, PERSON, write
from tests.module_worlds import rolled_back
from tests.support_append_only import guards_lifted
from vault import services as vault
from vault.types import KeyPurpose


@pytest.fixture(scope="module")
def log_of_module(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[Run]:
    """Two units and a few events more, all of one run, rolled back after the module."""
    with rolled_back(django_db_blocker):
        vault.ensure_ready(now=NOW)
        yield fill(2 * UNIT + 10)


@pytest.fixture(autouse=True)
def log(
    log_of_module: Run, db: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, settings: Settings
) -> Run:
    """Each test has a savepoint, and files of its own."""
    settings.PALYRA_JOURNAL_ARCHIVE_DIR = tmp_path / "archive"
    monkeypatch.setattr(archiving, "UNIT", UNIT)
    return log_of_module


def refused(act: Callable[[], object], kind: type[PalyraError]) -> str:
    with pytest.raises(kind) as caught:
        act()
    return caught.value.code


def file() -> Path:
    return restoring.file_of(0)


def proof_of(seq: int, envelope: bytes) -> str:
    last = JournalCheckpoint.objects.order_by("-tree_size")[0]
    path = inclusion_proof(reader(last.tree_size), seq, last.tree_size)
    return render(envelope, seq, path, last.note)


def test_the_rows_of_a_unit_go_and_come_back_to_the_byte() -> None:
    before, beside = rows_of(), rows_of(Unit(UNIT, 2 * UNIT))
    shape = [len(part) for part in before]
    leaves, tiles = JournalLeaf.objects.count(), JournalTile.objects.count()

    archive()

    row = JournalArchive.objects.get()
    assert shape == [UNIT, UNIT]
    assert rows_of() == [[], []]
    assert rows_of(Unit(UNIT, 2 * UNIT)) == beside
    assert (row.removed_at, row.restored_at, row.verified_at) == (LATER, None, LATER)
    assert (JournalLeaf.objects.count(), JournalTile.objects.count()) == (leaves, tiles)
    assert JournalEvent.objects.filter(pk=row.event, type="journal.archived").exists()

    restore()

    assert rows_of() == before
    assert open_all(list(JournalEvent.objects.filter(pk__in=[one[0] for one in before[0]])))
    row.refresh_from_db()
    assert row.restored_at == LATER


def test_every_proof_of_an_archived_event_still_verifies() -> None:
    envelope = bytes(JournalEvent.objects.get(pk=JournalLeaf.objects.get(seq=7).event_id).envelope)
    archive()
    assert check(proof_of(7, envelope), public_keys(KeyPurpose.CHECKPOINT)).code == "ok"
    assert current_head().frontier.size == JournalLeaf.objects.count()


def test_the_file_has_tiles_of_the_standard_and_a_note_over_them() -> None:
    archive()
    with zipfile.ZipFile(file()) as zipped:
        assert sorted(zipped.namelist()) == [
            "checkpoint", "manifest.json", "payloads/000.jsonl", "tile/0/000", "tile/entries/000",
        ]  # fmt: skip
        tile = zipped.read("tile/0/000")
    assert tile == bytes(JournalTile.objects.get(level=0, index=0).hashes)
    assert (file().stat().st_mode & 0o777, file().parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert [one.name for one in file().parent.iterdir()] == [file().name]
    with files.reading(file()) as opened:
        note = open_note(opened.checkpoint(), public_keys(KeyPurpose.CHECKPOINT))
    assert note.size >= UNIT


def test_the_file_opens_nothing_by_itself() -> None:
    """No key is in it, so what is erased in the database is erased in every copy of the file."""
    archive()
    content = file().read_bytes()
    for key in JournalSubjectKey.objects.all():
        assert bytes(key.wrapped_key or b"-" * 40) not in content
    assert b"completed" not in content


def test_the_same_events_make_the_same_file(tmp_path: Path) -> None:
    first = archiving.write_file(FIRST, NOW)
    again = archiving.write_file(FIRST, LATER)
    assert first == again


def test_only_rows_of_a_proven_archive_may_go() -> None:
    """The step that removes needs the archive; the trigger needs it too."""
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
        JournalPayload.objects.filter(pk=JournalLeaf.objects.get(seq=0).event_id).delete()
    assert archive(most=1) == 1
    outside = JournalLeaf.objects.get(seq=UNIT).event_id
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
        JournalPayload.objects.filter(pk=outside).delete()
    JournalPayload.objects.filter(pk=JournalLeaf.objects.get(seq=0).event_id).delete()


def test_what_was_interrupted_goes_on_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archiving, "ROWS_AT_ONCE", 64)
    before = rows_of()
    assert archive(most=3) == 3
    left = len(rows_of()[0])
    assert 0 < left < UNIT
    assert archive() == 5
    assert rows_of() == [[], []]
    assert JournalEvent.objects.filter(type="journal.archived").count() == 1
    restore()
    assert rows_of() == before


def test_a_half_removed_unit_is_restored_whole_and_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archiving, "ROWS_AT_ONCE", 64)
    before = rows_of()
    halfway = archiving.steps(FIRST, actor=PERSON, clock=lambda: LATER, record=record)
    for _ in range(3):
        next(halfway)()
    removal = next(halfway)
    restore()
    assert rows_of() == before
    assert refused(removal, ConflictError) == "state_changed"


def test_restoring_twice_changes_nothing_and_says_so_once() -> None:
    archive()
    restore()
    before = rows_of()
    restore()
    assert rows_of() == before
    assert JournalEvent.objects.filter(type="journal.restored").count() == 1


def test_an_erased_subject_stays_erased_in_the_file(log: Run) -> None:
    """Its key is destroyed while its payloads lie in the archive."""
    archive()
    JournalSubjectKey.objects.filter(subject=log.id).update(
        wrapped_key=None, destroyed_at=LATER, destroyed_event="evt_x"
    )
    restore()
    first = JournalEvent.objects.filter(run_id=log.id).order_by("run_seq")[:1]
    assert open_all(list(first))[0]["_erased"] is True


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def rewritten(path: Path, member: str, change: Callable[[bytes], bytes]) -> None:
    """Change a member and leave a sound zip behind."""
    with zipfile.ZipFile(path) as zipped:
        members = {name: zipped.read(name) for name in zipped.namelist()}
    members[member] = change(members[member])
    with zipfile.ZipFile(path, "w") as zipped:
        for name, data in members.items():
            zipped.writestr(name, data)


def packed(path: Path) -> None:
    with zipfile.ZipFile(path) as zipped:
        members = {name: zipped.read(name) for name in zipped.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, data in members.items():
            zipped.writestr(name, data)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "cut off": lambda path: path.write_bytes(path.read_bytes()[:-200]),
    "empty": lambda path: path.write_bytes(b""),
    "gone": lambda path: path.unlink(),
    "a bit of an envelope": lambda path: flip(path, 200),
    "a bit at the end": lambda path: flip(path, path.stat().st_size - 30),
    "a payload": lambda path: rewritten(path, "payloads/000.jsonl", lambda data: data[:-9] + data[-10:]),
    "an event less": lambda path: rewritten(path, "tile/entries/000", lambda data: data[:-400]),
    "another leaf": lambda path: rewritten(path, "tile/0/000", lambda data: bytes(32) + data[32:]),
    "no manifest": lambda path: rewritten(path, "manifest.json", lambda data: b"{}"),
    "compressed": packed,
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_file_that_was_changed_restores_nothing(damage: str) -> None:
    archive()
    path = file()
    DAMAGE[damage](path)
    assert refused(restore, InvalidError) == "journal.archive_invalid"
    assert rows_of() == [[], []]
    # Not even when the recorded digest was changed with it.
    if path.exists():
        JournalArchive.objects.update(sha256=files.sha256_of(path))
        assert refused(restore, InvalidError) == "journal.archive_invalid"
        assert rows_of() == [[], []]


def test_events_of_another_log_are_not_restored(tmp_path: Path) -> None:
    """The file is sound in itself; its envelopes are not those of the leaves here."""
    archive()
    path = file()
    with files.reading(path) as opened:
        events = [one for batch in opened.batches() for one in batch]
        note, origin = opened.checkpoint(), opened.manifest.origin
    with path.open("wb") as target:
        files.write(target, origin=origin, first_seq=0, checkpoint=note, events=reversed(events))
    JournalArchive.objects.update(sha256=files.sha256_of(path))
    assert refused(restore, InvalidError) == "journal.archive_invalid"
    assert rows_of() == [[], []]


def test_a_unit_that_was_never_archived_cannot_be_restored(tmp_path: Path) -> None:
    written = archiving.write_file(FIRST, NOW)
    steps = restoring.steps(written.path, actor=PERSON, now=NOW, record=record)
    assert refused(lambda: next(steps), NotFoundError) == "not_found"


@pytest.mark.parametrize("field", ["envelope", "actor", "event"])
def test_what_is_not_as_it_was_sealed_is_not_archived(field: str, settings: Settings) -> None:
    event = JournalEvent.objects.get(pk=JournalLeaf.objects.get(seq=9).event_id)
    with guards_lifted():
        if field == "envelope":
            JournalEvent.objects.filter(pk=event.pk).update(envelope=bytes(event.envelope) + b" ")
        elif field == "actor":
            JournalEvent.objects.filter(pk=event.pk).update(actor="usr_x")
        else:
            JournalPayload.objects.filter(pk=event.pk).delete()
    assert refused(archive, UnavailableError) == "journal_inconsistent"
    assert not JournalArchive.objects.exists()
    assert not list(Path(settings.PALYRA_JOURNAL_ARCHIVE_DIR).iterdir())


def test_nothing_goes_while_the_file_is_not_the_one_that_was_recorded() -> None:
    archive(most=1)
    flip(file(), 300)
    assert refused(archive, InvalidError) == "journal.archive_invalid"
    assert len(rows_of()[0]) == UNIT


def test_a_directory_that_cannot_be_written_is_said(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    settings.PALYRA_JOURNAL_ARCHIVE_DIR = tmp_path / "file" / "x"
    assert refused(archive, UnavailableError) == "journal_unavailable"


def test_a_unit_is_due_when_it_is_full_sealed_and_old_enough() -> None:
    both = [FIRST, Unit(UNIT, 2 * UNIT)]
    assert list(archiving.due(before=LATER)) == both
    assert list(archiving.due(before=NOW)) == []
    archive(most=1)
    assert list(archiving.due(before=LATER)) == both
    archive()
    assert list(archiving.due(before=LATER)) == both[1:]
    restore()
    assert list(archiving.due(before=LATER)) == both[1:]
    assert list(archiving.due(before=LATER, restored=True)) == both


def test_a_restored_unit_goes_again_when_it_is_asked_for() -> None:
    before = rows_of()
    archive()
    restore()
    archive()
    assert rows_of() == [[], []]
    assert JournalEvent.objects.filter(type="journal.archived").count() == 2
    restore()
    assert rows_of() == before


@pytest.mark.parametrize(
    ("days", "term"), [("keep", None), ("400", 400), ("1", 1), ("0", 1), ("999999", 365_000)]
)
def test_the_term_is_a_number_of_days_or_for_ever(settings: Settings, days: str, term: int | None) -> None:
    settings.PALYRA_JOURNAL_RETENTION_DAYS = days
    found = archiving.retention()
    assert found == (None if term is None else timedelta(days=term))
    assert found is None or NOW - found < NOW


def test_a_file_moved_to_the_present_directory_is_found(settings: Settings, tmp_path: Path) -> None:
    archive()
    moved = tmp_path / "moved"
    file().parent.rename(moved)
    settings.PALYRA_JOURNAL_ARCHIVE_DIR = moved
    restore()
    assert len(rows_of()[0]) == UNIT


def test_attestations_stay(log: Run) -> None:
    held = attest(run=log.id)
    archive()
    held.refresh_from_db()
    assert held.envelope


def test_an_event_that_still_waits_is_never_among_those_that_go() -> None:
    waiting = write()
    archive()
    assert JournalEvent.objects.filter(pk=waiting.pk).exists()
