"""Both limiters keep the one rule; neither lets anybody pass when it cannot count."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier, Event

import pytest
from django.db import connection, transaction
from hypothesis import HealthCheck, given, settings as hypothesis_settings, strategies as st
from pytest_django.fixtures import Settings
from redis import Redis

from identity import limiter_redis, limiter_rows, rate_limit, sliding_window, throttle
from identity.models import RateBucket
from identity.sliding_window import Allowance
from kernel.errors import RateLimitedError, UnavailableError
from tests.support_servers import free_port

NOW = datetime(2026, 3, 2, 9, 30, 12, 500_000, tzinfo=UTC)
ADDRESS = "203.0.113.9"


def ask(key: str = "token:a", limit: int = 3, at: datetime = NOW) -> Allowance:
    return rate_limit.admit(key=key, limit=limit, now=at)


@pytest.fixture
def in_redis(redis_server: str, settings: Settings) -> Iterator[Redis]:
    """Have the limiter count in a Redis of the tests."""
    settings.PALYRA_REDIS_URL = redis_server
    with Redis.from_url(redis_server) as client:
        client.flushdb()
        yield client


@pytest.fixture(
    params=[
        pytest.param("rows", marks=pytest.mark.django_db),
        pytest.param("redis", marks=pytest.mark.redis),
    ]
)
def limiter(request: pytest.FixtureRequest) -> None:
    if request.param == "redis":
        request.getfixturevalue("in_redis")


@pytest.mark.usefixtures("limiter")
def test_the_limit_fits_and_then_nothing_does() -> None:
    answers = [ask() for _ in range(6)]
    assert [answer.admitted for answer in answers] == [True] * 3 + [False] * 3
    assert [answer.remaining for answer in answers] == [2, 1, 0, 0, 0, 0]
    assert all(0 < answer.retry_after_ms <= 61_000 for answer in answers[2:])


@pytest.mark.usefixtures("limiter")
def test_each_key_has_a_count_of_its_own() -> None:
    assert all(ask("token:a").admitted for _ in range(3))
    assert ask("token:b").admitted
    assert not ask("token:a").admitted


@pytest.mark.usefixtures("limiter")
def test_a_public_route_names_the_wait() -> None:
    for _ in range(2):
        rate_limit.admit_public("leaked", ADDRESS, limit=2, now=NOW)
    with pytest.raises(RateLimitedError) as refused:
        rate_limit.admit_public("leaked", ADDRESS, limit=2, now=NOW)
    assert 1 <= (refused.value.retry_after or 0) <= 61
    rate_limit.admit_public("leaked", "203.0.113.10", limit=2, now=NOW)
    rate_limit.admit_public("pairing", ADDRESS, limit=2, now=NOW)


@pytest.mark.usefixtures("limiter")
def test_an_address_that_keeps_failing_waits_and_others_do_not() -> None:
    turns = [rate_limit.count_failure(client_ip=ADDRESS, now=NOW) for _ in range(12)]
    assert [turn.wait_ms for turn in turns[:10]] == [0] * 10
    assert turns[10] == throttle.Turn(wait_ms=2_000, begins=True)
    assert 1_000 < turns[11].wait_ms <= 2_000
    assert not turns[11].begins
    assert rate_limit.count_failure(client_ip="203.0.113.10", now=NOW).wait_ms == 0


@pytest.mark.usefixtures("limiter")
def test_one_subscriber_has_one_count_over_all_their_ipv6_addresses() -> None:
    turns = [rate_limit.count_failure(client_ip=f"2001:db8::{number}", now=NOW) for number in range(1, 12)]
    assert turns[-1].begins
    assert rate_limit.count_failure(client_ip="2001:db8:0:1::1", now=NOW).wait_ms == 0


@pytest.mark.usefixtures("limiter")
def test_whoever_has_no_readable_address_shares_one_count() -> None:
    turns = [rate_limit.count_failure(client_ip=text, now=NOW) for text in ["", "unix:", "x" * 400] * 4]
    assert sum(turn.begins for turn in turns) == 1


@pytest.mark.django_db
def test_the_window_moves_on() -> None:
    assert [ask(at=NOW + timedelta(seconds=second)).admitted for second in range(4)] == [True] * 3 + [False]
    assert not ask(at=NOW + timedelta(seconds=60)).admitted
    assert ask(at=NOW + timedelta(seconds=61)).admitted
    assert not ask(at=NOW + timedelta(seconds=61)).admitted


@pytest.mark.django_db
@pytest.mark.parametrize("back", [1, 59, 61, 3_600, 86_400 * 400])
def test_a_clock_set_back_neither_widens_the_limit_nor_shuts_for_ever(back: int) -> None:
    for _ in range(3):
        assert ask().admitted
    shown = NOW - timedelta(seconds=back)
    assert not any(ask(at=shown + timedelta(seconds=second)).admitted for second in range(60))
    assert any(ask(at=shown + timedelta(seconds=second)).admitted for second in range(60, 123))


@pytest.mark.django_db
@pytest.mark.parametrize("broken", [{"x": 1}, {"1": "many"}, [], {"1": None}, 7])
def test_a_broken_row_admits_nobody(broken: object) -> None:
    RateBucket.objects.create(key="token:a", buckets=broken, updated_at=NOW)
    with pytest.raises(UnavailableError) as refused:
        ask()
    assert (refused.value.code, refused.value.retry_after) == ("rate_limiter_unavailable", 1)


@pytest.mark.django_db
def test_idle_rows_are_forgotten_and_live_ones_are_not() -> None:
    ask("token:old")
    for _ in range(11):
        rate_limit.count_failure(client_ip=ADDRESS, now=NOW)
    ask("token:new", at=NOW + timedelta(minutes=19))
    assert rate_limit.sweep(NOW + timedelta(minutes=15)) == 0
    assert rate_limit.sweep(NOW + timedelta(minutes=20, seconds=1)) == 2
    assert [row.key for row in RateBucket.objects.all()] == ["token:new"]


@pytest.mark.django_db(transaction=True)
def test_sqlite_is_left_as_it_was_found() -> None:
    if connection.vendor != "sqlite":
        return
    with connection.cursor() as cursor:
        before = [cursor.execute(f"PRAGMA {name}").fetchone() for name in ("busy_timeout", "synchronous")]
        ask()
        after = [cursor.execute(f"PRAGMA {name}").fetchone() for name in ("busy_timeout", "synchronous")]
    assert before == after == [(30_000,), (2,)]


@pytest.mark.django_db(transaction=True)
def test_a_lock_that_is_not_given_back_admits_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process holds the row, or on SQLite the only write lock, for longer than anybody waits."""
    monkeypatch.setitem(limiter_rows._SQLITE, "busy_timeout", 50)
    ask()
    held, release = Event(), Event()

    def hold() -> None:
        try:
            with transaction.atomic():
                RateBucket.objects.select_for_update().get()
                held.set()
                release.wait(timeout=30)
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        holder = pool.submit(hold)
        assert held.wait(timeout=30)
        try:
            with pytest.raises(UnavailableError):
                ask()
        finally:
            release.set()
        holder.result()
    assert ask().remaining == 1


