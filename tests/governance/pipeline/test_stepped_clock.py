"""A clock that was set back revives nothing: expiry counts by the newest time in the journal."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from django.db import transaction

from approvals.models import ApprovalRequest
from governance.journal.ledger import record
from governance.journal.models import JournalEvent
from governance.operations.sweeping import sweep
from governance.stepped_clock import no_earlier_than
from kernel.clock import utc_now
from kernel.errors import ConflictError
from tests.governance.pipeline.test_claim import assert_refused
from tests.governance.pipeline.test_editing import edit
from tests.governance.pipeline.test_grants import granted
from tests.governance.pipeline.world import ASKED, SHELL, World

pytestmark = pytest.mark.django_db


def something_happens(world: World, at: datetime) -> None:
    """Leave an event of this time, as a server did before its clock was set back."""
    with transaction.atomic():
        record(
            event="agent.changed",
            actor=SHELL,
            subject=world.agent_row.pk,
            now=at,
            data={"changes": ["name"]},
        )


def steps() -> int:
    return JournalEvent.objects.filter(type="system.clock_stepped").count()


def test_time_is_never_more_than_five_seconds_behind_the_journal(world: World) -> None:
    now = utc_now()
    something_happens(world, now + timedelta(seconds=5))
    assert no_earlier_than(now) == now
    something_happens(world, now + timedelta(minutes=9))
    assert no_earlier_than(now) == now + timedelta(minutes=9, seconds=-5)
    assert no_earlier_than(now + timedelta(hours=1)) == now + timedelta(hours=1)


def test_what_expired_before_the_clock_was_set_back_is_not_allowed_after(world: World) -> None:
    now = utc_now()
    view = world.ask(now=now)
    something_happens(world, now + timedelta(seconds=606))
    with pytest.raises(ConflictError, match="already_decided") as caught:
        world.answer(view, now=now)
    outcome = caught.value.extra["outcome"]
    assert isinstance(outcome, dict)
    assert outcome["decision"] == "expired"
    assert ApprovalRequest.objects.get(pk=view.call.approval_id).status == "expired"


def test_what_expired_before_the_clock_was_set_back_is_not_edited_after(world: World) -> None:
    now = utc_now()
    view = world.ask(now=now)
    something_happens(world, now + timedelta(seconds=606))
    with pytest.raises(ConflictError, match="already_decided"):
        edit(world, view, now=now)
    assert ApprovalRequest.objects.get(pk=view.call.approval_id).status == "expired"


def test_what_is_still_in_time_by_the_journal_is_allowed(world: World) -> None:
    now = utc_now()
    view = world.ask(now=now)
    something_happens(world, now + timedelta(seconds=500))
    assert world.answer(view, now=now).kind == "allowed"


def test_a_grant_that_was_over_covers_nothing_after_the_clock_was_set_back(world: World) -> None:
    now, run = utc_now(), world.open_run()
    granted(world, "temporary", ttl_ms=60_000, run=run)
    assert world.propose(ASKED, run=run).state == "queued"
    something_happens(world, now + timedelta(seconds=90))
    assert world.propose(ASKED, run=run).state == "awaiting_approval"


def test_a_call_whose_grant_was_over_does_not_start_after_the_clock_was_set_back(world: World) -> None:
    view = world.allowed(world.ask())
    something_happens(world, utc_now() + timedelta(minutes=16))
    world.run(view)
    assert_refused(view, "approval.grant_expired", "approval")


def test_the_sweep_expires_by_the_journal_and_says_once_that_the_clock_stepped(world: World) -> None:
    now = utc_now()
    view = world.ask(now=now)
    assert (sweep(now)["approvals_expired"], steps()) == (0, 0)
    something_happens(world, now + timedelta(seconds=700))
    assert sweep(now + timedelta(seconds=1))["approvals_expired"] == 1
    sweep(now + timedelta(seconds=16))
    assert steps() == 1
    assert ApprovalRequest.objects.get(pk=view.call.approval_id).status == "expired"
