"""`palyra journal`: reading, taking away and verifying, with and without a server."""

from __future__ import annotations

import base64
import json
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cli.journals import Log, Signer
from tests.cli.shell import Reply, Shell, answer, problem

EVENT = "evt_01JD2Q8ZV0C3M4N5P6R7S8T9VW"
JOB = "job_01JD2Q8ZV0C3M4N5P6R7S8T9VW"
LOG = Log.of(13)


def event(seq: int) -> dict[str, Any]:
    return {"object": "journal_event", "id": f"evt_{seq}", "seq": seq, "type": "run.closed", "actor": "agt_1"}


def stream(*seqs: int) -> httpx.Response:
    frames = [f"id: {seq}\nevent: journal\ndata: {json.dumps(event(seq))}\n\n" for seq in seqs]
    return httpx.Response(200, text="retry: 2000\n\n: keep-alive\n\n" + "".join(frames))


def lines(*seqs: int) -> httpx.Response:
    return httpx.Response(200, text="".join(json.dumps(event(seq)) + "\n" for seq in seqs))


def test_a_list_is_filtered_by_the_server(shell: Shell) -> None:
    shell.replies = [answer({"object": "list", "data": [event(4)], "has_more": False, "next_cursor": None})]
    result = shell(
        "journal", "list", "--type", "tool_call.*", "--run", "run_1", "--since", "2h", "--limit", "5"
    )
    assert result.code == 0
    assert result.out.split("\n")[1].startswith("4\tevt_4\t")
    assert result.sent == [
        "GET /api/v1/journal/events?type=tool_call.%2A&run=run_1&since=2026-01-05T08%3A00%3A00.000Z&limit=5"
    ]


def test_a_tail_begins_twenty_back_and_names_what_is_missing(shell: Shell) -> None:
    shell.replies = [httpx.Response(200, text="log\n4184\nroot\n"), lines(4164, 4165, 4181, 4183)]
    result = shell("journal", "tail")
    assert [line.split("\t")[0] for line in result.out.splitlines()] == ["4164", "4165", "4181", "4183"]
    assert result.err == "!! gap 4165→4181\n!! gap 4181→4183\n"
    assert result.requests[1].headers["Last-Event-ID"] == "4163"
    assert result.requests[1].headers["Accept"] == "application/x-ndjson"


def test_a_filtered_tail_has_no_gaps_and_a_short_log_is_told_from_its_beginning(shell: Shell) -> None:
    shell.replies = [httpx.Response(200, text="log\n9\nroot\n"), lines(1, 7)]
    result = shell("journal", "tail", "--type", "run.closed", "--json")
    assert (result.code, result.err) == (0, "")
    assert "Last-Event-ID" not in result.requests[1].headers
    assert [json.loads(line)["seq"] for line in result.out.splitlines()] == [1, 7]


def test_what_is_followed_goes_on_behind_the_last_event(shell: Shell) -> None:
    shell.replies = [stream(5, 6), httpx.ConnectError("gone"), stream(7, 9), problem(410, "event_gone")]
    result = shell("journal", "tail", "--follow", "--after", "4")
    assert result.code == 7
    assert [line.split("\t")[0] for line in result.out.splitlines()] == ["5", "6", "7", "9"]
    assert "!! gap 7→9" in result.err
    assert "-- reconnected --" in result.err
    assert [request.headers["Last-Event-ID"] for request in result.requests] == ["4", "6", "6", "9"]
    assert all(0.8 <= pause <= 36 for pause in result.pauses)


def test_a_proof_is_written_byte_for_byte(shell: Shell) -> None:
    text = LOG.proof(3)
    shell.replies = [httpx.Response(200, text=text)]
    target = shell.home / "e.tlog-proof"
    assert shell("journal", "prove", EVENT, "-o", str(target)).out == ""
    assert target.read_bytes() == text.encode()
    result = shell("journal", "proof", EVENT, "--size", "12")
    assert (result.out, result.sent) == (text, [f"GET /api/v1/journal/events/{EVENT}/proof?size=12"])
    assert shell("journal", "prove", "call_01JD2Q8ZV0C3M4N5P6R7S8T9VW").requests == []


def test_an_event_that_waits_for_its_seal_is_not_found_yet(shell: Shell) -> None:
    shell.replies = [problem(404, "not_sealed")]
    assert shell("journal", "prove", EVENT).code == 8


def test_consistency_is_judged_here(shell: Shell) -> None:
    one = base64.b64encode(bytes(32)).decode()
    same = {"from": 4, "to": 4, "from_root": one, "to_root": one, "hashes": []}
    shell.replies = [answer(same)]
    assert shell("journal", "consistency", "4", "4").code == 0
    for wrong, code in (
        ({**same, "hashes": [one]}, 12),
        ({**same, "to": 5}, 1),
        ({**same, "hashes": ["x"]}, 1),
        ({**same, "from_root": None}, 1),
    ):
        shell.replies = [answer(wrong)]
        assert shell("journal", "consistency", "4", "4").code == code


def test_an_export_is_private_whole_and_said_to_be_so(shell: Shell) -> None:
    target = shell.home / "x.jsonl"
    shell.replies = [httpx.Response(200, content=LOG.export())]
    result = shell("journal", "export", "-o", str(target), "--from", "0", "--to", "12")
    assert (result.code, result.out) == (0, "")
    assert result.sent == ["GET /api/v1/journal/export?format=jsonl&from=0&to=12"]
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert target.read_bytes() == LOG.export()
    assert result.err == f"13 events in {target}\n"


