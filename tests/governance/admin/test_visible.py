from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, strategies as st

from governance.safety.visible import fold, hides_something, shorten_id, size_in_words, visible

ANY_TEXT = st.text(st.characters(exclude_categories=[]), max_size=80)


@given(ANY_TEXT)
def test_nothing_that_hides_or_reorders_is_left(text: str) -> None:
    left = {unicodedata.category(one) for one in visible(text) if one not in "\n\t"}
    assert not left & {"Cc", "Cf", "Cs", "Co", "Cn"}


@given(ANY_TEXT)
def test_making_visible_twice_changes_nothing(text: str) -> None:
    assert visible(visible(text)) == visible(text)
    assert not hides_something(visible(text))


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E)))
def test_plain_text_stays_as_it_is(text: str) -> None:
    assert visible(text) == text


@pytest.mark.parametrize(
    ("hidden", "shown"),
    [
        ("a\u202eb", "a⟦U+202E⟧b"),
        ("a\u2066b", "a⟦U+2066⟧b"),
        ("pass\u200bword", "pass⟦U+200B⟧word"),
        ("\ufeffx", "⟦U+FEFF⟧x"),
        ("\x1b[31mred", "\\e[31mred"),
        ("bell\x07 nul\x00", "bell\\a nul\\0"),
        ("one\rtwo", "one\\rtwo"),
        ("\x85", "\\x85"),
        ("\U000e0041", "⟦U+E0041⟧"),
        ("\u3164", "⟦U+3164⟧"),
        ("\u0301a", "⟦U+0301⟧a"),
        ("a\ufe0f", "a⟦U+FE0F⟧"),
        ("\ud800", "⟦U+D800⟧"),
        ("two\nlines\tand a tab", "two\nlines\tand a tab"),
        ("żółć 中文 Ελληνικά", "żółć 中文 Ελληνικά"),
    ],
)
def test_each_kind_of_hidden_character_has_its_mark(hidden: str, shown: str) -> None:
    assert visible(hidden) == shown


def test_a_tower_of_marks_is_broken_up() -> None:
    assert visible("a" + "\u0300" * 6) == "a" + "\u0300" * 4 + "⟦U+0300⟧⟦U+0300⟧"


@given(ANY_TEXT, st.integers(1, 40))
def test_a_fold_shows_the_beginning_and_says_how_much_there_is(text: str, limit: int) -> None:
    folded = fold(text, limit=limit)
    assert folded.head == visible(text[:limit])
    assert folded.is_cut == (len(text) > limit)
    assert folded.size == len(text.encode("utf-8", "surrogatepass"))


@given(ANY_TEXT)
def test_a_shortened_id_keeps_both_ends(text: str) -> None:
    short = shorten_id(text)
    assert short == text or (len(short) < len(text) and short[-4:] == text[-4:] and "…" in short)


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "0 B"), (1023, "1023 B"), (12_288, "12 KiB"), (1_468_006, "1.4 MiB"), (1 << 20, "1 MiB")],
)
def test_sizes_read_as_people_say_them(count: int, words: str) -> None:
    assert size_in_words(count) == words
