"""Two ends of one call, and two first uses of one key, at the same time."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from django.db import IntegrityError, connection

from governance.journal.attestations import attestation_keys
from governance.journal.models import Attestation, JournalEvent, JournalKey
from sandbox.attestation import verify_envelope
from tests.governance.journal.attesting import attest
from tests.governance.journal.writing import open_run

pytestmark = [
    pytest.mark.postgres,
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("transactional_db", "ready"),
]
WRITERS = 6


def together(work: Callable[[int], object]) -> list[object]:
    """Run all at once on connections of their own; a violated constraint counts as a result."""
    barrier = Barrier(WRITERS)

    def run(number: int) -> object:
        try:
            barrier.wait(timeout=30)
            return work(number)
        except IntegrityError as error:
            return error
        finally:
            connection.close()

    with ThreadPoolExecutor(WRITERS) as pool:
        return list(pool.map(run, range(WRITERS)))


def events(name: str) -> int:
    return JournalEvent.objects.filter(type=name).count()


def test_first_uses_of_a_key_publish_it_once() -> None:
    together(lambda number: attest(run=None, call=f"call_{number}"))
    assert (JournalKey.objects.count(), events("journal.key_rotated")) == (1, 1)
    rows = list(Attestation.objects.all())
    assert len(rows) == events("attestation.recorded") == WRITERS
    for row in rows:
        statement = verify_envelope(row.envelope, attestation_keys())
        assert statement.predicate["call_id"] == row.call_id


def test_one_call_is_attested_once_and_the_others_leave_nothing() -> None:
    run = open_run().id
    results = together(lambda _: attest(run=run))
    assert sum(isinstance(result, Attestation) for result in results) == 1
    assert sum(isinstance(result, IntegrityError) for result in results) == WRITERS - 1
    assert (Attestation.objects.count(), events("attestation.recorded")) == (1, 1)
    assert list(JournalEvent.objects.filter(run_id=run).values_list("run_seq", flat=True)) == [1]
