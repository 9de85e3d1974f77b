"""Addresses of tiles: each tile has one, and nothing else is one."""

from __future__ import annotations

import pytest
from hypothesis import given, settings, strategies as st

from governance.journal.places import Place, level_of, place_of


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("000", Place(0)),
        ("067", Place(67)),
        ("x001/x234/067", Place(1_234_067)),
        ("x001/000", Place(1_000)),
        ("273.p/42", Place(273, 42)),
        ("x001/x234/067.p/255", Place(1_234_067, 255)),
    ],
)
def test_addresses_are_those_of_the_format(text: str, place: Place) -> None:
    assert place_of(text) == place
    assert place.path() == text


@given(st.integers(0, 1 << 62), st.integers(1, 256))
@settings(max_examples=100)
def test_every_tile_has_one_address(index: int, width: int) -> None:
    assert place_of(Place(index, width).path()) == Place(index, width)


@pytest.mark.parametrize(
    "text",
    [
        "", "0", "00", "0000", "-01", "000.p/0", "000.p/01", "000.p/256", "000.p/257", "000.p/999", "000.p/",
        "000.p/1/2", "000p/1", "000.p/-1", "x000/000", "x000/001", "001/000", "X001/000", "x001", "000/",
        "/000", "x001//000", "\u0660" * 3, "x999/" * 9 + "999", "000\n", "000.p/8\n", "../000",
    ],
)  # fmt: skip
def test_nothing_else_is_an_address(text: str) -> None:
    assert place_of(text) is None


@given(st.text(alphabet="0123x/.p", max_size=16))
@settings(max_examples=200)
def test_what_is_read_is_written_again(text: str) -> None:
    found = place_of(text)
    assert found is None or found.path() == text


def test_levels_are_small_numbers_without_a_sign() -> None:
    assert [level_of(text) for text in ("0", "1", "63")] == [0, 1, 63]
    assert [level_of(text) for text in ("", "64", "00", "01", "-1", "x", "9" * 30, "\u0661", "1\n")] == [
        None
    ] * 9
