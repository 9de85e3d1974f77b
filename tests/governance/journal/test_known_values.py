"""A value that is known to be secret leaves no trace in the spellings in which tools repeat it."""

from __future__ import annotations

import json
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, settings, strategies as st

from governance.journal.known_values import MARK, cutting
from governance.journal.redact import clean
from governance.safety.secrets import scan
from kernel.canonical import canonical

SALT = bytes(32)
SPELLINGS: dict[str, Callable[[str], str]] = {
    "raw": lambda value: value,
    "base64": lambda value: b64encode(value.encode()).decode(),
    "base64url": lambda value: urlsafe_b64encode(value.encode()).decode().rstrip("="),
    "base64 inside": lambda value: b64encode(b"user:" + value.encode() + b"@host").decode(),
    "base64 inside, shifted": lambda value: b64encode(b"u:" + value.encode() + b"!").decode(),
    "hex": lambda value: value.encode().hex(),
    "HEX": lambda value: value.encode().hex().upper(),
    "URL": lambda value: quote(value, safe=""),
    "URL, lower case": lambda value: quote(value, safe="").lower() if value.islower() else quote(value),
    "URL, plus": quote_plus,
    "URL, every byte": lambda value: "".join(f"%{byte:02X}" for byte in value.encode()),
}


def kept(value: object, *known: str) -> str:
    found = clean({"value": value}, scan=scan, salt=SALT, known=frozenset(one.encode() for one in known))
    return canonical(found.data).decode()


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_each_spelling_is_cut_and_what_stands_around_it_stays(spelling: str) -> None:
    secret = "zażółć gęślą/jaźń+1"
    text = f"before {SPELLINGS[spelling](secret)} after"
    left = kept(text, secret)
    assert left.startswith('{"value":"before ')
    assert left.endswith(' after"}')
    assert MARK in left


def test_it_is_cut_from_names_nested_values_and_json_in_strings() -> None:
    secret = 'qu"ote\\d-secret'
    tree: dict[str, Any] = {secret: [secret, {"deep": json.dumps({"x": secret})}], "n": 1}
    left = kept(tree, secret)
    assert json.dumps(secret)[1:-1] not in left
    assert json.dumps(json.dumps(secret)[1:-1])[1:-1] not in left
    assert left.count(MARK) == 3


@pytest.mark.parametrize("short", ["", "abc", "1234567"])
def test_a_short_value_would_cut_ordinary_words(short: str) -> None:
    assert cutting([short.encode()], scan) is scan


def test_bytes_that_are_no_text_are_found_as_base64_and_hex() -> None:
    secret = b"\xff\xfe\x00\x01\x02\x03\x04\x05\x06"
    cut = cutting([secret], scan)
    assert cut(f"a {secret.hex()} b {b64encode(secret).decode()}").text == f"a {MARK} b {MARK}"


def test_a_value_that_is_a_part_of_the_mark_does_not_cut_it_again() -> None:
    cut = cutting([b"known_value", b"redacted"], scan)
    assert cut(cut("see known_value").text).count == 0


secrets = st.text(min_size=8, max_size=24).filter(lambda text: text.isprintable() and text.strip() == text)
words = st.text(alphabet="abc defg.,;-XYZ", max_size=20)


@settings(max_examples=150, deadline=None)
@given(secrets, words, words, st.sampled_from(sorted(SPELLINGS)), st.integers(0, 3))
def test_no_planted_value_survives_in_any_spelling_at_any_depth(
    secret: str, before: str, after: str, spelling: str, depth: int
) -> None:
    planted = SPELLINGS[spelling](secret)
    tree: Any = f"{before}{planted}{after}"
    for level in range(depth):
        tree = {"in": [tree]} if level % 2 else json.dumps({"in": tree})
    left = kept(tree, secret)
    found = {SPELLINGS[name](secret) for name in ("raw", "base64", "hex", "URL")}
    assert not [one for one in found if len(one) >= 8 and one not in MARK and json.dumps(one)[1:-1] in left]
    assert kept(json.loads(left)["value"], secret) == left
