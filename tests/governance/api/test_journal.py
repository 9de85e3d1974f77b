"""The journal over HTTP: lists, one event, proofs; who sees which events, and who sees what they say."""

from __future__ import annotations

import base64
import json
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest
import yaml
from asgiref.sync import async_to_sync
from django.db import transaction
from django.test import AsyncClient
from jsonschema import Draft202012Validator

from governance import authority
from governance.journal import proof
from governance.journal.keys import public_keys
from governance.journal.merkle import verify_consistency
from governance.journal.models import (
    JournalArchive,
    JournalCheckpoint,
    JournalEvent,
    JournalLeaf,
    JournalPayload,
    JournalSubjectKey,
)
from governance.journal.reading import open_data
from governance.journal.sealing import seal
from governance.operations import viewing
from kernel.clock import utc_now
from kernel.errors import RefusedError, UnavailableError
from tests.governance.api.stepping import fresh
from tests.governance.api.test_answers import assert_problem
from tests.governance.api.test_lists import walk
from tests.governance.api.test_openapi import COMMITTED
from tests.governance.api.world import Caller, World
from tests.support_append_only import guards_lifted
from vault.types import KeyPurpose

LIST = "journal/events"
LINES = "application/x-ndjson"


def sealed() -> int:
    """Seal what waits and return the size of the log."""
    with transaction.atomic():
        seal(now=utc_now())
    return JournalLeaf.objects.count()


def read(caller: Caller, path: str = LIST) -> list[dict[str, Any]]:
    answer = caller.get(path)
    assert answer.status_code == 200, answer.content
    rows: list[dict[str, Any]] = answer.json()["data"]
    return rows


def views() -> list[JournalEvent]:
    return list(JournalEvent.objects.filter(type="record.viewed").order_by("pk"))


def decoded(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def test_the_list_is_the_newest_first_and_says_what_is_sealed(world: World) -> None:
    run = world.agent.open_run()
    size = sealed()
    later = world.agent.open_run()
    rows = read(world.auditor)
    assert [row["id"] for row in rows] == sorted((row["id"] for row in rows), reverse=True)
    newest = next(row for row in rows if row["run_id"] == later)
    older = next(row for row in rows if row["run_id"] == run)
    assert (newest["seq"], newest["leaf_hash"], newest["checkpoint"]) == (None, None, None)
    assert older["checkpoint"]["tree_size"] == size
    stored = JournalEvent.objects.get(pk=older["id"])
    assert older["envelope"] == json.loads(bytes(stored.envelope))
    assert decoded(older["leaf_hash"]) == bytes(JournalLeaf.objects.get(event_id=stored.pk).leaf_hash)
    assert (older["data"], older["withheld"], older["erased"]) == (None, "step_up_required", False)


def test_a_walk_by_number_meets_every_sealed_event_once(world: World) -> None:
    for _ in range(10):
        world.agent.open_run()
    size = sealed()
    world.agent.open_run()
    rows = walk(world.owner, f"{LIST}?order=asc&limit=7")
    assert [row["seq"] for row in rows] == list(range(size))
    assert [row["seq"] for row in read(world.owner, f"{LIST}?after_seq={size - 4}")] == [
        size - 3,
        size - 2,
        size - 1,
    ]
    assert read(world.owner, f"{LIST}?after_seq={size - 1}") == []


def test_filters_narrow_in_the_database(world: World) -> None:
    call = world.ask()
    sealed()
    of_run = read(world.auditor, f"{LIST}?run={call['run_id']}&order=asc")
    names = [row["type"] for row in of_run]
    assert names == list(
        JournalEvent.objects.filter(run_id=call["run_id"]).order_by("run_seq").values_list("type", flat=True)
    )
    for query, expected in (
        ("type=tool_call.proposed", ["tool_call.proposed"]),
        ("type=tool_call.*", [name for name in names if name.startswith("tool_call.")]),
        ("type=run.opened&type=tool_call.decided", ["run.opened", "tool_call.decided"]),
        (f"call={call['id']}&type=tool_call.proposed", ["tool_call.proposed"]),
        (f"subject={call['id']}&type=tool_call.proposed", ["tool_call.proposed"]),
        (f"actor={world.agent.id}&type=run.opened", ["run.opened"]),
        (f"actor={world.approver.id}", []),
        (f"after_seq={of_run[0]['seq']}", names[1:]),
    ):
        found = read(world.auditor, f"{LIST}?order=asc&run={call['run_id']}&{query}")
        assert [row["type"] for row in found] == expected, query
    newest = read(world.auditor, f"{LIST}?run={call['run_id']}&type=tool_call.*")
    assert {row["type"] for row in newest} == {name for name in names if name.startswith("tool_call.")}


def test_a_window_of_time_begins_inside_and_ends_outside(world: World) -> None:
    run = world.agent.open_run()
    event = JournalEvent.objects.get(run_id=run)

    def within(**window: Any) -> bool:
        query = "&".join(f"{name}={quote(moment.isoformat())}" for name, moment in window.items())
        return event.pk in [row["id"] for row in read(world.auditor, f"{LIST}?{query}&run={run}")]

    step = timedelta(microseconds=1)
    assert within(since=event.time)
    assert not within(since=event.time + step)
    assert within(until=event.time + step)
    assert not within(until=event.time)
    assert read(world.auditor, f"{LIST}?since=0001-01-01T00:00:00Z&run={run}")
    assert read(world.auditor, f"{LIST}?until=9999-12-31T23:59:59Z&run={run}")


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("type=nothing.happened", "invalid_parameter"),
        ("type=tool_cal*", "invalid_parameter"),
        ("type=*", "invalid_parameter"),
        ("type=", "invalid_parameter"),
        ("after_seq=x", "invalid_parameter"),
        ("after_seq=1&after_seq=2", "invalid_parameter"),
        ("after_seq=1&order=desc", "invalid_parameter"),
        ("after_seq=" + "9" * 19, "invalid_parameter"),
        ("order=up", "invalid_parameter"),
        ("limit=0", "invalid_parameter"),
        ("run=%00", "invalid_parameter"),
        ("since=2026-01-02T00:00:00Z&until=2026-01-01T00:00:00Z", "invalid_parameter"),
        ("cursor=x", "invalid_cursor"),
        ("order=asc&cursor=x", "invalid_cursor"),
        ("workspace=x", "unknown_parameter"),
    ],
)
def test_a_query_that_is_not_understood_is_refused(world: World, query: str, code: str) -> None:
    assert_problem(world.auditor.get(f"{LIST}?{query}"), 400, code)


