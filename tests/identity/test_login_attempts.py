"""Three limits on trying, none of which locks an account, and none of which parallel tries get past."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from threading import Barrier

import pytest
from django.db import connection, transaction

from identity.login_attempts import (
    ACCOUNT_LIMIT,
    NETWORK_LIMIT,
    Limit,
    Wait,
    account_key,
    begin_attempt,
    may_attempt,
    note_failure,
    note_success,
    sweep,
)
from identity.models import LoginFailure, LoginSuccess
from tests.cast import NOW

pytestmark = pytest.mark.django_db

HOME, ELSEWHERE = "192.0.2.0/24", "198.51.100.0/24"
ANA = "a" * 64


def fail(times: int = 1, *, key: str = ANA, network: str = HOME, at: datetime = NOW) -> None:
    for _ in range(times):
        with transaction.atomic():
            assert may_attempt(account_key=key, network=network, now=at) == 0


def wait(*, key: str = ANA, network: str = HOME, at: datetime = NOW) -> Wait:
    """Return how somebody would have to wait, and leave no trace of having asked."""
    with transaction.atomic():
        answer = begin_attempt(account_key=key, network=network, now=at)
        transaction.set_rollback(True)
    return answer


def succeed(*, key: str = ANA, network: str = HOME, at: datetime = NOW) -> None:
    fail(key=key, network=network, at=at)
    with transaction.atomic():
        note_success(account_key=key, network=network, now=at)


def after(**length: float) -> datetime:
    return NOW + timedelta(**length)


def test_four_failures_are_free_and_the_fifth_waits_half_a_minute() -> None:
    fail(4)
    assert wait() == Wait(0.0)
    fail()
    assert wait() == Wait(30.0, Limit.PAIR)
    assert note_failure(account_key=ANA, network=HOME, now=NOW) == 30
    assert wait(at=after(seconds=29)).seconds == 1
    assert wait(at=after(seconds=30)).seconds == 0


def test_each_further_failure_doubles_the_wait_up_to_a_quarter_of_an_hour() -> None:
    fail(5)
    at, seen = NOW, []
    for _ in range(7):
        at += timedelta(seconds=wait(at=at).seconds)
        fail(at=at)
        seen.append(wait(at=at).seconds)
    assert seen == [60, 120, 240, 480, 900, 900, 900]


def test_refused_attempts_do_not_lengthen_the_wait() -> None:
    fail(5)
    for second in range(1, 30):
        assert wait(at=after(seconds=second)).seconds == 30 - second
        with transaction.atomic():
            begin_attempt(account_key=ANA, network=HOME, now=after(seconds=second))
    assert wait(at=after(seconds=30)).seconds == 0


def test_another_network_and_another_account_do_not_wait() -> None:
    fail(5)
    assert wait(network=ELSEWHERE).seconds == 0
    assert wait(key="b" * 64).seconds == 0


def test_a_success_clears_the_pair_and_takes_its_own_count_back() -> None:
    fail(4)
    succeed(at=after(seconds=1))
    assert not LoginFailure.objects.filter(account_key=ANA, network=HOME).exists()
    assert [row.count for row in LoginFailure.objects.order_by("account_key")] == [4, 4]
    fail(4, at=after(seconds=2))
    assert wait(at=after(seconds=2)).seconds == 0


def test_a_network_with_twenty_failures_in_ten_minutes_waits_whoever_asks() -> None:
    for number in range(NETWORK_LIMIT):
        fail(key=f"{number:064x}", at=after(seconds=number))
    at = after(seconds=60)
    assert wait(key="f" * 64, at=at) == Wait(540.0, Limit.NETWORK)
    assert wait(key="f" * 64, network=ELSEWHERE, at=at).seconds == 0
    assert wait(key="f" * 64, at=after(seconds=600)).seconds == 0
    fail(key="f" * 64, at=after(seconds=600))
    assert wait(key="f" * 64, at=after(seconds=600)) == Wait(1.0, Limit.NETWORK)


def test_names_tried_from_a_waiting_network_leave_no_rows() -> None:
    for number in range(NETWORK_LIMIT):
        fail(key=f"{number:064x}")
    before = LoginFailure.objects.count()
    for number in range(100, 150):
        with transaction.atomic():
            assert begin_attempt(account_key=f"{number:064x}", network=HOME, now=NOW).seconds > 0
    assert LoginFailure.objects.count() == before


def test_successes_do_not_count_towards_the_network() -> None:
    for number in range(3 * NETWORK_LIMIT):
        succeed(key=f"{number:064x}")
    assert wait().seconds == 0


def attack(failures: int, *, at: datetime = NOW) -> None:
    """Fail on one account from as many networks as it takes to stay below the other limits."""
    for number in range(failures):
        fail(network=f"10.{number // 4}.0.0/24", at=at)


def test_an_account_under_attack_waits_only_where_it_never_signed_in() -> None:
    succeed(network=ELSEWHERE, at=after(days=-29))
    succeed(network="203.0.113.0/24", at=after(days=-31))
    attack(ACCOUNT_LIMIT)
    assert wait(at=after(minutes=5)) == Wait(600.0, Limit.ACCOUNT)
    assert wait(network="203.0.113.0/24", at=after(minutes=5)).limit is Limit.ACCOUNT
    assert wait(network=ELSEWHERE, at=after(minutes=5)).seconds == 0
    assert wait(key="b" * 64, at=after(minutes=5)).seconds == 0
    assert wait(at=after(minutes=15)).seconds == 0
    fail(at=after(minutes=15))
    assert wait(network="10.99.0.0/24", at=after(minutes=16)).limit is Limit.ACCOUNT
    assert wait(network="10.99.0.0/24", at=after(minutes=60)).seconds == 0


def test_what_no_limit_looks_at_any_more_is_swept() -> None:
    succeed(at=NOW)
    fail(at=NOW)
    assert sweep(after(hours=23)) == 0
    assert sweep(after(hours=24)) == 3
    assert LoginSuccess.objects.exists()
    assert sweep(after(days=30)) == 1


def test_an_account_is_named_by_a_keyed_digest_of_its_lower_cased_name() -> None:
    assert account_key(" Ana ") == account_key("ana") != account_key("anb")
    assert len(account_key("ana")) == 64
    assert "ana" not in account_key("ana")
    assert account_key("\ud800\0") != account_key("")


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("threads", "spread", "allowed"), [(30, 1, 5), (60, 30, NETWORK_LIMIT)])
def test_parallel_attempts_get_no_more_tries_than_one_after_the_other(
    threads: int, spread: int, allowed: int
) -> None:
    barrier = Barrier(threads)

    def attempt(number: int) -> bool:
        try:
            barrier.wait(timeout=30)
            with transaction.atomic():
                key = f"{number % spread:064x}"
                return may_attempt(account_key=key, network=HOME, now=NOW) == 0
        finally:
            connection.close()

    with ThreadPoolExecutor(threads) as pool:
        assert sum(pool.map(attempt, range(threads))) == allowed


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_parallel_attempts_from_many_networks_share_the_limit_of_the_account() -> None:
    attack(ACCOUNT_LIMIT - 3)
    barrier = Barrier(20)

    def attempt(number: int) -> bool:
        try:
            barrier.wait(timeout=30)
            with transaction.atomic():
                return may_attempt(account_key=ANA, network=f"172.16.{number}.0/24", now=NOW) == 0
        finally:
            connection.close()

    with ThreadPoolExecutor(20) as pool:
        assert sum(pool.map(attempt, range(20))) == 3
