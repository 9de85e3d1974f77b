from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, strategies as st

from kernel.clock import exact_time, utc_now, wire_time

MOMENTS = st.datetimes(
    datetime(1971, 1, 1),  # noqa: DTZ001  # hypothesis adds the zone
    datetime(9998, 1, 1),  # noqa: DTZ001
    timezones=st.timezones(),
    allow_imaginary=False,
)
EAST = timezone(timedelta(hours=5, minutes=30))


def test_the_present_is_in_utc() -> None:
    assert utc_now().tzinfo is UTC


def test_wire_time_has_milliseconds_and_is_in_utc() -> None:
    moment = datetime(2026, 3, 2, 9, 30, 0, 123_999, tzinfo=EAST)
    assert wire_time(moment) == "2026-03-02T04:00:00.123Z"


def test_exact_time_has_microseconds_even_when_they_are_zero() -> None:
    assert exact_time(datetime(2026, 3, 2, 9, 30, tzinfo=EAST)) == "2026-03-02T04:00:00.000000Z"


def test_an_absent_moment_stays_absent() -> None:
    assert wire_time(None) is None


@given(MOMENTS)
def test_exact_time_reads_back_as_the_same_instant(moment: datetime) -> None:
    assert datetime.fromisoformat(exact_time(moment)) == moment.astimezone(UTC)


@given(MOMENTS)
def test_wire_time_is_never_later_and_less_than_a_millisecond_off(moment: datetime) -> None:
    written = wire_time(moment)
    assert written is not None
    lost = moment.astimezone(UTC) - datetime.fromisoformat(written)
    assert timedelta(0) <= lost < timedelta(milliseconds=1)


@pytest.mark.parametrize("write", [wire_time, exact_time])
def test_every_time_ends_in_z(write: object) -> None:
    assert callable(write)
    assert write(datetime(2026, 3, 2, tzinfo=UTC)).endswith("Z")
