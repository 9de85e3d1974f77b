"""Expressions of a schema: what passes cannot stall a gate, and what stalls one does not pass."""

from __future__ import annotations

import re
import signal
from types import FrameType

import pytest
from hypothesis import given, settings, strategies as st

from policy.patterns import MAX_WAYS, pattern_problem

LONGEST = 65_536


@pytest.mark.parametrize(
    ("pattern", "longest"),
    [
        ("^a+$", LONGEST),
        ("^https?://", LONGEST),
        ("^[0-9]{4}-[0-9]{2}-[0-9]{2}$", LONGEST),
        ("^[a-z]+@[a-z]+$", 900),
        ("[a-z]+", 900),
        ("^(ab|cd){3}$", LONGEST),
        ("^(?:x|y)z?$", LONGEST),
        ("(?i)^yes$", LONGEST),
        ("", LONGEST),
    ],
)
def test_plain_expressions_pass(pattern: str, longest: int) -> None:
    assert pattern_problem(pattern, longest) == ""


@pytest.mark.parametrize(
    "pattern",
    ["(a+)+$", "((a+))+$", "(a|a)*$", "(a?){60}", "(.*a){20}", "^(\\w+\\s?)*$", "^(([a-z])+.)+[A-Z]$", "()*",
     "a*a*a*a*a*b", "^.*.*.*=$", "[a-z]+$", "(?m)^a+", "^(a{1,9}){1,9}$", "x{0,65535}y{0,65535}"],
)  # fmt: skip
def test_expressions_that_can_take_long_are_refused(pattern: str) -> None:
    assert "too long" in pattern_problem(pattern, LONGEST)


@pytest.mark.parametrize(
    "pattern",
    ["(?=a)", "(?!a)", "(?<=a)b", "(a)\\1", "(?P<x>a)(?P=x)", "(?>a)", "a++", "(a)?(?(1)b|c)", "[", "(",
     "\\p{L}", "a" * 257, None, 3, ["a"]],
)  # fmt: skip
def test_what_is_not_a_regular_expression_is_refused(pattern: object) -> None:
    assert "regular expression" in pattern_problem(pattern, 9)


def test_a_bound_on_the_text_makes_room_for_more_repeats() -> None:
    assert pattern_problem("^[a-z]+-[a-z]+-[a-z]+$", 99) == ""
    assert pattern_problem("^[a-z]+-[a-z]+-[a-z]+$", 999) != ""


PARTS = st.sampled_from(["a", "b", ".", "[ab]", "a*", "b+", "a?", ".*", "a{2,5}", "(a|b)", "(a*)*", "(ab)+"])


@settings(max_examples=80, deadline=None)
@given(st.lists(PARTS, min_size=1, max_size=6), st.booleans())
def test_what_passes_ends_soon_on_the_worst_text(parts: list[str], anchored: bool) -> None:
    """The bound is on ways to match; an alarm stands for a gate that never answers."""
    pattern = ("^" if anchored else "") + "".join(parts) + "$"
    if pattern_problem(pattern, 300):
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(pattern)

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(20)
    try:
        for text in ("a" * 299 + "c", "ab" * 149 + "c", "a" * 300):
            re.search(pattern, text)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def test_the_bound_is_small_enough_to_be_walked() -> None:
    assert MAX_WAYS <= 1_000_000
