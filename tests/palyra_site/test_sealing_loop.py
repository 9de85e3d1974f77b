"""The sweeper's second thread: it seals by itself, whatever fails on the way, and stops when told."""

from __future__ import annotations

import threading
from datetime import datetime

import pytest
from django.core.management import call_command
from django.db import OperationalError

from governance.journal import sealing as journal_sealing
from governance.journal.models import JournalCheckpoint, JournalLeaf, JournalPending
from governance.operations import sealing
from palyra_site import sealing_loop
from palyra_site.sealing_loop import sealing_loop as running
from tests.governance.journal.writing import NOW, write
from tests.support_servers import wait_until
from vault import services as vault


@pytest.fixture
def ready(transactional_db: None) -> None:
    vault.ensure_ready(now=NOW)


def is_sealed(event_id: str) -> bool:
    return JournalLeaf.objects.filter(event_id=event_id).exists()


@pytest.mark.usefixtures("ready")
def test_what_is_written_is_sealed_without_anybody_asking() -> None:
    with running(0.1):
        first = write().pk
        wait_until(lambda: is_sealed(first), what="the first seal", seconds=20)
        second = write().pk
        wait_until(lambda: is_sealed(second), what="the second seal", seconds=20)


@pytest.mark.usefixtures("ready")
def test_many_that_wait_end_the_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing_loop, "FULL", 3)
    first = write().pk
    with running(60.0):
        wait_until(lambda: is_sealed(first), what="the first seal", seconds=20)
        last = [write() for _ in range(3)][-1].pk
        wait_until(lambda: is_sealed(last), what="the seal of a full batch", seconds=20)


@pytest.mark.usefixtures("ready")
def test_one_pass_of_the_sweeper_seals_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    real = journal_sealing.seal
    monkeypatch.setattr(journal_sealing, "seal", lambda now: real(now=now, limit=2))
    for _ in range(5):
        write()
    call_command("sweeper", once=True)
    assert not JournalPending.objects.exists()
    assert JournalCheckpoint.objects.count() >= 3


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> list[datetime]:
    """Give a sealer that fails each time, with the times it was asked; no database is touched."""
    asked: list[datetime] = []

    def fail(now: datetime) -> None:
        asked.append(now)
        raise OperationalError("the database is away")

    monkeypatch.setattr(sealing, "seal_pending", fail)
    monkeypatch.setattr(sealing, "catch_up", fail)
    monkeypatch.setattr(sealing_loop, "_is_full", lambda: False)
    monkeypatch.setattr(sealing_loop, "connection", _Closed())
    return asked


class _Closed:
    def close(self) -> None:
        """There is none."""


def test_a_failure_is_logged_once_and_tried_again(
    failing: list[datetime], monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(sealing_loop.log, "error", lambda text, exc_info: said.append(f"{text}: {exc_info}"))
    with running(0.1):
        wait_until(lambda: len(failing) > 3, what="the fourth try", seconds=20)
    assert said == ["the journal cannot be sealed: the database is away"]


def test_it_stops_in_the_middle_of_a_pause(failing: list[datetime]) -> None:
    with running(60.0):
        wait_until(lambda: len(failing) >= 2, what="the first try", seconds=20)
    assert not [thread for thread in threading.enumerate() if thread.name == "sealer"]
