"""Flags kept for a second while Redis says that nothing changed, and never when it says nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import DatabaseError, connection, transaction
from django.test.utils import CaptureQueriesContext
from pytest_django.fixtures import Settings
from redis import Redis

from identity import flag_cache
from identity.flags import registry
from identity.models import FeatureFlag
from identity.rollout import FlagWishes, change_flag
from tests.builders import RecordedEvents
from tests.cast import NOW, SYSTEM, make_workspaces

pytestmark = pytest.mark.django_db(transaction=True)
DEAD = "redis://127.0.0.1:1/0"


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    """A process that remembers nothing, workspaces, and a clock in the hand of the test."""
    clock = Clock()
    monkeypatch.setattr(flag_cache, "MEMORY", flag_cache.Memory())
    monkeypatch.setattr(flag_cache, "time", clock)
    make_workspaces()
    yield clock
    flag_cache._client.cache_clear()


@pytest.fixture
def with_redis(settings: Settings, redis_server: str) -> Iterator[Redis]:
    settings.PALYRA_REDIS_URL = redis_server
    client = Redis.from_url(redis_server)
    client.delete(flag_cache.VERSION_KEY)
    yield client
    client.delete(flag_cache.VERSION_KEY)
    client.close()


def queries() -> int:
    with CaptureQueriesContext(connection) as seen:
        registry()
    return len(seen)


def switch(enabled: bool) -> None:
    row = FeatureFlag.objects.filter(pk="mcp").first()
    with transaction.atomic():
        change_flag(
            key="mcp",
            wishes=FlagWishes("asked for in a test", enabled),
            seen_version=row.version if row else 0,
            actor=SYSTEM,
            now=NOW,
            record=RecordedEvents(),
        )


def is_on() -> bool:
    setting = registry().setting("mcp")
    return setting is not None and setting.enabled


def test_without_redis_every_reader_asks_the_database() -> None:
    assert [queries(), queries()] == [1, 1]


@pytest.mark.redis
def test_with_redis_the_flags_are_read_once_a_second(with_redis: Redis, fresh: Clock) -> None:
    assert [queries() for _ in range(4)] == [1, 1, 0, 0]
    fresh.now += 0.99
    assert queries() == 0
    fresh.now += 0.02
    assert [queries(), queries()] == [1, 0]


@pytest.mark.redis
def test_a_change_counts_for_the_very_next_reader(with_redis: Redis) -> None:
    for wanted in (True, False, True):
        assert is_on() is not wanted
        assert is_on() is not wanted
        switch(wanted)
        assert is_on() is wanted


@pytest.mark.redis
def test_a_change_by_another_process_counts_at_once(with_redis: Redis) -> None:
    queries()
    assert not is_on()
    remembered = flag_cache.MEMORY.kept
    switch(True)
    flag_cache.MEMORY.kept = remembered
    assert is_on()


@pytest.mark.redis
def test_what_was_rolled_back_was_never_kept(with_redis: Redis) -> None:
    queries()
    assert not is_on()
    with transaction.atomic():
        switch(True)
        assert is_on()
        transaction.set_rollback(True)
    assert not is_on()


@pytest.mark.redis
def test_a_redis_that_lost_its_data_repeats_no_number(with_redis: Redis) -> None:
    queries()
    first = flag_cache.version()
    with_redis.flushdb()
    assert flag_cache.version() is None
    assert flag_cache.version() not in (None, first)


@pytest.mark.parametrize("wanted", [True, False])
def test_a_redis_that_does_not_answer_costs_only_the_cache(
    settings: Settings, fresh: Clock, wanted: bool
) -> None:
    settings.PALYRA_REDIS_URL = DEAD
    switch(not wanted)
    switch(wanted)
    assert [queries(), queries()] == [1, 1]
    assert is_on() is wanted
    assert flag_cache.MEMORY.silent_until > fresh.now


@pytest.mark.redis
def test_a_change_that_redis_was_not_told_counts_within_a_second(
    with_redis: Redis, settings: Settings, fresh: Clock
) -> None:
    alive = settings.PALYRA_REDIS_URL
    queries()
    assert not is_on()
    remembered = flag_cache.MEMORY.kept
    settings.PALYRA_REDIS_URL = DEAD
    switch(True)
    settings.PALYRA_REDIS_URL = alive
    flag_cache.MEMORY.kept, flag_cache.MEMORY.silent_until = remembered, 0.0
    fresh.now += flag_cache.LONGEST_KEPT_SECONDS
    assert is_on()


@pytest.mark.redis
def test_a_number_that_is_none_is_no_number(with_redis: Redis) -> None:
    with_redis.set(flag_cache.VERSION_KEY, "many")
    assert flag_cache.version() is None
    assert [queries(), queries()] == [1, 1]


@pytest.mark.redis
def test_flags_that_could_not_be_read_are_not_kept(
    with_redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    queries()
    with monkeypatch.context() as broken:
        broken.setattr(FeatureFlag.objects, "all", _refuse)
        assert not registry().readable
    assert registry().readable


def _refuse() -> None:
    raise DatabaseError
