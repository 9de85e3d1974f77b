"""The log of checkpoints: what the database cannot take back."""

from __future__ import annotations

import json
import multiprocessing
import os
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from governance.journal import checkpoint_log, note
from governance.journal.checkpoint_log import append, last, notes
from kernel.errors import UnavailableError

ORIGIN = "log.example/one"
PRIVATE = Ed25519PrivateKey.generate()


class Key:
    public_key = PRIVATE.public_key().public_bytes_raw()
    sign = staticmethod(PRIVATE.sign)


def checkpoint(size: int, origin: str = ORIGIN) -> str:
    return note.sign(origin, size, bytes([size % 256]) * 32, Key())


def sizes() -> list[int]:
    lines = checkpoint_log.path().read_bytes().splitlines()
    return [note.parse(text).size for text in notes(lines)]


def test_each_checkpoint_is_one_line_with_the_note_to_the_letter() -> None:
    append(checkpoint(3))
    append(checkpoint(7))

    lines = checkpoint_log.path().read_text().splitlines()
    assert [json.loads(line) for line in lines] == [{"note": checkpoint(3)}, {"note": checkpoint(7)}]
    assert list(notes(lines)) == [checkpoint(3), checkpoint(7)]
    found = last(ORIGIN)
    assert found is not None
    assert (found.origin, found.size) == (ORIGIN, 7)


def test_only_its_owner_may_read_the_log() -> None:
    append(checkpoint(1))
    place = checkpoint_log.path()
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    assert stat.S_IMODE(place.parent.stat().st_mode) == 0o700


def test_a_line_that_is_there_or_comes_late_is_not_added_again() -> None:
    for size in (5, 5, 9, 7, 5):
        append(checkpoint(size))
    assert sizes() == [5, 9]


def test_another_origin_begins_anew_in_the_same_file() -> None:
    append(checkpoint(50))
    assert last("log.example/two") is None
    append(checkpoint(2, "log.example/two"))
    assert sizes() == [50, 2]
    assert last(ORIGIN) is None


@pytest.mark.parametrize("torn", [b'{"note": "log.ex', b"\x00" * 400, b"{"])
@pytest.mark.parametrize("before", [0, 4])
def test_what_a_crash_tore_off_gives_way_to_the_next_line(torn: bytes, before: int) -> None:
    if before:
        append(checkpoint(before))
    with checkpoint_log._open_alone() as file:
        os.write(file, torn)

    found = last(ORIGIN)
    assert (found.size if found else 0) == before
    append(checkpoint(8))

    assert sizes() == ([before, 8] if before else [8])


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b'{"note": 7}',
        b'{"note": "text"}',
        b"\xff\xfe",
        b"[" * 50_000,
        b"a" * 70_000,
    ],
    ids=["empty", "object", "list", "null", "number", "no note", "no text", "deep", "long"],
)
def test_a_log_that_does_not_end_with_a_checkpoint_is_no_log_of_ours(line: bytes) -> None:
    append(checkpoint(4))
    with checkpoint_log.path().open("ab") as file:
        file.write(line + b"\n")

    with pytest.raises(UnavailableError) as read:
        last(ORIGIN)
    with pytest.raises(UnavailableError) as added:
        append(checkpoint(8))
    assert {read.value.code, added.value.code} == {"journal_inconsistent"}


def test_a_link_in_the_place_of_the_log_is_not_followed(tmp_path: Path) -> None:
    append(checkpoint(1))
    target = tmp_path / "elsewhere"
    target.touch()
    checkpoint_log.path().unlink()
    checkpoint_log.path().symlink_to(target)

    with pytest.raises(OSError, match="symbolic"):
        append(checkpoint(2))

    assert target.read_bytes() == b""


def test_a_line_for_which_there_is_no_room_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    append(checkpoint(4))
    write = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda file, line: write(file, line[:40]))
        with pytest.raises(OSError, match="part of a line"):
            append(checkpoint(5))

    assert checkpoint_log.path().read_bytes().endswith(b"\n")
    assert sizes() == [4]


def _append_each(numbers: range) -> None:
    for number in numbers:
        append(checkpoint(number))


def test_processes_that_append_at_once_tear_no_line() -> None:
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_append_each, args=(range(1 + at, 120, 4),)) for at in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(timeout=60)

    assert [writer.exitcode for writer in writers] == [0] * 4
    written = sizes()
    assert written == sorted(set(written))
    assert written[-1] == 119
