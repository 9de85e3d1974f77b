"""What of an event can be read, by whom, and what shows when somebody changed it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import connection
from django.db.models import Model

from governance.journal.envelope import parse
from governance.journal.ledger import record
from governance.journal.models import JournalEvent, JournalPayload, JournalPending, JournalSubjectKey
from governance.journal.reading import open_data
from kernel.record import system_actor
from tests.governance.journal.writing import NOW, PERSON, open_run, propose, write
from tests.support_append_only import guards_lifted
from vault.envelope import IntegrityError

pytestmark = pytest.mark.usefixtures("ready")
PLAIN = "a sentence nobody else may read"


@pytest.fixture
def lifted(ready: None) -> Iterator[None]:
    """Let the test change rows as somebody with the database's password could."""
    with guards_lifted():
        yield


def stored_bytes() -> bytes:
    """Return every value of the journal's tables, end to end."""
    tables: tuple[type[Model], ...] = (JournalEvent, JournalPayload, JournalSubjectKey, JournalPending)
    found = [value for table in tables for row in table._default_manager.values_list() for value in row]
    return b"\0".join(bytes(v) if isinstance(v, (bytes, memoryview)) else str(v).encode() for v in found)


def test_a_payload_opens_as_it_was_recorded() -> None:
    event = propose({"text": PLAIN, "n": 812})
    assert open_data(event) == {"tool": "echo", "input": {"text": PLAIN, "n": 812}, "input_bytes": 1}


def test_no_plain_text_is_in_the_database() -> None:
    propose({"text": PLAIN})
    found = stored_bytes()
    assert PLAIN.encode() not in found
    assert b"echo" not in found
    assert b"tool_call.proposed" in found


def test_secrets_are_gone_before_encryption_and_counted() -> None:
    event = propose({"password": "hunter2", "usage": {"prompt_tokens": 812}})
    assert open_data(event)["input"] == {"password": {"_redacted": "key"}, "usage": {"prompt_tokens": 812}}
    assert parse(bytes(event.envelope))["redactions"] == 1


def test_equal_data_gets_different_digests_and_ciphertexts() -> None:
    one, other = propose("yes"), propose("yes")
    assert parse(bytes(one.envelope))["data_digest"] != parse(bytes(other.envelope))["data_digest"]
    assert bytes(one.payload.ciphertext) != bytes(other.payload.ciphertext)


@pytest.mark.parametrize(
    "value", ["x" * 10_485_760, {f"k{n}": n for n in range(10_000)}, 2**60, "a\ud800b\0", float("nan")]
)
def test_input_of_any_size_and_kind_is_recorded(value: object) -> None:
    event = propose(value)
    assert "input" in open_data(event)
    assert len(bytes(event.payload.ciphertext)) <= 96 * 1024
    assert len(bytes(event.envelope)) <= 4096


def test_the_columns_copy_the_envelope() -> None:
    run = open_run()
    event = write(run=run.id, call="call_1", subject="call_1", actor=PERSON)
    fields = parse(bytes(event.envelope))
    assert fields["actor"] == {"kind": "user", "id": PERSON.id, "auth": "session", "surface": "console"}
    assert (fields["id"], fields["type"], fields["subject"]) == (event.id, event.type, event.subject)
    assert (fields["run"], fields["run_seq"], fields["call"]) == (event.run_id, event.run_seq, event.call_id)
    assert (event.actor, event.time, fields["time"]) == (PERSON.id, NOW, "2026-03-02T09:30:00.123456Z")
    assert JournalPending.objects.filter(event=event).count() == 1


def test_every_event_names_the_same_installation() -> None:
    named = {parse(bytes(write().envelope))["instance"] for _ in range(3)}
    assert len(named) == 1
    assert str(named.pop()).startswith("ins_")


def test_a_run_numbers_its_events_without_gaps() -> None:
    run, other = open_run(), open_run()
    for one in (run, other, run):
        write(run=one.id)
    write()
    assert list(JournalEvent.objects.filter(run_id=run.id).values_list("run_seq", flat=True)) == [1, 2]
    assert list(JournalEvent.objects.filter(run_id=other.id).values_list("run_seq", flat=True)) == [1]
    assert JournalEvent.objects.get(run_id=None).run_seq is None


