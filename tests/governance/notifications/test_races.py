"""Workers and people at the same moment: each attempt, each event and each place is somebody's alone."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from functools import partial

import pytest

from approvals.models import ApprovalRequest
from governance.journal.models import JournalEvent
from governance.notifications.models import OutboxEvent, WebhookDelivery, WebhookEndpoint
from governance.notifications.webhooks import MOST_ENDPOINTS
from governance.operations import deliveries, webhooks
from governance.operations.sweeping import sweep
from tests.approvals.asking import DENY, answer
from tests.cast import NOW, principal
from tests.governance.notifications.telling import TAKEN, World, found, later
from tests.racing import at_once

pytestmark = [pytest.mark.postgres, pytest.mark.django_db(transaction=True)]
ROUNDS = 50


@pytest.fixture
def world() -> World:
    return found()


def test_of_four_workers_one_tells_and_one_tries(world: World) -> None:
    world.endpoint()
    for number in range(ROUNDS):
        now = later(minutes=number)
        world.ask(now=now)
        event = OutboxEvent.objects.get(fanned_at__isnull=True)
        told = at_once(*[partial(deliveries.fan_out, event_id=event.pk, now=now)] * 2)
        assert told == ["", ""]
        row = WebhookDelivery.objects.get(event_id=event.pk)
        claims = at_once(*[partial(deliveries.claim, delivery_id=row.pk, now=now)] * 2)
        assert sorted(claims) == ["", "state_changed"]
        row.refresh_from_db()
        assert (row.state, row.attempt) == ("pending", 1)


def test_of_a_late_worker_and_the_one_that_took_over_one_is_believed(world: World) -> None:
    world.endpoint()
    for number in range(ROUNDS // 3):
        now = later(minutes=10 * number)
        world.ask(now=now)
        event = OutboxEvent.objects.get(fanned_at__isnull=True)
        deliveries.fan_out(event_id=event.pk, now=now)
        row = WebhookDelivery.objects.get(event_id=event.pk)
        late = deliveries.claim(delivery_id=row.pk, now=now)
        mine = deliveries.claim(delivery_id=row.pk, now=now + timedelta(minutes=2))
        assert late is not None
        assert mine is not None
        settle = partial(deliveries.settle, answer=TAKEN, spread=0, now=now + timedelta(minutes=3))
        codes = at_once(partial(settle, claim=late), partial(settle, claim=mine))
        assert codes == ["state_changed", ""]
        row.refresh_from_db()
        assert (row.state, row.attempt) == ("delivered", 2)


def test_the_last_place_is_given_once(world: World) -> None:
    first = world.endpoint().endpoint
    for number in range(MOST_ENDPOINTS - 2):
        first.pk = f"whk_{number}"
        first.save(force_insert=True)
    codes = at_once(*[world.endpoint] * 4)
    assert Counter(codes) == {"": 1, "conflict": 3}
    assert WebhookEndpoint.objects.count() == MOST_ENDPOINTS


def test_two_rotations_leave_the_secrets_of_the_later_one(world: World) -> None:
    endpoint = world.endpoint().endpoint
    who = principal(world.cast.owner, world.cast.default)
    codes = at_once(*[lambda: webhooks.rotate(principal=who, endpoint_id=endpoint.pk, now=NOW)] * 2)
    assert codes == ["", ""]
    assert WebhookEndpoint.objects.get().version == 3


def test_a_reminder_and_an_answer_meet_and_both_stand_or_one(world: World) -> None:
    """Nobody is reminded of what is answered: the reminder is recorded before the answer, or not at all."""
    for number in range(ROUNDS // 5):
        asked, half = world.ask(now=later(hours=number)), later(hours=number, minutes=5)
        denied = partial(answer, world.cast, world.cast.approver, asked, DENY, now=half)
        assert at_once(partial(sweep, half), denied) == ["", ""]
        row = ApprovalRequest.objects.get(pk=asked.pk)
        reminded = JournalEvent.objects.filter(type="approval.reminded", subject=asked.pk).count()
        assert (row.status, reminded) == ("denied", 0 if row.reminded_at is None else 1)