def together(count: int, work: Callable[[], object]) -> list[object]:
    barrier = Barrier(count)

    def run(_: int) -> object:
        try:
            barrier.wait(timeout=30)
            return work()
        finally:
            connection.close()

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_threads_share_a_limit_exactly_from_the_very_first_request() -> None:
    def ask_some() -> list[bool]:
        return [ask(limit=20).admitted for _ in range(8)]

    for number in range(3):
        RateBucket.objects.all().delete()
        answers = [one for some in together(6, ask_some) for one in some]  # type: ignore[attr-defined]  # lists
        assert Counter(answers) == {True: 20, False: 28}, number


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_threads_that_fail_together_start_one_wait() -> None:
    turns = together(16, lambda: rate_limit.count_failure(client_ip=ADDRESS, now=NOW))
    assert sum(turn == throttle.Turn() for turn in turns) == 10
    assert sum(turn == throttle.Turn(2_000, begins=True) for turn in turns) == 1


@pytest.mark.redis
def test_threads_share_a_limit_exactly_in_redis(in_redis: Redis) -> None:
    answers = together(8, lambda: [ask(limit=20).admitted for _ in range(25)])
    assert Counter(one for some in answers for one in some) == {True: 20, False: 180}  # type: ignore[attr-defined]


steps = st.one_of(st.integers(0, 1_500), st.integers(-3_000, 3_000), st.integers(-70_000, 70_000))
gaps = st.lists(st.tuples(steps, st.integers(0, 6)), max_size=40)


