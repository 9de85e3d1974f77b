"""What each op covers and how far it may go: acceptance 3 of the approvals part."""

from __future__ import annotations

import json

import pytest

from approvals.candidates import candidates
from approvals.patterns import (
    EXACT,
    BoundPattern,
    Rest,
    bind,
    matches,
    parse_pattern,
    restored,
)
from approvals.pointers import MISSING, find, parts_of
from kernel.canonical import digest
from kernel.errors import InvalidError
from tests.approvals.shapes import BUILT_IN, PAY, WRITE, bound, custom, parsed, pattern, text
from tests.approvals.transfers import TRANSFER, WHOLE

SOURCE = {"path": "src/app/x.py", "content": "one"}


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
        ("src/app/\u00a0/x.py", False),
        ("src/app/my café.py", True),
        ("src/app/\u200b../x", False),
        ("src/\u0430pp/x.py", False),
        ("SRC/app/x.py", False),
        ("src/app/x.py:stream", False),
        ("src/app/.git/hooks/pre-commit", False),
        ("src/app/.env", False),
        ("src/app/$(id).py", False),
        ("src/app/x;rm -r y", False),
        ("src/app/*", False),
        ("src/app/x (1).py", True),
        ("src/app/[id].tsx", True),
        ("src/app/deep/.github/workflows/x.yml", False),
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
        pattern(("/a", "lte", 1e22)),
        pattern(("/a", "equals", {"b": [1, -1e300]})),
        pattern(("/a", "equals", {"b": ["a\0b"]})),
        pattern(("/a", "one_of", ["a", "b\0"])),
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


def test_a_hidden_directory_is_covered_where_the_prefix_leads_into_it() -> None:
    asked = {"path": ".github/workflows/x.yml", "content": "one"}
    found = bound(asked, WRITE, ("/path", "path_prefix", ".github/workflows"))
    assert matches(found, asked | {"path": ".github/workflows/y.yml"})
    assert not matches(found, asked | {"path": ".github/dependabot.yml"})
    with pytest.raises(InvalidError):
        bound({"path": "src/.env", "content": ""}, WRITE, ("/path", "path_prefix", "src"))


def test_a_number_that_may_be_a_name_widens_only_as_somebody_typed() -> None:
    tool = custom({"order": {"type": "integer"}, "keep_days": {"type": "integer"}})
    asked = {"order": 42, "keep_days": 30}
    assert len(candidates(asked, tool, (), risk="high")) == 1
    assert matches(bound(asked, tool, ("/order", "range", {"gte": 40, "lte": 44})), asked | {"order": 41})
    with pytest.raises(InvalidError):
        bound(asked, tool, ("/order", "any"))


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