def subject_of(event: JournalEvent) -> str:
    return event.payload.key.subject


def test_each_payload_lies_under_the_key_of_whom_it_concerns() -> None:
    run = open_run()
    shell = system_actor("shell")
    rotated = write("journal.key_rotated", actor=PERSON, purpose="attestation", key_id="k")
    enrolled = write("factor.enrolled", subject=PERSON.id, actor=shell, kind="totp")
    assert subject_of(write(run=run.id)) == run.id
    assert subject_of(enrolled) == PERSON.id
    assert subject_of(write(actor=PERSON, subject="tok_1")) == PERSON.id
    assert subject_of(rotated) == "system"
    assert subject_of(write(actor=system_actor("sweeper"), subject="x")) == "system"


def test_one_subject_has_one_key() -> None:
    keys = {write(actor=PERSON, subject="tok_1").payload.key_id for _ in range(3)}
    assert len(keys) == 1


@pytest.mark.usefixtures("lifted")
def test_a_changed_ciphertext_does_not_open() -> None:
    event = propose(PLAIN)
    changed = bytearray(bytes(event.payload.ciphertext))
    changed[0] ^= 1
    JournalPayload.objects.filter(event=event).update(ciphertext=bytes(changed))
    with pytest.raises(IntegrityError):
        open_data(event)


@pytest.mark.usefixtures("lifted")
def test_payloads_of_two_events_cannot_be_exchanged() -> None:
    one, other = propose("one"), propose("other")
    taken = JournalPayload.objects.get(event=other)
    JournalPayload.objects.filter(event=one).update(nonce=taken.nonce, ciphertext=taken.ciphertext)
    with pytest.raises(IntegrityError):
        open_data(one)


@pytest.mark.usefixtures("lifted")
def test_a_payload_under_another_envelope_does_not_pass() -> None:
    event = propose(PLAIN)
    fields = parse(bytes(event.envelope))
    forged = bytes(event.envelope).replace(str(fields["data_digest"]).encode(), b"sha256:" + b"0" * 64)
    JournalEvent.objects.filter(id=event.id).update(envelope=forged)
    with pytest.raises(IntegrityError):
        open_data(JournalEvent.objects.get(id=event.id))


@pytest.mark.usefixtures("lifted")
def test_a_payload_that_is_gone_is_no_erasure() -> None:
    event = propose(PLAIN)
    JournalPayload.objects.filter(event=event).delete()
    with pytest.raises(IntegrityError):
        open_data(event)


def test_a_destroyed_key_erases_the_payload_and_nothing_else() -> None:
    run = open_run()
    event, other = propose(PLAIN, run=run.id), propose(PLAIN)
    JournalSubjectKey.objects.filter(subject=run.id).update(wrapped_key=None, destroyed_at=NOW)
    assert open_data(event) == {"_erased": True, "at": "2026-03-02T09:30:00.123Z"}
    assert open_data(other)["input"] == PLAIN
    propose(PLAIN, run=run.id)
    assert JournalSubjectKey.objects.filter(subject=run.id).count() == 2


def test_an_append_reads_nothing_of_earlier_events() -> None:
    statements()
    first = statements()
    for _ in range(100):
        write(actor=PERSON, subject="x")
    assert statements() == first
    assert not [sql for sql in first if sql.startswith("SELECT") and "journalevent" in sql]


def statements() -> list[str]:
    with connection.execute_wrapper(seen := _Seen()):
        record(event="run.closed", actor=PERSON, subject="x", now=NOW, data={"state": "a", "close_code": "b"})
    return seen.statements


class _Seen:
    def __init__(self) -> None:
        self.statements: list[str] = []

    def __call__(self, execute, sql, params, many, context):  # type: ignore[no-untyped-def]  # Django's form
        self.statements.append(sql)
        return execute(sql, params, many, context)
