"""An address that fails again and again waits longer and longer; one that stops is soon forgotten."""

from __future__ import annotations

from itertools import accumulate

from hypothesis import given, strategies as st

from identity.throttle import (
    FAILURES_PER_MINUTE,
    LONGEST_WAIT_MS,
    MEMORY_MS,
    Trouble,
    Turn,
    fail,
    wait_of,
)

START = 1_772_443_800_000
gaps = st.lists(st.one_of(st.integers(0, 3_000), st.integers(0, 400_000)), max_size=150)


def after_ten() -> Trouble:
    trouble = Trouble()
    for _ in range(FAILURES_PER_MINUTE):
        trouble, turn = fail(trouble, now_ms=START)
        assert turn == Turn()
    return trouble


def test_ten_failures_are_free_and_the_eleventh_waits_two_seconds() -> None:
    trouble, turn = fail(after_ten(), now_ms=START)
    assert turn == Turn(wait_ms=2_000, begins=True)
    assert fail(trouble, now_ms=START + 500) == (trouble, Turn(wait_ms=1_500))


def test_each_wait_is_twice_the_last_up_to_five_minutes() -> None:
    trouble, now = after_ten(), START
    waits: list[int] = []
    while len(waits) < 12:
        trouble, turn = fail(trouble, now_ms=now)
        if turn.begins:
            waits.append(turn.wait_ms)
        now += turn.wait_ms
    assert waits == [2_000, 4_000, 8_000, 16_000, 32_000, 64_000, 128_000, 256_000] + [300_000] * 4


def test_a_long_silence_is_forgiven() -> None:
    trouble, now = after_ten(), START
    for _ in range(4):
        trouble, turn = fail(trouble, now_ms=now)
        now += turn.wait_ms
    for _ in range(FAILURES_PER_MINUTE):
        trouble, turn = fail(trouble, now_ms=now + MEMORY_MS + 1)
        assert turn == Turn()
    assert fail(trouble, now_ms=now + MEMORY_MS + 1)[1].wait_ms == 2_000


def test_a_clock_set_back_neither_frees_nor_shuts_out_for_ever() -> None:
    trouble, _ = fail(after_ten(), now_ms=START)
    assert fail(trouble, now_ms=START - 86_400_000)[1] == Turn(wait_ms=2_000)


@given(gaps)
def test_never_more_than_ten_plain_refusals_in_a_minute(steps: list[int]) -> None:
    trouble, plain = Trouble(), []
    for now in accumulate(steps, initial=START):
        before = trouble
        trouble, turn = fail(trouble, now_ms=now)
        if turn.wait_ms == 0:
            plain.append(now)
        elif not turn.begins:
            assert trouble == before
        assert 0 <= turn.wait_ms <= LONGEST_WAIT_MS
    assert all(sum(at <= one < at + 60_000 for one in plain) <= FAILURES_PER_MINUTE for at in plain)


@given(st.integers(-5, 10_000))
def test_waits_only_grow_and_are_bounded(number: int) -> None:
    assert 0 <= wait_of(number) <= wait_of(number + 1) <= LONGEST_WAIT_MS
