"""Refusals are summed, none is lost, and whoever fails on purpose fills neither table nor journal."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier

import pytest
from django.db import connection, transaction

from identity import rejections
from identity.models import RejectionTally
from identity.rejections import Rejections
from kernel.errors import ConflictError
from kernel.ids import new_id

NOW = datetime(2026, 3, 2, 9, 30, 12, tzinfo=UTC)
LATER = NOW + timedelta(minutes=2)
NETWORK = "203.0.113.0/24"


def refuse(*, network: str = NETWORK, subject: str = "", reason: str = "unknown", at: datetime = NOW) -> None:
    rejections.note(kind="token", network=network, subject=subject, reason=reason, now=at)


def counts() -> dict[tuple[str, str, str], int]:
    rows = RejectionTally.objects.values_list("network", "subject", "reason", "count")
    return {(network, subject, reason): count for network, subject, reason, count in rows}


@pytest.mark.django_db
def test_equal_refusals_of_one_minute_are_one_row() -> None:
    token = new_id("tok", NOW)
    for second in range(5):
        refuse(subject=token, reason="expired", at=NOW + timedelta(seconds=second))
    refuse(subject=token, reason="revoked")
    assert counts() == {(NETWORK, token, "expired"): 5, (NETWORK, token, "revoked"): 1}
    refuse(subject=token, reason="expired", at=NOW + timedelta(minutes=1))
    assert RejectionTally.objects.count() == 3


@pytest.mark.django_db
@pytest.mark.parametrize("typed", ["", "root", "tok_x", "plr_agt_0", "usr_" + "0" * 25, "x" * 500])
def test_what_somebody_typed_is_nobody(typed: str) -> None:
    refuse(subject=typed)
    assert counts() == {(NETWORK, "anonymous", "unknown"): 1}


@pytest.mark.django_db
def test_many_networks_fold_and_no_refusal_is_lost() -> None:
    for number in range(120):
        refuse(network=f"10.0.{number}.0/24")
    found = counts()
    assert len(found) == rejections.ROWS_BY_NETWORK + 1
    assert found[("many", "anonymous", "unknown")] == 120 - rejections.ROWS_BY_NETWORK
    refuse(network="10.0.0.0/24")
    assert counts()[("10.0.0.0/24", "anonymous", "unknown")] == 2


@pytest.mark.django_db
def test_noise_from_everywhere_does_not_hide_guesses_at_one_token() -> None:
    for number in range(60):
        refuse(network=f"10.0.{number}.0/24")
    token = new_id("tok", NOW)
    for _ in range(3):
        refuse(subject=token, reason="digest")
    assert counts()[("many", token, "digest")] == 3


@pytest.mark.django_db
def test_many_tokens_fold_as_well() -> None:
    for _ in range(200):
        refuse(subject=new_id("tok", NOW), reason="digest")
    found = counts()
    assert len(found) == rejections.ROWS_BY_SUBJECT + 1
    assert found[("many", "anonymous", "digest")] == 200 - rejections.ROWS_BY_SUBJECT


@pytest.mark.django_db
def test_logins_and_tokens_have_room_of_their_own() -> None:
    for number in range(60):
        refuse(network=f"10.0.{number}.0/24")
    rejections.note(kind="login", network=NETWORK, subject="", reason="refused", now=NOW)
    assert counts()[(NETWORK, "anonymous", "refused")] == 1


@pytest.mark.django_db
def test_a_minute_is_taken_once_and_only_when_it_is_over() -> None:
    refuse(reason="digest")
    refuse(reason="digest")
    assert rejections.closed_minutes(NOW, 10) == ()
    assert rejections.closed_minutes(NOW.replace(second=0) + timedelta(seconds=64), 10) == ()
    due = rejections.closed_minutes(LATER, 10)
    assert [rejections.take(row) for row in due] == [Rejections("token", NETWORK, "anonymous", "digest", 2)]
    assert rejections.closed_minutes(LATER, 10) == ()
    with pytest.raises(ConflictError):
        rejections.take(due[0])


def together(*works: Callable[[], None]) -> None:
    barrier = Barrier(len(works))

    def run(work: Callable[[], None]) -> None:
        try:
            barrier.wait(timeout=30)
            work()
        finally:
            connection.close()

    with ThreadPoolExecutor(len(works)) as pool:
        list(pool.map(run, works))


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_no_refusal_is_lost_between_threads_or_to_a_sweep_in_between() -> None:
    taken: list[int] = []

    def refuse_some() -> None:
        for _ in range(15):
            refuse()

    def sweep() -> None:
        for _ in range(15):
            for row in rejections.closed_minutes(LATER, 10):
                with transaction.atomic():
                    taken.append(rejections.take(row).count)

    together(*[refuse_some] * 5, sweep)
    assert sum(taken) + sum(counts().values()) == 75
