"""The journal to take away: whole or visibly not, by somebody of the installation, and recorded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from governance.api import views_journal_export
from governance.journal.models import JournalCheckpoint, JournalEvent
from governance.journal.published import key_document
from governance.journal.reading import open_data
from governance.journal.sealing import seal
from identity.models import ApiToken
from kernel.clock import utc_now
from kernel.errors import AuthenticationError
from palyra_site.cli.offline import check_path
from palyra_site.cli.offline_keys import read_anchors
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


def test_the_head_of_an_answer_takes_nothing(sealed: World) -> None:
    before = JournalEvent.objects.count()
    answer = sealed.owner.send("HEAD", "journal/export", None)
    assert (answer.status_code, JournalEvent.objects.count()) == (200, before)
    assert JournalCheckpoint.objects.exists()
