"""Side by side: a receiver that hangs holds up nobody else."""

from __future__ import annotations

from datetime import datetime
from threading import Event

import pytest
import time_machine
from standardwebhooks import Webhook

from governance.notifications import sending, worker
from governance.notifications.addresses import Reach
from governance.notifications.delivery import Claim
from governance.notifications.models import WebhookDelivery
from governance.notifications.sending import Answer
from governance.stopping import drain
from tests.cast import NOW
from tests.governance.notifications.telling import BROKEN, TAKEN, URL, Receiver, World, later


def test_a_receiver_that_hangs_holds_up_nobody_else(world: World) -> None:
    hanging, quick = world.endpoint().endpoint, world.endpoint().endpoint
    for second in range(5):
        world.ask(now=later(seconds=second))
    others_done, side_by_side = Event(), []

    def post(claim: Claim, now: datetime) -> Answer:
        if claim.endpoint_id == hanging.pk:
            side_by_side.append(claim)
            assert others_done.wait(10), "the others never came to their turn"
            return TAKEN
        quick_ones.append(claim)
        if len(quick_ones) == 5:
            others_done.set()
        return TAKEN

    quick_ones: list[Claim] = []
    worker.work(lambda: later(seconds=9), worker.Network(post=post, send=lambda _: ""))
    assert {claim.endpoint_id for claim in quick_ones} == {quick.pk}
    assert (len(quick_ones), len(side_by_side)) == (5, 5)
    assert set(WebhookDelivery.objects.values_list("state", flat=True)) == {"delivered"}


def test_an_endpoint_gets_one_thing_after_the_other_in_order(world: World) -> None:
    world.endpoint()
    asked = [world.ask(now=later(seconds=second)).pk for second in range(4)]
    running, order = [], []

    def post(claim: Claim, now: datetime) -> Answer:
        running.append(claim)
        assert len(running) == 1
        order.append(claim.body)
        running.pop()
        return TAKEN

    worker.work(lambda: later(seconds=9), worker.Network(post=post, send=lambda _: ""))
    assert len(order) == 4
    assert all(one.encode() in body for one, body in zip(asked, order, strict=True))


def test_an_old_backlog_does_not_come_first_again_and_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two slow receivers with much to hear leave the third its turn."""
    monkeypatch.setattr(worker, "SIDE_BY_SIDE", 1)
    slow = {world.endpoint("approval.*").endpoint.pk for _ in range(2)}
    for second in range(4):
        world.ask(now=later(seconds=second))
    newcomer = world.endpoint("approval.*", now=later(seconds=5)).endpoint
    world.ask(now=later(seconds=6))
    receiver = Receiver()
    assert receiver.run(later(seconds=7)) == 11
    order = [claim.endpoint_id for claim in receiver.claims]
    assert order.index(newcomer.pk) == 2
    assert set(order[:2]) == slow


def test_a_post_that_raises_is_tried_again_when_its_claim_is_over(world: World) -> None:
    world.endpoint()
    world.ask()

    def fail(claim: Claim, now: datetime) -> Answer:
        raise ZeroDivisionError

    assert worker.work(lambda: NOW, worker.Network(post=fail, send=lambda _: "")) == 1
    assert WebhookDelivery.objects.get().state == "pending"
    assert Receiver().run(later(seconds=61)) == 1
    assert WebhookDelivery.objects.get().state == "delivered"


def test_a_worker_that_stops_takes_nothing_new(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.endpoint()
    world.ask()
    monkeypatch.setattr(type(drain), "begun", property(lambda _: True))
    assert Receiver().run() == 0
    assert worker.waits(NOW)


def test_each_attempt_is_signed_with_its_own_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    told = world.endpoint()
    world.ask()
    sent: list[tuple[str, dict[str, str], bytes]] = []

    def posted(url: str, headers: dict[str, str], body: bytes, *, reach: Reach) -> Answer:
        assert reach == Reach()
        sent.append((url, headers, body))
        return BROKEN

    monkeypatch.setattr(sending, "post", posted)
    moments = [NOW, later(seconds=6)]
    for moment in moments:
        worker.work(lambda at=moment: at)  # type: ignore[misc]  # a default binds the moment of this turn
    (_, first, body), (url, second, again) = sent
    assert (url, body) == (URL, again)
    assert first["webhook-id"] == second["webhook-id"]
    assert [int(headers["webhook-timestamp"]) for headers in (first, second)] == [
        int(moment.timestamp()) for moment in moments
    ]
    assert first["webhook-signature"] != second["webhook-signature"]
    with time_machine.travel(moments[1], tick=False):
        Webhook(told.secret).verify(again, second)
