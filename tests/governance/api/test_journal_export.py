"""The journal to take away: whole or visibly not, by somebody of the installation, and recorded."""

from __future__ import annotations

import json
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from governance.api import views_journal_export
from governance.journal.models import JournalCheckpoint, JournalEvent
from governance.journal.published import key_document
from governance.journal.reading import open_data
from governance.journal.sealing import seal
from identity.models import ApiToken, TokenElevation
from kernel.clock import utc_now
from kernel.errors import AuthenticationError, RefusedError
from palyra_site.cli.offline import check_path
from palyra_site.cli.offline_keys import read_anchors
from tests.cli.journals import Signer
from tests.cli.shell import Shell
from tests.governance.api.stepping import fresh
from tests.governance.api.test_answers import assert_problem
from tests.governance.api.world import Caller, World


@pytest.fixture
def sealed(world: World) -> World:
    world.agent.open_run()
    seal(now=utc_now())
    return world


def sent(caller: Caller, query: str = "") -> bytes:
    answer: Any = caller.get(f"journal/export{query}")
    assert answer.status_code == 200, answer.content
    assert answer.headers["Content-Type"] == "application/x-ndjson"
    return b"".join(answer.streaming_content)


def parsed(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in data.splitlines()]


def test_every_sealed_event_comes_once_in_order_and_the_taking_is_recorded(
    sealed: World, tmp_path: Path
) -> None:
    data = sent(sealed.owner)
    *lines, trailer = parsed(data)
    assert [line["seq"] for line in lines] == list(range(trailer["tree_size"]))
    assert trailer["count"] == len(lines) > 20
    assert {line["data"] is None for line in lines} == {True}
    noted = JournalEvent.objects.get(pk=trailer["exported"])
    assert (noted.type, noted.actor) == ("journal.exported", sealed.owner.id)
    assert open_data(noted) == {
        "format": "jsonl", "first_seq": 0, "end_seq": len(lines), "tree_size": len(lines), "follow": False,
        "revealed": False,
    }  # fmt: skip

    (tmp_path / "x.jsonl").write_bytes(data)
    anchors = read_anchors([json.dumps(key_document(utc_now()))])
    assert check_path(tmp_path, anchors, lambda size, events: None).findings == []


def test_data_is_told_to_those_who_may_open_it(sealed: World) -> None:
    *lines, trailer = parsed(sent(fresh(sealed.owner), "?from=3&to=7"))
    assert [line["seq"] for line in lines] == [3, 4, 5, 6, 7]
    assert all(isinstance(line["data"], dict) and line["salt"] for line in lines)
    assert open_data(JournalEvent.objects.get(pk=trailer["exported"]))["revealed"] is True


def test_the_journal_is_one_and_nobody_of_one_workspace_takes_it(sealed: World) -> None:
    before = JournalEvent.objects.filter(type="journal.exported").count()
    for caller in (sealed.auditor, sealed.approver, sealed.agent, sealed.stranger):
        answer = caller.get("journal/export")
        assert answer.status_code == 403, answer.content
    assert sealed.nobody.get("journal/export").status_code == 401
    assert JournalEvent.objects.filter(type="journal.exported").count() == before


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("format=csv", 400, "invalid_parameter"),
        ("from=-1", 400, "invalid_parameter"),
        ("from=x", 400, "invalid_parameter"),
        ("from=1&from=2", 400, "invalid_parameter"),
        ("to=", 400, "invalid_parameter"),
        ("to=1234567890123456789", 400, "invalid_parameter"),
        ("since=2026-01-01T00:00:00Z", 400, "unknown_parameter"),
        ("from=5&to=4", 422, "invalid_range"),
        ("to=999999", 422, "invalid_range"),
    ],
)
def test_what_is_no_range_of_the_log_is_refused(sealed: World, query: str, status: int, code: str) -> None:
    assert_problem(sealed.owner.get(f"journal/export?{query}"), status, code)


def test_cloud_events_come_as_lines(sealed: World) -> None:
    *events, closing = parsed(sent(sealed.owner, "?format=cloudevents&to=4"))
    assert [event["palyraseq"] for event in events] == ["0", "1", "2", "3", "4"]
    assert {event["specversion"] for event in (*events, closing)} == {"1.0"}


def test_an_export_ends_without_its_trailer_when_the_token_is_revoked(
    sealed: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views_journal_export, "ASK_SECONDS", 0.0)
    answer: Any = sealed.owner.get("journal/export")
    ApiToken.objects.filter(principal_user_id=sealed.owner.id).update(revoked_at=utc_now())
    with pytest.raises(AuthenticationError):
        b"".join(answer.streaming_content)


def test_an_export_with_data_outlasts_its_code_and_ends_with_the_right_to_open(
    sealed: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views_journal_export, "ASK_SECONDS", 0.0)
    opening = fresh(sealed.owner)
    first, second = (opening.get("journal/export") for _ in range(2))
    TokenElevation.objects.all().delete()
    *_, trailer = parsed(streamed(first))
    assert trailer["data"] == "revealed"
    for token in ApiToken.objects.filter(principal_user_id=sealed.owner.id):
        token.scopes = [scope for scope in token.scopes if scope != "journal.reveal"]
        token.save()
    with pytest.raises(RefusedError):
        streamed(second)