def test_a_cursor_of_one_order_is_none_of_the_other(world: World) -> None:
    sealed()
    cursor = world.owner.get(f"{LIST}?limit=1&order=asc").json()["next_cursor"]
    assert_problem(world.owner.get(f"{LIST}?limit=1&cursor={quote(cursor)}"), 400, "invalid_cursor")
    assert_problem(
        world.auditor.get(f"{LIST}?limit=1&order=asc&cursor={quote(cursor)}"), 400, "invalid_cursor"
    )


def test_a_workspaces_reader_sees_its_runs_itself_and_nothing_else(world: World) -> None:
    call = world.ask()
    everything = walk(world.owner, f"{LIST}?limit=200")
    seen = walk(world.auditor, f"{LIST}?limit=200")
    assert {row["id"] for row in seen} < {row["id"] for row in everything}
    assert call["id"] in {row["call_id"] for row in seen}
    assert world.auditor.id in {row["subject"] for row in seen}
    for row in seen:
        own = world.auditor.id in (row["subject"], row["actor"])
        assert own or row["run_id"] or row["subject"] == world.workspace.pk, row
    hidden = next(row for row in everything if row["type"] == "policy.activated")
    for path in ("", "/proof"):
        assert_problem(world.auditor.get(f"{LIST}/{hidden['id']}{path}"), 404, "not_found")
    assert world.owner.get(f"{LIST}/{hidden['id']}").status_code == 200


@pytest.mark.parametrize("name", ["agent", "approver", "agent_owner"])
def test_who_does_not_read_the_journal_is_told_so(world: World, name: str) -> None:
    caller: Caller = getattr(world, name)
    event = JournalEvent.objects.order_by("pk").first()
    assert event is not None
    for path in (LIST, f"{LIST}/{event.pk}", f"{LIST}/{event.pk}/proof", "journal/consistency?from=0"):
        assert caller.get(path).status_code == 403, path
        assert world.nobody.get(path).status_code == 401, path


