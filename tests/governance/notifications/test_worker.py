"""Side by side: a receiver that hangs holds up nobody else."""

from __future__ import annotations

from datetime import datetime
from threading import Event

import pytest

from governance.notifications import worker
from governance.notifications.delivery import Claim
from governance.notifications.models import WebhookDelivery
from governance.notifications.sending import Answer
from governance.stopping import drain
from tests.cast import NOW
from tests.governance.notifications.telling import TAKEN, Receiver, World, later


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
