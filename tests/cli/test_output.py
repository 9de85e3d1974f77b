"""Standard output holds data only, in four formats, harmless on a terminal."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import yaml

from palyra_site.cli.tables import draw
from tests.cli.servers import RealServer
from tests.cli.shell import RUN, TOKEN, Shell, answer

HOSTILE = "\x1b]52;c;QUFB\x07ls\u202e\nx\ty"
ROOT = Path(__file__).resolve().parents[2]


def tools(*names: str, cursor: str | None = None) -> httpx.Response:
    data = [{"name": name, "tier": "A", "risk": "low", "more": {"n": 1}} for name in names]
    return answer({"object": "list", "data": data, "has_more": cursor is not None, "next_cursor": cursor})


def test_json_is_the_answer_itself_with_a_newline(shell: Shell) -> None:
    body = b'{"z":1.50,"a":"\xc3\xbc","big":12345678901234567890,"new":{"k":null}}'
    shell.replies = [httpx.Response(200, content=body, headers={"Content-Type": "application/json"})]
    piped = shell("whoami", "--json").out
    shell.terminal = True
    assert shell("whoami", "-o", "json").out == piped == body.decode() + "\n"


def test_the_option_counts_before_and_after_the_command_and_the_later_wins(shell: Shell) -> None:
    shell.replies = [tools("echo")]
    assert shell("--json", "tools", "list").out == shell("tools", "list", "--json").out
    assert shell("-o", "json", "tools", "list", "-o", "ndjson").out.startswith('{"name":"echo"')
    shell.environ["PALYRA_OUTPUT"] = "ndjson"
    assert shell("tools", "list").out.startswith('{"name":"echo"')
    shell.environ["PALYRA_OUTPUT"] = "xml"
    assert shell("tools", "list").code == 2


def test_piped_tables_are_tab_separated_with_a_header(shell: Shell) -> None:
    shell.replies = [tools("fs.read", HOSTILE)]
    lines = shell("tools", "list").out.split("\n")
    assert lines[0] == "name\ttier\trisk\tposture\tenabled\tdescription"
    assert lines[1] == "fs.read\tA\tlow\t\t\t"
    assert lines[2].startswith("\\x1b]52;c;QUFB\\x07ls⟦U+202E⟧\\nx\\ty\tA")
    assert lines[3:] == [""]


def test_columns_are_chosen_by_dotted_names(shell: Shell) -> None:
    shell.replies = [tools("echo")]
    assert (
        shell("tools", "list", "--columns", "name, more.n,absent").out == "name\tmore.n\tabsent\necho\t1\t\n"
    )
    assert shell("tools", "list", "--columns", "name,").code == 2


def test_quiet_prints_ids_or_names(shell: Shell) -> None:
    shell.replies = [tools("echo", "fs.read")]
    assert shell("tools", "list", "-q").out == "echo\nfs.read\n"
    shell.replies = [answer({"id": RUN, "state": "open"})]
    assert shell("runs", "show", RUN, "--quiet").out == f"{RUN}\n"


def test_yaml_reads_back(shell: Shell) -> None:
    shell.replies = [answer({"id": RUN, "note": HOSTILE})]
    out = shell("runs", "show", RUN, "-o", "yaml").out
    assert yaml.safe_load(out) == {"id": RUN, "note": HOSTILE}
    assert "\x1b" not in out
    assert "\u202e" not in out


def test_all_follows_cursors_and_streams_lines(shell: Shell) -> None:
    shell.replies = [tools("a", cursor="next"), tools("b", cursor="last"), tools("c")]
    result = shell("runs", "list", "--all", "--json")
    assert [json.loads(line)["name"] for line in result.out.splitlines()] == ["a", "b", "c"]
    assert [request.url.params.get("cursor") for request in result.requests] == [None, "next", "last"]


def test_a_cursor_that_does_not_move_ends_the_list(shell: Shell) -> None:
    shell.replies = [tools("a", cursor="same")]
    assert len(shell("runs", "list", "--all", "-q").requests) == 2


def test_one_page_says_on_stderr_that_there_is_more(shell: Shell) -> None:
    shell.replies = [tools("a", cursor="abc")]
    result = shell("runs", "list", "--limit", "1", "--json")
    assert json.loads(result.out)["next_cursor"] == "abc"
    assert result.err == "more: --cursor abc, or --all\n"


def test_unknown_fields_are_kept_in_json_and_shown_in_details(shell: Shell) -> None:
    shell.replies = [answer({"id": RUN, "brand_new": {"x": [1, 2]}})]
    assert "brand_new.x\t[1,2]\n" in shell("runs", "show", RUN).out


@pytest.mark.parametrize("quiet_world", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_no_escape_byte_where_colours_are_unwanted(shell: Shell, quiet_world: dict[str, str]) -> None:
    shell.environ |= quiet_world
    shell.terminal = True
    shell.replies = [tools(HOSTILE)]
    result = shell("tools", "list")
    assert "\x1b" not in result.out + result.err
    assert "\\x1b]52;c;QUFB\\x07" in result.out.replace("\n", "").replace(" ", "")


def test_tables_never_cut_ids_and_fold_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    drawn = draw(("id", "note"), [(RUN, "word " * 30)], encoding="utf-8", colors=False)
    assert RUN in drawn
    assert drawn.count("word") == 30


def test_a_column_of_ids_is_whole_whatever_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    drawn = draw(("owner", "note"), [(RUN, "word " * 30), ("", "")], encoding="utf-8", colors=False)
    assert RUN in drawn


def test_tables_without_utf8_are_ascii() -> None:
    assert draw(("id",), [("a",)], encoding="ascii", colors=False).isascii()


def test_an_empty_table_has_its_header() -> None:
    assert "id" in draw(("id", "note"), [], encoding="utf-8", colors=False)


@pytest.mark.parametrize("argument", [TOKEN, f"--comment={TOKEN}", "x whsec_c2VjcmV0", "plr_agt_abcdefgh"])
def test_a_token_on_the_command_line_is_refused_and_not_repeated(shell: Shell, argument: str) -> None:
    result = shell("runs", "open", "--purpose", argument)
    assert (result.code, result.requests) == (2, [])
    assert argument not in result.err
    assert "plr_" not in result.err


def test_an_argument_that_is_no_text_reaches_no_server(shell: Shell) -> None:
    result = shell("runs", "list", "--agent", "\udcff")
    assert (result.code, result.requests) == (2, [])


@pytest.mark.parametrize("argument", ["explr_something", "plr_", "the whsec prefix"])
def test_ordinary_words_are_no_tokens(shell: Shell, argument: str) -> None:
    shell.replies = [answer({"id": RUN}, 201)]
    assert shell("runs", "open", "--purpose", argument).code == 0


def test_a_closed_pipe_ends_quietly(shell: Shell) -> None:
    shell.pipe_closed = True
    shell.replies = [tools("a")]
    for form in ((), ("--json",), ("-q",)):
        result = shell("tools", "list", *form)
        assert (result.code, result.out, result.err) == (141, "", "")


def test_a_hostile_name_is_harmless_on_a_real_terminal(shell: Shell, real_server: RealServer) -> None:
    real_server.body = tools(HOSTILE).content
    master, slave = pty.openpty()
    environ = {"PATH": os.environ["PATH"], "HOME": str(shell.home), "PALYRA_HOME": str(shell.home)}
    with subprocess.Popen(
        [sys.executable, "-m", "palyra_site.cli", "tools", "list", "--url", real_server.url, "--no-color"],
        cwd=ROOT, env=environ | {"TERM": "xterm"}, stdin=slave, stdout=slave, stderr=slave,
    ) as process:  # fmt: skip
        os.close(slave)
        seen = _read_all(master)
        assert process.wait() == 0
    assert b"\x1b" not in seen
    assert b"\\x1b]52;c;QUFB" in seen


def _read_all(descriptor: int) -> bytes:
    """Read a terminal until its other side is closed, which Linux reports as EIO."""
    chunks: list[bytes] = []
    try:
        while chunk := os.read(descriptor, 4096):
            chunks.append(chunk)
    except OSError:
        pass
    finally:
        os.close(descriptor)
    return b"".join(chunks)
