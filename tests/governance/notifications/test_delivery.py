"""Webhooks on their way: tried again by an injected clock, given up, sent again by hand."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from hypothesis import given, settings as examples, strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from governance.journal.models import JournalEvent
from governance.notifications import delivery, worker
from governance.notifications.lifecycle import (
    MOST_ATTEMPTS,
    RETRY_SECONDS,
    DeliveryState,
    delay_after,
)
from governance.notifications.models import OutboxEvent, WebhookDelivery, WebhookEndpoint
from governance.notifications.sending import Answer
from governance.notifications.signing import signed_headers
from governance.notifications.webhooks import origin_of
from governance.operations import deliveries, webhooks
from kernel.clock import utc_now
from kernel.errors import ConflictError
from tests.cast import NOW, principal
from tests.governance.notifications.telling import (
    BROKEN,
    GONE,
    SILENT,
    TAKEN,
    Receiver,
    World,
    later,
    refuses,
)

AFTER_EACH = [timedelta(seconds=seconds * 1.11) for seconds in RETRY_SECONDS]


def only() -> WebhookDelivery:
    return WebhookDelivery.objects.get()


def names() -> list[str]:
    found = JournalEvent.objects.filter(type__startswith="webhook.").order_by("pk")
    return list(found.values_list("type", flat=True))


def test_an_event_reaches_who_asked_for_it(world: World) -> None:
    wanted = {world.endpoint(kind).endpoint.pk for kind in ("*", "approval.*", "approval.requested")}
    world.endpoint("grant.*", "freeze.set")
    world.ask(now=later(seconds=1))
    receiver = Receiver()
    assert receiver.run(later(seconds=2)) == 3
    assert {claim.endpoint_id for claim in receiver.claims} == wanted
    assert set(WebhookDelivery.objects.values_list("state", "status_code")) == {("delivered", 200)}
    assert receiver.run(later(hours=1)) == 0


def test_the_receiver_s_library_verifies_what_is_sent(world: World) -> None:
    told = world.endpoint()
    asked = world.ask()
    receiver = Receiver()
    receiver.run()
    (claim,) = receiver.claims
    now = int(utc_now().timestamp())
    headers = signed_headers(message_id=claim.event_id, timestamp=now, body=claim.body, secrets=claim.secrets)
    body = Webhook(told.secret).verify(claim.body, headers)
    assert (body["type"], body["data"]["id"]) == ("approval.requested", asked.pk)
    assert headers["webhook-id"] == OutboxEvent.objects.get().event_id
    with pytest.raises(WebhookVerificationError):
        Webhook(told.secret).verify(claim.body.replace(b"pending", b"allowed"), headers)


def test_a_receiver_that_fails_twice_gets_it_a_third_time(world: World) -> None:
    endpoint = world.endpoint().endpoint
    world.ask()
    receiver = Receiver([BROKEN, SILENT, TAKEN])
    receiver.run()
    first = only()
    assert (first.state, first.attempt, first.status_code) == ("pending", 1, 500)
    assert first.response_excerpt == "broken"
    assert first.next_attempt_at is not None
    assert 4.5 <= (first.next_attempt_at - NOW).total_seconds() <= 5.5
    assert WebhookEndpoint.objects.get(pk=endpoint.pk).failing_since == NOW
    assert receiver.run(later(seconds=4)) == 0, "not before its time"
    receiver.run(later(seconds=6))
    assert (only().attempt, only().status_code, only().error) == (2, None, "timeout")
    receiver.run(later(seconds=60))
    assert (only().state, only().attempt, only().next_attempt_at) == ("delivered", 3, None)
    assert WebhookEndpoint.objects.get(pk=endpoint.pk).failing_since is None
    assert len({(claim.event_id, claim.body) for claim in receiver.claims}) == 1, "the same id and body"


def test_what_never_arrives_is_given_up_with_an_event(world: World) -> None:
    other = world.endpoint("webhook.died").endpoint
    dead = world.endpoint("approval.*").endpoint
    world.ask()
    receiver, now = Receiver([BROKEN]), NOW
    for wait in [timedelta(0), *AFTER_EACH]:
        now += wait
        assert receiver.run(now) >= 1
    given_up = WebhookDelivery.objects.get(endpoint=dead)
    assert (given_up.state, given_up.attempt) == ("abandoned", 8)
    died = OutboxEvent.objects.get(type="webhook.died")
    assert (died.body["data"]["webhook"], died.body["data"]["id"]) == (dead.pk, given_up.pk)
    assert set(WebhookDelivery.objects.filter(type="webhook.died").values_list("endpoint", flat=True)) == {
        other.pk
    }


def test_two_dead_receivers_do_not_tell_each_other_for_ever(world: World) -> None:
    world.endpoint()
    world.endpoint()
    world.ask()
    receiver, now = Receiver([BROKEN]), NOW
    for wait in [timedelta(0), *AFTER_EACH, *AFTER_EACH, *AFTER_EACH]:
        now += wait + timedelta(seconds=1)
        receiver.run(now)
    assert not WebhookDelivery.objects.filter(state="pending").exists()
    assert OutboxEvent.objects.filter(type="webhook.died").count() == 2
    assert names().count("webhook.died") == 4, "the deaths of the news are journalled and not told"


def test_gone_switches_the_endpoint_off_at_once(world: World) -> None:
    endpoint = world.endpoint().endpoint
    world.ask()
    world.ask(now=later(seconds=1))
    receiver = Receiver([GONE])
    receiver.run(later(seconds=2))
    row = WebhookEndpoint.objects.get(pk=endpoint.pk)
    assert (row.enabled, row.disabled_reason, len(receiver.claims)) == (False, "gone", 1)
    assert names() == ["webhook.created", "webhook.disabled"]
    states = WebhookDelivery.objects.order_by("pk").values_list("state", "error")
    assert list(states) == [("failed", ""), ("failed", "webhook_disabled")]
    world.ask(now=later(seconds=3))
    assert receiver.run(later(seconds=4)) == 0


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_no_arrival(world: World, status: int) -> None:
    world.endpoint()
    world.ask()
    Receiver([Answer(status, "", "", 1)]).run()
    assert (only().state, only().error, only().status_code) == ("pending", "redirect_refused", status)


def test_both_secrets_sign_for_a_day_after_a_rotation(world: World) -> None:
    old = world.endpoint()
    who = principal(world.cast.owner, world.cast.default)
    new = webhooks.rotate(principal=who, endpoint_id=old.endpoint.pk, now=NOW)
    endpoint = WebhookEndpoint.objects.get(pk=old.endpoint.pk)
    assert old.secret != new.secret
    for moment, expected in ((later(hours=23, minutes=59), [True, True]), (later(hours=24), [True, False])):
        world.ask(now=moment)
        receiver = Receiver()
        receiver.run(moment)
        (claim,) = receiver.claims
        headers = signed_headers(
            message_id=claim.event_id,
            timestamp=int(utc_now().timestamp()),
            body=claim.body,
            secrets=claim.secrets,
        )
        fits = [accepts(told.secret, claim.body, headers) for told in (new, old)]
        assert fits == expected
    for column in (endpoint.secret_sealed, endpoint.previous_sealed):
        assert b"whsec" not in bytes(column or b"")


def accepts(secret: str, body: bytes, headers: dict[str, str]) -> bool:
    try:
        Webhook(secret).verify(body, headers)
    except WebhookVerificationError:
        return False
    return True


def test_a_secret_that_does_not_open_sends_nothing(world: World) -> None:
    endpoint = world.endpoint().endpoint
    WebhookEndpoint.objects.filter(pk=endpoint.pk).update(secret_sealed=b"torn")
    world.ask()
    assert Receiver().run() == 0
    assert (only().state, only().error) == ("failed", "secret_lost")


def test_a_deleted_endpoint_gets_nothing_more(world: World) -> None:
    endpoint = world.endpoint().endpoint
    world.ask()
    deliveries.fan_out(event_id=OutboxEvent.objects.get().pk, now=NOW)
    who = principal(world.cast.owner, world.cast.default)
    webhooks.delete(principal=who, endpoint_id=endpoint.pk, seen_version=1, now=NOW)
    assert Receiver().run() == 0
    assert (only().state, only().error) == ("failed", "webhook_deleted")
    assert bytes(WebhookEndpoint.objects.get(pk=endpoint.pk).secret_sealed) == b""


def test_an_endpoint_hears_nothing_from_before_its_time(world: World) -> None:
    world.endpoint(now=later(seconds=5))
    world.ask(now=later(seconds=4))
    assert Receiver().run(later(seconds=9)) == 0


def test_another_workspace_hears_nothing(world: World) -> None:
    endpoint = world.endpoint().endpoint
    WebhookEndpoint.objects.filter(pk=endpoint.pk).update(workspace_id=world.cast.instance.pk)
    world.ask()
    assert Receiver().run() == 0
    OutboxEvent.objects.update(workspace_id="", fanned_at=None)
    assert Receiver().run() == 1, "what is about everything is told everywhere"


def test_one_event_makes_one_delivery_however_often_it_is_told(world: World) -> None:
    world.endpoint()
    world.ask()
    event = OutboxEvent.objects.get()
    assert deliveries.fan_out(event_id=event.pk, now=NOW)
    assert not deliveries.fan_out(event_id=event.pk, now=NOW)
    OutboxEvent.objects.update(fanned_at=None)
    deliveries.fan_out(event_id=event.pk, now=NOW)
    assert WebhookDelivery.objects.count() == 1


def test_a_delivery_is_sent_again_under_its_id(world: World) -> None:
    world.endpoint()
    world.ask()
    receiver = Receiver()
    receiver.run()
    who = principal(world.cast.owner, world.cast.default)
    again = webhooks.redeliver(principal=who, delivery_id=only().pk, now=later(minutes=1))
    assert (again.state, again.attempt) == ("pending", 0)
    with pytest.raises(ConflictError, match="state_changed"):
        webhooks.redeliver(principal=who, delivery_id=only().pk, now=later(minutes=1))
    receiver.run(later(minutes=2))
    first, second = receiver.claims
    assert (first.event_id, first.body) == (second.event_id, second.body)
    assert only().state == "delivered"
    assert names() == ["webhook.created", "webhook.redelivered"]


def test_a_test_says_nothing_and_is_tried_once(world: World) -> None:
    endpoint = world.endpoint("grant.revoked").endpoint
    who = principal(world.cast.owner, world.cast.default)
    made = webhooks.ping(principal=who, endpoint_id=endpoint.pk, now=NOW)
    receiver = Receiver([BROKEN])
    receiver.run()
    body = json.loads(receiver.claims[0].body)
    assert (body["type"], body["data"]["id"]) == ("webhook.test", endpoint.pk)
    assert (only().pk, only().state, only().attempt) == (made.pk, "failed", 1)
    assert JournalEvent.objects.get(type="webhook.tested").pk == made.event_id
    webhooks.change(
        principal=who, endpoint_id=endpoint.pk, changes={"enabled": False}, seen_version=1, now=NOW
    )
    with pytest.raises(ConflictError, match="switched off"):
        webhooks.ping(principal=who, endpoint_id=endpoint.pk, now=NOW)
    with pytest.raises(ConflictError, match="switched off"):
        webhooks.redeliver(principal=who, delivery_id=made.pk, now=NOW)


def test_an_attempt_belongs_to_one_worker(world: World) -> None:
    world.endpoint()
    world.ask()
    deliveries.fan_out(event_id=OutboxEvent.objects.get().pk, now=NOW)
    mine = deliveries.claim(delivery_id=only().pk, now=NOW)
    assert mine is not None
    assert refuses(lambda: deliveries.claim(delivery_id=only().pk, now=later(seconds=59)))
    theirs = deliveries.claim(delivery_id=only().pk, now=later(seconds=61))
    assert theirs is not None
    assert theirs.attempt == 2
    assert refuses(lambda: deliveries.settle(claim=mine, answer=TAKEN, spread=0, now=later(seconds=62)))
    deliveries.settle(claim=theirs, answer=TAKEN, spread=0, now=later(seconds=62))
    assert refuses(lambda: deliveries.settle(claim=theirs, answer=BROKEN, spread=0, now=later(seconds=63)))
    assert only().state == "delivered"


def test_workers_that_die_in_attempts_do_not_try_for_ever(world: World) -> None:
    world.endpoint()
    world.ask()
    deliveries.fan_out(event_id=OutboxEvent.objects.get().pk, now=NOW)
    now, claims = NOW, 0
    while only().state == "pending" and claims < 99:
        claims += deliveries.claim(delivery_id=only().pk, now=now) is not None
        now += delivery.CLAIM_LIFE + timedelta(seconds=1)
    assert (claims, only().state, only().error) == (MOST_ATTEMPTS, "abandoned", "worker_lost")


def test_what_cannot_be_written_is_left_for_the_next_waking(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault of one step ends neither the worker nor what the others do."""
    world.endpoint()
    world.ask()
    broken: list[int] = []

    def fail(**_: object) -> None:
        broken.append(1)
        raise ZeroDivisionError

    monkeypatch.setattr(deliveries, "claim", fail)
    assert Receiver().run() == 0
    assert broken == [1]
    monkeypatch.undo()
    assert worker.waits(NOW)
    assert Receiver().run() == 1
    assert not worker.waits(NOW)


