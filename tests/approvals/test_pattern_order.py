"""Properties of patterns: acceptance 19 of the approvals part."""

from __future__ import annotations

import posixpath
import unicodedata
from collections.abc import Mapping
from contextlib import suppress
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import assume, given, settings, strategies as st

from approvals.candidates import candidates
from approvals.fields import ToolShape
from approvals.patterns import (
    EXACT,
    BoundPattern,
    Rest,
    bind,
    breadth,
    matches,
    narrower_or_equal,
    parse_pattern,
    restored,
)
from approvals.pointers import MISSING, same
from kernel.canonical import digest
from kernel.errors import InvalidError
from tests.approvals.shapes import FETCH, PAY, RUN, WRITE, bound
from tests.approvals.transfers import CHANGED, CONSTRAINTS, DOCUMENTS, PATTERNS, TRANSFER, WHOLE, WIDTHS

SOURCE = {"path": "src/app/x.py", "content": "one"}


@settings(max_examples=300, deadline=None)
@given(WIDTHS, DOCUMENTS | CHANGED)
def test_matching_is_total_and_what_is_not_listed_is_equal(one: BoundPattern, parameters: object) -> None:
    covered = matches(one, parameters)
    if not covered or one.rest is Rest.ANY:
        assert covered in {True, False}
        return
    assert isinstance(parameters, dict)
    named = {constraint.parts[0] for constraint in one.constraints}
    for name in (TRANSFER.keys() | parameters.keys()) - named:
        assert same(parameters.get(name, MISSING), TRANSFER.get(name, MISSING)), name


@settings(max_examples=200, deadline=None)
@given(PATTERNS)
def test_binding_is_idempotent_and_covers_the_approved_call(
    constraints: tuple[tuple[object, ...], ...],
) -> None:
    found = bound(TRANSFER, PAY, *constraints)
    assert matches(found, TRANSFER)
    assert bind(parse_pattern(found.as_json()), TRANSFER, PAY) == found


@settings(max_examples=100, deadline=None)
@given(DOCUMENTS, DOCUMENTS)
def test_any_json_is_a_pattern_or_refused(value: object, pointer: object) -> None:
    named = {"pointer": pointer, "op": "equals", "value": value}
    for sent in (value, {"v": 1, "constraints": [named], "rest": "equal"}):
        with suppress(InvalidError):
            assert parse_pattern(sent).as_json() == sent


@settings(max_examples=400, deadline=None)
@given(WIDTHS, WIDTHS, WIDTHS, st.lists(CHANGED, min_size=1, max_size=4))
def test_narrower_is_a_partial_order_that_matching_agrees_with(
    a: BoundPattern, b: BoundPattern, c: BoundPattern, calls: list[dict[str, object]]
) -> None:
    assert narrower_or_equal(a, a)
    if narrower_or_equal(a, b):
        assert breadth(a) <= breadth(b)
        assert all(matches(b, call) for call in calls if matches(a, call))
        if narrower_or_equal(b, c):
            assert narrower_or_equal(a, c)
        if narrower_or_equal(b, a):
            assert all(matches(a, call) == matches(b, call) for call in calls)


def _every_pattern() -> list[BoundPattern]:
    """Every pattern of at most two constraints, the exact one and the whole tool."""
    flat = [(pointer, *one) for pointer, several in CONSTRAINTS.items() for one in several]
    pairs = [(x, y) for place, x in enumerate(flat) for y in flat[place + 1 :] if x[0] != y[0]]
    chosen = [(x,) for x in flat] + pairs
    return [bind(EXACT, TRANSFER, PAY), WHOLE, *(bound(TRANSFER, PAY, *some) for some in chosen)]


def test_the_order_agrees_with_matching_on_ten_thousand_pairs() -> None:
    every = _every_pattern()
    values: Mapping[str, tuple[object, ...]] = {
        "recipient": ("alice", "bob", 1),
        "amount": (0, 7, 100, 120, 150, -1),
        "copies": (1, 2, 3, True),
        "subject": ("rent", "text", "else"),
        "site": ("https://api.example.com/x", "https://x.example.com/", "https://a.api.example.com"),
        "folder": ("a/b/c", "a/b/d", "a/x", "b"),
        "urgent": (True, False),
        "currency": ("USD",),
    }
    flat = [(name, value) for name, several in values.items() for value in several]
    calls = [TRANSFER | {x[0]: x[1], y[0]: y[1]} for x in flat for y in flat][::5]
    covered = [sum(1 << place for place, call in enumerate(calls) if matches(one, call)) for one in every]
    pairs = known = 0
    for one, mine in zip(every, covered, strict=True):
        for other, its in zip(every, covered, strict=True):
            pairs += 1
            if narrower_or_equal(one, other):
                known += 1
                assert mine & ~its == 0, (one, other)
    assert pairs >= 10_000
    assert known > len(every) * 3


def test_patterns_of_different_calls_are_not_within_each_other() -> None:
    other = TRANSFER | {"recipient": "bob"}
    mine, its = bound(TRANSFER, PAY, ("/amount", "lte", 100)), bound(other, PAY, ("/amount", "lte", 100))
    assert not narrower_or_equal(mine, its)
    assert not narrower_or_equal(bind(EXACT, TRANSFER, PAY), its)
    both = bound(TRANSFER, PAY, ("/recipient", "one_of", ["alice", "bob"]))
    assert narrower_or_equal(bind(EXACT, other, PAY), both)


