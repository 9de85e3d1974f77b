from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable

import pytest
from hypothesis import given, strategies as st

from kernel.canonical import MAX_DEPTH, MAX_SAFE_INTEGER, canonical, digest, digest_bytes, parse
from kernel.errors import InvalidError, MalformedError

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-MAX_SAFE_INTEGER, MAX_SAFE_INTEGER)
    | st.floats(allow_nan=False, allow_infinity=False, min_value=-1e15, max_value=1e15)
    | TEXT
)
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner), max_leaves=20)


def test_the_example_of_rfc_8785() -> None:
    value = {
        "numbers": [333333333.33333329, 1e30, 4.50, 2e-3, 0.000000000000000000000000001],
        "string": "\u20ac$\u000f\u000aA'\u0042\u0022\u005c\\\"/",
        "literals": [None, True, False],
    }
    assert canonical(value).decode() == (
        '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
        '"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    )


def test_keys_are_sorted_by_utf_16_code_units() -> None:
    keys = ["\u20ac", "\r", "\ufb33", "1", "\U0001f600", "\u0080", "\u00f6"]
    written = json.loads(canonical(dict.fromkeys(keys, 0)))
    assert list(written) == ["\r", "1", "\u0080", "\u00f6", "\u20ac", "\U0001f600", "\ufb33"]


@pytest.mark.parametrize(
    ("bits", "written"),
    [
        ("0000000000000000", "0"),
        ("8000000000000000", "0"),
        ("0000000000000001", "5e-324"),
        ("8000000000000001", "-5e-324"),
        ("7fefffffffffffff", "1.7976931348623157e+308"),
        ("ffefffffffffffff", "-1.7976931348623157e+308"),
        ("4340000000000000", "9007199254740992"),
        ("c340000000000000", "-9007199254740992"),
        ("4430000000000000", "295147905179352830000"),
        ("44b52d02c7e14af5", "9.999999999999997e+22"),
        ("44b52d02c7e14af6", "1e+23"),
        ("44b52d02c7e14af7", "1.0000000000000001e+23"),
        ("444b1ae4d6e2ef4e", "999999999999999700000"),
        ("444b1ae4d6e2ef4f", "999999999999999900000"),
        ("444b1ae4d6e2ef50", "1e+21"),
        ("3eb0c6f7a0b5ed8c", "9.999999999999997e-7"),
        ("3eb0c6f7a0b5ed8d", "0.000001"),
        ("41b3de4355555553", "333333333.3333332"),
        ("41b3de4355555554", "333333333.33333325"),
        ("41b3de4355555555", "333333333.3333333"),
        ("41b3de4355555556", "333333333.3333334"),
        ("41b3de4355555557", "333333333.33333343"),
        ("becbf647612f3696", "-0.0000033333333333333333"),
        ("43143ff3c1cb0959", "1424953923781206.2"),
    ],
)
def test_numbers_are_written_as_in_appendix_b_of_rfc_8785(bits: str, written: str) -> None:
    (number,) = struct.unpack(">d", bytes.fromhex(bits))
    assert canonical(number).decode() == written


def _nested(depth: int) -> object:
    value: object = 0
    for _ in range(depth):
        value = [value]
    return value


def _cycle() -> object:
    value: list[object] = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    "make",
    [
        lambda: math.nan,
        lambda: math.inf,
        lambda: -math.inf,
        lambda: MAX_SAFE_INTEGER + 1,
        lambda: -MAX_SAFE_INTEGER - 1,
        lambda: "\ud800",
        lambda: {"\udfff": 1},
        lambda: {1: "a"},
        lambda: {None: "a"},
        lambda: b"bytes",
        lambda: {1, 2},
        object,
        lambda: [{"a": [math.nan]}],
        lambda: _nested(100_000),
        _cycle,
    ],
)
def test_a_value_without_canonical_form_is_invalid(make: Callable[[], object]) -> None:
    with pytest.raises(InvalidError) as caught:
        canonical(make())
    assert caught.value.code == "invalid"


@given(JSON)
def test_canonical_form_reads_back_as_the_same_value(value: object) -> None:
    assert parse(canonical(value)) == value


@given(JSON)
def test_canonical_form_is_its_own_canonical_form(value: object) -> None:
    assert canonical(parse(canonical(value))) == canonical(value)


@given(st.dictionaries(TEXT, SCALARS, min_size=2))
def test_the_order_of_members_does_not_change_a_digest(value: dict[str, object]) -> None:
    assert digest(dict(reversed(value.items()))) == digest(value)


@given(JSON, JSON)
def test_digests_agree_exactly_when_canonical_forms_do(one: object, other: object) -> None:
    assert (digest(one) == digest(other)) == (canonical(one) == canonical(other))


def test_a_digest_is_named_hex_over_the_canonical_bytes() -> None:
    empty = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    assert digest({}) == empty
    assert digest_bytes(b"{}") == empty


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b" ",
        b"{",
        b"[1,]",
        b'{"a":1,}',
        b"{'a':1}",
        b"{a:1}",
        b"1 2",
        b"{}{}",
        b"nul",
        b"01",
        b"+1",
        b".5",
        b"1.",
        b"0x10",
        b"NaN",
        b"Infinity",
        b"-Infinity",
        b'{"a":NaN}',
        b"1e999",
        b"-1e999",
        b"[" + b"9" * 5000 + b"]",
        b"9007199254740992",
        b"-9007199254740992",
        b'{"a":1,"a":1}',
        b'{"a":1,"\\u0061":2}',
        b'{"x":{"b":1,"b":2}}',
        b'"\\ud800"',
        b'"\\udc00\\ud800"',
        b'{"\\ud800":1}',
        b'"\xff"',
        b'"\xed\xa0\x80"',
        b'"\xc0\xaf"',
        b"\xef\xbb\xbf{}",
        '{"a":1}'.encode("utf-16"),
        b'"line\nbreak"',
        b'"\x00"',
        b'"\\x41"',
        b'"\\u12g4"',
        b"// comment\n1",
        b"[" * 100_000 + b"]" * 100_000,
        b"[" * 100_000,
        b'{"a":' * 5000 + b"1" + b"}" * 5000,
    ],
)
def test_text_that_is_not_strict_json_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedError) as caught:
        parse(data)
    assert caught.value.code == "malformed_json"


def test_nesting_is_accepted_up_to_the_limit_and_no_further() -> None:
    assert parse(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH) is not None
    with pytest.raises(MalformedError):
        parse(b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1))


def test_brackets_inside_strings_are_not_nesting() -> None:
    text = "[{" * MAX_DEPTH + '"\\'
    assert parse(json.dumps(text).encode()) == text


def test_keys_are_counted_over_the_whole_document() -> None:
    document = b'[{"a":1,"b":2},{"c":3}]'
    assert parse(document, max_keys=3) == [{"a": 1, "b": 2}, {"c": 3}]
    with pytest.raises(MalformedError):
        parse(document, max_keys=2)


@given(st.binary() | TEXT.map(str.encode))
def test_parsing_anything_gives_a_value_or_a_refusal(data: bytes) -> None:
    try:
        value = parse(data)
    except MalformedError:
        return
    assert canonical(value)


@given(JSON)
def test_parsing_agrees_with_a_lenient_parser_on_what_it_accepts(value: object) -> None:
    data = json.dumps(value).encode()
    assert parse(data) == json.loads(data)