@pytest.mark.parametrize("cut", [1, 2, 400, len(LOG.export())])
def test_an_export_that_is_not_whole_leaves_the_file_as_it_was(shell: Shell, cut: int) -> None:
    target = shell.home / "x.jsonl"
    target.write_text("before")
    shell.replies = [httpx.Response(200, content=LOG.export()[:-cut])]
    assert shell("journal", "export", "-o", str(target)).code == 1
    assert target.read_text() == "before"


def test_an_export_of_cloud_events_ends_with_one(shell: Shell) -> None:
    closing = {"specversion": "1.0", "type": "dev.palyra.journal.export_closed"}
    trailer = {
        "object": "export_trailer",
        "count": 1,
        "absent": [{"why": "archived", "first_seq": 3, "end_seq": 9}],
    }
    body = json.dumps({"specversion": "1.0"}) + "\n" + json.dumps({**closing, "data": trailer}) + "\n"
    shell.replies = [httpx.Response(200, text=body)]
    result = shell("journal", "export", "--format", "cloudevents")
    assert (result.code, result.out) == (0, body)
    assert result.err == "1 events\narchived: 3 up to 9\n"


def verified(shell: Shell, data: bytes, *more: str, key: str | None = None) -> Any:
    path = shell.home / "x.jsonl"
    path.write_bytes(data)
    shell.environ = {}
    return shell("journal", "verify", "--offline", str(path), "--key", key or LOG.signer.shown(), *more)


def test_an_export_is_verified_without_a_server(shell: Shell) -> None:
    result = verified(shell, LOG.export())
    assert (result.code, result.out) == (0, "verified 13 events, 1 checkpoints, 0 findings\n")
    assert result.requests == []
    report = json.loads(verified(shell, LOG.export(), "--json").out)
    assert (report["events"], report["findings"], report["signed"][0]["tree_size"]) == (13, [], 13)


def test_findings_are_named_and_exit_with_twelve(shell: Shell) -> None:
    changed = LOG.export().replace(b"call_4", b"call_X", 1)
    result = verified(shell, changed)
    assert result.code == 12
    assert result.out.splitlines()[1].split("\t")[:2] == ["leaf_mismatch", "4"]
    assert result.out.endswith("verified 13 events, 1 checkpoints, 1 findings\n")
    assert verified(shell, changed, "--json").code == 12
    assert verified(shell, changed, "-q").code == 12


def test_what_could_not_be_checked_is_neither(shell: Shell) -> None:
    assert verified(shell, b"hello").code == 12
    assert (
        shell("journal", "verify", "--offline", str(shell.home / "no"), "--key", LOG.signer.shown()).code == 1
    )
    for usage in (
        ("--offline", "x"),
        ("--key", LOG.signer.shown()),
        ("--offline", "x", "--key", "nonsense"),
        ("--offline", "x", "--key", LOG.signer.shown(), "--quick"),
    ):
        result = shell("journal", "verify", *usage)
        assert (result.code, result.requests) == (2, []), usage


def test_a_stranger_s_key_verifies_nothing(shell: Shell) -> None:
    result = verified(shell, LOG.export(), key=Signer().pem())
    assert result.code == 12
    assert "key_unknown" in result.out


def finished(**result: Any) -> list[Reply]:
    job = {"id": JOB, "kind": "journal_verify", "total": 10}
    return [
        answer({**job, "state": "running", "done": 0}, status=202),
        answer({**job, "state": "running", "done": 5}),
        answer({**job, "state": "succeeded", "done": 10, "result": result}),
    ]


def test_the_server_verifies_as_a_job(shell: Shell) -> None:
    shell.replies = finished(events=1_204_331, checkpoints=312, findings=[], findings_total=0)
    result = shell("journal", "verify", "--quick")
    assert (result.code, result.out) == (0, "verified 1 204 331 events, 312 checkpoints, 0 findings\n")
    assert result.sent[0] == "POST /api/v1/journal/verify"
    assert result.body(0) == {"quick": True}


def test_a_finding_of_the_server_is_exit_twelve_and_no_answer_is_four(shell: Shell) -> None:
    found = {"code": "leaf_mismatch", "seq": 7, "event": "evt_7", "detail": "other bytes\x1b[2J"}
    shell.replies = finished(events=9, checkpoints=1, findings=[found], findings_total=1)
    result = shell("journal", "verify")
    assert result.code == 12
    assert "leaf_mismatch\t7\tevt_7" in result.out
    assert "\x1b" not in result.out
    failed = answer(
        {"id": JOB, "state": "failed", "done": 3, "total": 9, "error_code": "journal_unavailable"}
    )
    for last in (failed, httpx.ConnectError("gone")):
        shell.replies = [*finished()[:1], last]
        result = shell("journal", "verify")
        assert (result.code, result.out) == (4, "")
    shell.replies = finished(events=9)
    assert shell("journal", "verify").code == 4


def test_a_terminal_sees_how_far_it_is(shell: Shell) -> None:
    shell.terminal = True
    shell.replies = finished(events=10, checkpoints=1, findings=[], findings_total=0)
    result = shell("journal", "verify")
    assert "50%" in result.err
    assert "events/s" in result.err


def test_checking_files_loads_no_framework_and_no_client(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(LOG.export())
    argv = ["journal", "verify", "--offline", str(path), "--key", LOG.signer.shown()]
    program = (
        "import sys; from palyra_site.cli.main import main;"
        f"sys.argv[1:] = {argv!r}; code = main();"
        "loaded = {'django', 'rest_framework', 'celery', 'httpx', 'rich'} & set(sys.modules);"
        "sys.exit(f'{code} {loaded}' if code or loaded else 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "verified 13 events, 1 checkpoints, 0 findings\n")