def test_a_stored_pattern_that_would_have_to_know_more_is_within_nothing() -> None:
    narrow = bound(TRANSFER, PAY, ("/amount", "lte", 100))
    wide = bound(TRANSFER, PAY, ("/amount", "lte", 150), ("/subject", "any"))
    assert narrower_or_equal(narrow, wide)
    stored = restored(narrow.as_json(), narrow.rest_digest)
    assert stored is not None
    assert not narrower_or_equal(stored, wide)
    assert narrower_or_equal(stored, bound(TRANSFER, PAY, ("/amount", "lte", 150)))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((), (("/amount", "lte", 100),)),
        ((("/amount", "lte", 100),), (("/amount", "lte", 100), ("/subject", "any"))),
        ((("/folder", "path_prefix", "a/b"),), (("/folder", "path_prefix", "a"),)),
        ((("/site", "host", "https://api.example.com"),), (("/site", "host_suffix", "https://example.com"),)),
        ((("/recipient", "one_of", ["alice", "bob"]),), (("/recipient", "one_of", ["bob", "alice", 1]),)),
        ((("/amount", "range", {"gte": 50, "lte": 120}),), (("/amount", "lte", 150),)),
    ],
)
def test_a_narrower_pattern_is_within_and_no_broader(
    one: tuple[tuple[object, ...], ...], other: tuple[tuple[object, ...], ...]
) -> None:
    mine, its = bound(TRANSFER, PAY, *one), bound(TRANSFER, PAY, *other)
    assert narrower_or_equal(mine, its)
    assert not narrower_or_equal(its, mine)
    assert breadth(mine) <= breadth(its) <= 8


def test_breadth_goes_from_the_call_to_the_whole_tool() -> None:
    assert breadth(bind(EXACT, TRANSFER, PAY)) == 0
    assert breadth(WHOLE) == 9
    everything = [(p, *several[0]) for p, several in CONSTRAINTS.items() if p != "/extra"]
    assert breadth(bound(TRANSFER, PAY, *everything)) == 8


calls = st.sampled_from(
    [
        (WRITE, SOURCE),
        (WRITE, {"path": "x", "content": "", "create_only": True}),
        (RUN, {"command": "wc", "args": ["-l", "src/app/x.py"], "cwd": "src", "timeout_ms": 1000}),
        (RUN, {"command": "bash", "args": ["-c", "true"]}),
        (FETCH, {"url": "https://api.example.com/v1?q=1", "method": "GET", "max_redirects": 0}),
        (FETCH, {"url": "https://example.com./", "body": "x"}),
        (PAY, TRANSFER),
    ]
)


@settings(max_examples=100, deadline=None)
@given(calls, st.dictionaries(st.sampled_from(["path", "content", "args", "url", "amount", "x"]), DOCUMENTS))
def test_every_candidate_covers_its_own_call(
    call: tuple[ToolShape, dict[str, object]], more: dict[str, object]
) -> None:
    tool, parameters = call
    asked = parameters | more
    try:
        digest(asked)
    except InvalidError:
        assume(False)
    offered = candidates(asked, tool, (), risk="low")
    assert 1 <= len(offered) <= 5
    assert all(matches(one.bound, asked) for one in offered)
    widths = [breadth(one.bound) for one in offered]
    assert widths == sorted(widths)


pieces = st.lists(
    st.sampled_from(
        ["src", "app", "/", "//", ".", "..", "~", "\\", "%2e", "x", "\u2025", "\uff0f", "\0", " ", "-"]
    ),
    max_size=9,
).map("".join)


@settings(max_examples=300, deadline=None)
@given(pieces, st.booleans())
def test_another_reader_finds_a_covered_path_beneath_the_prefix_too(end: str, led: bool) -> None:
    path = f"src/app/{end}" if led else end
    if matches(bound(SOURCE, WRITE, ("/path", "path_prefix", "src/app")), SOURCE | {"path": path}):
        assert posixpath.normpath(f"/root/{path}").startswith("/root/src/app/")
        assert posixpath.normpath(unicodedata.normalize("NFKC", unquote(path))).startswith("src/app/")


urls = st.lists(
    st.sampled_from(
        [
            "https:",
            "http:",
            "//",
            "/",
            "@",
            ":",
            ":443",
            "#",
            "?",
            "\\",
            ".",
            "%40",
            "evil.test",
            "api.example.com",
            "\u3002",
        ]
    ),
    max_size=7,
).map("".join)


@settings(max_examples=300, deadline=None)
@given(urls, st.booleans())
def test_another_reader_finds_the_same_host_in_a_covered_url(end: str, led: bool) -> None:
    url = f"https://api.example.com{end}" if led else end
    asked = {"url": "https://api.example.com/v1"}
    if matches(bound(asked, FETCH, ("/url", "host", "https://api.example.com")), {"url": url}):
        parts = urlsplit(url)
        assert (parts.scheme, parts.hostname, parts.port or 443) == ("https", "api.example.com", 443)
        assert parts.username is None
