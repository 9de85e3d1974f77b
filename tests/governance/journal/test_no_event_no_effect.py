"""The journal and the effect it records stand or fall together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from django.db import DatabaseError, connection, transaction
from django.db.models import Model
from pytest_django.fixtures import Settings

from governance.journal import ledger
from governance.journal.models import (
    Instance,
    JournalEvent,
    JournalPayload,
    JournalPending,
    JournalSubjectKey,
)
from governance.models import Run
from kernel.errors import UnavailableError
from tests.governance.journal.writing import AGENT, NOW, open_run

TABLES = (JournalEvent, JournalPayload, JournalPending, JournalSubjectKey)
CLOSED = {"state": "completed", "close_code": "done", "reason": ""}


def append(run: str | None = None, *, event: str = "run.closed", data: object = None, **envelope: str) -> str:
    fields = CLOSED if data is None else data
    assert isinstance(fields, dict)
    return ledger.record(
        event=event, actor=AGENT, subject=envelope.get("subject", "x"), now=NOW, data=fields, run=run
    )


def journal_rows() -> int:
    return sum(table._default_manager.count() for table in (*TABLES, Instance))


def effect_and(event: Callable[[str], object], expected: type[Exception]) -> Exception:
    """Open a run, let its event fail, swallow the failure, and go on as if nothing had happened."""
    caught: list[Exception] = []
    with transaction.atomic():
        run = open_run()
        try:
            event(run.id)
        except expected as error:
            caught.append(error)
    return caught[0]


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[type[Model]], None]:
    """Make the database refuse the next insert into a table."""

    def prepare(table: type[Model]) -> None:
        def refuse(*_: object, **__: object) -> None:
            raise DatabaseError("disk full")

        monkeypatch.setattr(table, "save", refuse)

    return prepare


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.__name__)
@pytest.mark.usefixtures("ready")
def test_an_insert_that_fails_undoes_the_effect(
    table: type[Model], failing: Callable[[type[Model]], None]
) -> None:
    failing(table)
    error = effect_and(append, UnavailableError)
    assert isinstance(error, UnavailableError)
    assert (error.code, error.status) == ("journal_unavailable", 503)
    assert not Run.objects.exists()
    assert journal_rows() == 0


@pytest.mark.parametrize(
    ("attempt", "error"),
    [
        (lambda run: append(run, event="run.invented"), ValueError),
        (lambda run: append(run, data={**CLOSED, "more": 1}), ValueError),
        (lambda run: append(run, data={"state": "completed"}), ValueError),
        (lambda run: append(run, data={**CLOSED, "state": 1}), TypeError),
        (lambda run: append(run, subject="x" * 161), ValueError),
        (lambda run: append("run_of_nobody"), ValueError),
    ],
)
@pytest.mark.usefixtures("ready")
def test_a_wrong_event_undoes_the_effect_even_when_swallowed(
    attempt: Callable[[str], object], error: type[Exception]
) -> None:
    effect_and(attempt, error)
    assert not Run.objects.exists()
    assert journal_rows() == 0


@pytest.mark.usefixtures("ready")
def test_an_effect_that_fails_leaves_no_event() -> None:
    with transaction.atomic():
        append(open_run().id)
        transaction.set_rollback(True)
    assert (Run.objects.count(), journal_rows()) == (0, 0)


@pytest.mark.usefixtures("db")
def test_without_keys_nothing_happens(settings: Settings, tmp_path: Path) -> None:
    settings.PALYRA_VAULT_KEK_DIR = tmp_path / "none"
    error = effect_and(append, UnavailableError)
    assert isinstance(error, UnavailableError)
    assert error.code == "vault.kek_missing"
    assert (Run.objects.count(), journal_rows()) == (0, 0)


@pytest.mark.django_db(transaction=True)
def test_an_event_outside_a_transaction_is_a_programming_error() -> None:
    assert not connection.in_atomic_block
    with pytest.raises(RuntimeError):
        append()
    assert journal_rows() == 0
