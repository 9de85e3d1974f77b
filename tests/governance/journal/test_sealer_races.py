"""Sealers and writers at the same time, and sealers that die in the middle."""

from __future__ import annotations

import threading

import pytest
from django.db import connection, transaction

from governance.journal import sealing
from governance.journal.models import JournalCheckpoint, JournalLeaf, JournalPending
from governance.journal.sealer_lock import hold_sealer_lock
from governance.operations.sealing import seal_pending, seal_through
from tests.governance.journal.sealers import assert_sealed_once, dying_sealers
from tests.governance.journal.writing import NOW, open_run, write
from tests.racing import at_once
from vault import services as vault

pytestmark = pytest.mark.django_db(transaction=True)
WRITERS = 16


@pytest.fixture(autouse=True)
def keys(transactional_db: None) -> None:
    vault.ensure_ready(now=NOW)


def test_of_two_sealers_one_seals_and_the_other_returns() -> None:
    events = {write().pk for _ in range(5)}
    assert at_once(*[lambda: seal_pending(NOW)] * 4) == [""] * 4
    assert set(JournalLeaf.objects.values_list("event_id", flat=True)) >= events
    assert JournalCheckpoint.objects.count() == 1
    assert_sealed_once()


def test_all_who_need_the_proof_of_an_event_get_it() -> None:
    events = [write().pk for _ in range(6)]
    assert at_once(*[lambda one=one: seal_through(one, NOW) for one in events]) == [""] * 6
    assert_sealed_once()


def test_writers_and_sealers_that_are_killed_leave_every_event_exactly_one_leaf() -> None:
    each = 20 if connection.vendor == "postgresql" else 8
    runs = [open_run() for _ in range(4)]

    def work(number: int) -> None:
        for _ in range(each):
            write(run=runs[number % len(runs)].pk)

    with dying_sealers(2):
        done = at_once(*[lambda number=number: work(number) for number in range(WRITERS)])

    assert done == [""] * WRITERS
    assert JournalCheckpoint.objects.exists(), "sealers that died sealed something before"
    assert assert_sealed_once() > WRITERS * each
    for run in runs:
        _assert_numbers_rise(run.pk)


def _assert_numbers_rise(run_id: str) -> None:
    """Within a run, the number in the run and the number in the log rise together."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT run_seq FROM governance_journalevent e JOIN governance_journalleaf l ON l.event_id = e.id"
            " WHERE run_id = %s ORDER BY l.seq",
            [run_id],
        )
        numbers = [row[0] for row in cursor.fetchall()]
    assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.postgres
def test_no_writer_waits_for_the_sealer() -> None:
    before = write().pk
    with transaction.atomic():
        assert hold_sealer_lock(wait=False)
        sealing.seal(now=NOW)
        assert at_once(write) == [""]  # committed while the sealer is in the middle of it
        assert JournalLeaf.objects.filter(event_id=before).exists()
    assert JournalPending.objects.count() == 1
    assert_sealed_once()


@pytest.mark.postgres
def test_a_transaction_that_commits_late_gets_a_later_number() -> None:
    write()  # the key of the subject is there from here on
    written, sealed = threading.Event(), threading.Event()
    late: list[str] = []

    def write_slowly() -> None:
        with transaction.atomic():
            late.append(write().pk)
            written.set()
            assert sealed.wait(timeout=30)

    def write_and_seal() -> None:
        assert written.wait(timeout=30)
        late.append(write().pk)
        seal_pending(NOW)
        sealed.set()

    assert at_once(write_slowly, write_and_seal) == ["", ""]
    assert_sealed_once()
    numbers = dict(JournalLeaf.objects.values_list("event_id", "seq"))
    assert numbers[late[0]] > numbers[late[1]]
