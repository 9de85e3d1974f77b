"""Verbs on webhooks. Each is one transaction with its event; what is sent is sent after it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from django.db import transaction

from governance import authority, idempotency
from governance.authority import needs
from governance.idempotency import Ticket
from governance.journal.ledger import record
from governance.notifications import delivery, outbox, webhooks
from governance.notifications.models import WebhookDelivery, WebhookEndpoint
from governance.notifications.webhooks import Told, require_delivery, require_endpoint
from identity.roles import Permission
from identity.types import Principal

Render = Callable[[WebhookEndpoint], object]
RenderDelivery = Callable[[WebhookDelivery], object]


@needs(Permission.WEBHOOKS_MANAGE)
def create(
    *,
    principal: Principal,
    url: str,
    event_types: Sequence[str],
    description: str = "",
    now: datetime,
    ticket: Ticket | None = None,
    render: Render | None = None,
) -> Told:
    """Add an endpoint to the principal's workspace; its secret is in this answer and nowhere else.

    `render` makes what a replay of the ticket is answered with, so it knows nothing of the secret.
    """
    with transaction.atomic(durable=True):
        authority.require_verb(principal, Permission.WEBHOOKS_MANAGE, principal.workspace_id, now)
        told = webhooks.create_endpoint(
            workspace_id=principal.workspace_id,
            url=url,
            event_types=event_types,
            description=description,
            actor=principal.actor(),
            now=now,
            record=record,
        )
        idempotency.store_rendered(ticket, render, told.endpoint, status=201, object_id=told.endpoint.pk)
    return told


@needs(Permission.WEBHOOKS_MANAGE)
def change(
    *, principal: Principal, endpoint_id: str, changes: Mapping[str, object], seen_version: int, now: datetime
) -> WebhookEndpoint:
    """Change an endpoint as it was at `seen_version`; PreconditionFailedError when it changed since."""
    with transaction.atomic(durable=True):
        _require_managed(principal, endpoint_id, now)
        return webhooks.change_endpoint(
            endpoint_id=endpoint_id,
            changes=changes,
            seen_version=seen_version,
            actor=principal.actor(),
            now=now,
            record=record,
        )


@needs(Permission.WEBHOOKS_MANAGE)
def delete(*, principal: Principal, endpoint_id: str, seen_version: int, now: datetime) -> None:
    """Take an endpoint as it was at `seen_version` out of use; what was on its way to it ends."""
    with transaction.atomic(durable=True):
        _require_managed(principal, endpoint_id, now)
        webhooks.delete_endpoint(
            endpoint_id=endpoint_id,
            seen_version=seen_version,
            actor=principal.actor(),
            now=now,
            record=record,
        )


@needs(Permission.WEBHOOKS_MANAGE)
def rotate(
    *,
    principal: Principal,
    endpoint_id: str,
    now: datetime,
    ticket: Ticket | None = None,
    render: Render | None = None,
) -> Told:
    """Give an endpoint a new secret, told in this answer only; the one before signs for 24 hours more."""
    with transaction.atomic(durable=True):
        _require_managed(principal, endpoint_id, now)
        told = webhooks.rotate_secret(
            endpoint_id=endpoint_id, actor=principal.actor(), now=now, record=record
        )
        idempotency.store_rendered(ticket, render, told.endpoint, status=200, object_id=endpoint_id)
    return told


@needs(Permission.WEBHOOKS_MANAGE)
def ping(
    *,
    principal: Principal,
    endpoint_id: str,
    now: datetime,
    ticket: Ticket | None = None,
    render: RenderDelivery | None = None,
) -> WebhookDelivery:
    """Send an endpoint one delivery that says nothing, whatever it asked for. It is tried once."""
    with transaction.atomic(durable=True):
        endpoint = _require_managed(principal, endpoint_id, now)
        made = delivery.make_test(endpoint=endpoint, actor=principal.actor(), now=now, record=record)
        idempotency.store_rendered(ticket, render, made, status=202, object_id=made.pk)
        outbox.ring_after_commit()
    return made


@needs(Permission.WEBHOOKS_MANAGE)
def redeliver(
    *,
    principal: Principal,
    delivery_id: str,
    now: datetime,
    ticket: Ticket | None = None,
    render: RenderDelivery | None = None,
) -> WebhookDelivery:
    """Send an ended delivery again under its old id; ConflictError while it is on its way."""
    with transaction.atomic(durable=True):
        found = require_delivery(principal, delivery_id, now)
        authority.require_verb(principal, Permission.WEBHOOKS_MANAGE, found.endpoint.workspace_id, now)
        again = delivery.send_again(delivery=found, actor=principal.actor(), now=now, record=record)
        idempotency.store_rendered(ticket, render, again, status=202, object_id=again.pk)
        outbox.ring_after_commit()
    return again


def _require_managed(principal: Principal, endpoint_id: str, now: datetime) -> WebhookEndpoint:
    endpoint = require_endpoint(principal, endpoint_id, now)
    authority.require_verb(principal, Permission.WEBHOOKS_MANAGE, endpoint.workspace_id, now)
    return endpoint