def test_what_events_say_is_for_those_who_may_reveal_and_leaves_a_trace(world: World) -> None:
    call = world.ask()
    path = f"{LIST}?call={call['id']}&type=tool_call.proposed"
    assert read(world.owner, path)[0]["data"] is None
    assert views() == []

    (row,) = read(fresh(world.owner), path)
    assert row["data"]["input"] == {"path": "README.txt"}
    assert row["withheld"] is None
    (view,) = views()
    assert (view.actor, open_data(view)) == (
        world.owner.id,
        {"what": "journal.events", "count": 1, "ids": [row["id"]]},
    )

    one = world.owner.get(f"{LIST}/{row['id']}").json()
    assert one == row
    assert len(views()) == 2
    page = read(world.owner, f"{LIST}?limit=20")
    assert open_data(views()[-1])["count"] == len(page) == 20
    assert read(world.owner, f"{LIST}?actor=usr_nobody") == []
    head = world.owner.send("HEAD", f"/api/v1/{path}", None)
    assert (head.status_code, len(views())) == (200, 3)


def test_the_auditor_of_a_workspace_reveals_what_is_visible_there(world: World) -> None:
    call = world.ask()
    (row,) = read(fresh(world.auditor), f"{LIST}?call={call['id']}&type=tool_call.proposed")
    assert row["data"]["input"] == {"path": "README.txt"}
    assert views()[0].subject == world.workspace.pk


