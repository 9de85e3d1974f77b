"""Pure parts of the approval pages: shapes of arguments, patches, differences, sentences, the typed form."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings, strategies as st

from governance.admin.answer_form import faults, pattern_of, ttl_ms, typed
from governance.admin.approval_diff import diff_of, leaves
from governance.admin.approval_words import ending
from governance.admin.argument_shapes import address_of, shape_of, steps_of, words_of
from governance.admin.arguments import arguments
from governance.admin.patches import MOST_ROWS, patch_of, side_by_side
from governance.admin.words import countdown
from governance.safety.visible import visible

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=8,
)
PATCH = """diff --git a/src/a.py b/src/a.py
index 1..2 100644
--- a/src/a.py
+++ b/src/a.py
@@ -1,3 +1,4 @@
 one
-two
+TWO
+two and a half
 three
--- a/old.txt
+++ /dev/null
@@ -1 +0,0 @@
-gone
"""


def test_a_patch_stands_side_by_side_by_file() -> None:
    patch = patch_of(PATCH)
    assert patch is not None
    first, second = patch.files
    assert (first.name, first.verb, first.added, first.removed) == ("src/a.py", "changed", 2, 1)
    assert (second.name, second.verb, second.added, second.removed) == ("old.txt", "removed", 0, 1)
    changed = [(row.left.text, row.right.text) for row in first.rows if not row.note]
    assert changed == [("one", "one"), ("two", "TWO"), ("", "two and a half"), ("three", "three")]
    assert [row.left.number for row in first.rows if row.left.css] == [1, 2, 3]
    assert [row.right.number for row in first.rows if row.right.css] == [1, 2, 3, 4]


def test_a_line_inside_a_hunk_is_never_taken_for_the_head_of_another_file() -> None:
    patch = patch_of("--- a/x\n+++ b/x\n@@ -1,2 +1,2 @@\n--- a/harmless\n+++ b/harmless\n same\n")
    assert patch is not None
    (only,) = patch.files
    assert only.name == "x"
    assert [(row.left.text, row.right.text) for row in only.rows if not row.note] == [
        ("-- a/harmless", "++ b/harmless"),
        ("same", "same"),
    ]


def _shown(text: str) -> list[str]:
    patch = patch_of(text)
    assert patch is not None
    shown: list[str] = []
    for file in patch.files:
        for row in file.rows:
            shown += [row.note] if row.note else []
            shown += [side.text for side in (row.left, row.right) if side.css]
    return shown


LINES = (" a", "-b", "+c", "", "\\ No newline", "--- x", "+++ y", "@@ -1,2 +1,2 @@", "diff --git a/q b/q",
         "prose", "@@ -0,0 +1,9 @@")  # fmt: skip


@given(st.lists(st.sampled_from(LINES), max_size=25))
@settings(max_examples=150)
def test_no_line_of_a_patch_is_hidden(lines: list[str]) -> None:
    text = "--- a/f\n+++ b/f\n@@ -1,2 +1,2 @@\n" + "\n".join(f"{line}{n}" for n, line in enumerate(lines))
    shown = "\n".join(_shown(text))
    for n, line in enumerate(lines):
        assert f"{line}{n}"[1:] in shown


def test_a_long_patch_says_how_much_is_left_off() -> None:
    patch = patch_of("--- a/f\n+++ b/f\n@@ -0,0 +1,2000 @@\n" + "+x\n" * 2000)
    assert patch is not None
    assert patch.left_off == 2003 - MOST_ROWS


@pytest.mark.parametrize("text", ["", "--- a\n+++ b\nprose", "@@ -1 +1 @@", "text\n--- dashes", "--- \n"])
def test_what_is_no_patch_stays_text(text: str) -> None:
    assert patch_of(text) is None


@given(ANY_TEXT, ANY_TEXT)
@settings(max_examples=60)
def test_comparing_two_texts_is_total(before: str, after: str) -> None:
    rows = side_by_side(before, after)
    assert bool(rows) == (before != after)


@given(JSON, JSON)
@settings(max_examples=100)
def test_a_difference_names_every_place_and_no_other(before: object, after: object) -> None:
    diff = diff_of(before, after)
    old, new = leaves(before), leaves(after)
    differing = {at for at in old.keys() | new.keys() if old.get(at) != new.get(at)}
    assert len(diff.changes) + diff.left_off == len(differing)
    assert len(diff.same) == len((old.keys() | new.keys()) - differing)
    assert diff_of(before, before).changes == ()


def test_a_difference_says_what_was_added_removed_and_changed() -> None:
    diff = diff_of({"a": 1, "b/c": "x\ny", "d": [1]}, {"a": 1, "b/c": "x\nz", "e": {}})
    assert [(one.pointer, one.kind, one.before, one.after) for one in diff.changes] == [
        ("/b~1c", "changed", '"x\\ny"', '"x\\nz"'),
        ("/e", "added", "", "{}"),
        ("/d/0", "removed", "1", ""),
    ]
    assert [row.right.text for row in diff.changes[0].rows if row.right.css == "add"] == ["z"]
    assert diff.same == (("/a", "1"),)


def test_a_cut_value_is_compared_by_its_digest() -> None:
    cut = {"_truncated": True, "bytes": 9000, "sha256": "aa", "_head": "x"}
    assert diff_of({"c": cut}, {"c": dict(cut)}).changes == ()
    assert [one.kind for one in diff_of({"c": cut}, {"c": cut | {"sha256": "bb"}}).changes] == ["changed"]


@pytest.mark.parametrize(
    ("text", "host", "user", "port", "path"),
    [
        ("https://example.com:8443/a/b?x=1&y=%32#z", "example.com", "", "8443", "/a/b"),
        ("https://trusted.example@evil.test/", "evil.test", "trusted.example", "", "/"),
        ("https://u:p@[::1]:9/", "::1", "u:p", "9", "/"),
        ("ftp://HOST.example", "host.example", "", "", ""),
    ],
)
def test_an_address_is_taken_apart(text: str, host: str, user: str, port: str, path: str) -> None:
    at = shape_of("url", text).address
    assert at is not None
    assert (at.host, at.user, at.port, at.path) == (host, user, port, path)


def test_a_host_of_other_letters_shows_how_it_is_spelled_on_the_wire() -> None:
    at = address_of("https://\u0440aypal.com/")
    assert at is not None
    assert at.ascii_host == "xn--aypal-uye.com"
    assert (address_of("https://example.com/?k=a&k=b") or at).query == (("k", "a"), ("k", "b"))


@pytest.mark.parametrize("text", ["https://", "https://a:99999/", "http://[::1", "https://a\\@b/", "no url"])
def test_what_parsers_read_differently_stays_text(text: str) -> None:
    assert shape_of("url", text).address is None


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=40))
@settings(max_examples=100)
def test_the_steps_of_a_path_are_the_path(text: str) -> None:
    steps = steps_of(text)
    assert "/".join(step.text for step in steps) == "/".join(visible(part) for part in text.split("/"))
    assert sum(step.is_last for step in steps) == 1


def test_a_step_that_leads_elsewhere_is_marked() -> None:
    assert [step.text for step in steps_of("src/../../etc/~root/a") if step.is_odd] == ["..", "..", "~root"]
    assert shape_of("path", "a/b").path
    assert not shape_of("content", "a/b").path


def test_words_of_a_command_are_quoted_and_numbered() -> None:
    found = words_of(["push", "--force", "a b", ""])
    assert [(word.number, word.text, word.is_quoted, word.is_option) for word in found] == [
        (1, "push", False, False),
        (2, "--force", False, True),
        (3, "'a b'", True, False),
        (4, "''", True, False),
    ]


@given(st.dictionaries(ANY_TEXT, JSON, max_size=4))
@settings(max_examples=80)
def test_arguments_are_total_and_hide_nothing(values: dict[str, object]) -> None:
    rows = arguments(values)
    assert len(rows) == len(values)
    for row in rows:
        assert visible(row.text) == row.text


@dataclass
class Request:
    status: str
    close_code: str = ""
    expires_at: datetime = NOW + timedelta(minutes=5)
    resolved_at: datetime | None = NOW - timedelta(seconds=4)


@dataclass
class Said:
    reviewer_id: str
    verdict: str


@pytest.mark.parametrize(
    ("request_row", "answers", "sentence"),
    [
        (Request("denied"), [Said("usr_b", "allow"), Said("usr_a", "deny")], "Ana denied this 4 s ago."),
        (Request("allowed"), [Said("usr_a", "allow")], "Ana allowed this 4 s ago."),
        (Request("allowed"), [Said("usr_me", "allow")], "You allowed this 4 s ago."),
        (Request("expired", expires_at=NOW - timedelta(seconds=3)), [],
         "This expired 3 s ago; nobody answered in time."),
        (Request("pending", expires_at=NOW - timedelta(seconds=9)), [], "This expired 9 s ago."),
        (Request("cancelled", "run_closed"), [], "This was dropped, because its run ended 4 s ago."),
        (Request("cancelled", "no_such_cause"), [], "This was dropped 4 s ago."),
        (Request("allowed"), [], "Somebody allowed this 4 s ago."),
        (Request("pending"), [Said("usr_a", "allow")], ""),
    ],
)  # fmt: skip
def test_how_a_request_ended_is_one_sentence(
    request_row: Request, answers: list[Said], sentence: str
) -> None:
    said = ending(request_row, answers, names={"usr_a": "Ana"}, reader_id="usr_me", now=NOW)
    assert said == sentence


@pytest.mark.parametrize(
    ("length", "words"),
    [(512, "8 min 32 s"), (59, "59 s"), (60, "1 min 0 s"), (7_500, "2 h 5 min"), (-3, "0 s")],
)
def test_a_countdown_is_told_to_the_second_while_it_is_short(length: int, words: str) -> None:
    assert countdown(timedelta(seconds=length)) == words


@pytest.mark.parametrize(
    ("post", "ms"),
    [
        ({"scope": "temporary", "ttl": "8h"}, 28_800_000),
        ({"scope": "temporary", "ttl": "own", "ttl_number": "90", "ttl_unit": "min"}, 5_400_000),
        ({"scope": "session", "ttl": "8h"}, None),
        ({"scope": "once"}, None),
    ],
)
def test_a_duration_is_read_for_the_one_scope_that_has_one(post: dict[str, str], ms: int | None) -> None:
    assert ttl_ms(typed(post)) == ms


@pytest.mark.parametrize("number", ["", "-1", "1.5", "nan", "\u0661", "1e9", "own"])
def test_what_is_no_duration_is_said_at_its_field(number: str) -> None:
    form = typed({"scope": "temporary", "ttl": "own", "ttl_number": number, "ttl_unit": "h"})
    assert set(faults(form, verdict="allow", scope="temporary")) == {"ttl"}
    assert faults(form, verdict="deny", scope="temporary").keys() == {"comment"}


@pytest.mark.parametrize("text", ["[]", "{", "1", '"x"', "[" * 5000, "NaN"])
def test_what_is_no_pattern_is_said_at_its_field(text: str) -> None:
    form = typed({"scope": "session", "narrowed": text})
    assert set(faults(form, verdict="allow", scope="session")) == {"pattern"}


def test_a_pattern_typed_by_hand_stands_for_the_chosen_one_and_once_takes_none() -> None:
    chosen, narrowed = {"v": 1, "rest": "any"}, {"v": 1, "rest": "equal"}
    post = {"scope": "session", "pattern": json.dumps(chosen), "narrowed": json.dumps(narrowed)}
    assert pattern_of(typed(post)) == narrowed
    assert pattern_of(typed(post | {"narrowed": " "})) == chosen
    assert pattern_of(typed(post | {"scope": "once"})) is None
    assert faults(typed(post), verdict="perhaps", scope="forever").keys() == {"verdict", "scope"}
