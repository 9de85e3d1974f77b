"""Writers at the same time, on connections of their own."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from django.db import connection, transaction

from governance.journal.models import Instance, JournalEvent, JournalPending, JournalSubjectKey
from governance.journal.reading import open_data
from governance.models import Run
from tests.governance.journal.writing import NOW, PERSON, open_run, write
from vault import services as vault

pytestmark = [pytest.mark.postgres, pytest.mark.django_db(transaction=True)]
WRITERS, EACH = 8, 5


@pytest.fixture(autouse=True)
def keys(transactional_db: None) -> None:
    vault.ensure_ready(now=NOW)


def together(work: Callable[[int], object]) -> None:
    barrier = Barrier(WRITERS)

    def run(number: int) -> None:
        try:
            barrier.wait(timeout=30)
            work(number)
        finally:
            connection.close()

    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(run, range(WRITERS)))


def test_writers_of_one_run_number_it_without_gaps() -> None:
    run = open_run()
    together(lambda _: [write(run=run.id) for _ in range(EACH)])
    numbers = JournalEvent.objects.order_by("run_seq").values_list("run_seq", flat=True)
    assert list(numbers) == list(range(1, WRITERS * EACH + 1))
    assert Run.objects.get(id=run.id).event_seq == WRITERS * EACH
    assert JournalPending.objects.count() == WRITERS * EACH


def test_a_writer_that_rolls_back_leaves_no_gap() -> None:
    run = open_run()

    def work(number: int) -> None:
        with transaction.atomic():
            write(run=run.id)
            transaction.set_rollback(number % 2 == 1)

    together(work)
    numbers = JournalEvent.objects.order_by("run_seq").values_list("run_seq", flat=True)
    assert list(numbers) == list(range(1, WRITERS // 2 + 1))


def test_first_writers_about_one_subject_share_its_key() -> None:
    together(lambda _: write(actor=PERSON, subject="tok_1"))
    assert (JournalSubjectKey.objects.count(), Instance.objects.count()) == (1, 1)
    events = JournalEvent.objects.all()
    assert len(events) == WRITERS
    assert all(
        open_data(event) == {"state": "completed", "close_code": "done", "reason": ""} for event in events
    )
