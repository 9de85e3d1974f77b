"""Appending: what the envelope says, whose key encrypts, how runs number it, and at what cost."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from governance.journal import envelope
from governance.journal.ledger import record
from governance.journal.models import (
    Instance,
    JournalEvent,
    JournalPayload,
    JournalPending,
    JournalSubjectKey,
)
from kernel.canonical import digest
from kernel.clock import exact_time
from kernel.ids import is_id
from kernel.record import Actor, RequestMarks, marked, system_actor
from tests.governance.journal.writing import AGENT, CALL, NOW, PERSON, open_run, write

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("ready")]
DECIDED: dict[str, Any] = {
    "effect": "allow",
    "reason_code": "policy.allowed",
    "final": True,
    "gates": [],
    "policy_set": "sha256:1",
    "determining_policies": [],
    "approval": None,
}
CLOSED: dict[str, object] = {"state": "completed", "close_code": "done", "reason": ""}
REFUSED: dict[str, object] = {"network": "192.0.2.0/24", "reason": "refused", "count": 1}
ROWS = (JournalEvent, JournalPayload, JournalPending)


def fields_of(event: JournalEvent) -> dict[str, Any]:
    return envelope.parse(bytes(event.envelope))


def counts() -> list[int]:
    return [model._default_manager.count() for model in ROWS]


def subject_of(event: JournalEvent) -> str:
    return JournalPayload.objects.select_related("key").get(event=event).key.subject


def test_an_event_is_one_envelope_one_payload_and_one_place_in_the_queue() -> None:
    event = write()
    assert counts() == [1, 1, 1]
    assert is_id("evt", event.id)
    assert JournalPending.objects.get().event_id == event.id


def test_the_envelope_says_who_what_and_when_and_the_columns_repeat_it() -> None:
    run = open_run()
    event = write(run=run.id, call=CALL, subject="apr_1")
    said = fields_of(event)
    assert said == {
        "v": 1,
        "id": event.id,
        "type": "run.closed",
        "time": "2026-03-02T09:30:00.123456Z",
        "instance": Instance.objects.get().id,
        "actor": {"kind": "agent", "id": AGENT.id, "auth": "token", "surface": "api"},
        "subject": "apr_1",
        "run": run.id,
        "run_seq": 1,
        "call": CALL,
        "policy_set": None,
        "cause": None,
        "request_id": None,
        "trace_id": None,
        "schema": "run.closed/1",
        "data_digest": said["data_digest"],
        "redactions": 0,
    }
    columns = (event.type, exact_time(event.time), event.actor, event.subject, event.run_id, event.run_seq)
    assert columns == (said["type"], said["time"], AGENT.id, "apr_1", run.id, 1)
    assert event.call_id == CALL


def test_an_event_names_the_request_the_trace_and_the_rules() -> None:
    with marked(RequestMarks("job-17", "4bf92f3577b34da6a3ce929d0e0e4736")):
        inside = fields_of(write("tool_call.decided", **DECIDED))
    assert (inside["request_id"], inside["trace_id"]) == ("job-17", "4bf92f3577b34da6a3ce929d0e0e4736")
    assert inside["policy_set"] == "sha256:1"
    assert fields_of(write())["request_id"] is None


def test_a_request_that_is_called_like_a_secret_is_not_named() -> None:
    with marked(RequestMarks("ghp_" + "a1B2" * 9)):
        assert fields_of(write())["request_id"] is None


def test_all_events_name_the_same_instance() -> None:
    assert len({fields_of(write())["instance"] for _ in range(3)}) == 1
    assert Instance.objects.count() == 1


def test_equal_data_has_different_digests_because_of_the_salt() -> None:
    one, other = fields_of(write()), fields_of(write())
    assert one["data_digest"] != other["data_digest"]
    assert digest({"data": CLOSED}) not in (one["data_digest"], other["data_digest"])


def test_numbers_rise_within_a_run_and_are_absent_without_one() -> None:
    run, other = open_run(), open_run()
    assert [write(run=run.id).run_seq for _ in range(3)] == [1, 2, 3]
    assert write(run=other.id).run_seq == 1
    assert write().run_seq is None
    assert write(run=run.id).run_seq == 4


def test_a_clock_that_steps_back_changes_no_number() -> None:
    run = open_run()
    assert write(run=run.id).run_seq == 1
    earlier = write(run=run.id, now=NOW - timedelta(days=1))
    assert earlier.run_seq == 2
    assert fields_of(earlier)["time"] == "2026-03-01T09:30:00.123456Z"


def test_the_cost_does_not_grow_with_the_number_of_events() -> None:
    run = open_run()
    write(run=run.id)
    with CaptureQueriesContext(connection) as few:
        write(run=run.id)
    for number in range(300):
        write(run=run.id if number % 2 else None)
    with CaptureQueriesContext(connection) as many:
        write(run=run.id)
    statements = [query["sql"] for query in many.captured_queries]
    assert len(statements) == len(few.captured_queries)
    reads = [sql for sql in statements if sql.startswith("SELECT") and "journalevent" in sql]
    assert all(re.search(r'WHERE "governance_journalevent"."id" =', sql) for sql in reads)
    assert not [sql for sql in statements if re.search(r"\b(COUNT|MAX|SUM)\(", sql)]


RUN_KEY = "run"


@pytest.mark.parametrize(
    ("event", "data", "actor", "subject", "in_run", "expected"),
    [
        ("run.closed", CLOSED, AGENT, CALL, True, RUN_KEY),
        ("run.closed", CLOSED, AGENT, CALL, False, AGENT.id),
        ("request.refused", {"code": "role_required"}, PERSON, "anything", False, PERSON.id),
        ("agent.suspended", {"reason": "r"}, PERSON, AGENT.id, False, AGENT.id),
        ("login.failed", REFUSED, system_actor("console"), PERSON.id, False, PERSON.id),
        ("login.failed", REFUSED, system_actor("console"), "anonymous", False, "system"),
        ("execution.lost", {"worker_id": "w"}, system_actor("sweeper"), "exe_1", False, "system"),
        ("policy.superseded", {"version": 1, "hash": "h", "domain": "d"}, PERSON, "pol_1", False, "system"),
        (
            "journal.key_rotated",
            {"purpose": "p", "key_id": "k", "previous": None},
            AGENT,
            "k",
            True,
            "system",
        ),
        ("publisher.trusted", {"name": "n", "state": "s"}, PERSON, "pub_1", False, "system"),
        (
            "membership.granted",
            {"user": "u", "team": None, "workspace": "w", "role": "r"},
            PERSON,
            "mbr_1",
            False,
            "system",
        ),
        ("system.bootstrapped", {"owner": "o", "agent": "a", "workspace": "w"}, PERSON, "s", False, "system"),
    ],
)
def test_whose_key_encrypts(
    event: str, data: dict[str, object], actor: Actor, subject: str, in_run: bool, expected: str
) -> None:
    run = open_run().id if in_run else None
    with transaction.atomic():
        written = record(event=event, actor=actor, subject=subject, now=NOW, data=data, run=run)
    found = subject_of(JournalEvent.objects.get(id=written))
    assert found == (run if expected == RUN_KEY else expected)


def test_a_subject_has_one_key_and_each_run_its_own() -> None:
    run, other = open_run().id, open_run().id
    for _ in range(3):
        write(run=run)
        write(run=other)
    assert JournalSubjectKey.objects.filter(subject=run).count() == 1
    keys = [bytes(row.wrapped_key or b"") for row in JournalSubjectKey.objects.all()]
    assert len(set(keys)) == len(keys) == 2


MANY = """
INSERT INTO governance_journalevent (id, envelope, type, time, actor, subject)
WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 100000)
SELECT 'evt_' || n, template.envelope, template.type, template.time, template.actor, template.subject
FROM numbers CROSS JOIN governance_journalevent template WHERE template.id = %s
"""


def test_event_100_001_is_accepted_like_the_first() -> None:
    first = write()
    with connection.cursor() as cursor:
        cursor.execute(MANY, [first.pk])
    last = write()
    assert JournalEvent.objects.count() == 100_002
    assert JournalPending.objects.filter(event=last).exists()
