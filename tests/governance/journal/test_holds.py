"""While a hold stands nothing of its subject or period is erased or archived away."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from pytest_django.fixtures import Settings
from pytest_django.plugin import DjangoDbBlocker

from governance.journal import archiving, holds
from governance.journal.ledger import record
from governance.journal.models import JournalArchive, JournalEvent, LegalHold
from governance.journal.reading import open_data
from governance.models import Run
from kernel.errors import ConflictError, InvalidError, NotFoundError, PalyraError
from kernel.record import Actor
from tests.cast import Cast, make_cast
from tests.governance.journal.archives import FIRST, LATER, UNIT, archive, fill, rows_of
from tests.governance.journal.writing import NOW, PERSON, open_run, write
from tests.module_worlds import rolled_back
from vault import services as vault

DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def world_of_module(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[tuple[Cast, Run]]:
    """A cast, and a unit of events of one run of its agent, rolled back after the module."""
    with rolled_back(django_db_blocker):
        vault.ensure_ready(now=NOW)
        cast, run = make_cast(), open_run()
        Run.objects.filter(pk=run.pk).update(principal_id=cast.agent.id, owner_id=cast.owner.id)
        fill(UNIT + 4, run=run)
        yield cast, run


@pytest.fixture(autouse=True)
def world(
    world_of_module: tuple[Cast, Run],
    db: None,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    settings: Settings,
) -> tuple[Cast, Run]:
    settings.PALYRA_JOURNAL_ARCHIVE_DIR = tmp_path
    monkeypatch.setattr(archiving, "UNIT", UNIT)
    return world_of_module


def hold(subject: str = "", since: int | None = None, until: int | None = None) -> LegalHold:
    """Set a hold; times are days from when the events were written."""
    return holds.set_hold(
        subject=subject,
        since=None if since is None else NOW + since * DAY,
        until=None if until is None else NOW + until * DAY,
        reason="case 4711",
        actor=PERSON,
        now=NOW,
        record=record,
    )


def lift(held: LegalHold) -> LegalHold:
    return holds.lift_hold(hold_id=held.pk, actor=PERSON, now=LATER, record=record)


def refused(act: Callable[[], object], kind: type[PalyraError]) -> str:
    with pytest.raises(kind) as caught:
        act()
    return caught.value.code


def test_a_unit_with_an_event_of_the_subject_stays_until_the_hold_is_lifted(world: tuple[Cast, Run]) -> None:
    cast, run = world
    for subject in (run.id, cast.agent.id, cast.owner.id):
        held = hold(subject)
        assert refused(archive, ConflictError) == "legal_hold", subject
        assert not JournalArchive.objects.exists()
        lift(held)
    archive()
    assert rows_of() == [[], []]


@pytest.mark.parametrize(
    ("since", "until", "keeps"),
    [(-1, 1, True), (None, 0, True), (0, None, True), (1, 2, False), (None, -1, False), (1, None, False)],
)
def test_a_period_keeps_what_happened_within_it(since: int | None, until: int | None, keeps: bool) -> None:
    hold(since=since, until=until)
    assert (holds.over(FIRST.first, FIRST.end) is not None) is keeps
    assert (holds.standing("agt_x", (), (NOW, NOW)) is not None) is keeps


def test_a_subject_and_a_period_hold_only_together(world: tuple[Cast, Run]) -> None:
    _, run = world
    outside = hold(run.id, since=3)
    assert holds.over(FIRST.first, FIRST.end) is None
    assert holds.standing(run.id, (), (NOW, NOW)) is None
    assert holds.standing(run.id, (), (NOW, NOW + 5 * DAY)) == outside
    within = hold(run.id, until=3)
    assert holds.over(FIRST.first, FIRST.end) == within


def test_another_s_hold_keeps_nothing_here(world: tuple[Cast, Run]) -> None:
    cast, _ = world
    hold(cast.approver.id)
    assert holds.over(FIRST.first, FIRST.end) is None


def test_what_somebody_did_in_another_s_run_is_held_with_them(world: tuple[Cast, Run]) -> None:
    cast, run = world
    approver = Actor(kind="user", id=cast.approver.id, auth="session", surface="console")
    event = write(actor=approver, subject=run.id, run=run.id)
    held = hold(cast.approver.id, until=1)
    assert holds.events_under(held).get() == event
    assert holds.standing(run.id) == holds.standing(cast.agent.id, (run.id,)) == held
    assert holds.standing(cast.agent.id) is None
    lift(held)
    assert holds.standing(run.id) is None


def test_a_run_is_held_with_its_agent_its_owner_and_its_calls(world: tuple[Cast, Run]) -> None:
    cast, run = world
    for subject in (cast.agent.id, cast.owner.id, run.id):
        held = hold(subject)
        assert holds.standing(run.id) == held, subject
        assert holds.standing("agt_x", [run.id]) == held, subject
        assert holds.standing("agt_x") is None, subject
        lift(held)
    assert holds.standing(run.id) is None


def test_a_hold_set_while_rows_go_keeps_what_is_left(
    world: tuple[Cast, Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, run = world
    monkeypatch.setattr(archiving, "ROWS_AT_ONCE", 64)
    archive(most=3)
    left = len(rows_of()[0])
    assert 0 < left < UNIT
    hold(run.id)
    assert refused(archive, ConflictError) == "legal_hold"
    assert len(rows_of()[0]) == left


def test_a_hold_is_told_in_the_journal_with_its_reason(world: tuple[Cast, Run]) -> None:
    _, run = world
    held = lift(hold(run.id, until=1))
    told = {row.type: open_data(row) for row in JournalEvent.objects.filter(subject=held.pk)}
    assert told["journal.hold_set"] == {
        "subject": run.id, "since": None, "until": "2026-03-03T09:30:00.123Z", "reason": "case 4711",
    }  # fmt: skip
    assert told["journal.hold_lifted"] == {"subject": run.id, "set_by": PERSON.id}
    assert (held.lifted_by, held.lifted_at) == (PERSON.id, LATER)


def test_a_hold_that_would_keep_nothing_is_refused() -> None:
    unknown = "run_01J00000000000000000000000"
    for act in (
        hold,
        lambda: hold(since=2, until=1),
        lambda: hold(unknown),
        lambda: hold("evt_01J00000000000000000000000"),
        lambda: hold("nonsense"),
    ):
        assert refused(act, InvalidError) == "invalid"
    assert not LegalHold.objects.exists()


def test_only_a_standing_hold_is_lifted(world: tuple[Cast, Run]) -> None:
    _, run = world
    held = hold(run.id)
    lift(held)
    assert refused(lambda: lift(held), ConflictError) == "state_changed"
    held.pk = "hld_01J00000000000000000000000"
    assert refused(lambda: lift(held), NotFoundError) == "not_found"
