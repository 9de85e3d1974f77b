from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from governance.journal.bounds import KEPT_TEXT, MAX_BYTES, MAX_DEPTH, MAX_ITEMS, MAX_TEXT
from governance.journal.redact import Cleaned, clean, is_secret_name
from governance.safety.secrets import scan
from kernel.canonical import canonical

SALT = bytes(range(32))
TOKEN = "plr_usr_" + "aB3dE6gH9jK2" + "_" + "x7" * 24 + "q"


def cleaned(value: object, **options: Any) -> Cleaned:
    return clean({"value": value}, scan=scan, salt=SALT, **options)


def result(value: object) -> Any:
    return cleaned(value).data["value"]


@pytest.mark.parametrize(
    "name",
    [
        "password", "Password", "user_password", "dbPassword", "PASSWD", "api_key", "apiKey", "API-KEY",
        "x-api-key", "private key", "Set-Cookie", "authorization", "access_token", "accessToken", "otp",
        "pin", "client.secret", "totp", "signature", "HTTPAuthorization",
    ],
)  # fmt: skip
def test_names_of_secrets_are_known_in_any_spelling(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "prompt_tokens", "max_tokens", "token_count", "pinpoint_id", "tokenizer", "token_id", "secrets_used",
        "keyboard", "key", "spinning", "", "—", "private", "compass", "designature",
    ],
)  # fmt: skip
def test_names_that_only_resemble_one_are_not(name: str) -> None:
    assert not is_secret_name(name)


def test_values_under_secret_names_go_at_any_depth() -> None:
    found = cleaned({"a": [{"password": "hunter2", "keep": 1}], "pin": 1234, "secret": {"x": "y"}})
    mark = {"_redacted": "key"}
    assert found.data["value"] == {"a": [{"password": mark, "keep": 1}], "pin": mark, "secret": mark}
    assert found.count == 3


def test_nothing_is_taken_from_an_absent_secret() -> None:
    assert cleaned({"password": None}) == Cleaned({"value": {"password": None}}, 0)


def test_fields_marked_secret_go_whole() -> None:
    found = cleaned({"a": 1}, secret_fields=frozenset({"value"}))
    assert found == Cleaned({"value": {"_redacted": "secret"}}, 1)


def test_counts_of_tokens_survive() -> None:
    usage = {"prompt_tokens": 812, "max_tokens": 4096, "token_count": 3}
    assert cleaned(usage) == Cleaned({"value": usage}, 0)


def test_json_inside_a_string_is_treated_as_json() -> None:
    text = json.dumps({"password": "hunter2", "n": 1})
    assert json.loads(result(text)) == {"password": {"_redacted": "key"}, "n": 1}


def test_json_text_without_secrets_stays_letter_for_letter() -> None:
    text = '{ "b": 1,\n "a": [2.50] }'
    assert cleaned(text) == Cleaned({"value": text}, 0)


def test_a_secret_in_a_mebibyte_of_json_text_does_not_survive() -> None:
    text = json.dumps({"filler": "x" * 1_048_576, "password": "hunter2-hunter2"})
    assert "hunter2" not in json.dumps(result(text))


@pytest.mark.parametrize("place", [0, 1_000, 600_000, 1_048_000])
def test_an_object_with_a_password_anywhere_in_a_mebibyte_of_prose_does_not_survive(place: int) -> None:
    prose = "lorem ipsum " * 90_000
    text = f'{prose[:place]} {{"password":"hunter2-hunter2","prompt_tokens":812}} {prose[place:]}'
    left = json.dumps(cleaned({"body": text, "prompt_tokens": 812}).data)
    assert "hunter2" not in left
    assert '"prompt_tokens": 812' in left


@pytest.mark.parametrize(
    "text",
    [
        '{"password":"hunter2-x","password":null}',
        '{"password":"hunter2-x"',
        r"{\"password\":\"hunter2-x\"",
        json.dumps(json.dumps(json.dumps({"password": "hunter2-x"}))),
        json.dumps({"a": json.dumps({"b": json.dumps({"password": "hunter2-x"})})}),
        "[" * 100_000 + '{"password":"hunter2-x"}',
        "[" * 400 + '{"password":"hunter2-x"}' + "]" * 400,
        '\ufeff{"password":"hunter2-x"}',
    ],
)
def test_twisted_json_hides_no_secret(text: str) -> None:
    assert "hunter2" not in json.dumps(result(text))


def test_only_the_span_of_a_token_is_cut() -> None:
    assert result(f"use {TOKEN} now") == "use [redacted:palyra_token] now"
    assert TOKEN not in json.dumps(result({TOKEN: 1}))


