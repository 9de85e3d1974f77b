"""`palyra approvals export`: every page, whole or not at all, to a file of one's own or a pipe."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import httpx
import pytest

from tests.cli.shell import Shell, problem

EXPORT = ("approvals", "export")


def page(*ids: str, more: str | None = None, count: int | None = None) -> httpx.Response:
    trailer = {
        "checkpoint": None,
        "count": len(ids) if count is None else count,
        "has_more": more is not None,
        "next_cursor": more,
        "object": "export_trailer",
    }
    lines = [json.dumps({"id": one, "said": "a\u2028b\x1b\u202e"}, ensure_ascii=False) for one in ids]
    return httpx.Response(200, text="\n".join([*lines, json.dumps(trailer)]) + "\n")


def ids(text: str) -> list[str]:
    return [json.loads(line)["id"] for line in text.rstrip("\n").split("\n")[:-1]]


def test_all_pages_come_as_lines_with_one_trailer(shell: Shell) -> None:
    shell.replies = [page("a", "b", more="c1"), page("c")]
    result = shell(*EXPORT, "--state", "denied", "--state", "expired", "--risk", "high")
    assert (result.code, ids(result.out)) == (0, ["a", "b", "c"])
    assert json.loads(result.out.rstrip("\n").split("\n")[-1]) == {
        "checkpoint": None,
        "count": 3,
        "has_more": False,
        "next_cursor": None,
        "object": "export_trailer",
    }
    path = "GET /api/v1/approvals/export?state=denied&state=expired&risk=high"
    assert result.sent == [f"{path}&format=ndjson", f"{path}&cursor=c1&format=ndjson"]
    assert result.err == "2 exported\n3 exported\n"


@pytest.mark.parametrize("found", [(), ("a",), ("a", "b")])
def test_a_document_is_one_json_object(shell: Shell, found: tuple[str, ...]) -> None:
    shell.replies = [page(*found)]
    whole = json.loads(shell(*EXPORT, "--format", "json").out)
    assert [one["id"] for one in whole["data"]] == list(found)
    assert (whole["object"], whole["trailer"]["count"]) == ("export", len(found))


@pytest.mark.parametrize("option", ["-o", "--output", "--out"])
def test_a_file_is_private_and_nothing_goes_to_stdout(shell: Shell, option: str) -> None:
    target = shell.home / "x.ndjson"
    shell.replies = [page("a")]
    result = shell(*EXPORT, option, str(target))
    assert (result.code, result.out) == (0, "")
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert ids(target.read_text("utf-8")) == ["a"]
    assert result.err.endswith(f"1 in {target}\n")


@pytest.mark.parametrize(
    "second",
    [
        problem(403, "role_required"),
        page("b", count=2),
        page("b", more="c1"),
        httpx.Response(200, text='{"id":"b"}\n'),
        httpx.Response(200, text=""),
        httpx.Response(200, text='{"id":"b"}\n{"obj'),
    ],
)
def test_what_is_not_whole_leaves_the_file_as_it_was(shell: Shell, second: httpx.Response) -> None:
    target = shell.home / "x.ndjson"
    target.write_text("before")
    shell.replies = [page("a", more="c1"), second]
    result = shell(*EXPORT, "-o", str(target))
    assert result.code in {1, 6}
    assert target.read_text() == "before"
    assert os.listdir(shell.home) == ["x.ndjson"]


def test_more_without_a_place_to_go_on_is_no_end(shell: Shell) -> None:
    trailer = {"object": "export_trailer", "count": 0, "has_more": True, "next_cursor": None}
    shell.replies = [httpx.Response(200, text=json.dumps(trailer))]
    assert shell(*EXPORT).code == 1


def test_a_device_is_not_replaced_by_a_file(shell: Shell) -> None:
    pipe = shell.home / "pipe"
    os.mkfifo(pipe)
    for place in (pipe, Path("/dev/null"), shell.home):
        result = shell(*EXPORT, "-o", str(place))
        assert (result.code, result.requests) == (2, [])
    assert shell(*EXPORT, "-o", str(shell.home / "no" / "where")).code == 1


def test_a_reader_that_leaves_ends_it_quietly(shell: Shell) -> None:
    shell.pipe_closed = True
    shell.replies = [page("a", more="c1")]
    result = shell(*EXPORT)
    assert (result.code, "rror" in result.err) == (141, False)


def test_nothing_in_it_reaches_a_terminal_raw(shell: Shell) -> None:
    shell.replies = [page("a")]
    piped = shell(*EXPORT).out
    shell.terminal = True
    shown = shell(*EXPORT).out
    assert "\u202e" in piped
    assert not {"\u202e", "\u2028", "\x1b"} & set(shown)
    assert json.loads(shown.split("\n")[0]) == json.loads(piped.split("\n")[0])
