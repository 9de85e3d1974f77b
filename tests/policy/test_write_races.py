"""Writers of one posture at once, on PostgreSQL."""

from __future__ import annotations

import threading

import pytest
from django.db import connection

from policy.models import PostureOverride
from tests.policy.conftest import installed
from tests.policy.test_writes import put


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_eight_writers_of_one_override_leave_one_row_and_eight_versions() -> None:
    cast = installed()
    put(cast)
    errors: list[BaseException] = []

    def write() -> None:
        try:
            put(cast, state="disabled")
        except BaseException as error:
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=write) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert PostureOverride.objects.get().version == 9


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_first_override_by_eight_writers_at_once_is_written_once_and_then_replaced() -> None:
    cast = installed()
    errors: list[BaseException] = []
    gate = threading.Barrier(8)

    def write() -> None:
        try:
            gate.wait()
            put(cast)
        except BaseException as error:
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=write) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert PostureOverride.objects.get().version == 8
