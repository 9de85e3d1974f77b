"""What a workspace may hold, before, while and after a run."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sandbox.runners.room import DEEPEST, Room
from sandbox.spec import MIB
from sandbox.types import Outcome
from tests.sandbox.process_builders import Sandbox, tier_c_spec


@contextmanager
def room_of(root: Path, *, most_bytes: int = MIB, most_files: int = 100) -> Iterator[Room]:
    fd = os.open(root, os.O_PATH | os.O_DIRECTORY)
    try:
        yield Room(fd, most_bytes, most_files)
    finally:
        os.close(fd)


def run_within(box: Sandbox, script: str, *, quota_bytes: int = MIB, quota_files: int = 100) -> Outcome:
    spec = tier_c_spec(workspace_mode="bind_rw", wall_timeout_ms=20_000, cpu_time_limit_ms=20_000)
    value: dict[str, object] = {"command": "python3", "args": ["-c", script]}
    job = box.job("process.run", value, spec, "process")
    return box.submit(dataclasses.replace(job, quota_bytes=quota_bytes, quota_files=quota_files))


def test_entries_count_up_to_the_bound(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "one").touch()
    (tmp_path / "two").touch()

    with room_of(tmp_path, most_files=3) as room:
        assert not room.exceeded()
        (tmp_path / "inner" / "three").touch()
        assert room.exceeded()


def test_allocated_bytes_count_and_holes_do_not(tmp_path: Path) -> None:
    with (tmp_path / "hole").open("wb") as file:
        file.truncate(64 * MIB)
    with room_of(tmp_path) as room:
        assert not room.exceeded()
        (tmp_path / "full").write_bytes(b"x" * 2 * MIB)
        assert room.exceeded()


def test_a_symlink_leads_nowhere(tmp_path: Path) -> None:
    outside, root = tmp_path / "outside", tmp_path / "root"
    outside.mkdir()
    root.mkdir()
    (outside / "big").write_bytes(b"x" * 2 * MIB)
    (root / "link").symlink_to(outside)

    with room_of(root) as room:
        assert not room.exceeded()


def test_what_lies_too_deep_to_measure_is_too_much(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["d"] * (DEEPEST + 2))
    deep.mkdir(parents=True)

    with room_of(tmp_path, most_files=10_000, most_bytes=64 * MIB) as room:
        assert room.exceeded()


@pytest.mark.sandbox
def test_a_full_workspace_is_refused_before_the_run(box: Sandbox) -> None:
    (box.workspace / "old").write_bytes(b"x" * 2 * MIB)

    outcome = run_within(box, "open('new', 'w')")

    assert (outcome.error_kind, outcome.detail) == ("QuotaExceeded", {"resource": "workspace"})
    assert not (box.workspace / "new").exists()


@pytest.mark.sandbox
def test_filling_the_workspace_with_many_files_is_stopped(box: Sandbox) -> None:
    script = "import time\nfor n in range(1000): open(f'file-{n}', 'w')\ntime.sleep(15)\nopen('late', 'w')"

    outcome = run_within(box, script)

    assert (outcome.error_kind, outcome.detail) == ("QuotaExceeded", {"resource": "workspace"})
    assert not (box.workspace / "late").exists()


@pytest.mark.sandbox
def test_a_run_that_ends_before_anybody_looked_still_fails(box: Sandbox) -> None:
    outcome = run_within(box, "open('big', 'wb').write(b'x' * (4 << 20))")

    assert (outcome.status, outcome.error_code) == ("failed", "sandbox.quota_workspace")
    assert outcome.detail == {"resource": "workspace"}


@pytest.mark.sandbox
def test_a_run_within_its_room_succeeds(box: Sandbox) -> None:
    assert run_within(box, "open('small', 'w').write('x')").status == "succeeded"


def test_no_run_starts_on_a_disk_that_is_almost_full(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sandbox.runners.room.FLOOR_BYTES", 2**62)
    outcome = run_within(box, "open('made', 'w').write('x')")
    assert (outcome.error_kind, outcome.error_code) == ("BackendUnavailable", "sandbox.disk_low")
    assert not (box.workspace / "made").exists()


def test_a_run_that_brings_the_disk_to_its_end_is_stopped_at_once(
    box: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([False])
    monkeypatch.setattr(Room, "disk_low", lambda room: next(answers, True))
    outcome = run_within(box, "import time; time.sleep(15)")
    assert (outcome.error_kind, outcome.error_code) == ("QuotaExceeded", "sandbox.quota_workspace")
