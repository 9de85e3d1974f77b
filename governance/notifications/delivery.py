"""Deliveries of webhooks: made from an event, claimed for one attempt, and settled by its answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Min, Q, QuerySet

from governance.notifications.lifecycle import (
    ALLOWED,
    GONE,
    MOST_ATTEMPTS,
    DeliveryState,
    delay_after,
    is_delivered,
)
from governance.notifications.models import OutboxEvent, WebhookDelivery, WebhookEndpoint
from governance.notifications.outbox import EVERYWHERE, TEST, asks_for
from governance.notifications.sending import Answer
from governance.notifications.webhooks import disable_endpoint, secrets_of
from kernel.canonical import canonical
from kernel.clock import wire_time
from kernel.errors import ConflictError, InvalidError
from kernel.ids import new_id
from kernel.record import Actor, Record
from kernel.state import transition

CLAIM_LIFE = timedelta(seconds=60)
"""Longer than any attempt; a worker that dies in one gives its delivery back after it."""
MOST_LANES = 1_000
REASON_GONE = "gone"


@dataclass(frozen=True, slots=True)
class Claim:
    """One attempt that this worker alone may make. `until` and `attempt` tell it from any other."""

    delivery_id: str
    endpoint_id: str
    event_id: str
    attempt: int
    until: datetime
    url: str
    body: bytes
    secrets: tuple[bytes, ...] = field(repr=False)


def make_deliveries(event: OutboxEvent, now: datetime) -> int:
    """Make the deliveries of an event: to those endpoints that were there when it happened.

    One that died tells the other endpoints, not itself.
    """
    rows = WebhookEndpoint.objects.filter(
        enabled=True, deleted_at__isnull=True, created_at__lte=event.occurred_at
    )
    if event.workspace_id != EVERYWHERE:
        rows = rows.filter(workspace_id=event.workspace_id)
    itself = event.body["data"].get("webhook")
    made = [
        _delivery(endpoint, event.event_id, event.type, event.body, occurred_at=event.occurred_at, now=now)
        for endpoint in rows
        if endpoint.pk != itself and asks_for(endpoint.event_types, event.type)
    ]
    WebhookDelivery.objects.bulk_create(made, ignore_conflicts=True)
    return len(made)


def make_test(*, endpoint: WebhookEndpoint, actor: Actor, now: datetime, record: Record) -> WebhookDelivery:
    """Make a delivery that says nothing, to show that the endpoint works. It is tried once."""
    if not endpoint.enabled:
        raise ConflictError("conflict", "The webhook is switched off.")
    delivery_id = new_id("whd", now)
    event_id = record(
        event="webhook.tested", actor=actor, subject=endpoint.pk, now=now, data={"delivery": delivery_id}
    )
    data = {"object": "webhook", "id": endpoint.pk, "workspace": endpoint.workspace_id}
    body = {"type": TEST, "timestamp": wire_time(now), "data": data}
    delivery = _delivery(endpoint, event_id, TEST, body, occurred_at=now, now=now)
    delivery.id = delivery_id
    delivery.save(force_insert=True)
    return delivery


def send_again(*, delivery: WebhookDelivery, actor: Actor, now: datetime, record: Record) -> WebhookDelivery:
    """Send an ended delivery again, under the same id and with all its attempts.

    ConflictError `state_changed` while it is on its way, `conflict` when its endpoint is off.
    """
    if not delivery.endpoint.enabled:
        raise ConflictError("conflict", "The webhook is switched off.")
    if delivery.state == DeliveryState.PENDING:
        raise ConflictError("state_changed", "The delivery is still on its way.")
    rows = WebhookDelivery.objects.filter(pk=delivery.pk)
    transition(
        rows,
        ALLOWED,
        source=delivery.state,
        target=DeliveryState.PENDING,
        attempt=0,
        next_attempt_at=now,
        claimed_until=None,
        updated_at=now,
    )
    data = {"webhook": delivery.endpoint_id, "of": delivery.event_id, "type": delivery.type}
    record(event="webhook.redelivered", actor=actor, subject=delivery.pk, now=now, data=data)
    return rows.select_related("endpoint").get()


def due(*, busy: Iterable[str], now: datetime) -> tuple[tuple[str, str], ...]:
    """Return endpoint and delivery of what to try now: the oldest of each endpoint not among `busy`.

    One at a time for each endpoint, so that a receiver that hangs holds up nobody else.
    """
    lanes = (
        _due(now)
        .exclude(endpoint_id__in=tuple(busy))
        .order_by()
        .values("endpoint_id")
        .annotate(first=Min("id"))
        .order_by("first")
    )
    return tuple((lane["endpoint_id"], lane["first"]) for lane in lanes[:MOST_LANES])


def is_anything_due(now: datetime) -> bool:
    return _due(now).exists()


def _due(now: datetime) -> QuerySet[WebhookDelivery]:
    free = Q(claimed_until__isnull=True) | Q(claimed_until__lte=now)
    return WebhookDelivery.objects.filter(free, state=DeliveryState.PENDING, next_attempt_at__lte=now)


def claim(*, delivery_id: str, actor: Actor, now: datetime, record: Record) -> Claim | None:
    """Take a delivery for one attempt, or end it when there is nothing to try; then return None.

    ConflictError `state_changed` when another worker was faster.
    """
    delivery = WebhookDelivery.objects.select_related("endpoint").get(pk=delivery_id)
    until = now + CLAIM_LIFE
    taken = _due(now).filter(pk=delivery_id, attempt=delivery.attempt)
    if not taken.update(attempt=delivery.attempt + 1, claimed_until=until, updated_at=now):
        raise ConflictError("state_changed", "Another worker has this delivery.")
    delivery.refresh_from_db()
    fault = _fault_of(delivery)
    if fault is not None:
        _end(delivery, DeliveryState.FAILED, now, error=fault)
        return None
    if delivery.attempt > MOST_ATTEMPTS:
        _give_up(delivery, actor, now, record, {"error": "worker_lost"})
        return None
    try:
        secrets = secrets_of(delivery.endpoint, now)
    except InvalidError:
        _end(delivery, DeliveryState.FAILED, now, error="secret_lost")
        return None
    return Claim(
        delivery_id=delivery.pk,
        endpoint_id=delivery.endpoint_id,
        event_id=delivery.event_id,
        attempt=delivery.attempt,
        until=until,
        url=delivery.endpoint.url,
        body=canonical(delivery.body),
        secrets=secrets,
    )


def settle(
    *, claim: Claim, answer: Answer, spread: float, actor: Actor, now: datetime, record: Record
) -> None:
    """Write what came of an attempt: delivered, tried again later, or ended.

    ConflictError `state_changed` when the attempt is no longer this worker's.
    """
    rows = WebhookDelivery.objects.select_for_update().filter(
        pk=claim.delivery_id, attempt=claim.attempt, claimed_until=claim.until
    )
    delivery = rows.first()
    if delivery is None:
        raise ConflictError("state_changed", "The attempt is no longer this worker's.")
    facts = _facts(answer)
    if is_delivered(answer.status):
        _end(delivery, DeliveryState.DELIVERED, now, **facts)
        _mark_working(delivery.endpoint_id)
    elif answer.status == GONE:
        _end(delivery, DeliveryState.FAILED, now, **facts)
        disable_endpoint(
            endpoint_id=delivery.endpoint_id, reason=REASON_GONE, actor=actor, now=now, record=record
        )
    elif delivery.type == TEST:
        _end(delivery, DeliveryState.FAILED, now, **facts)
    else:
        _mark_failing(delivery.endpoint_id, now)
        _try_later(delivery, spread, actor, now, record, facts)


def _try_later(
    delivery: WebhookDelivery,
    spread: float,
    actor: Actor,
    now: datetime,
    record: Record,
    facts: dict[str, object],
) -> None:
    delay = delay_after(delivery.attempt, spread)
    if delay is None:
        _give_up(delivery, actor, now, record, facts)
        return
    WebhookDelivery.objects.filter(pk=delivery.pk).update(
        next_attempt_at=now + delay, claimed_until=None, updated_at=now, **facts
    )


def _give_up(
    delivery: WebhookDelivery, actor: Actor, now: datetime, record: Record, facts: dict[str, object]
) -> None:
    _end(delivery, DeliveryState.ABANDONED, now, **facts)
    data = {
        "webhook": delivery.endpoint_id,
        "of": delivery.event_id,
        "type": delivery.type,
        "attempts": min(delivery.attempt, MOST_ATTEMPTS),
        "status_code": facts.get("status_code"),
        "error": str(facts["error"]),
    }
    record(event="webhook.died", actor=actor, subject=delivery.pk, now=now, data=data)


def _end(delivery: WebhookDelivery, target: DeliveryState, now: datetime, **facts: Any) -> None:
    transition(
        WebhookDelivery.objects.filter(pk=delivery.pk),
        ALLOWED,
        source=DeliveryState.PENDING,
        target=target,
        next_attempt_at=None,
        claimed_until=None,
        updated_at=now,
        **facts,
    )


def _facts(answer: Answer) -> dict[str, object]:
    redirected = answer.status is not None and 300 <= answer.status < 400
    return {
        "status_code": answer.status,
        "duration_ms": answer.duration_ms,
        "response_excerpt": answer.excerpt,
        "error": "redirect_refused" if redirected else answer.error,
    }


def _fault_of(delivery: WebhookDelivery) -> str | None:
    """Why a delivery cannot arrive, whatever is tried."""
    if delivery.endpoint.deleted_at is not None:
        return "webhook_deleted"
    return None if delivery.endpoint.enabled else "webhook_disabled"


def _mark_working(endpoint_id: str) -> None:
    WebhookEndpoint.objects.filter(pk=endpoint_id, failing_since__isnull=False).update(failing_since=None)


def _mark_failing(endpoint_id: str, now: datetime) -> None:
    WebhookEndpoint.objects.filter(pk=endpoint_id, failing_since__isnull=True).update(failing_since=now)


def _delivery(
    endpoint: WebhookEndpoint,
    event_id: str,
    event_type: str,
    body: Mapping[str, object],
    *,
    occurred_at: datetime,
    now: datetime,
) -> WebhookDelivery:
    return WebhookDelivery(
        id=new_id("whd", now),
        endpoint=endpoint,
        event_id=event_id,
        type=event_type,
        body=dict(body),
        occurred_at=occurred_at,
        next_attempt_at=now,
        created_at=now,
        updated_at=now,
    )
