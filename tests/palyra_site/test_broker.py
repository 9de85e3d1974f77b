from __future__ import annotations

import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from palyra_site import broker

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.fixture
def folder(tmp_path: Path, settings: Any) -> Path:
    settings.PALYRA_REDIS_URL = ""
    settings.CELERY_BROKER_TRANSPORT_OPTIONS = {
        "data_folder_in": str(tmp_path / "queue" / "messages"),
        "processed_folder": str(tmp_path / "queue" / "processed"),
        "control_folder": str(tmp_path / "queue" / "control"),
    }
    broker.make_folders()
    return tmp_path / "queue" / "processed"


def leave(folder: Path, name: str, age: timedelta) -> Path:
    path = folder / name
    path.write_text("{}")
    moment = (NOW - age).timestamp()
    os.utime(path, (moment, moment))
    return path


def test_the_folders_are_closed_to_other_users(folder: Path) -> None:
    modes = {stat.S_IMODE(place.stat().st_mode) for place in folder.parent.iterdir()}
    assert modes == {0o700}
    broker.make_folders()


def test_only_taken_messages_older_than_an_hour_are_deleted(folder: Path) -> None:
    old = leave(folder, "1_a.sandbox.msg", timedelta(hours=1, seconds=1))
    fresh = leave(folder, "2_b.sandbox.msg", timedelta(hours=1))
    foreign = leave(folder, "notes.txt", timedelta(days=9))
    assert broker.sweep_processed(NOW) == 1
    assert (old.exists(), fresh.exists(), foreign.exists()) == (False, True, True)
    assert broker.sweep_processed(NOW) == 0


def test_a_sweep_is_bounded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker, "SWEEP_LIMIT", 3)
    for number in range(5):
        leave(folder, f"{number}_a.sandbox.msg", timedelta(hours=2))
    assert [broker.sweep_processed(NOW) for _ in range(3)] == [3, 2, 0]


def test_what_cannot_be_deleted_does_not_stop_a_sweep(folder: Path) -> None:
    (folder / "0_dir.sandbox.msg").mkdir()
    os.utime(folder / "0_dir.sandbox.msg", (0, 0))
    leave(folder, "1_a.sandbox.msg", timedelta(hours=2))
    assert broker.sweep_processed(NOW) == 1


def test_without_a_folder_there_is_nothing_to_sweep(folder: Path, settings: Any) -> None:
    folder.rmdir()
    assert broker.sweep_processed(NOW) == 0
    settings.CELERY_BROKER_TRANSPORT_OPTIONS = {"visibility_timeout": 3600}
    assert broker.sweep_processed(NOW) == 0


def test_with_redis_no_folder_is_made(tmp_path: Path, settings: Any) -> None:
    settings.PALYRA_REDIS_URL = "redis://127.0.0.1:1/0"
    settings.CELERY_BROKER_TRANSPORT_OPTIONS = {"visibility_timeout": 3600}
    broker.make_folders()
    assert list(tmp_path.iterdir()) == []
