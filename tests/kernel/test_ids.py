from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, strategies as st

from kernel.errors import MalformedError
from kernel.ids import is_id, new_id, require_id

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
PREFIXES = st.from_regex(r"[a-z]{2,4}", fullmatch=True)
MOMENTS = st.datetimes(datetime(1970, 1, 2), datetime(9999, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


@given(PREFIXES, MOMENTS)
def test_a_new_id_is_an_id_of_its_kind(prefix: str, now: datetime) -> None:
    text = new_id(prefix, now)
    assert is_id(prefix, text)
    assert require_id(prefix, text) == text


@given(MOMENTS)
def test_ids_sort_by_the_time_they_were_made(now: datetime) -> None:
    later = now + timedelta(milliseconds=2)
    assert new_id("run", now) < new_id("run", later)


def test_ids_of_one_instant_differ() -> None:
    assert len({new_id("run", NOW) for _ in range(1000)}) == 1000


@pytest.mark.parametrize(
    "text",
    [
        "",
        "run_",
        "run",
        "01JD0000000000000000000000",
        "run-01JD0000000000000000000000",
        "call_01JD0000000000000000000000",
        "run_01JD000000000000000000000",
        "run_01JD00000000000000000000000",
        "run_81JD0000000000000000000000",
        "run_01jd0000000000000000000000",
        "run_01JD000000000000000000000I",
        "run_01JD000000000000000000000L",
        "run_01JD000000000000000000000O",
        "run_01JD000000000000000000000U",
        "run_01JD0000000000000000000000\n",
        " run_01JD0000000000000000000000",
        "RUN_01JD0000000000000000000000",
        "run_01JD00000000000000000000\u0660\u0660",
        "run_../../../../etc/passwd0000",
    ],
)
def test_text_that_is_no_run_id_is_refused(text: str) -> None:
    assert not is_id("run", text)
    with pytest.raises(MalformedError) as caught:
        require_id("run", text)
    assert caught.value.code == "invalid_id"
    assert caught.value.status == 400


@given(st.text())
def test_no_arbitrary_text_passes_for_an_id(text: str) -> None:
    assert not is_id("run", text)
