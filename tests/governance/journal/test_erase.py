"""What an erasure takes in, and the time in which a legal hold stands against it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from governance.journal import erase
from governance.journal.models import JournalEvent, JournalPayload, JournalPending, LegalHold
from governance.models import Run
from kernel.errors import ConflictError, NotFoundError
from tests.governance.journal.writing import NOW, open_run, propose
from tests.support_append_only import guards_lifted

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("ready")]
LATER = NOW + timedelta(days=500)


def closed_run() -> str:
    run = open_run()
    propose("x", run=run.id)
    Run.objects.filter(pk=run.id).update(state="completed", closed_at=NOW)
    return run.id


def hold_on(since: timedelta, until: timedelta) -> LegalHold:
    return LegalHold.objects.create(
        id="hld_1", since=NOW + since, until=NOW + until, reason="a case", set_by="usr_1", set_at=NOW
    )


def code_of(run: str) -> str:
    try:
        erase.hold(erase.reach_of(run), LATER)
    except ConflictError as refused:
        return refused.code
    return ""


def test_a_period_before_or_after_holds_nothing() -> None:
    run = closed_run()
    hold = hold_on(timedelta(days=-9), timedelta(days=-8))
    assert code_of(run) == ""
    hold.since, hold.until = NOW + timedelta(days=1), NOW + timedelta(days=2)
    hold.save()
    assert code_of(run) == ""
    hold.since = NOW
    hold.save()
    assert code_of(run) == "legal_hold"


def test_a_period_holds_also_what_was_archived_away_since() -> None:
    """The key opens the archive too, and its rows no longer say when they were written."""
    run = closed_run()
    with guards_lifted():
        for model in (JournalPayload, JournalPending, JournalEvent):
            model._base_manager.all().delete()
    hold_on(timedelta(days=10), timedelta(days=20))
    assert code_of(run) == "legal_hold"


@pytest.mark.parametrize("subject", ["", "run_", "run_x", "usr_x", "agt_x", "dev_1", "system", "RUN_1"])
def test_what_is_no_subject_is_not_found(subject: str) -> None:
    with pytest.raises(NotFoundError):
        erase.reach_of(subject)