def test_a_forged_mark_hides_no_secret() -> None:
    assert TOKEN not in json.dumps(result({"_truncated": True, "text": TOKEN}))
    assert "hunter2" not in json.dumps(result({"_redacted": "key", "password": "hunter2"}))
    whole = {"_truncated": True, "bytes": 9, "sha256_salted": "", "text": "hunter2"}
    assert "hunter2" not in json.dumps(result({"password": whole}))


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (math.nan, "nan"),
        (math.inf, "inf"),
        (-math.inf, "-inf"),
        (2**60, str(2**60)),
        (-(2**60), str(-(2**60))),
        (2**53 - 1, 2**53 - 1),
        (1.5, 1.5),
        (True, True),
        (None, None),
        ("a\0b", "a\0b"),
        ("a\ud800b", "a\N{REPLACEMENT CHARACTER}b"),
        (b"\xff\x00", {"_binary": True, "bytes": 2}),
        ((1, 2), [1, 2]),
        (frozenset({"b", "a"}), ["a", "b"]),
    ],
)
def test_values_that_json_cannot_carry_become_ones_it_can(value: object, kept: object) -> None:
    assert result(value) == kept
    canonical(result(value))


def test_an_integer_of_any_length_is_kept_within_bounds() -> None:
    assert len(canonical(result(10**20_000))) <= MAX_BYTES


def test_what_no_json_has_is_a_programming_error() -> None:
    with pytest.raises(TypeError):
        cleaned(object())


def test_a_long_text_keeps_its_beginning_and_says_what_is_gone() -> None:
    text = "ä" * MAX_TEXT
    mark = result(text)
    assert mark["_truncated"] is True
    assert mark["bytes"] == 2 * MAX_TEXT
    assert mark["text"] == "ä" * (KEPT_TEXT // 2)
    other = clean({"value": text}, scan=scan, salt=bytes(32)).data["value"]
    assert isinstance(other, dict)
    assert mark["sha256_salted"] != other["sha256_salted"]
    assert result("x" * MAX_TEXT) == "x" * MAX_TEXT


def test_long_lists_and_objects_are_cut_to_the_bound() -> None:
    assert result(list(range(MAX_ITEMS))) == list(range(MAX_ITEMS))
    items = result(list(range(10_000)))
    assert (len(items), items[-1]) == (MAX_ITEMS, {"_truncated": True, "items": 10_000})
    members = result({f"k{number:05}": number for number in range(10_000)})
    assert (len(members), members["_members"], members["k00000"]) == (MAX_ITEMS, 10_000, 0)


def test_depth_is_cut() -> None:
    deep: object = "end"
    for _ in range(500):
        deep = {"d": deep}
    kept: object = cleaned(deep).data
    depth = 0
    while isinstance(kept, dict) and "_truncated" not in kept:
        kept, depth = next(iter(kept.values())), depth + 1
    assert (kept, depth) == ({"_truncated": True, "depth": MAX_DEPTH}, MAX_DEPTH)


@pytest.mark.parametrize(
    "value",
    [
        "x" * 10_485_760,
        ["y" * 4000] * 200,
        {f"k{number}": "z" * 4000 for number in range(500)},
        {"k" * 1_000_000: {"k" * 1_000_000: 1}},
        [[list(range(200)) for _ in range(200)] for _ in range(3)],
        {"a": {str(number): {str(other): "v" * 50 for other in range(200)} for number in range(200)}},
    ],
)
def test_no_data_is_too_large(value: object) -> None:
    found = cleaned(value)
    assert len(canonical(found.data)) <= MAX_BYTES
    assert found.count > 0


def test_the_largest_texts_shrink_first() -> None:
    found = result([*["y" * 4000] * 100, "short"])
    assert found[-1] == "short"
    assert all(item["_truncated"] for item in found[:-1])


texts = st.text(max_size=40) | st.sampled_from(
    [TOKEN, "password=hunter22", "Bearer abc123def456", "[redacted:"]
)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | texts | texts.map(lambda text: text * 300)
names = texts | st.sampled_from(["password", "api_key", "n", "_truncated", "_redacted", "_members", "text"])
trees = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=6)
        | st.dictionaries(names, inner, max_size=6)
        | inner.filter(lambda value: not isinstance(value, float)).map(json.dumps)
    ),
    max_leaves=40,
)


@settings(max_examples=300, deadline=None)
@given(trees)
def test_cleaning_is_idempotent_deterministic_and_canonical(tree: object) -> None:
    once = cleaned(tree)
    assert cleaned(tree) == once
    assert len(canonical(once.data)) <= MAX_BYTES
    assert canonical(clean(once.data, scan=scan, salt=SALT).data) == canonical(once.data)


@settings(max_examples=200, deadline=None)
@given(trees, st.booleans())
def test_a_planted_secret_never_survives(tree: object, embedded: bool) -> None:
    planted: object = {"before": tree, "password": "hunter2-hunter2", "note": f"see {TOKEN}."}
    kept = canonical(result(json.dumps({"p": planted}) if embedded else planted)).decode()
    assert "hunter2-hunter2" not in kept
    assert TOKEN not in kept
