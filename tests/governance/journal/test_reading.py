"""What was recorded can be read again; what was changed, moved or erased since is told apart."""

from __future__ import annotations

import os

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from governance.journal import envelope
from governance.journal.models import JournalEvent, JournalPayload, JournalSubjectKey
from governance.journal.reading import open_data
from kernel.canonical import canonical
from kernel.errors import UnavailableError
from tests.governance.journal.writing import NOW, open_run, propose, write
from tests.support_append_only import guards_lifted
from vault.envelope import seal

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("ready")]
DAMAGE = ["nonce", "ciphertext"]


def assert_damaged(event: JournalEvent) -> None:
    with pytest.raises(UnavailableError) as refused:
        open_data(JournalEvent.objects.get(pk=event.pk))
    assert refused.value.code == "vault.integrity_failed"
    assert refused.value.detail == "Sealed data failed its integrity check."


def set_payload(event: JournalEvent, **changes: object) -> None:
    with guards_lifted():
        JournalPayload.objects.filter(pk=event.pk).update(**changes)


def set_envelope(event: JournalEvent, stored: bytes) -> None:
    with guards_lifted():
        JournalEvent.objects.filter(pk=event.pk).update(envelope=stored)


def stored_fields(event: JournalEvent) -> dict[str, object]:
    return envelope.parse(bytes(event.envelope))


@pytest.mark.parametrize(
    "content",
    [{}, [], "", "ünïcödé \U0001f512", 0, -(2**53) + 1, True, None, {"a": [{"b": "c"}] * 5}, "line\nline\0"],
)
def test_what_was_recorded_is_read_back(content: object) -> None:
    assert open_data(propose(content))["input"] == content


@pytest.mark.parametrize("run", [True, False])
def test_every_field_is_read_back(run: bool) -> None:
    event = write(run=open_run().id if run else None)
    assert open_data(event) == {"state": "completed", "close_code": "done", "reason": ""}


@pytest.mark.parametrize("column", DAMAGE)
def test_one_flipped_bit_anywhere_in_a_payload_is_found(column: str) -> None:
    event = propose("x")
    whole = bytes(getattr(JournalPayload.objects.get(pk=event.pk), column))
    for place in range(len(whole)):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << place % 8
        set_payload(event, **{column: bytes(flipped)})
        assert_damaged(event)
    set_payload(event, **{column: whole})
    assert open_data(event)["input"] == "x"


@pytest.mark.parametrize("column", DAMAGE)
@pytest.mark.parametrize("bad", [b"", b"\0", b"\0" * 11, b"\0" * 200])
def test_bytes_of_a_wrong_length_are_damage_and_no_crash(column: str, bad: bytes) -> None:
    event = propose("x")
    set_payload(event, **{column: bad})
    assert_damaged(event)


@pytest.mark.parametrize(
    "stored",
    [b"", b"{", b"\xff", b"null", b"[]", b"{}", b'{"v":1}', b'{"v":NaN}', b"[" * 5000, b'{"v":1e999}'],
)
def test_an_envelope_that_is_none_is_damage_and_no_crash(stored: bytes) -> None:
    event = write()
    set_envelope(event, stored)
    assert_damaged(event)


@pytest.mark.parametrize(
    "changes", [{"data_digest": "sha256:" + "0" * 64}, {"id": "evt_x"}, {"v": 2}, {"data_digest": None}]
)
def test_an_envelope_that_says_something_else_is_damage(changes: dict[str, object]) -> None:
    event = write()
    set_envelope(event, canonical({**stored_fields(event), **changes}))
    assert_damaged(event)


def test_an_envelope_in_another_spelling_is_damage() -> None:
    event = write()
    set_envelope(event, bytes(event.envelope).replace(b'"v":1', b'"v": 1'))
    assert_damaged(event)


def test_swapped_payloads_of_one_subject_are_refused() -> None:
    one, other = propose("one"), propose("other")
    mine, theirs = (JournalPayload.objects.get(pk=event.pk) for event in (one, other))
    assert mine.key_id == theirs.key_id
    set_payload(one, nonce=theirs.nonce, ciphertext=theirs.ciphertext)
    set_payload(other, nonce=mine.nonce, ciphertext=mine.ciphertext)
    assert_damaged(one)
    assert_damaged(other)


def test_swapped_envelopes_are_refused() -> None:
    one, other = propose("same"), propose("same")
    set_envelope(one, bytes(other.envelope))
    assert_damaged(one)


def test_a_payload_under_the_key_of_another_subject_is_refused() -> None:
    one, other = propose("one", run=open_run().id), propose("other", run=open_run().id)
    set_payload(one, key_id=JournalPayload.objects.get(pk=other.pk).key_id)
    assert_damaged(one)


def test_a_missing_payload_is_damage_and_not_erasure() -> None:
    event = write()
    with guards_lifted():
        JournalPayload.objects.filter(pk=event.pk).delete()
    assert_damaged(event)


@pytest.mark.parametrize("wrapped", [b"", b"\0" * 28, b"\1" * 60])
def test_a_damaged_subject_key_is_damage(wrapped: bytes) -> None:
    event = write()
    JournalSubjectKey.objects.update(wrapped_key=wrapped)
    assert_damaged(event)


def test_a_wrapped_key_moved_to_another_subject_does_not_open() -> None:
    one, other = propose("one", run=open_run().id), propose("other", run=open_run().id)
    keys = [JournalPayload.objects.get(pk=event.pk).key for event in (one, other)]
    JournalSubjectKey.objects.filter(pk=keys[0].pk).update(wrapped_key=keys[1].wrapped_key)
    assert_damaged(one)
    assert open_data(other)["input"] == "other"


def test_a_destroyed_key_reads_as_erased_for_all_its_events_and_only_them() -> None:
    run = open_run().id
    gone, stays = propose("gone", run=run), propose("stays")
    also = propose("also gone", run=run)
    JournalSubjectKey.objects.filter(subject=run).update(wrapped_key=None, destroyed_at=NOW)
    for event in (gone, also):
        assert open_data(event) == {"_erased": True, "at": "2026-03-02T09:30:00.123Z"}
    assert open_data(stays)["input"] == "stays"


def test_after_erasure_the_subject_gets_a_new_key_and_the_old_text_stays_gone() -> None:
    run = open_run().id
    gone = propose("gone", run=run)
    JournalSubjectKey.objects.filter(subject=run).update(wrapped_key=None, destroyed_at=NOW)
    assert open_data(propose("new", run=run))["input"] == "new"
    assert open_data(gone)["_erased"] is True


def test_a_ciphertext_made_by_somebody_else_does_not_pass() -> None:
    event = propose("x")
    forged = seal(b'{"data":{"input":"y"},"salt":""}', key=os.urandom(32), context=b"")
    set_payload(event, nonce=forged.nonce, ciphertext=forged.ciphertext)
    assert_damaged(event)


def test_reading_writes_nothing() -> None:
    event = write()
    with CaptureQueriesContext(connection) as queries:
        open_data(event)
    assert queries.captured_queries
    assert all(query["sql"].startswith("SELECT") for query in queries.captured_queries)