def test_old_news_is_forgotten_and_what_waits_is_not(world: World) -> None:
    world.endpoint()
    world.ask()
    Receiver().run()
    world.ask(now=later(seconds=1))
    Receiver([BROKEN]).run(later(seconds=1))
    deliveries.forget(now=later(days=6))
    assert (OutboxEvent.objects.count(), WebhookDelivery.objects.count()) == (2, 2)
    deliveries.forget(now=later(days=8))
    assert (OutboxEvent.objects.count(), WebhookDelivery.objects.count()) == (0, 2)
    deliveries.forget(now=later(days=31))
    assert list(WebhookDelivery.objects.values_list("state", flat=True)) == ["pending"]


@examples(max_examples=100, deadline=None)
@given(st.integers(-2, 20), st.floats(allow_nan=False))
def test_delays_are_those_of_the_table_within_a_tenth(attempt: int, spread: float) -> None:
    delay = delay_after(attempt, spread)
    if not 1 <= attempt <= len(RETRY_SECONDS):
        assert delay is None
        return
    assert delay is not None
    assert 0.9 <= delay.total_seconds() / RETRY_SECONDS[attempt - 1] <= 1.1 + 1e-9


def test_the_journal_keeps_an_address_without_its_keys() -> None:
    for url in ("https://hooks.example.com/T0/SECRET", "https://hooks.example.com/?key=SECRET"):
        assert origin_of(url) == "https://hooks.example.com"
    assert origin_of("https://hooks.example.com:8443/SECRET") == "https://hooks.example.com:8443"
    assert origin_of("no url at all") == ""


def test_delays_rise_from_seconds_to_a_day() -> None:
    assert RETRY_SECONDS == (5, 30, 120, 600, 3_600, 21_600, 86_400)
    assert {state.value for state in DeliveryState} == set(WebhookDelivery.STATES)
