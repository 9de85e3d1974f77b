"""What the worker of notifications writes. Each step is a transaction; nothing is sent inside one."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Model, QuerySet

from governance.authority import needs
from governance.journal.ledger import record
from governance.notifications import delivery, mail
from governance.notifications.delivery import Claim
from governance.notifications.lifecycle import ENDED
from governance.notifications.mail import Posting
from governance.notifications.models import MailDelivery, OutboxEvent, WebhookDelivery
from governance.notifications.sending import Answer
from kernel.record import Actor

WORKER = Actor(kind="system", id="worker", auth="none", surface="worker")
OUTBOX_LIFE = timedelta(days=7)
DELIVERY_LIFE = timedelta(days=30)
MOST_FORGOTTEN = 500


@needs(None)
def fan_out(*, event_id: str, now: datetime) -> bool:
    """Make the deliveries and mails of one event, once; False when that was done before."""
    with transaction.atomic(durable=True):
        waiting = OutboxEvent.objects.filter(pk=event_id, fanned_at__isnull=True)
        if waiting.update(fanned_at=now) != 1:
            return False
        event = OutboxEvent.objects.get(pk=event_id)
        delivery.make_deliveries(event, now)
        mail.make_mails(event, now)
    return True


@needs(None)
def claim(*, delivery_id: str, now: datetime) -> Claim | None:
    """Take a webhook's delivery for one attempt; None when it ended instead, ConflictError when taken."""
    with transaction.atomic(durable=True):
        return delivery.claim(delivery_id=delivery_id, actor=WORKER, now=now, record=record)


@needs(None)
def settle(*, claim: Claim, answer: Answer, spread: float, now: datetime) -> None:
    """Write what came of an attempt; ConflictError when it is no longer this worker's."""
    with transaction.atomic(durable=True):
        delivery.settle(claim=claim, answer=answer, spread=spread, actor=WORKER, now=now, record=record)


@needs(None)
def claim_mail(*, mail_id: int, now: datetime) -> Posting | None:
    """As `claim`, for a mail."""
    with transaction.atomic(durable=True):
        return mail.claim(mail_id=mail_id, now=now)


@needs(None)
def settle_mail(*, posting: Posting, error: str, now: datetime) -> None:
    """As `settle`, for a mail; `error` is empty when it was handed over."""
    with transaction.atomic(durable=True):
        mail.settle(posting=posting, error=error, now=now)


@needs(None)
def forget(*, now: datetime) -> int:
    """Delete what was told long ago, some of each kind at a time; return how many rows there were."""
    with transaction.atomic(durable=True):
        deliveries = WebhookDelivery.objects.filter(state__in=ENDED, updated_at__lt=now - DELIVERY_LIFE)
        mails = MailDelivery.objects.filter(state__in=ENDED, updated_at__lt=now - OUTBOX_LIFE)
        told = OutboxEvent.objects.filter(fanned_at__lt=now - OUTBOX_LIFE, mails__isnull=True)
        return sum(_delete(rows) for rows in (deliveries, mails, told))


def _delete(rows: QuerySet[Model]) -> int:
    ids = list(rows.order_by("pk").values_list("pk", flat=True)[:MOST_FORGOTTEN])
    deleted, _ = rows.model._default_manager.filter(pk__in=ids).delete()
    return deleted
