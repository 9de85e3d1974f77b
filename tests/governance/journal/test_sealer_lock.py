"""Only one transaction at a time holds the sealer's turn."""

from __future__ import annotations

import threading

import pytest
from django.db import connection, transaction

from governance.journal.sealer_lock import hold_sealer_lock

pytestmark = [pytest.mark.postgres, pytest.mark.django_db(transaction=True)]


def test_the_lock_belongs_into_a_transaction() -> None:
    with pytest.raises(RuntimeError):
        hold_sealer_lock(wait=False)


@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="SQLite has one writer by itself")
def test_a_second_sealer_finds_it_taken_or_waits_for_it() -> None:
    found: list[bool] = []

    def second(wait: bool) -> None:
        with transaction.atomic():
            found.append(hold_sealer_lock(wait=wait))
        connection.close()

    waiting = threading.Thread(target=second, args=(True,))
    with transaction.atomic():
        assert hold_sealer_lock(wait=False)
        trying = threading.Thread(target=second, args=(False,))
        trying.start()
        trying.join()
        assert found == [False]
        waiting.start()
        waiting.join(timeout=0.1)
        assert found == [False]
    waiting.join()
    assert found == [False, True]
