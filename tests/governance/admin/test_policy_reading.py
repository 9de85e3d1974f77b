"""The text of a set as pages show it: parts of files, bounded differences, and what a form may carry."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from governance.admin.policy_reading import (
    DIFF_LINES,
    FILE_LINES,
    MOST_RULES,
    SET_LINES,
    changes_of,
    file_view,
    part_of,
    set_views,
)
from governance.api.body_cap import capped
from governance.api.limits import MAX_BODY_BYTES, MAX_FORM_BYTES, body_limit
from policy.compilation import SourceFile
from policy.diffing import diff_sets
from policy.types import Finding

SAVE = "/admin/policy/pol_01ARZ3NDEKTSV4RRFFQ69G5FAV/edit/custom.cedar/save/"


def numbered(count: int) -> SourceFile:
    return SourceFile("a.cedar", "".join(f"// {n}\n" for n in range(1, count + 1)))


@settings(max_examples=60)
@given(st.text(alphabet='ab\n\r\t"@/\u2028', max_size=60))
def test_a_short_file_is_shown_whole(text: str) -> None:
    view = file_view(SourceFile("a.cedar", text), ())
    shown = "\n".join("".join(piece for _, piece in line.pieces) for line in view.lines)
    assert shown == text.removesuffix("\n")
    assert [line.number for line in view.lines] == list(range(1, view.total + 1))
    assert (view.before, view.after) == (0, 0)


def test_a_long_file_is_walked_in_parts() -> None:
    file, seen, start = numbered(2 * FILE_LINES + 5), [], 1
    while start:
        view = file_view(file, (), start=start)
        seen += [line.number for line in view.lines]
        start = view.after
    assert seen == list(range(1, 2 * FILE_LINES + 6))
    assert file_view(file, (), start=FILE_LINES + 1).before == 1
    assert file_view(file, (), start=10**7).total == 2 * FILE_LINES + 5


@pytest.mark.parametrize("line", [0, 1, FILE_LINES, FILE_LINES + 1, 3 * FILE_LINES])
def test_a_finding_leads_to_the_part_that_shows_its_line(line: int) -> None:
    finding = Finding("error", "type_error", "a.cedar", "x", "m", line, 1)
    view = file_view(numbered(3 * FILE_LINES), [finding], start=part_of(line))
    assert view.findings == ((finding, part_of(line)),)
    assert line == 0 or line in {one.number for one in view.lines}
    assert view.marked == {line}


def test_a_page_of_a_set_is_bounded() -> None:
    files = [SourceFile(f"f{n}.cedar", numbered(FILE_LINES * 2).text) for n in range(9)]
    views = set_views(files, ())
    assert sum(len(view.lines) for view in views) == SET_LINES
    assert len(views) == 9
    assert all(view.after for view in views)


def test_changed_lines_carry_a_word_for_their_colour_and_are_bounded() -> None:
    changes = changes_of(diff_sets([numbered(3)], [SourceFile("a.cedar", "// 1\n// two\n// 3")]))
    (file,) = changes.files
    assert [(row.css, row.text) for row in file.rows] == [
        ("hunk", "@@ -1,3 +1,3 @@"),
        ("same", " // 1"),
        ("del", "-// 2"),
        ("del", "-// 3"),
        ("add", "+// two"),
        ("add", "+// 3"),
        ("hunk", "\\ No newline at end of file"),
    ]
    assert (file.added, file.removed, file.left_off) == (2, 2, 0)
    large = changes_of(diff_sets([], [numbered(3 * DIFF_LINES), SourceFile("b.cedar", "// b\n")]))
    assert sum(len(one.rows) for one in large.files) == DIFF_LINES
    assert [one.added for one in large.files] == [3 * DIFF_LINES, 1]
    assert large.files[1].left_off == 2


def test_what_a_long_line_hides_is_counted() -> None:
    file = SourceFile("a.cedar", "//" + "x" * 5_000 + " permit (principal, action, resource);")
    (line,) = file_view(file, ()).lines
    shown = "".join(piece for _, piece in line.pieces)
    assert shown.endswith("x⟦1040 more characters⟧")
    (changed,) = changes_of(diff_sets([], [file])).files
    assert any(row.text.endswith("⟦1041 more characters⟧") for row in changed.rows)


def test_a_page_lists_a_bounded_number_of_rules_and_counts_all() -> None:
    text = "".join(f'@id("rule_{n}")\npermit (principal, action, resource);\n' for n in range(MOST_RULES + 3))
    changes = changes_of(diff_sets([], [SourceFile("a.cedar", text)]))
    assert (len(changes.added), changes.counts, changes.is_cut) == (MOST_RULES, (MOST_RULES + 3, 0, 0), True)


@pytest.mark.parametrize(
    ("path", "limit"),
    [
        (SAVE, MAX_FORM_BYTES),
        ("/admin/policy/import/", MAX_FORM_BYTES),
        (SAVE.replace("/save/", "/remove/"), MAX_BODY_BYTES),
        (SAVE + "x", MAX_BODY_BYTES),
        (SAVE.replace("custom", "../custom"), MAX_BODY_BYTES),
        ("/admin/", MAX_BODY_BYTES),
    ],
)
def test_only_a_policy_text_may_be_large(path: str, limit: int) -> None:
    assert body_limit(path) == limit


async def answered(path: str, size: int, *, declared: bool) -> tuple[int, dict[str, str], str, int]:
    """Post a body to the listener; return status, headers, page, and how many chunks were taken in."""
    chunk, sent, taken = b"x" * 65_536, [], 0

    async def receive() -> dict[str, Any]:
        nonlocal taken
        taken += 1
        return {"type": "http.request", "body": chunk, "more_body": taken * len(chunk) < size}

    async def send(message: Any) -> None:
        sent.append(message)

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"inside"})

    headers = [(b"content-length", str(size).encode())] if declared else []
    await capped(inner)({"type": "http", "path": path, "headers": headers}, receive, send)
    named = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], named, sent[1]["body"].decode(), taken


@pytest.mark.parametrize("declared", [True, False])
def test_a_form_that_is_too_large_gets_a_page_that_says_where_the_text_is(declared: bool) -> None:
    status, headers, page, taken = asyncio.run(answered(SAVE, MAX_FORM_BYTES + 1, declared=declared))
    assert status == 413
    assert headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in headers["content-security-policy"]
    assert headers["cache-control"] == "no-store"
    assert "what you typed is still in the form" in page
    assert "8 MiB" in page
    assert taken > 200
    assert asyncio.run(answered(SAVE, MAX_FORM_BYTES - 1, declared=declared))[0] == 200
    assert "1 MiB" in asyncio.run(answered("/admin/theme/", MAX_BODY_BYTES + 1, declared=declared))[2]


def test_what_pours_in_without_end_is_cut_off() -> None:
    status, _, _, taken = asyncio.run(answered(SAVE, 10**9, declared=True))
    assert status == 413
    assert taken < 500


def test_a_program_still_gets_a_problem_document() -> None:
    _, headers, body, taken = asyncio.run(answered("/api/v1/tool-calls", MAX_BODY_BYTES + 1, declared=True))
    assert headers["content-type"] == "application/problem+json"
    assert "body_too_large" in body
    assert taken == 0
