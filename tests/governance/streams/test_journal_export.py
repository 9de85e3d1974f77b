"""An export that goes on tells every sealed event once, in order, and nothing its reader may not have."""

from __future__ import annotations

import json

import pytest

from governance.journal.export import Shape, Wanted, newest_checkpoint
from governance.journal.models import JournalArchive, JournalEvent, JournalLeaf, JournalPayload
from governance.journal.sealing import seal
from governance.streams.journal_export import ExportSource
from kernel.errors import PalyraError, RefusedError
from tests.governance.journal.writing import NOW, write
from vault import services as vault

pytestmark = pytest.mark.django_db


def source(*, reveals: bool = True, may: bool = True, shape: Shape = Shape.JSONL) -> ExportSource:
    def ask() -> bool:
        if not may:
            raise RefusedError("role_required")
        return False

    vault.ensure_ready(now=NOW)
    signed = newest_checkpoint()
    size = signed.tree_size if signed else 0
    wanted = Wanted(shape, 0, size, signed, reveals, "evt_1", "ins_1", NOW)
    return ExportSource(wanted, credential_id="tok_1", ask=ask)


def told(reading: ExportSource) -> list[int]:
    seqs = []
    while frames := reading.read().frames:
        seqs += [int(frame.key) for frame in frames]
    return seqs


def test_what_is_sealed_later_follows_without_gap_or_double(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("governance.journal.export.BATCH", 3)
    reading = source()
    seen: list[int] = told(reading)
    for _ in range(3):
        for _ in range(5):
            write()
        assert told(reading) == []
        seal(now=NOW)
        seen += told(reading)
    assert seen == list(range(JournalLeaf.objects.count()))


def test_data_ends_with_the_right_to_it_and_the_stream_with_the_right_to_take() -> None:
    reading = source()
    write()
    seal(now=NOW)
    first = json.loads(reading.read().frames[-1].as_line())
    assert first["data"] is not None
    reading.admit(reading.ask())
    write()
    seal(now=NOW)
    later = json.loads(reading.read().frames[-1].as_line())
    assert (later["data"], "salt" in later) == (None, False)
    with pytest.raises(PalyraError):
        source(may=False).ask()


def test_data_that_was_withheld_when_it_was_recorded_stays_so() -> None:
    reading = source(reveals=False)
    reading.admit(True)
    write()
    seal(now=NOW)
    assert all(frame.body["data"] is None for frame in reading.read().frames)


def test_what_lies_in_an_archive_is_named_in_its_place() -> None:
    reading = source(shape=Shape.CLOUDEVENTS)
    for _ in range(4):
        write()
    sealed = seal(now=NOW)
    assert sealed is not None
    size = sealed.tree_size
    JournalArchive.objects.create(
        first_seq=size - 3,
        end_seq=size - 1,
        uri="x",
        sha256="0" * 64,
        bytes=1,
        verified_at=NOW,
        event="evt_1",
    )
    ids = list(JournalLeaf.objects.filter(seq__in=[size - 3, size - 2]).values_list("event_id", flat=True))
    JournalPayload.objects.filter(event_id__in=ids).delete()
    JournalEvent.objects.filter(pk__in=ids).delete()

    frames = reading.read().frames

    assert [int(frame.key) for frame in frames] == [*range(size - 3), size - 2, size - 1]
    assert frames[-2].body == {
        "object": "journal_gap", "first_seq": size - 3, "end_seq": size - 1, "why": "archived",
        "archive": f"sha256:{'0' * 64}",
    }  # fmt: skip
    assert frames[-1].body["palyraseq"] == str(size - 1)
