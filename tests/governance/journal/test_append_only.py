"""Nothing in a guarded table changes, whichever way somebody tries, on both databases."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from django.core.checks import Error, run_checks
from django.db import DatabaseError, connection, models, transaction

from approvals.guards import REVIEWS as APPROVAL_REVIEWS
from approvals.models import Review
from governance.journal.guards import GUARDED
from governance.journal.models import (
    Attestation,
    JournalArchive,
    JournalCheckpoint,
    JournalCosignature,
    JournalEvent,
    JournalLeaf,
    JournalPayload,
    JournalPending,
    JournalTile,
)
from governance.journal.sealing import seal
from kernel.append_only import AppendOnly, missing
from tests.approvals.asking import answer, ask
from tests.cast import make_cast
from tests.governance.journal.attesting import attest
from tests.governance.journal.writing import NOW, open_run, write

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("ready")]
on_sqlite = pytest.mark.skipif("connection.vendor != 'sqlite'", reason="a statement of SQLite")
on_postgresql = pytest.mark.skipif("connection.vendor != 'postgresql'", reason="a statement of PostgreSQL")


@dataclass(frozen=True)
class Guarded:
    """A guarded table: the field to attack with a value that would fit, and how to fill the table."""

    model: type[models.Model]
    field: str
    value: object
    fill: Callable[[], object]

    @property
    def table(self) -> str:
        return self.model._meta.db_table

    @property
    def key(self) -> str:
        key = self.model._meta.pk
        assert key is not None
        return str(key.column)

    def rows(self) -> models.QuerySet[models.Model]:
        return self.model._base_manager.all()

    def content(self) -> list[dict[str, object]]:
        return [{name: _exact(value) for name, value in row.items()} for row in self.rows().values()]


def _exact(value: object) -> object:
    return bytes(value) if isinstance(value, memoryview) else value


def _review() -> None:
    cast = make_cast()
    answer(cast, cast.approver, ask(cast))


def _seal() -> JournalCheckpoint:
    write()
    checkpoint = seal(now=NOW)
    assert checkpoint is not None
    return checkpoint


def _cosign() -> None:
    JournalCosignature.objects.create(checkpoint=_seal(), witness="witness.example", line="\u2014 line\n")


def _fill_tile() -> None:
    JournalTile.objects.create(level=0, index=0, hashes=bytes(8192), root=bytes(32))


EVENTS = Guarded(JournalEvent, "type", "run.opened", lambda: write(run=open_run().id))
PAYLOADS = Guarded(JournalPayload, "nonce", b"0" * 12, write)
ATTESTATIONS = Guarded(Attestation, "outcome", "succeeded", lambda: attest(run=open_run().id))
REVIEWS = Guarded(Review, "verdict", "deny", _review)
LEAVES = Guarded(JournalLeaf, "leaf_hash", b"0" * 32, _seal)
TILES = Guarded(JournalTile, "root", b"0" * 32, _fill_tile)
CHECKPOINTS = Guarded(JournalCheckpoint, "root", b"0" * 32, _seal)
COSIGNATURES = Guarded(JournalCosignature, "line", "another", _cosign)
TABLES = (EVENTS, PAYLOADS, ATTESTATIONS, REVIEWS, LEAVES, TILES, CHECKPOINTS, COSIGNATURES)
ROWID_IS_KEY = (REVIEWS, TILES, COSIGNATURES)
every_table = pytest.mark.parametrize("guarded", TABLES, ids=lambda guarded: guarded.table)


def assert_refused(guarded: Guarded, attack: Callable[[], object]) -> None:
    guarded.fill()
    before = guarded.content()
    assert before
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
        attack()
    assert guarded.content() == before


def run_sql(statement: str, **names: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement.format(**names))


@every_table
def test_a_queryset_cannot_update(guarded: Guarded) -> None:
    assert_refused(guarded, lambda: guarded.rows().update(**{guarded.field: guarded.value}))


@every_table
def test_bulk_update_cannot_change_a_row(guarded: Guarded) -> None:
    def attack() -> None:
        row = guarded.rows()[0]
        setattr(row, guarded.field, guarded.value)
        guarded.rows().bulk_update([row], [guarded.field])

    assert_refused(guarded, attack)


@every_table
def test_a_loaded_row_cannot_be_saved_again(guarded: Guarded) -> None:
    def attack() -> None:
        guarded.rows()[0].save()

    assert_refused(guarded, attack)


@every_table
def test_an_insert_that_updates_on_conflict_is_refused(guarded: Guarded) -> None:
    def attack() -> None:
        row = guarded.rows()[0]
        setattr(row, guarded.field, guarded.value)
        guarded.model._base_manager.bulk_create(
            [row], update_conflicts=True, unique_fields=["pk"], update_fields=[guarded.field]
        )

    assert_refused(guarded, attack)


@every_table
def test_a_queryset_cannot_delete(guarded: Guarded) -> None:
    assert_refused(guarded, lambda: guarded.rows()._raw_delete("default"))


@every_table
def test_delete_of_the_manager_is_refused(guarded: Guarded) -> None:
    guarded.fill()
    before = guarded.content()
    with pytest.raises(DatabaseError), transaction.atomic():
        guarded.rows().delete()
    assert guarded.content() == before


@every_table
def test_raw_update_is_refused(guarded: Guarded) -> None:
    statement = 'UPDATE "{table}" SET "{key}" = "{key}"'
    assert_refused(guarded, lambda: run_sql(statement, table=guarded.table, key=guarded.key))


@every_table
def test_raw_delete_is_refused(guarded: Guarded) -> None:
    assert_refused(guarded, lambda: run_sql('DELETE FROM "{table}"', table=guarded.table))


@on_postgresql
@every_table
def test_truncate_is_refused(guarded: Guarded) -> None:
    # Deferred foreign keys of the fresh row would refuse the statement before the guard does.
    statement = 'SET CONSTRAINTS ALL IMMEDIATE; TRUNCATE "{table}" CASCADE'
    assert_refused(guarded, lambda: run_sql(statement, table=guarded.table))


@on_sqlite
@every_table
@pytest.mark.parametrize("verb", ["INSERT OR REPLACE", "REPLACE", "INSERT OR IGNORE"])
def test_an_insert_that_replaces_is_refused(guarded: Guarded, verb: str) -> None:
    statement = '{verb} INTO "{table}" SELECT * FROM "{table}"'
    assert_refused(guarded, lambda: run_sql(statement, verb=verb, table=guarded.table))


@on_sqlite
@pytest.mark.parametrize(
    ("guarded", "fresh"),
    [
        (EVENTS, {"id": "'evt_x'"}),
        (ATTESTATIONS, {"id": "'att_x'"}),
        (REVIEWS, {"id": "99"}),
        (EVENTS, {"id": "'evt_x'", "run_seq": "77"}),
        (PAYLOADS, {"event_id": "'evt_x'"}),
        (ATTESTATIONS, {"id": "'att_x'", "call_id": "'call_x'"}),
        (LEAVES, {"seq": "99"}),
        (LEAVES, {"seq": "99", "event_id": "'evt_x'"}),
        (TILES, {"id": "99"}),
        (CHECKPOINTS, {"tree_size": "99"}),
        (COSIGNATURES, {"id": "99"}),
    ],
    ids=[
        "run_seq",
        "call",
        "reviewer",
        "event rowid",
        "payload rowid",
        "attestation rowid",
        "leaf event",
        "leaf rowid",
        "tile place",
        "checkpoint rowid",
        "cosignature witness",
    ],
)
def test_replacing_by_another_unique_key_or_the_rowid_is_refused(
    guarded: Guarded, fresh: dict[str, str]
) -> None:
    """A row with a new primary key still replaces one that shares another unique key or its rowid."""
    columns = [str(field.column) for field in guarded.model._meta.concrete_fields]
    given = ", ".join(fresh.get(column, f'"{column}"') for column in columns)
    names = ", ".join(f'"{column}"' for column in columns)
    rowid = "" if guarded in ROWID_IS_KEY else "rowid, "
    statement = 'INSERT OR REPLACE INTO "{table}" ({into}) SELECT {values} FROM "{table}" LIMIT 1'
    parts = {"table": guarded.table, "into": rowid + names, "values": rowid + given}
    assert_refused(guarded, lambda: run_sql(statement, **parts))


@on_sqlite
def test_ordinary_inserts_go_on_after_a_refused_one() -> None:
    assert_refused(EVENTS, lambda: run_sql('DELETE FROM "governance_journalevent"'))
    write()
    assert JournalEvent.objects.count() == 2


def test_only_what_lies_in_a_verified_archive_may_go() -> None:
    """The rows of one leaf, and those alone; leaf and checkpoint stay whatever an archive holds."""
    _seal()
    archived, kept, *_ = JournalLeaf.objects.order_by("seq")
    unsealed = write().pk
    archive = JournalArchive.objects.create(
        first_seq=archived.seq, end_seq=kept.seq, uri="x", sha256="0" * 64, bytes=1, event="evt_x"
    )
    JournalPending.objects.all().delete()
    for verified in (False, True):
        archive.verified_at = NOW if verified else None
        archive.save()
        for event_id, may_go in ((archived.event_id, verified), (kept.event_id, False), (unsealed, False)):
            assert _goes(event_id) is may_go, (event_id, verified)
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
        run_sql("DELETE FROM governance_journalleaf")
    assert JournalLeaf.objects.filter(seq=archived.seq).exists()


def test_what_lies_in_an_archive_is_not_changed_either() -> None:
    _seal()
    JournalArchive.objects.create(
        first_seq=0, end_seq=9, uri="x", sha256="0" * 64, bytes=1, event="evt_x", verified_at=NOW
    )
    for guarded in (EVENTS, PAYLOADS):
        for row in guarded.rows():
            with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
                guarded.rows().filter(pk=row.pk).update(**{guarded.field: guarded.value})


def _goes(event_id: str) -> bool:
    """Delete the payload, then the event, and tell whether both went; neither goes alone."""
    went = []
    for model, column in ((JournalPayload, "event_id"), (JournalEvent, "id")):
        try:
            with transaction.atomic():
                model._base_manager.filter(**{column: event_id})._raw_delete("default")
            went.append(True)
        except DatabaseError:
            went.append(False)
    assert went[0] is went[1]
    return went[0]


def test_the_check_is_silent_while_every_trigger_exists() -> None:
    assert _findings() == []


@pytest.mark.parametrize("guard", GUARDED, ids=lambda guard: guard.table)
def test_the_check_names_each_missing_trigger(guard: AppendOnly) -> None:
    for name in guard.names(connection.vendor):
        with transaction.atomic():
            _drop(name, guard.table)
            assert [finding.msg for finding in _findings()] == [f"the trigger {name} is missing"]
            transaction.set_rollback(True)
        assert _findings() == []


def test_of_an_answer_only_words_and_place_can_be_emptied() -> None:
    """An erasure takes what a person wrote; nobody can write anything else there instead."""
    _review()
    changes: list[dict[str, Any]] = [{"comment": "other"}, {"comment": "", "verdict": "deny"}, {"roles": []}]
    for change in changes:
        with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
            Review.objects.update(**change)
    before = Review.objects.values().get()
    Review.objects.update(ip_digest="", comment="")
    assert Review.objects.values().get() == {**before, "ip_digest": "", "comment": ""}
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
        Review.objects.update(ip_digest="put back")


def test_the_guard_of_answers_knows_every_column() -> None:
    named = {*APPROVAL_REVIEWS.others, *(column for column, _ in APPROVAL_REVIEWS.erasable)}
    assert named == {field.column for field in Review._meta.concrete_fields}


@on_postgresql
def test_a_trigger_that_is_switched_off_counts_as_missing() -> None:
    guard = GUARDED[0]
    with transaction.atomic():
        run_sql('ALTER TABLE "{table}" DISABLE TRIGGER USER', table=guard.table)
        assert set(missing(connection, GUARDED)) == set(guard.names("postgresql"))
        transaction.set_rollback(True)


def test_dropping_and_creating_again_leaves_the_table_guarded() -> None:
    guard = GUARDED[0]
    with transaction.atomic():
        for statement in (*guard.drop(connection.vendor), *guard.create(connection.vendor)):
            run_sql(statement)
    assert missing(connection, GUARDED) == ()
    assert_refused(EVENTS, lambda: run_sql('DELETE FROM "governance_journalevent"'))


def _findings() -> list[Error]:
    found = run_checks(databases=["default"])
    return [item for item in found if isinstance(item, Error) and item.id == "journal.E001"]


def _drop(trigger: str, table: str) -> None:
    on = f' ON "{table}"' if connection.vendor == "postgresql" else ""
    run_sql(f'DROP TRIGGER "{trigger}"{on}')
