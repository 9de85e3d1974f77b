"""What the outside is told: nothing but ids and codes, and only what happened."""

from __future__ import annotations

import json

import pytest
from django.db import DatabaseError, transaction

from approvals.types import ReviewInput
from governance import wakeup
from governance.freeze_scopes import FreezeScope
from governance.journal.event_names import EventName
from governance.journal.ledger import record
from governance.journal.models import JournalEvent
from governance.notifications import outbox
from governance.notifications.models import OutboxEvent
from governance.operations import freezes
from governance.operations.freezes import FreezeWishes
from kernel.canonical import canonical
from kernel.clock import wire_time
from tests.approvals.asking import answer
from tests.cast import NOW, principal
from tests.governance.notifications.telling import World, later

SECRET = "plr_agt_hunter2_hunter2_hunter2"


@pytest.fixture(autouse=True)
def somebody_listens(world: World) -> None:
    world.endpoint()


def told() -> list[OutboxEvent]:
    return list(OutboxEvent.objects.order_by("pk"))


def test_a_question_is_told_with_its_event(world: World) -> None:
    asked = world.ask(risk="high")
    (event,) = told()
    journalled = JournalEvent.objects.get(pk=event.event_id)
    assert (journalled.type, journalled.subject) == ("approval.requested", asked.pk)
    assert (event.type, event.workspace_id, event.fanned_at) == (
        "approval.requested",
        world.cast.default.pk,
        None,
    )
    assert event.body["type"] == "approval.requested"
    assert event.body["timestamp"] == wire_time(NOW)
    data = event.body["data"]
    assert {name: data[name] for name in ("id", "subject_type", "tool", "risk", "agent", "state")} == {
        "id": asked.pk,
        "subject_type": "tool",
        "tool": "fs.write",
        "risk": "high",
        "agent": world.cast.agent.pk,
        "state": "pending",
    }
    assert data["expires_at"] == wire_time(asked.expires_at)
    assert data["console_url"].endswith(f"/admin/approvals/{asked.pk}/")


def test_an_answer_and_its_grant_are_told_as_they_are_now(world: World) -> None:
    asked = world.ask()
    answer(world.cast, world.cast.approver, asked, record=record)  # type: ignore[arg-type]  # the real one
    decided, granted = told()[1:]
    assert (decided.type, decided.body["data"]["decision"]) == ("approval.decided", "allow")
    assert (granted.type, granted.body["data"]["approval"]) == ("grant.created", asked.pk)


def test_no_text_of_anybody_is_told(world: World) -> None:
    """The parameters, the agent's words, the names it chose and a comment stay here."""
    context = {"title": SECRET, "summary": SECRET, "parameters_view": {"content": SECRET * 4_000}}
    asked = world.ask(context=context, subject_label=SECRET, channel=SECRET, tool=f"fs.write\n{SECRET}")
    review = ReviewInput(verdict="deny", comment=SECRET, surface="console")
    answer(world.cast, world.cast.approver, asked, review, record=record)  # type: ignore[arg-type]  # as above
    assert len(told()) == 2
    for event in told():
        assert SECRET not in json.dumps(event.body)
        assert event.body["data"]["tool"] is None


def test_a_freeze_is_told_to_whom_it_concerns_and_without_its_reason(world: World) -> None:
    who = principal(world.cast.owner, world.cast.default)
    for scope, scope_id in ((FreezeScope.GLOBAL, ""), (FreezeScope.AGENT, world.cast.agent.pk)):
        wishes = FreezeWishes(scope=scope, scope_id=scope_id, reason=f"because of {SECRET}")
        freezes.set_freeze(principal=who, wishes=wishes, now=NOW)
    everything, one_agent = told()
    assert (everything.type, everything.workspace_id) == ("freeze.set", outbox.EVERYWHERE)
    assert one_agent.workspace_id == world.cast.default.pk
    facts = [(event.body["data"]["scope"], event.body["data"]["scope_id"]) for event in told()]
    assert facts == [("global", None), ("agent", world.cast.agent.pk)]
    assert not any(SECRET in json.dumps(event.body) for event in told())


def test_a_body_stays_small_whatever_the_columns_hold(world: World) -> None:
    world.ask(tool="t" * 160, skill_id="s" * 160, subject_id="x" * 40, run_id=None)
    (event,) = told()
    assert event.body["data"]["skill"] == "s" * 160
    assert len(canonical(event.body)) < outbox.MOST_BYTES / 4


def test_what_is_undone_is_not_told(world: World) -> None:
    with transaction.atomic():
        world.ask()
        transaction.set_rollback(True)
    assert told() == []


def test_an_event_that_cannot_be_kept_undoes_its_effect(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**_: object) -> None:
        raise DatabaseError

    before = JournalEvent.objects.count()
    monkeypatch.setattr(OutboxEvent.objects, "create", fail)
    with pytest.raises(Exception, match="journal_unavailable"):
        world.ask()
    assert JournalEvent.objects.count() == before


def test_what_cannot_be_told_changes_no_decision(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "decision_of", lambda *_: 1 / 0)
    assert world.ask().status == "pending"
    assert told() == []


def test_other_events_are_nobody_s_business(world: World) -> None:
    with transaction.atomic():
        outbox.enqueue(event="login.failed", event_id="evt_1", subject="usr_1", now=NOW)
        outbox.enqueue(event="approval.reviewed", event_id="evt_2", subject="apr_1", now=NOW)
    assert told() == []


def test_workers_are_woken_once_for_a_transaction(
    world: World, monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: object
) -> None:
    rings: list[int] = []
    monkeypatch.setattr(wakeup, "ring_notifications", lambda: rings.append(1))
    with django_capture_on_commit_callbacks(execute=True):  # type: ignore[operator]  # a fixture without types
        world.ask()
        world.ask(now=later(seconds=1))
    assert rings == [1]


def test_every_event_that_is_told_is_in_the_journal_s_register() -> None:
    names = {name.value for name in EventName}
    assert set(outbox.NOTIFIED) - names == set()
    assert set(outbox.NOTIFIED) > outbox.TOLD_UNASKED


@pytest.mark.parametrize("text", ["*", "approval.*", "grant.*", "freeze.*", "webhook.*", "approval.decided"])
def test_what_an_endpoint_may_ask_for(text: str) -> None:
    assert outbox.is_known_type(text)


@pytest.mark.parametrize("text", ["", "**", "approval", "approval.", "*.decided", "login.*", "token.minted"])
def test_what_no_endpoint_may_ask_for(text: str) -> None:
    assert not outbox.is_known_type(text)


def test_who_asked_is_told() -> None:
    assert outbox.asks_for(["*"], "grant.created")
    assert outbox.asks_for(["freeze.*", "grant.*"], "grant.created")
    assert outbox.asks_for(["grant.created"], "grant.created")
    assert not outbox.asks_for(["grant.revoked", "approval.*"], "grant.created")
    assert not outbox.asks_for([], "grant.created")


class TestWithoutListeners:
    @pytest.fixture
    def somebody_listens(self) -> None:
        """Nobody does."""

    def test_nothing_is_kept_for_nobody(self, world: World) -> None:
        world.ask()
        assert told() == []
