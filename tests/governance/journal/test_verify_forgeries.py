"""Whatever is forged beside the events of a sealed journal is found: triggers, keys, attestations, holes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.db import connection

from governance.journal.guards import GUARDED
from governance.journal.models import (
    Attestation,
    JournalArchive,
    JournalEvent,
    JournalKey,
    JournalLeaf,
    JournalPayload,
    JournalPending,
    JournalSubjectKey,
)
from governance.models import Run
from kernel.ids import new_id
from sandbox.attestation import build, seal as seal_statement
from tests.governance.journal.attesting import denied
from tests.governance.journal.sealed_log import BATCH, MIDDLE, SEQ, Log, log as log, sealed as sealed
from tests.governance.journal.tampering import (
    found_after,
    remove,
    remove_event,
    report_after,
    set_columns,
)
from tests.governance.journal.writing import AGENT, NOW

Found = set[tuple[str, int | None]]


def test_a_trigger_that_is_missing(log: Log) -> None:
    def tamper() -> None:
        with connection.cursor() as cursor:
            if connection.vendor == "postgresql":
                cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
            cursor.execute(GUARDED[3].drop(connection.vendor)[0])

    assert found_after(tamper) == {("trigger_missing", None)}


def test_a_key_that_was_replaced(log: Log) -> None:
    public = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    rows = JournalKey.objects.filter(purpose="checkpoint")
    found = found_after(lambda: rows.update(public_key=public))
    assert {("key_unknown", None), ("key_unknown", MIDDLE), ("key_unknown", log.size - 1)} <= found
    assert {code for code, _ in found} == {"key_unknown"}


@pytest.mark.parametrize(
    "change",
    [
        {"outcome": "succeeded"}, {"executor": "builtin"}, {"timed_out": True},
        {"execution_sha256": "0" * 64}, {"call_id": "call_other"}, {"envelope_sha256": "0" * 64},
        {"sandbox_enforcement": "strict"}, {"executed_at": NOW + timedelta(seconds=1)},
    ],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_a_changed_column_of_an_attestation(log: Log, change: dict[str, object]) -> None:
    found = found_after(lambda: set_columns(Attestation, log.attestation, **change))
    assert found == {("attestation_invalid", log.recorded)}


def test_an_attestation_that_is_gone_and_one_that_nobody_recorded(log: Log) -> None:
    row = Attestation.objects.get(pk=log.attestation)
    gone = found_after(lambda: remove(Attestation.objects.filter(pk=row.pk)))
    assert gone == {("attestation_invalid", log.recorded)}
    row.pk, row.call_id = new_id("att", NOW), "call_other"
    assert found_after(lambda: row.save(force_insert=True)) == {("attestation_invalid", None)}


@dataclass(frozen=True)
class Forger:
    """An attacker's own key under the id of the one in use."""

    key_id: str
    private: Ed25519PrivateKey

    def sign(self, data: bytes, /) -> bytes:
        return self.private.sign(data)


def test_a_forged_attestation(log: Log) -> None:
    row = Attestation.objects.get(pk=log.attestation)
    statement = build(denied(run=log.run, call=row.call_id))
    text = seal_statement(statement, Forger(row.key_id, Ed25519PrivateKey.generate()))
    found = found_after(
        lambda: set_columns(
            Attestation, row.pk, envelope=text, envelope_sha256=sha256(text.encode()).hexdigest()
        )
    )
    assert found == {("attestation_invalid", log.recorded)}


def test_an_event_that_was_never_sealed_leaves_a_hole_in_its_run(log: Log) -> None:
    waiting = list(JournalPending.objects.order_by("n").values_list("event_id", flat=True))

    def tamper(event: str) -> None:
        JournalPending.objects.filter(event_id=event).delete()
        remove(JournalPayload.objects.filter(pk=event))
        remove(JournalEvent.objects.filter(pk=event))

    assert found_after(lambda: tamper(waiting[0])) == {("run_gap", None)}
    assert found_after(lambda: tamper(waiting[1])) == {("run_gap", None)}


def test_a_hole_in_a_run_is_not_hidden_by_a_row_of_an_archive(log: Log) -> None:
    waiting = JournalPending.objects.order_by("-n")[0].event_id

    def tamper() -> None:
        JournalArchive.objects.create(
            first_seq=0, end_seq=1 << 40, uri="file:///dev/zero", sha256="0" * 64, bytes=0,
            verified_at=NOW, removed_at=NOW, event=log.after,
        )  # fmt: skip
        JournalPending.objects.filter(event_id=waiting).delete()
        remove(JournalPayload.objects.filter(pk=waiting))
        remove(JournalEvent.objects.filter(pk=waiting))

    assert found_after(tamper) == {("run_gap", None)}


def test_an_archive_that_has_no_end_is_not_read(log: Log) -> None:
    def tamper() -> None:
        JournalArchive.objects.create(
            first_seq=256, end_seq=512, uri="file:///dev/zero", sha256="0" * 64, bytes=1 << 40,
            verified_at=NOW, event=log.after,
        )  # fmt: skip
        remove_event(log.event)

    assert ("archive_unproven", SEQ) in found_after(tamper)


def test_a_run_that_counts_more_or_less_than_it_has(log: Log) -> None:
    counted = Run.objects.get(pk=log.run).event_seq
    for number in (counted - 1, counted + 1):
        found = found_after(lambda number=number: Run.objects.filter(pk=log.run).update(event_seq=number))  # type: ignore[misc]  # bound now
        assert found == {("run_gap", None)}


def test_a_trigger_of_the_right_name_that_does_nothing(log: Log) -> None:
    guard = GUARDED[3]
    name = guard.names(connection.vendor)[0]

    def tamper() -> None:
        with connection.cursor() as cursor:
            if connection.vendor == "postgresql":
                cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
                cursor.execute(guard.drop(connection.vendor)[0])
                cursor.execute(
                    f'CREATE TRIGGER "{name}" BEFORE UPDATE ON "{guard.table}" FOR EACH ROW'
                    " EXECUTE FUNCTION suppress_redundant_updates_trigger()"
                )
                return
            cursor.execute(guard.drop(connection.vendor)[0])
            cursor.execute(
                f'CREATE TRIGGER "{name}" BEFORE UPDATE ON "{guard.table}" WHEN 0 BEGIN SELECT 1; END'
            )

    assert found_after(tamper) == {("trigger_missing", None)}


def test_a_policy_event_that_is_hidden_under_a_destroyed_key(log: Log) -> None:
    """The erasure is a real one, and the key was that of the event's actor."""
    leaf = JournalLeaf.objects.get(seq=0)

    def tamper() -> None:
        kek = JournalSubjectKey.objects.get(subject="system").kek_id
        set_columns(JournalEvent, log.after, type="journal.subject_erased", subject=AGENT.id)
        JournalSubjectKey.objects.create(
            id="jsk_actor", subject=AGENT.id, wrapped_key=None, kek_id=kek, created_at=NOW,
            destroyed_at=NOW, destroyed_event=log.after,
        )  # fmt: skip
        set_columns(JournalPayload, leaf.event_id, key_id="jsk_actor")

    assert ("payload_mismatch", 0) in found_after(tamper)


def test_an_event_that_was_written_under_a_key_long_destroyed(log: Log) -> None:
    def tamper() -> None:
        set_columns(JournalEvent, log.after, type="journal.subject_erased", subject=log.run)
        JournalSubjectKey.objects.filter(subject=log.run).update(
            wrapped_key=None, destroyed_at=NOW - timedelta(hours=2), destroyed_event=log.after
        )

    assert report_after(tamper).counts["payload_mismatch"] > BATCH
