"""No rolling minute holds more than the limit, whatever comes when and whatever the clock does."""

from __future__ import annotations

from itertools import accumulate

from hypothesis import given, strategies as st

from identity.sliding_window import SPAN, Allowance, admit

START = 1_772_443_800_000
MINUTE = 60_000

limits = st.integers(1, 12)
gaps = st.lists(
    st.one_of(st.integers(0, 50), st.integers(0, 3_000), st.sampled_from([999, 1000, 60_000, 61_000])),
    max_size=120,
)


def times(steps: list[int]) -> list[int]:
    return list(accumulate(steps, initial=START))


def run(moments: list[int], limit: int) -> tuple[list[int], dict[int, int]]:
    """Return the moments that were admitted and the counts at the end."""
    counts: dict[int, int] = {}
    admitted = [moment for moment in moments if admit_next(counts, limit, moment)]
    return admitted, counts


def admit_next(counts: dict[int, int], limit: int, at: int) -> bool:
    kept, allowance = admit(counts, limit=limit, now_ms=at)
    counts.clear()
    counts.update(kept)
    return allowance.admitted


def fullest_minute(moments: list[int]) -> int:
    return max((sum(begin <= at < begin + MINUTE for at in moments) for begin in moments), default=0)


@given(gaps, limits)
def test_no_rolling_minute_holds_more_than_the_limit(steps: list[int], limit: int) -> None:
    assert fullest_minute(run(times(steps), limit)[0]) <= limit


@given(gaps, limits)
def test_from_idle_exactly_the_limit_fits_at_once(steps: list[int], limit: int) -> None:
    counts = run(times(steps), limit)[1]
    idle = times(steps)[-1] + 61_000
    assert len([at for at in [idle] * (limit + 5) if admit_next(counts, limit, at)]) == limit


@given(gaps, limits, st.integers(0, 120_000))
def test_who_is_admitted_now_would_be_later_and_under_a_higher_limit(
    steps: list[int], limit: int, later: int
) -> None:
    counts, last = run(times(steps), limit)[1], times(steps)[-1]
    now = admit(counts, limit=limit, now_ms=last)[1]
    for other in (
        admit(counts, limit=limit, now_ms=last + later)[1],
        admit(counts, limit=limit + 1, now_ms=last)[1],
    ):
        assert other.admitted >= now.admitted
        assert other.remaining >= now.remaining


@given(gaps, limits)
def test_the_named_wait_is_enough_and_no_longer_than_needed(steps: list[int], limit: int) -> None:
    moments = times(steps)
    counts, last = run(moments, limit)[1], moments[-1]
    allowance = admit(counts, limit=limit, now_ms=last)[1]
    if allowance.admitted:
        return
    wait = allowance.retry_after_ms
    assert 0 < wait <= (SPAN + 1) * 1000
    assert admit(counts, limit=limit, now_ms=last + wait)[1].admitted
    assert not admit(counts, limit=limit, now_ms=last + wait - 1)[1].admitted


@given(gaps, limits)
def test_what_is_left_falls_by_one_until_nothing_is(steps: list[int], limit: int) -> None:
    counts, last = run(times(steps), limit)[1], times(steps)[-1]
    left = []
    for _ in range(limit + 2):
        kept, allowance = admit(counts, limit=limit, now_ms=last)
        counts = kept
        left.append(allowance.remaining)
    assert left == [max(0, left[0] - position) for position in range(limit + 2)]


@given(gaps, limits, st.integers(0, 100_000_000), gaps)
def test_a_clock_set_back_forgets_nothing(
    steps: list[int], limit: int, back: int, further: list[int]
) -> None:
    """In true time: the clock shows `back` less from one moment on, and the minutes are still right."""
    before, after = times(steps), times(further)
    turn = before[-1]
    true_after = [turn + moment - START for moment in after]
    counts: dict[int, int] = {}
    clock = [*zip(before, before, strict=True), *((at, at - back) for at in true_after)]
    admitted = [true for true, shown in clock if admit_next(counts, limit, shown)]
    assert fullest_minute(admitted) <= limit


@given(gaps, limits, st.integers(0, 100_000_000))
def test_a_clock_set_back_holds_nobody_up_for_long(steps: list[int], limit: int, back: int) -> None:
    """Even if somebody keeps asking: at the latest after two spans there is room again."""
    counts, last = run(times(steps), limit)[1], times(steps)[-1]
    shown = last - back
    admitted = [admit_next(counts, limit, shown + ms) for ms in range(0, (2 * SPAN + 2) * 1000, 1000)]
    assert any(admitted)


@given(st.lists(st.tuples(st.integers(0, 90_000), st.integers(0, 4_000)), max_size=120), limits)
def test_requests_that_waited_for_their_turn_do_not_widen_the_limit(
    arrivals: list[tuple[int, int]], limit: int
) -> None:
    """Each read its clock up to four seconds before it was its turn; turns are in true order."""
    turns = sorted((START + turn, waited) for turn, waited in arrivals)
    counts: dict[int, int] = {}
    admitted = [turn - waited for turn, waited in turns if admit_next(counts, limit, turn - waited)]
    assert fullest_minute(admitted) <= limit


def test_the_answer_in_numbers() -> None:
    at = START + 250
    counts, first = admit({}, limit=2, now_ms=at)
    assert first == Allowance(True, 2, 1, reset_ms=60_750, retry_after_ms=0)
    counts, second = admit(counts, limit=2, now_ms=at + 2_000)
    assert second == Allowance(True, 2, 0, reset_ms=58_750, retry_after_ms=58_750)
    counts, third = admit(counts, limit=2, now_ms=at + 10_000)
    assert third == Allowance(False, 2, 0, reset_ms=50_750, retry_after_ms=50_750)
    assert (third.reset_seconds, third.retry_after_seconds) == (51, 51)
    assert first.retry_after_seconds == 1


def test_a_lowered_limit_waits_until_enough_has_left() -> None:
    counts = {START // 1000: 3, START // 1000 + 10: 3}
    allowance = admit(counts, limit=2, now_ms=START + 20_000)[1]
    assert allowance == Allowance(False, 2, 0, reset_ms=41_000, retry_after_ms=51_000)


def test_a_limit_of_nothing_admits_nobody() -> None:
    assert not admit({}, limit=0, now_ms=START)[1].admitted
