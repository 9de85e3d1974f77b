"""Patterns as a whole: acceptance 3 and 19 of the approvals part."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress

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
from approvals.pointers import MISSING, find, parts_of, same
from kernel.canonical import digest
from kernel.errors import InvalidError
from tests.approvals.shapes import BUILT_IN, FETCH, PAY, RUN, WRITE, bound, custom, parsed, pattern, text

SOURCE = {"path": "src/app/x.py", "content": "one"}
TRANSFER = {
    "recipient": "alice",
    "amount": 100,
    "copies": 2,
    "subject": "rent",
    "urgent": False,
    "site": "https://api.example.com/pay",
    "folder": "a/b/c",
    "currency": "EUR",
}

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-3, 200)
    | st.sampled_from([0.5, 1.0, -0.0, 2**60, float("nan")])
    | st.sampled_from(["", "a", "alice", "a/b/c", "a/b/d", "a/../b", "https://api.example.com/", "EUR"])
)
documents = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*TRANSFER, "x", "0"]), inner)
    ),
    max_leaves=6,
)
changed = st.dictionaries(
    st.sampled_from([*TRANSFER, "extra"]),
    scalars
    | st.sampled_from(
        [
            "a/b/e",
            "a/b/e/f",
            "a/x",
            "bob",
            "USD",
            "https://api.example.com/x",
            "https://x.example.com",
            "text",
        ]
    ),
    max_size=3,
).map(lambda some: TRANSFER | some)

CONSTRAINTS: Mapping[str, tuple[tuple[object, ...], ...]] = {
    "/recipient": (("equals", "alice"), ("one_of", ["alice", "bob"]), ("one_of", ["alice", "bob", 1])),
    "/amount": (("lte", 100), ("lte", 150), ("range", {"gte": 50, "lte": 120}), ("one_of", [100, 7])),
    "/copies": (("any",), ("lte", 2), ("range", {"gte": 1, "lte": 2}), ("one_of", [1, 2])),
    "/subject": (("any",), ("one_of", ["rent", "text"])),
    "/urgent": (("any",), ("one_of", [True, False]), ("equals", False)),
    "/site": (
        ("host", "https://api.example.com"),
        ("host_suffix", "https://example.com"),
        ("host_suffix", "https://api.example.com"),
    ),
    "/folder": (("path_prefix", "a"), ("path_prefix", "a/b"), ("one_of", ["a/b/c", "a/b/d"])),
    "/currency": (("one_of", ["EUR", "USD"]),),
    "/extra": (("absent",),),
}


def _one_each(pointers: list[str]) -> st.SearchStrategy[tuple[tuple[object, ...], ...]]:
    return st.tuples(
        *(st.sampled_from([(pointer, *one) for one in CONSTRAINTS[pointer]]) for pointer in pointers)
    )


patterns = st.lists(st.sampled_from(list(CONSTRAINTS)), max_size=4, unique=True).flatmap(_one_each)
bounds = patterns.map(lambda constraints: bound(TRANSFER, PAY, *constraints))
WHOLE = bound(TRANSFER, PAY, rest="any")
WIDTHS = st.sampled_from([WHOLE, bind(EXACT, TRANSFER, PAY)]) | bounds


@pytest.mark.parametrize(
    ("path", "covered"),
    [
        ("src/app/x.py", True),
        ("src/app/y.py", True),
        ("src/app/deep/er/z.py", True),
        ("./src//app/./y.py", True),
        ("src/app/café.py", True),
        ("src/application/x.py", False),
        ("src/app/../etc", False),
        ("/src/app/x", False),
        ("src/app", False),
        ("src/app/", False),
        ("src/app/.", False),
        ("src/app/..", False),
        ("", False),
        ("src\\app\\x.py", False),
        ("src/app/\\..\\x", False),
        ("src/app/~/x", False),
        ("~/src/app/x", False),
        ("src/app/x\0.py", False),
        ("src/app/x\n.py", False),
        ("src/app/%2e%2e/x", False),
        ("src/app/\u2025/etc", False),
        ("src/app/\uff0e\uff0e/etc", False),
        ("src\uff0fapp/x.py", False),
        ("src/app/\u202ex.py", False),
        ("src/app/\u200b../x", False),
        ("src/\u0430pp/x.py", False),
        ("SRC/app/x.py", False),
        ("src/app/x.py:stream", False),
        (7, False),
        (None, False),
        (["src/app/x.py"], False),
        ({"src/app": "x.py"}, False),
    ],
)
def test_a_path_prefix_covers_what_lies_beneath_it_and_nothing_else(path: object, covered: bool) -> None:
    found = bound(SOURCE, WRITE, ("/path", "path_prefix", "src/app"))
    assert matches(found, SOURCE | {"path": path}) is covered


def test_the_exact_pattern_covers_one_call() -> None:
    exact = bind(EXACT, TRANSFER, PAY)
    assert exact.is_exact
    assert exact.rest_digest == digest(TRANSFER)
    assert matches(exact, dict(reversed(TRANSFER.items())))
    for name in TRANSFER:
        assert not matches(exact, TRANSFER | {name: "other"})
        assert not matches(exact, {key: value for key, value in TRANSFER.items() if key != name})
    assert not matches(exact, TRANSFER | {"extra": None})


@pytest.mark.parametrize(
    ("approved", "sent", "same_call"),
    [
        (1, True, False),
        (True, 1, False),
        (0, False, False),
        (1, 1.0, True),
        (1, "1", False),
        (0, None, False),
    ],
)
def test_values_are_compared_as_canonical_json_does(approved: object, sent: object, same_call: bool) -> None:
    tool = custom({"n": {"type": "number"}, "path": text()})
    exact = bind(EXACT, {"n": approved, "path": "a/b"}, tool)
    beneath = bound({"n": approved, "path": "a/b"}, tool, ("/path", "path_prefix", "a"))
    assert matches(exact, {"n": sent, "path": "a/b"}) is same_call
    assert matches(beneath, {"n": sent, "path": "a/c"}) is same_call


def test_no_choice_takes_a_boolean_for_a_number() -> None:
    found = bound(TRANSFER, PAY, ("/copies", "one_of", [1, 2]), ("/amount", "lte", 100))
    assert matches(found, TRANSFER | {"copies": 1})
    assert not matches(found, TRANSFER | {"copies": True})
    assert not matches(found, TRANSFER | {"amount": True})
    assert not matches(found, TRANSFER | {"copies": "1"})


@pytest.mark.parametrize(
    ("constraint", "amount", "covered"),
    [
        (("lte", 100), 100, True),
        (("lte", 100), 0, True),
        (("lte", 100), 99.5, True),
        (("lte", 100), 100.01, False),
        (("lte", 100), -1, False),
        (("lte", 100), "50", False),
        (("lte", 100), None, False),
        (("lte", 100), 10**400, False),
        (("range", {"gte": 50, "lte": 120}), 50, True),
        (("range", {"gte": 50, "lte": 120}), 120, True),
        (("range", {"gte": 50, "lte": 120}), 49, False),
        (("range", {"lte": 120}), 0, True),
        (("range", {"lte": 120}), -1, False),
    ],
)
def test_numbers_stay_between_their_ends(
    constraint: tuple[object, ...], amount: object, covered: bool
) -> None:
    found = bound(TRANSFER, PAY, ("/amount", *constraint))
    assert matches(found, TRANSFER | {"amount": amount}) is covered


def test_a_range_may_be_negative_where_the_approved_value_is() -> None:
    owed = TRANSFER | {"amount": -5}
    found = bound(owed, PAY, ("/amount", "range", {"gte": -10, "lte": -1}))
    assert matches(found, owed | {"amount": -10})
    assert not matches(found, owed | {"amount": -11})
    assert not matches(found, owed | {"amount": 5})


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        "exact",
        {},
        {"v": 1, "constraints": []},
        {"v": 1, "constraints": [], "rest": "equal", "also": 1},
        {"v": 2, "constraints": [], "rest": "equal"},
        {"v": True, "constraints": [], "rest": "equal"},
        {"v": "1", "constraints": [], "rest": "equal"},
        {"v": 1, "constraints": {}, "rest": "equal"},
        {"v": 1, "constraints": [], "rest": "some"},
        {"v": 1, "constraints": [], "rest": ["any"]},
        {"v": 1, "constraints": [], "rest": None},
        {"v": 1, "constraints": [None], "rest": "equal"},
        {"v": 1, "constraints": [{"pointer": f"/a{n}", "op": "any"} for n in range(33)], "rest": "equal"},
        pattern(("/path", "equals", "x" * 20_000)),
        pattern(("/path", "like", "x")),
        pattern(("/path", ["any"])),
        pattern(("/path", "any", True)),
        pattern(("/path", "absent", None)),
        pattern(("/path", "equals")),
        pattern(("/path",)),
        pattern(("", "any")),
        pattern(("path", "any")),
        pattern(("/a~2b", "any")),
        pattern(("/a~", "any")),
        pattern(("/" + "a" * 512, "any")),
        pattern(("/a" * 33, "any")),
        pattern((7, "any")),
        pattern(("/a", "any"), ("/a", "equals", 1)),
        pattern(("/a", "any"), ("/a/b", "equals", 1)),
        pattern(("/a/b/c", "any"), ("/a", "equals", 1)),
        pattern(("/a", "one_of", [])),
        pattern(("/a", "one_of", "abc")),
        pattern(("/a", "one_of", [["x"]])),
        pattern(("/a", "one_of", [float("nan")])),
        pattern(("/a", "equals", 2**60)),
        pattern(("/a", "equals", "\ud800")),
        pattern(("/a", "path_prefix", 1)),
        pattern(("/a", "path_prefix", "/src")),
        pattern(("/a", "path_prefix", "src/../etc")),
        pattern(("/a", "path_prefix", "~")),
        pattern(("/a", "path_prefix", "src\\app")),
        pattern(("/a", "path_prefix", "")),
        pattern(("/a", "host", None)),
        pattern(("/a", "host", "https://u:p@example.com")),
        pattern(("/a", "host", "https://example.com/path")),
        pattern(("/a", "host_suffix", "https://example.com.")),
        pattern(("/a", "lte", "9")),
        pattern(("/a", "lte", True)),
        pattern(("/a", "lte", float("inf"))),
        pattern(("/a", "range", 9)),
        pattern(("/a", "range", {"gte": 1})),
        pattern(("/a", "range", {"gte": 3, "lte": 1})),
        pattern(("/a", "range", {"gte": 1, "lte": 3, "step": 1})),
        pattern(("/a", "range", {"gte": False, "lte": 3})),
        pattern(("/a", "argv", "src")),
        pattern(("/a", "argv", {"beneath": "src"})),
        pattern(("/a", "argv", {"under": "../src"})),
        pattern(("/a", "argv", {"argv": ["a", 1]})),
    ],
)
def test_what_is_no_pattern_is_invalid(value: object) -> None:
    with pytest.raises(InvalidError) as refused:
        parse_pattern(value)
    assert refused.value.code == "invalid"
    assert refused.value.errors[0].pointer.startswith("/pattern")
    assert restored(value, "sha256:0") is None


@pytest.mark.parametrize(
    "value",
    [
        pattern(("/a", "one_of", list(range(51)))),
        pattern(("/a", "path_prefix", ".")),
        pattern(("/a", "path_prefix", "./")),
        pattern(("/a", "argv", {"under": "."})),
        pattern(("/a", "lte", -1)),
        pattern(("/a", "range", {"lte": -1})),
        pattern(("/a", "range", {"gte": -1, "lte": 1})),
        pattern(("/a", "any"), rest="any"),
    ],
)
def test_what_no_call_could_narrow_is_too_broad(value: object) -> None:
    with pytest.raises(InvalidError) as refused:
        parse_pattern(value)
    assert refused.value.code == "pattern_too_broad"


@pytest.mark.parametrize(
    "constraint",
    [
        ("/recipient", "any"),
        ("/recipient", "path_prefix", "a"),
        ("/recipient", "one_of", ["bob"]),
        ("/recipient", "equals", "bob"),
        ("/amount", "any"),
        ("/amount", "lte", 99),
        ("/amount", "range", {"gte": 101, "lte": 200}),
        ("/amount", "equals", True),
        ("/currency", "any"),
        ("/site", "any"),
        ("/site", "host", "http://api.example.com"),
        ("/site", "host", "https://api.example.com:8443"),
        ("/site", "host", "api.example.com"),
        ("/site", "host", "https://example.com"),
        ("/site", "host_suffix", "https://com"),
        ("/site", "host_suffix", "https://other.com"),
        ("/site", "host_suffix", "http://example.com"),
        ("/folder", "any"),
        ("/folder", "path_prefix", "a/b/c"),
        ("/folder", "path_prefix", "a/b/c/d"),
        ("/folder", "path_prefix", "b"),
        ("/folder", "argv", None),
        ("/folder", "lte", 3),
        ("/subject", "lte", 3),
        ("/subject", "absent"),
        ("/api_key", "any"),
        ("/api_key", "equals", "k"),
        ("/api_key", "one_of", ["k", "l"]),
        ("/api_key", "absent"),
        ("/labels", "any"),
        ("/labels/0", "any"),
        ("/details", "any"),
        ("/details/note", "any"),
        ("/unheard_of", "any"),
        ("/unheard_of", "equals", 1),
        ("/urgent", "lte", 1),
        ("/urgent", "equals", 0),
    ],
)
def test_what_goes_beyond_an_op_or_a_field_is_too_broad(constraint: tuple[object, ...]) -> None:
    with pytest.raises(InvalidError) as refused:
        bound(TRANSFER | {"labels": ["x"]}, PAY, constraint)
    assert refused.value.code == "pattern_too_broad"


def test_a_nested_text_may_differ_and_its_neighbours_may_not() -> None:
    asked = {"details": {"note": "a"}, "recipient": "alice"}
    found = bound(asked, PAY, ("/details/note", "any"))
    assert matches(found, {"details": {"note": "b"}, "recipient": "alice"})
    assert not matches(found, {"details": {"note": "b", "more": 1}, "recipient": "alice"})
    assert not matches(found, {"details": {}, "recipient": "alice"})
    assert not matches(found, {"details": {"note": ["b"]}, "recipient": "alice"})
    assert not matches(found, {"details": [], "recipient": "alice"})


def test_the_elements_of_a_list_keep_their_places() -> None:
    tool = custom({"files": {"type": "array", "items": text()}})
    found = bound({"files": ["a/b", "x"]}, tool, ("/files/0", "path_prefix", "a"))
    assert matches(found, {"files": ["a/c", "x"]})
    for other in (["x", "a/c"], ["a/c"], ["a/c", "x", "y"], ["a/c", "a/c"], ["b", "x"], "a/c"):
        assert not matches(found, {"files": other})


def test_a_pointer_reads_escapes_and_plain_indexes_only() -> None:
    document = {"a/b": {"~": [10, 20]}, "": 1, "0": 2, "~1": 3}
    for pointer, value in (("/a~1b/~0/1", 20), ("/", 1), ("/0", 2), ("/~01", 3)):
        assert find(document, parts_of(pointer) or ()) == value
    for pointer in ("/a~1b/~0/-1", "/a~1b/~0/01", "/a~1b/~0/+1", "/a~1b/~0/2", "/a~1b/~0/\u0661", "/a/b"):
        assert find(document, parts_of(pointer) or ()) is MISSING


@pytest.mark.parametrize("name", ["process.run", "http.request", "plugin.run", "tool_program.run"])
def test_powerful_tools_are_never_allowed_as_a_whole(name: str) -> None:
    tool = BUILT_IN[name]
    if tool.capabilities & {"process_exec", "secrets_read"}:
        with pytest.raises(InvalidError):
            bound({}, tool, rest="any")
    else:
        assert matches(bound({}, tool, rest="any"), {"anything": 1})


def test_a_template_that_runs_a_program_is_never_allowed_as_a_whole() -> None:
    with pytest.raises(InvalidError):
        bound({"file": "a"}, custom({"file": text()}, argv=("wc", "{file}")), rest="any")


def test_the_whole_tool_takes_every_object_and_nothing_else() -> None:
    assert matches(WHOLE, {})
    assert matches(WHOLE, {"recipient": "mallory"})
    none: tuple[object, ...] = ([], None, "x", 1, {"n": float("nan")})
    assert not any(matches(WHOLE, value) for value in none)


def test_what_opens_nothing_belongs_to_the_rest() -> None:
    found = bound(
        TRANSFER,
        PAY,
        ("/urgent", "equals", False),
        ("/currency", "one_of", ["EUR", "EUR"]),
        ("/amount", "range", {"gte": 100, "lte": 100}),
        ("/labels", "absent"),
    )
    assert found == bind(EXACT, TRANSFER, PAY)


def test_a_pattern_keeps_no_value_that_no_constraint_names() -> None:
    secret = TRANSFER | {"api_key": "hunter2"}
    found = bound(secret, PAY, ("/amount", "lte", 100))
    assert "hunter2" not in repr(found) + json.dumps(found.as_json()) + found.rest_digest
    assert "alice" not in repr(found) + json.dumps(found.as_json())
    assert not matches(found, secret | {"api_key": "other"})


def test_a_stored_pattern_is_read_back_and_broken_ones_cover_nothing() -> None:
    found = bound(TRANSFER, PAY, ("/amount", "lte", 100), ("/folder", "path_prefix", "a/b"))
    again = restored(json.loads(json.dumps(found.as_json())), found.rest_digest)
    assert again == found
    assert again is not None
    assert matches(again, TRANSFER | {"amount": 3, "folder": "a/b/z"})
    with pytest.raises(ValueError, match="stored"):
        again.exact()
    other = restored(found.as_json(), "")
    assert other is not None
    assert not matches(other, TRANSFER)


def test_a_constraint_that_was_never_bound_covers_nothing() -> None:
    loose = parsed(("/args", "argv", {"under": "src"}))
    unbound = BoundPattern(loose.constraints, Rest.EQUAL, digest({"args": None, "command": "wc"}))
    assert not matches(unbound, {"command": "wc", "args": ["src/a"]})


@settings(max_examples=300, deadline=None)
@given(WIDTHS, documents | changed)
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
@given(patterns)
def test_binding_is_idempotent_and_covers_the_approved_call(
    constraints: tuple[tuple[object, ...], ...],
) -> None:
    found = bound(TRANSFER, PAY, *constraints)
    assert matches(found, TRANSFER)
    assert bind(parse_pattern(found.as_json()), TRANSFER, PAY) == found


@settings(max_examples=100, deadline=None)
@given(documents, documents)
def test_any_json_is_a_pattern_or_refused(value: object, pointer: object) -> None:
    named = {"pointer": pointer, "op": "equals", "value": value}
    for sent in (value, {"v": 1, "constraints": [named], "rest": "equal"}):
        with suppress(InvalidError):
            assert parse_pattern(sent).as_json() == sent


@settings(max_examples=400, deadline=None)
@given(WIDTHS, WIDTHS, WIDTHS, st.lists(changed, min_size=1, max_size=4))
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
@given(calls, st.dictionaries(st.sampled_from(["path", "content", "args", "url", "amount", "x"]), documents))
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
