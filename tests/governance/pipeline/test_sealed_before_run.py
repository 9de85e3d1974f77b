"""The proof of a decision exists before its effect, and nothing runs while the journal cannot be sealed."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

import pytest
from pytest_django.fixtures import Settings

from governance.journal import sealing_state
from governance.journal.event_names import EventName
from governance.journal.ledger import instance_id, record
from governance.journal.models import JournalEvent, JournalLeaf, JournalPayload, JournalPending
from governance.models import ToolCall
from governance.operations import sealing
from governance.selectors import CallView
from kernel.clock import utc_now
from kernel.errors import UnavailableError
from tests.governance.pipeline.world import ASKED, ECHO, SHELL, World, again, events_of
from tests.support_append_only import guards_lifted

MINUTES = timedelta(minutes=2)


def queued(world: World, risk: str, tool: str = ECHO) -> CallView:
    """Return a call of this risk that waits for a worker, with nothing sealed yet."""
    view = world.propose(tool)
    ToolCall.objects.filter(id=view.call.id).update(risk=risk)
    assert again(view).state == "queued"
    return view


def sealed_before_its_start(view: CallView) -> bool:
    """Tell whether the last decision has a leaf; what came after the claim has none yet."""
    rows = JournalEvent.objects.filter(call_id=view.call.id)
    decision = rows.filter(type="tool_call.decided").order_by("-run_seq")[0]
    started = rows.get(type="execution.started")
    assert not JournalLeaf.objects.filter(event_id=started.id).exists()
    return JournalLeaf.objects.filter(event_id=decision.id).exists()


def raise_alarm() -> None:
    record(
        event=EventName.JOURNAL_INCONSISTENT.value,
        actor=SHELL,
        subject=instance_id(utc_now()),
        now=utc_now(),
        data={"detail": "a test"},
    )


@pytest.fixture
def no_sealer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process holds the sealer's lock and never lets go."""
    monkeypatch.setattr(sealing, "hold_sealer_lock", lambda wait: False)
    monkeypatch.setattr(sealing, "PATIENCE_SECONDS", 0.0)


@pytest.mark.parametrize(
    ("chosen", "sealed"),
    [
        ("high", {"high", "critical", "unheard of"}),
        ("all", {"low", "medium", "high", "critical", "unheard of"}),
        ("off", set()),
        ("a word nobody knows", {"high", "critical", "unheard of"}),
    ],
)
def test_a_decision_is_sealed_before_the_run_by_the_risk_of_its_call(
    world: World, settings: Settings, chosen: str, sealed: set[str]
) -> None:
    settings.PALYRA_JOURNAL_SEAL_BEFORE_RUN = chosen
    for risk in ("low", "medium", "high", "critical", "unheard of"):
        view = queued(world, risk)
        assert world.run(view).state == "succeeded"
        assert sealed_before_its_start(view) is (risk in sealed), risk


def test_after_an_answer_the_final_decision_is_the_one_that_is_sealed(world: World) -> None:
    view = world.allowed(world.ask(ASKED))
    ToolCall.objects.filter(id=view.call.id).update(risk="high")
    world.run(view)
    assert events_of(view).count("tool_call.decided") == 2
    assert sealed_before_its_start(view)


@pytest.mark.usefixtures("no_sealer")
def test_a_call_of_high_risk_that_cannot_be_sealed_stays_queued(world: World) -> None:
    view = queued(world, "high")
    with pytest.raises(UnavailableError) as refused:
        world.run(view)
    assert refused.value.code == "journal_sealing_stalled"
    assert again(view).state == "queued"
    assert "execution.started" not in events_of(view)


@pytest.mark.usefixtures("no_sealer")
def test_a_call_of_low_risk_does_not_wait_for_another_sealer(world: World) -> None:
    assert world.run(queued(world, "low")).state == "succeeded"


def test_a_queued_call_without_its_decision_does_not_run(world: World) -> None:
    view = queued(world, "critical")
    decisions = JournalEvent.objects.filter(call_id=view.call.id, type="tool_call.decided")
    with guards_lifted():
        for waiting in (JournalPending, JournalPayload):
            waiting.objects.filter(event__in=decisions).delete()
        decisions.delete()
    with pytest.raises(UnavailableError) as refused:
        world.run(view)
    assert (refused.value.code, again(view).state) == ("journal_inconsistent", "queued")


@pytest.mark.usefixtures("no_sealer")
def test_while_sealing_stands_nothing_new_is_executed_and_decisions_go_on(world: World) -> None:
    waiting, asked = queued(world, "low"), world.ask()
    late = utc_now() + MINUTES
    calls = ToolCall.objects.count()

    with pytest.raises(UnavailableError) as at_submit:
        world.propose(ECHO, now=late)
    with pytest.raises(UnavailableError) as at_claim:
        world.run(waiting, now=late)

    assert {at_submit.value.code, at_claim.value.code} == {"journal_sealing_stalled"}
    assert (ToolCall.objects.count(), again(waiting).state) == (calls, "queued")
    assert world.propose("no.such.tool", now=late).state == "denied"
    assert world.propose("sleep", now=late).state == "awaiting_approval"
    assert world.allowed(asked, now=late).state == "queued"


def test_a_worker_whose_sweeper_is_gone_seals_by_itself(world: World) -> None:
    view = queued(world, "low")
    late = utc_now() + MINUTES
    assert world.run(view, now=late).state == "succeeded"
    assert world.propose(ECHO, now=late + MINUTES).state == "queued"


def test_too_many_events_that_wait_stop_executions_too(
    world: World, monkeypatch: pytest.MonkeyPatch, no_sealer: None
) -> None:
    view = queued(world, "low")
    monkeypatch.setattr(sealing_state, "PENDING_ALLOWED", JournalPending.objects.count())
    for act in (world.propose, partial(world.run, view)):
        with pytest.raises(UnavailableError) as refused:
            act()
        assert refused.value.code == "journal_sealing_stalled"


@pytest.mark.parametrize("chosen", ["high", "off"])
def test_while_the_journal_is_inconsistent_nothing_is_executed(
    world: World, settings: Settings, chosen: str
) -> None:
    settings.PALYRA_JOURNAL_SEAL_BEFORE_RUN = chosen
    view = queued(world, "low")
    raise_alarm()
    for act in (world.propose, partial(world.run, view)):
        with pytest.raises(UnavailableError) as refused:
            act()
        assert refused.value.code == "journal_inconsistent"
    assert again(view).state == "queued"
    assert world.propose("sleep").state == "awaiting_approval"