def streamed(answer: Any) -> bytes:
    return b"".join(answer.streaming_content)


def test_the_head_of_an_answer_takes_nothing(sealed: World) -> None:
    before = JournalEvent.objects.count()
    answer = sealed.owner.send("HEAD", "journal/export", None)
    assert (answer.status_code, JournalEvent.objects.count()) == (200, before)
    assert JournalCheckpoint.objects.exists()


def test_evidence_is_taken_and_checked_from_the_shell(sealed: World, shell: Shell) -> None:
    call = sealed.agent.propose("no.such.tool", {})
    assert call["state"] == "denied"
    shell.on_request = served_to(sealed.owner)
    bundle, keys = shell.home / "evidence.zip", shell.home / "keys.json"
    keys.write_text(json.dumps(key_document(utc_now())))
    taken = shell("evidence", call["id"], "-o", str(bundle))
    assert (taken.code, taken.out) == (0, ""), taken.err
    assert stat.S_IMODE(bundle.stat().st_mode) == 0o600

    shell.on_request = None
    verify = ("evidence", "verify", str(bundle))
    assert (shell(*verify).code, "own keys" in shell(*verify).err) == (0, True)
    checked = shell(*verify, "--key", str(keys), "--json")
    assert (checked.code, checked.err, checked.requests) == (0, "", [])
    assert [one["holds"] for one in json.loads(checked.out)["checks"]] == [True] * 6
    assert shell(*verify, "--key", Signer().shown()).code == 12

    for name in ("events.jsonl", "attestation.dsse.json", "manifest.json", "checkpoint.txt", "manifest.sig"):
        changed(bundle, shell.home / "changed.zip", name)
        result = shell("evidence", "verify", str(shell.home / "changed.zip"), "--key", str(keys))
        assert (result.code, "false" in result.out) == (12, True), name
    (shell.home / "cut.zip").write_bytes(bundle.read_bytes()[:-30])
    assert shell("evidence", "verify", str(shell.home / "cut.zip")).code == 1
    assert shell("evidence", "verify", str(shell.home / "nowhere.zip")).code == 1


def changed(bundle: Path, into: Path, name: str) -> None:
    """Copy a bundle, and in the file `name` put another letter or digit in the middle."""
    with zipfile.ZipFile(bundle) as old, zipfile.ZipFile(into, "w") as new:
        for entry in old.namelist():
            data = bytearray(old.read(entry))
            if entry == name:
                place = next(at for at in range(len(data) // 2, len(data)) if chr(data[at]).isalnum())
                data[place] = ord("B") if data[place] != ord("B") else ord("C")
            new.writestr(entry, bytes(data))


def test_an_attestation_is_shown_and_judged_from_the_shell(sealed: World, shell: Shell) -> None:
    call = sealed.agent.propose("no.such.tool", {})
    shell.on_request = served_to(sealed.owner)
    told = shell("attestation", "show", call["id"])
    assert "verdict\tdeny" in told.out
    file, keys = shell.home / "a.json", shell.home / "keys.json"
    file.write_text(shell("attestation", "show", call["id"], "--json").out)
    keys.write_text(json.dumps(key_document(utc_now())))
    assert shell("attestation", "verify", str(file)).code == 0
    offline = ("attestation", "verify", str(file), "--key", str(keys), "--json")
    shell.on_request = None
    assert (shell(*offline).code, json.loads(shell(*offline).out)["valid"]) == (0, True)

    envelope = json.loads(file.read_text())
    signature = envelope["signatures"][0]["sig"]
    envelope["signatures"][0]["sig"] = ("B" if signature[0] != "B" else "C") + signature[1:]
    file.write_text(json.dumps(envelope))
    result = shell(*offline)
    assert (result.code, json.loads(result.out)["code"]) == (12, "attestation.signature_invalid")
    shell.on_request = served_to(sealed.owner)
    assert shell("attestation", "verify", str(file)).code == 12
    file.write_text("[]")
    assert shell("attestation", "verify", str(file)).code == 2


def served_to(caller: Caller) -> Callable[[httpx.Request], httpx.Response]:
    """Let the shell's requests reach this installation as those of `caller`."""

    def serve(request: httpx.Request) -> httpx.Response:
        path = request.url.raw_path.decode()
        names = ("accept", "idempotency-key")
        headers = {name.replace("-", "_"): request.headers[name] for name in names if name in request.headers}
        answer: Any = caller.send(request.method, path, request.content or None, **headers)
        content = b"".join(answer.streaming_content) if answer.streaming else answer.content
        return httpx.Response(answer.status_code, headers=dict(answer.headers), content=content)

    return serve


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(home=tmp_path)
