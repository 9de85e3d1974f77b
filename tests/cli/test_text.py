"""Text from a server is harmless on a terminal and unchanged as JSON."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given, strategies as st

from palyra_site.cli.text import safe_json, visible, visible_lines

HOSTILE = st.text(
    alphabet=st.characters() | st.sampled_from("\x1b\x9b\x07\u202e\u2066\u200b\u2028\ud800\r\n")
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, ünïcödé 日本", "plain, ünïcödé 日本"),
        ("\x1b]52;c;AAAA\x07", "\\x1b]52;c;AAAA\\x07"),
        ("a\tb\r\nc", "a\\tb\\r\\nc"),
        ("\x9b31m", "\\x9b31m"),
        ("safe\u202egpj.exe", "safe⟦U+202E⟧gpj.exe"),
        ("a\u200bb\ufeff", "a⟦U+200B⟧b⟦U+FEFF⟧"),
    ],
)
def test_hidden_characters_are_shown(text: str, shown: str) -> None:
    assert visible(text) == shown


@given(HOSTILE)
def test_nothing_that_is_shown_controls_a_terminal(text: str) -> None:
    shown = visible(text)
    assert shown.encode().decode() == shown
    assert not {unicodedata.category(char) for char in shown} & {"Cc", "Cs", "Zl", "Zp"}
    assert not {unicodedata.bidirectional(char) for char in shown} & {
        "LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI",
    }  # fmt: skip
    assert visible(shown) == shown


@given(HOSTILE)
def test_lines_stay_lines(text: str) -> None:
    assert visible_lines(text).count("\n") == text.count("\n")


@given(st.dictionaries(HOSTILE, HOSTILE | st.lists(HOSTILE)))
def test_json_keeps_its_value_without_dangerous_bytes(value: dict[str, object]) -> None:
    written = safe_json(json.dumps(value, ensure_ascii=False))
    assert json.loads(written) == value
    assert written == visible(written)