def test_nothing_is_revealed_when_it_cannot_be_recorded(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = world.ask()
    path = f"{LIST}?call={call['id']}&type=tool_call.proposed"
    fresh(world.owner)

    def broken(**_: object) -> str:
        raise UnavailableError("journal_unavailable", "The journal cannot be written.")

    with monkeypatch.context() as patch:
        patch.setattr(viewing, "record", broken)
        assert_problem(world.owner.get(path), 503, "journal_unavailable")

    def forbidden(*_: object, **__: object) -> None:
        raise RefusedError("role_required", "Policy does not permit journal.reveal here.")

    with monkeypatch.context() as patch:
        patch.setattr(authority, "require_policy", forbidden)
        (row,) = read(world.owner, path)
    assert (row["data"], row["withheld"]) == (None, "role_required")


def test_an_erased_event_says_so_to_everybody_who_sees_it(world: World) -> None:
    call = world.ask()
    key = JournalSubjectKey.objects.get(subject=call["run_id"])
    at = utc_now()
    JournalSubjectKey.objects.filter(pk=key.pk).update(wrapped_key=None, destroyed_at=at)
    for reader in (world.auditor, fresh(world.owner)):
        (row,) = read(reader, f"{LIST}?call={call['id']}&type=tool_call.proposed")
        assert row["erased"] is True
        assert row["withheld"] is None
        assert row["data"] == {"_erased": True, "at": row["data"]["at"]}
    sealed()
    assert world.auditor.get(f"{LIST}/{row['id']}/proof").status_code == 200


def test_a_payload_that_does_not_open_hides_no_other(world: World) -> None:
    call = world.ask()
    rows = {row["type"]: row for row in read(fresh(world.owner), f"{LIST}?call={call['id']}")}
    spoil(rows["tool_call.proposed"]["id"])
    again = {row["type"]: row for row in read(world.owner, f"{LIST}?call={call['id']}")}
    assert again["tool_call.proposed"]["data"] is None
    assert again["tool_call.proposed"]["withheld"] == "vault.integrity_failed"
    assert again["tool_call.decided"]["data"] == rows["tool_call.decided"]["data"]
    assert world.owner.get(f"{LIST}/{rows['tool_call.proposed']['id']}").status_code == 200


def spoil(event_id: str) -> None:
    """Change a payload as somebody with the database in hand could."""
    with guards_lifted():
        JournalPayload.objects.filter(pk=event_id).update(nonce=bytes(12))


def test_a_proof_leads_to_the_checkpoint_that_was_asked_for(world: World) -> None:
    too_early = sealed()
    event = JournalEvent.objects.get(run_id=world.agent.open_run())
    path = f"{LIST}/{event.pk}/proof"
    waiting = world.auditor.get(path)
    assert_problem(waiting, 404, "not_sealed")
    assert waiting.headers["Retry-After"] == "1"
    first = sealed()
    world.agent.open_run()
    world.agent.open_run()
    second = sealed()
    keys = public_keys(KeyPurpose.CHECKPOINT)
    for query, size in (("", second), (f"?size={first}", first), (f"?size={second}", second)):
        answer = world.auditor.get(path + query, Accept="text/plain")
        assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
        assert answer.headers["Cache-Control"] == "no-store"
        verdict = proof.check(answer.content.decode(), keys)
        assert (verdict.ok, verdict.envelope) == (True, bytes(event.envelope))
        assert verdict.checkpoint is not None
        assert verdict.checkpoint.size == size
    for size in (0, -1, first + 1, second + 1, 10**17, too_early):
        assert_problem(world.auditor.get(f"{path}?size={size}"), 422, "invalid_range")
    for wrong in ("x", "", "1.0", "0x1", "٣", f"{first}&size={first}", "1e3", "9" * 19):
        assert_problem(world.auditor.get(f"{path}?size={wrong}"), 400, "invalid_parameter")


def test_a_proof_that_does_not_hold_is_not_handed_out(world: World) -> None:
    event = JournalEvent.objects.get(run_id=world.agent.open_run())
    sealed()
    forged = bytes(event.envelope).replace(b"run.opened", b"run.closed")
    with guards_lifted():
        JournalEvent.objects.filter(pk=event.pk).update(envelope=forged)
    assert_problem(world.auditor.get(f"{LIST}/{event.pk}/proof"), 503, "journal_inconsistent")


def test_every_older_log_is_the_beginning_of_the_newer_one(world: World) -> None:
    sizes = [sealed()]
    for _ in range(3):
        world.agent.open_run()
        sizes.append(sealed())
    roots = {row.tree_size: bytes(row.root) for row in JournalCheckpoint.objects.all()}
    for old in sizes:
        found = world.auditor.get(f"journal/consistency?from={old}").json()
        path = [decoded(one) for one in found["hashes"]]
        assert (found["from"], found["to"]) == (old, sizes[-1])
        assert decoded(found["from_root"]) == roots[old]
        assert decoded(found["to_root"]) == roots[sizes[-1]]
        assert verify_consistency(old, sizes[-1], roots[old], roots[sizes[-1]], path)
    between = world.auditor.get(f"journal/consistency?from=3&to={sizes[1]}").json()
    assert decoded(between["to_root"]) == roots[sizes[1]]
    assert world.auditor.get("journal/consistency?from=0&to=0").json()["hashes"] == []
    for query in ("from=5&to=4", f"from=0&to={sizes[-1] + 1}", "from=-1", "from=0&to=-1"):
        assert_problem(world.auditor.get(f"journal/consistency?{query}"), 422, "invalid_range")
    for query in ("", "from=x", "to=1", "from=1&from=2", "from=1&to="):
        assert_problem(world.auditor.get(f"journal/consistency?{query}"), 400, "invalid_parameter")


def test_a_leaf_that_was_changed_gives_no_consistency(world: World) -> None:
    world.agent.open_run()
    size = sealed()
    with guards_lifted():
        JournalLeaf.objects.filter(seq=size - 1).update(leaf_hash=b"\1" * 32)
    assert_problem(world.auditor.get(f"journal/consistency?from={size - 2}"), 503, "journal_inconsistent")


def test_an_event_that_lies_in_an_archive_leaves_its_place(world: World) -> None:
    event = JournalEvent.objects.get(run_id=world.agent.open_run())
    size = sealed()
    seq = JournalLeaf.objects.get(event_id=event.pk).seq
    event_id = event.pk
    away(event, first=seq, end=size)
    for path in ("", "/proof"):
        assert_problem(world.owner.get(f"{LIST}/{event_id}{path}"), 404, "archived")
        assert_problem(world.auditor.get(f"{LIST}/{event_id}{path}"), 404, "not_found")
    (row,) = [row for row in read(world.owner, f"{LIST}?after_seq={seq - 1}") if row["seq"] == seq]
    assert (row["id"], row["withheld"], row["envelope"], row["data"]) == (event_id, "archived", None, None)
    assert decoded(row["leaf_hash"]) == bytes(JournalLeaf.objects.get(seq=seq).leaf_hash)


def away(event: JournalEvent, *, first: int, end: int) -> None:
    """Archive the leaves from `first` to `end` and delete one event, as the guards allow."""
    JournalArchive.objects.create(
        first_seq=first, end_seq=end, uri="file:x", sha256="0" * 64, bytes=1, verified_at=utc_now(), event=""
    )
    event.payload.delete()
    event.delete()


def test_the_tail_as_lines_ends_at_the_newest_sealed_event(world: World) -> None:
    world.agent.open_run()
    size = sealed()
    world.agent.open_run()
    whole = lines(world.owner, LIST)
    assert [event["seq"] for event in whole] == list(range(size))
    assert whole == walk(world.owner, f"{LIST}?order=asc&limit=200")
    middle = size // 2
    assert lines(world.owner, f"{LIST}?after_seq={middle}") == whole[middle + 1 :]
    assert lines(world.owner, f"{LIST}?after_seq=0", Last_Event_ID=str(middle)) == whole[middle + 1 :]
    opened = lines(world.auditor, f"{LIST}?type=run.*")
    assert {event["type"] for event in opened} == {"run.opened"}
    for query, code in (("limit=1", "unknown_parameter"), ("after_seq=x", "invalid_parameter")):
        assert_problem(world.owner.get(f"{LIST}?{query}", Accept=LINES), 400, code)
    wrong = world.owner.get(LIST, Accept=LINES, Last_Event_ID="evt_1")
    assert_problem(wrong, 400, "invalid_parameter")
    for given in (size, 10**17):
        assert_problem(world.owner.get(f"{LIST}?after_seq={given}", Accept=LINES), 410, "event_gone")
    assert world.agent.get(LIST, Accept=LINES).status_code == 403
    assert_problem(world.owner.get(LIST, Accept="text/event-stream"), 406, "not_acceptable")
    assert_problem(world.owner.get(LIST, Accept="text/html"), 406, "not_acceptable")


def test_a_tail_that_opens_payloads_is_recorded_once(world: World) -> None:
    call = world.ask()
    sealed()
    path = f"{LIST}?call={call['id']}&type=tool_call.proposed"
    assert lines(world.owner, path)[0]["data"] is None
    assert views() == []
    (event,) = lines(fresh(world.owner), path)
    assert event["data"]["input"] == {"path": "README.txt"}
    (view,) = views()
    assert open_data(view) == {"what": "journal.events", "count": None, "ids": []}


def test_the_main_listener_goes_on_with_the_tail(world: World) -> None:
    """What comes then: `tests.governance.streams.test_tail`."""
    sent = {"Authorization": f"Bearer {world.owner.token}", "Accept": "text/event-stream"}
    answer: Any = async_to_sync(AsyncClient().get)(f"/api/v1/{LIST}?type=run.*", headers=sent)
    assert (answer.status_code, answer.is_async) == (200, True)
    assert answer.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["X-Accel-Buffering"] == "no"
    assert answer.headers["Cache-Control"] == "no-store"


def lines(caller: Caller, path: str, **headers: str) -> list[dict[str, Any]]:
    answer: Any = caller.get(path, Accept=LINES, **headers)
    assert answer.status_code == 200, answer.content
    return [json.loads(line) for line in b"".join(answer.streaming_content).splitlines()]


def test_answers_fit_their_schemas_member_for_member(world: World) -> None:
    world.agent.open_run()
    sealed()
    world.agent.open_run()
    document = yaml.safe_load(COMMITTED.read_text())
    newest = fresh(world.owner).get(LIST).json()
    for name, body in (
        ("JournalEventList", newest),
        ("JournalEventList", world.auditor.get(LIST).json()),
        ("JournalEventList", world.owner.get(f"{LIST}?order=asc").json()),
        ("JournalEvent", world.owner.get(f"{LIST}/{newest['data'][0]['id']}").json()),
        ("JournalConsistency", world.auditor.get("journal/consistency?from=1").json()),
        ("CheckpointList", world.auditor.get("journal/checkpoints").json()),
    ):
        validator = Draft202012Validator({"$ref": f"#/components/schemas/{name}", **document})
        assert [error.message for error in validator.iter_errors(body)] == []
        assert set(body) == set(document["components"]["schemas"][name]["properties"])


def test_nobody_writes_through_these_routes(world: World) -> None:
    for path in (LIST, f"{LIST}/evt_01JD0000000000000000000000", "journal/checkpoint", "journal/checkpoints"):
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            assert_problem(world.owner.send(method, path, b"{}"), 405, "method_not_allowed")