@pytest.mark.redis
@given(gaps)
@hypothesis_settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_the_script_decides_as_the_module_does(in_redis: Redis, asked: list[tuple[int, int]]) -> None:
    """With times given to it, forwards and backwards, and limits that change."""
    script = in_redis.register_script(f"local now = tonumber(ARGV[2]){limiter_redis.ADMIT}")
    in_redis.flushdb()
    counts: dict[int, int] = {}
    now = 1_772_443_800_000
    for step, limit in asked:
        now += step
        counts, expected = sliding_window.admit(counts, limit=limit, now_ms=now)
        answer = script(keys=["k"], args=[limit, now])
        told = (int(expected.admitted), expected.remaining, expected.reset_ms, expected.retry_after_ms)
        assert tuple(answer) == told
        stored = {at: int(count) for at, count in in_redis.hgetall("k").items() if at.isdigit()}
        assert {int(at): count for at, count in stored.items()} == counts


@pytest.mark.redis
def test_redis_forgets_by_itself(in_redis: Redis) -> None:
    ask()
    for _ in range(11):
        rate_limit.count_failure(client_ip=ADDRESS, now=NOW)
    left = {str(key): in_redis.pttl(key) for key in in_redis.scan_iter()}
    assert len(left) == 4
    assert all(0 < milliseconds <= 602_000 for milliseconds in left.values()), left


@pytest.mark.redis
def test_waits_double_in_redis(in_redis: Redis) -> None:
    waits = []
    for _ in range(10):
        rate_limit.count_failure(client_ip=ADDRESS, now=NOW)
    for _ in range(10):
        turn = rate_limit.count_failure(client_ip=ADDRESS, now=NOW)
        assert turn.begins
        waits.append(turn.wait_ms)
        for key in in_redis.scan_iter("*waiting"):
            in_redis.delete(key)
    assert waits == [throttle.wait_of(number) for number in range(1, 11)]


@pytest.mark.redis
def test_a_script_that_redis_forgot_is_sent_again(in_redis: Redis) -> None:
    ask()
    in_redis.script_flush()
    assert ask().remaining == 1


@pytest.mark.redis
def test_a_value_of_another_kind_admits_nobody(in_redis: Redis) -> None:
    in_redis.set("palyra:rate:token:a", "what is this")
    with pytest.raises(UnavailableError):
        ask()


@pytest.mark.parametrize("work", [ask, lambda: rate_limit.count_failure(client_ip=ADDRESS, now=NOW)])
def test_without_its_redis_nobody_is_admitted(settings: Settings, work: Callable[[], object]) -> None:
    settings.PALYRA_REDIS_URL = f"redis://127.0.0.1:{free_port()}/0"
    with pytest.raises(UnavailableError) as refused:
        work()
    assert (refused.value.code, refused.value.retry_after) == ("rate_limiter_unavailable", 1)


def test_a_redis_that_says_nothing_admits_nobody(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings.PALYRA_REDIS_URL = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        with pytest.raises(UnavailableError):
            ask()
