"""Policy sets from the shell."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cli.shell import Shell, answer, problem

ULID = "01JD2Q8ZV0C3M4N5P6R7S8T9VW"
POL, OTHER, APR = f"pol_{ULID}", f"pol_{ULID[:-1]}X", f"apr_{ULID}"
WHY = ("--reason", "agreed in NET-7")
FOUND = {"severity": "error", "code": "type_error", "file": "a.cedar", "line": 4, "column": 9,
         "policy_id": "no_ftp", "message": "attribute `urll` not found"}  # fmt: skip
ERROR = {"pointer": "/files/a.cedar", "line": 4, "column": 9, "policy_id": "no_ftp", "code": "type_error",
         "detail": "attribute `urll` not found"}  # fmt: skip
LINE = "a.cedar:4:9: type_error attribute `urll` not found"


def policy_set(version: int = 1, **changes: Any) -> httpx.Response:
    body = {"id": POL, "object": "policy_set", "state": "draft", "base": OTHER, "name": "No FTP"}
    return answer({**body, **changes}, ETag=f'"{POL}:{version}"')


def checked(*findings: dict[str, Any], tests: tuple[dict[str, Any], ...] = ()) -> httpx.Response:
    valid = not any(one["severity"] == "error" for one in findings)
    body = {"object": "policy_check", "valid": valid, "hash": None, "findings": list(findings)}
    return answer(body | {"tests": list(tests)})


def test_sets_are_listed_by_state(shell: Shell) -> None:
    shell.replies = [answer({"object": "list", "data": [policy_set().json()], "has_more": False})]
    result = shell("policy", "list", "--state", "draft", "--state", "validated")
    assert result.sent == ["GET /api/v1/policy-sets?state=draft&state=validated"]
    assert result.out.splitlines()[1].split("\t")[:4] == [POL, "", "draft", "No FTP"]


def test_the_source_of_the_set_in_force_is_printed_as_it_is(shell: Shell) -> None:
    shell.replies = [httpx.Response(200, text='//# file: a.cedar\n@id("one")\n')]
    result = shell("policy", "show", "active", "--source")
    assert result.sent == ["GET /api/v1/policy-sets/active/export?format=cedar"]
    assert result.out == '//# file: a.cedar\n@id("one")\n'


def test_a_draft_begins_with_the_set_in_force(shell: Shell) -> None:
    shell.replies = [policy_set()]
    result = shell("policy", "draft", "--name", "No FTP", "--note", "asked", "--yes", "--json")
    assert (result.code, json.loads(result.out)["id"]) == (0, POL)
    assert result.body() == {"name": "No FTP", "note": "asked", "from": "active"}


def test_files_are_written_one_after_the_other_each_against_what_the_one_before_left(
    shell: Shell, tmp_path: Path
) -> None:
    (tmp_path / "a.cedar").write_bytes(b"// a\r\n")
    (tmp_path / "b.test.json").write_text("[]")
    (tmp_path / "notes.txt").write_text("no part of a set")
    shell.replies = [policy_set(1), policy_set(2), policy_set(3)]
    result = shell("policy", "put", POL, str(tmp_path), "--yes")
    assert result.code == 0, result.err
    assert [request.method for request in result.requests] == ["GET", "PUT", "PUT"]
    assert [request.headers.get("If-Match") for request in result.requests[1:]] == [
        f'"{POL}:1"',
        f'"{POL}:2"',
    ]
    assert json.loads(result.requests[1].content) == {"text": "// a\r\n"}
    assert result.requests[2].url.path.endswith("/files/b.test.json")


def test_a_file_is_taken_out_and_a_draft_is_given_up_against_what_was_seen(shell: Shell) -> None:
    shell.replies = [policy_set(4)]
    removed = shell("policy", "remove", POL, "pack_provenance.cedar", "--yes")
    discarded = shell("policy", "discard", POL, "--yes", "--if-match", f'"{POL}:4"')
    assert removed.requests[1].method == discarded.requests[0].method == "DELETE"
    assert (
        removed.requests[1].headers["If-Match"] == discarded.requests[0].headers["If-Match"] == f'"{POL}:4"'
    )


def test_local_files_are_checked_on_the_server_and_an_error_is_exit_12(shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "a.cedar"
    file.write_text("forbid")
    shell.replies = [checked(FOUND, {**FOUND, "severity": "warning", "code": "unscoped_policy", "file": ""})]
    result = shell("policy", "validate", str(file))
    assert (result.code, result.sent) == (12, ["POST /api/v1/policy/check"])
    assert result.body() == {"files": [{"name": "a.cedar", "text": "forbid"}]}
    assert result.out.splitlines()[0] == LINE
    assert result.out.splitlines()[1].startswith("(set):4:9: warning unscoped_policy")
    shell.replies = [checked()]
    assert shell("policy", "validate", str(file)).code == 0


def test_shipped_policies_that_are_not_there_are_told_in_one_line(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "a.cedar").write_text("permit(principal, action, resource);")
    lost = {"severity": "warning", "code": "policy_removed_baseline", "file": "", "line": 0, "column": 0}
    found = tuple(lost | {"policy_id": name, "message": f"{name} is not there."} for name in ("one", "two"))
    shell.replies = [checked(FOUND, *found, {**FOUND, "severity": "warning"})]
    error, alone, other = shell("policy", "validate", str(tmp_path / "a.cedar")).out.splitlines()
    assert error == LINE
    assert alone.startswith("(set):0:0: warning policy_removed_baseline")
    assert alone.endswith(": one, two.")
    assert other.startswith("a.cedar:4:9: warning type_error")
    shell.replies = [checked(found[0])]
    (line,) = shell("policy", "validate", str(tmp_path / "a.cedar")).out.splitlines()
    assert line.endswith("one is not there.")


def test_a_draft_is_validated_by_id_and_its_errors_are_told_the_same_way(shell: Shell) -> None:
    shell.replies = [problem(422, "policy_invalid", errors=[ERROR])]
    result = shell("policy", "validate", POL, "--yes")
    assert (result.code, result.sent) == (12, [f"POST /api/v1/policy-sets/{POL}/validate"])
    assert result.out.splitlines() == [LINE]
    shell.replies = [problem(409, "immutable")]
    assert shell("policy", "validate", POL, "--yes").code == 7


def test_a_folder_of_tests_is_run_on_the_server(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "a.cedar").write_text("")
    (tmp_path / "a.test.json").write_text("[]")
    missed = {**FOUND, "code": "test_failed", "file": "a.test.json", "message": "two: deny, not allow"}
    tests = tuple(
        {"name": name, "file": "a.test.json", "line": 1, "column": 1, "passed": name == "one", "message": ""}
        for name in ("one", "two")
    )
    shell.replies = [checked(missed, tests=tests)]
    result = shell("policy", "test", str(tmp_path))
    assert result.code == 12
    assert result.out.splitlines()[1:] == ["ok a.test.json one", "FAILED a.test.json two"]


def test_the_tests_of_a_set_are_run_without_changing_it(shell: Shell) -> None:
    files = [{"name": "a.cedar", "text": ""}, {"name": "a.test.json", "text": "[]"}]
    shell.replies = [policy_set(files=files), checked()]
    result = shell("policy", "test", POL)
    assert result.sent == [f"GET /api/v1/policy-sets/{POL}?expand=text", "POST /api/v1/policy/check"]
    assert result.body() == {"files": files}


def test_what_holds_no_tests_or_no_file_is_said_before_anything_is_sent(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "a.cedar").write_text("")
    for command in (
        ("test", str(tmp_path)),
        ("validate", str(tmp_path / "none.cedar")),
        ("validate", POL, str(tmp_path / "a.cedar")),
        ("put", POL, str(tmp_path / "none.cedar"), "--yes"),
        ("export", POL, "--kind", "zip"),
        ("show", "latest"),
        ("activate", "active", *WHY, "--simulation", "1", "--acknowledge-loosened", "0", "--yes"),
    ):
        result = shell("policy", *command)
        assert (result.code, result.sent) == (2, []), command


def test_a_diff_is_read_as_text(shell: Shell) -> None:
    rule = {"id": "no_ftp", "file": "a.cedar", "text": "…"}
    change = {"id": "more", "file": "a.cedar", "parts": ["effect"], "before": "", "after": ""}
    unified = "--- a.cedar\n+++ a.cedar\n@@ -1 +1 @@\n-x\n+y\n"
    body = {"object": "policy_diff", "from": OTHER, "to": POL, "added": [rule], "removed": [], "unread": []}
    shell.replies = [answer(body | {"changed": [change], "files": [{"name": "a.cedar", "unified": unified}]})]
    result = shell("policy", "diff", POL)
    assert result.sent == [f"GET /api/v1/policy-sets/{POL}/diff?against=active"]
    assert result.out == unified
    assert result.err.splitlines() == ["added no_ftp", "changed more (effect)"]
    assert json.loads(shell("policy", "diff", POL, "--json").out)["to"] == POL


def test_an_activation_is_sent_against_what_was_seen(shell: Shell) -> None:
    shell.replies = [policy_set(5, state="validated"), answer({"state": "active", "approval": None})]
    result = shell(
        "policy", "activate", POL, *WHY, "--simulation", "2", "--acknowledge-loosened", "3", "--yes"
    )
    assert result.sent == [f"GET /api/v1/policy-sets/{POL}", f"POST /api/v1/policy-sets/{POL}/activate"]
    assert result.requests[1].headers["If-Match"] == f'"{POL}:5"'
    assert result.body() == {"reason": WHY[1], "simulation": 2, "acknowledged_loosened": 3}


def test_a_code_from_standard_input_serves_every_request_of_the_command(shell: Shell) -> None:
    shell.typed = "123456\n"
    shell.replies = [answer({}), policy_set(5), answer({"state": "active", "approval": None})]
    command = (
        "activate",
        POL,
        *WHY,
        "--simulation",
        "2",
        "--acknowledge-loosened",
        "0",
        "--yes",
        "--otp",
        "-",
    )
    result = shell("policy", *command)
    assert result.code == 0, result.err
    assert [one.rpartition("/")[2] for one in result.sent] == ["step-up", POL, "activate"]


def test_an_author_is_told_who_goes_on(shell: Shell) -> None:
    waiting = answer({"state": "awaiting_approval", "approval": {"id": APR}}, status=202)
    shell.replies = [policy_set(5), waiting]
    result = shell(
        "policy", "activate", POL, *WHY, "--simulation", "1", "--acknowledge-loosened", "0", "--yes"
    )
    assert (result.code, f"palyra approvals decide {APR}" in result.err) == (0, True)


def test_quiet_prints_what_to_go_on_with(shell: Shell) -> None:
    numbers = ("--simulation", "1", "--acknowledge-loosened", "0")
    for body, printed in (
        ({"state": "awaiting_approval", "approval": {"id": APR}, "policy_set": {"id": POL}}, APR),
        ({"state": "active", "approval": None, "policy_set": {"id": POL}}, POL),
    ):
        shell.replies = [policy_set(5), answer(body)]
        assert shell("policy", "activate", POL, *WHY, *numbers, "--yes", "-q").out == f"{printed}\n"
    event = f"evt_{ULID}"
    shell.replies = [answer({"object": "posture_act", "undo_id": event})]
    assert shell("posture", "undo", event, "--yes", "-q").out == f"{event}\n"


def test_going_back_without_an_id_means_what_was_in_force_before(shell: Shell) -> None:
    shell.replies = [policy_set(base=OTHER), policy_set(7), answer({"state": "active", "approval": None})]
    result = shell("policy", "rollback", *WHY, "--yes")
    assert result.sent[0] == "GET /api/v1/policy-sets/active"
    assert result.sent[2] == f"POST /api/v1/policy-sets/{OTHER}/rollback"
    shell.replies = [policy_set(base=None)]
    assert shell("policy", "rollback", *WHY, "--yes").code == 8


@pytest.mark.parametrize(
    ("name", "kind"), [("rules.zip", "application/zip"), ("rules.cedar", "text/plain; charset=utf-8")]
)
def test_a_set_is_carried_in_as_it_is(shell: Shell, tmp_path: Path, name: str, kind: str) -> None:
    (tmp_path / name).write_bytes(b"PK\x03\x04\xff")
    shell.replies = [policy_set()]
    result = shell("policy", "import", str(tmp_path / name), "--name", "Back", "--yes")
    assert result.sent == ["POST /api/v1/policy-sets/import?name=Back"]
    assert result.requests[0].headers["Content-Type"] == kind
    assert result.requests[0].content == b"PK\x03\x04\xff"


def test_a_set_is_carried_out_to_a_file_as_it_is(shell: Shell, tmp_path: Path) -> None:
    data = b"PK\x03\x04\xff\x00"
    shell.replies = [httpx.Response(200, content=data, headers={"Content-Type": "application/zip"})]
    result = shell("policy", "export", "active", "--out", str(tmp_path / "a.zip"))
    assert (result.code, result.sent) == (0, ["GET /api/v1/policy-sets/active/export?format=zip"])
    assert (tmp_path / "a.zip").read_bytes() == data
    assert shell("policy", "export", "active", "--out", str(tmp_path / "no" / "a.zip")).code == 2


def test_nothing_is_changed_where_nobody_can_be_asked(shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "a.cedar"
    file.write_text("")
    for command in (
        ("draft",),
        ("set", POL, "--name", "x"),
        ("put", POL, str(file)),
        ("remove", POL, "a.cedar"),
        ("discard", POL),
        ("validate", POL),
        ("activate", POL, *WHY, "--simulation", "1", "--acknowledge-loosened", "0"),
        ("rollback", *WHY),
        ("import", str(file)),
    ):
        result = shell("policy", *command)
        assert (result.code, result.sent) == (2, []), command
