"""What an auditor takes away: whole records, page by page, never a secret, and a trace of the taking."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any

import pytest
from django.db import connection

from approvals.models import ApprovalRequest
from governance import exporting as reading
from governance.journal.models import JournalCheckpoint, JournalEvent, JournalLeaf
from governance.journal.reading import open_data
from governance.operations import exporting
from tests.governance.api.test_answers import assert_problem
from tests.governance.api.test_journal import sealed
from tests.governance.api.world import Caller, World


def lines(answer: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    assert answer.status_code == 200, answer.content
    found = [json.loads(line) for line in answer.content.splitlines()]
    return found[:-1], found[-1]


def auditor(world: World) -> Caller:
    return world.auditor


def decided(world: World) -> str:
    request = str(world.ask("demo.wc")["approval"]["id"])
    answer = world.approver.post(f"approvals/{request}/decision", {"decision": "allow", "comment": "fine"})
    assert answer.status_code == 200, answer.content
    return request


def test_a_record_holds_its_answers_grants_and_events(world: World) -> None:
    request = decided(world)
    found, trailer = lines(auditor(world).get("approvals/export"))
    (one,) = [record for record in found if record["id"] == request]
    assert one["decision"] == "allow"
    assert one["calls"]
    assert [review["reviewer"] for review in one["reviews"]] == [world.approver.id]
    (grant,) = one["grants"]
    types = [event["type"] for event in one["events"]]
    assert types[0] == "approval.requested"
    assert "approval.decided" in types
    assert "grant.created" in types
    assert grant["uses_allowed"] == 1
    assert all(event["leaf_index"] is None for event in one["events"])
    assert trailer == {
        "object": "export_trailer",
        "count": len(found),
        "has_more": False,
        "next_cursor": None,
        "checkpoint": None,
    }


def test_sealed_events_name_their_leaves_and_the_trailer_their_tree(world: World) -> None:
    request = decided(world)
    size = sealed()
    found, trailer = lines(auditor(world).get("approvals/export"))
    (one,) = [record for record in found if record["id"] == request]
    places = {event["id"]: event["leaf_index"] for event in one["events"]}
    assert places == dict(JournalLeaf.objects.filter(event_id__in=places).values_list("event_id", "seq"))
    newest = JournalCheckpoint.objects.get(tree_size=size)
    assert trailer["checkpoint"] == {
        "tree_size": size,
        "root": base64.b64encode(bytes(newest.root)).decode(),
        "note": newest.note,
    }


def test_pages_meet_without_gap_or_double_in_both_formats(world: World) -> None:
    wanted = {decided(world), decided(world), decided(world)}
    seen: list[str] = []
    cursor = ""
    for _ in range(1000):
        page, trailer = lines(auditor(world).get(f"approvals/export?limit=2{cursor}"))
        seen += [record["id"] for record in page]
        if not trailer["has_more"]:
            break
        cursor = f"&cursor={trailer['next_cursor']}"
    assert wanted <= set(seen)
    assert len(seen) == len(set(seen))
    assert seen == sorted(seen)
    whole = auditor(world).get("approvals/export?format=json").json()
    assert [record["id"] for record in whole["data"]] == seen
    assert whole["trailer"]["count"] == len(seen)


def test_a_large_export_goes_on_behind_a_cursor(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    decided(world), decided(world)
    monkeypatch.setattr(exporting, "MOST_BYTES", 10)
    page, trailer = lines(auditor(world).get("approvals/export"))
    assert len(page) == 1
    assert trailer["has_more"]
    assert trailer["next_cursor"]


def test_filters_narrow_and_bad_ones_are_refused(world: World) -> None:
    request = decided(world)
    denied, _ = lines(auditor(world).get("approvals/export?state=denied"))
    assert request not in {record["id"] for record in denied}
    nothing, _ = lines(auditor(world).get("approvals/export?until=2020-01-05T10:00:00Z"))
    assert nothing == []
    for query, code in (
        ("state=open", "invalid_parameter"),
        ("since=yesterday", "invalid_parameter"),
        ("since=2026-01-05T10:00:00", "invalid_parameter"),
        ("since=2026-02-01T00:00:00Z&until=2026-01-01T00:00:00Z", "invalid_parameter"),
        ("limit=5001", "invalid_parameter"),
        ("order=asc", "unknown_parameter"),
        ("cursor=xyz", "invalid_cursor"),
        ("format=csv", "invalid_parameter"),
    ):
        assert_problem(auditor(world).get(f"approvals/export?{query}"), 400, code)


def test_a_cursor_serves_only_its_own_filters_and_person(world: World) -> None:
    decided(world), decided(world)
    _, trailer = lines(auditor(world).get("approvals/export?limit=1"))
    cursor = trailer["next_cursor"]
    other_filter = auditor(world).get(f"approvals/export?limit=1&risk=low&cursor={cursor}")
    assert_problem(other_filter, 400, "invalid_cursor")
    other_person = world.owner.get(f"approvals/export?limit=1&cursor={cursor}")
    assert_problem(other_person, 400, "invalid_cursor")


def test_no_writer_waits_while_records_are_read(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """On SQLite a transaction keeps every other writer out as long as it lasts."""
    depths, read = list[int](), reading.records

    def watched(rows: Sequence[ApprovalRequest]) -> list[dict[str, Any]]:
        depths.append(len(connection.atomic_blocks))
        return read(rows)

    decided(world)
    monkeypatch.setattr(f"{exporting.__name__}.records", watched)
    lines(auditor(world).get("approvals/export"))
    assert depths == [len(connection.atomic_blocks)]


def test_the_taking_is_in_the_journal(world: World) -> None:
    lines(auditor(world).get("approvals/export?state=allowed"))
    event = JournalEvent.objects.filter(type="approvals.exported").latest("id")
    assert event.actor.endswith(auditor(world).id)
    assert open_data(event)["filters"] == {"state": ["allowed"]}


def test_a_secret_in_a_comment_or_an_argument_is_in_no_export(world: World) -> None:
    secret = "ghp_" + "a1B2c3D4e5F6a7B8c9D0e1F2a3B4c5D6e7F8"
    content = "x" * 100_000 + " " + secret + " " + "y" * 2000
    call = world.agent.propose("fs.write", {"path": "a.txt", "content": content})
    request = call["approval"]["id"]
    body = {"decision": "deny", "comment": f"it holds {secret}", "otp": world.approver.code()}
    assert world.approver.post(f"approvals/{request}/decision", body).status_code == 200
    taken = auditor(world).get("approvals/export")
    assert request.encode() in taken.content
    assert secret.encode() not in taken.content


def test_an_agent_and_a_person_without_the_right_take_nothing(world: World) -> None:
    assert world.agent.get("approvals/export").status_code == 403
    assert world.approver.get("approvals/export").status_code == 403
    assert world.stranger.get("approvals/export").status_code in (200, 403)
