"""Webhooks, deliveries and subscriptions as they travel."""

from __future__ import annotations

from typing import Any

from governance.notifications.models import WebhookDelivery, WebhookEndpoint
from governance.notifications.subscriptions import Wishes
from governance.notifications.webhooks import Told
from kernel.clock import wire_time


def render_webhook(endpoint: WebhookEndpoint) -> dict[str, Any]:
    return {
        "id": endpoint.pk,
        "object": "webhook",
        "workspace": endpoint.workspace_id,
        "url": endpoint.url,
        "description": endpoint.description,
        "event_types": list(endpoint.event_types),
        "enabled": endpoint.enabled,
        "disabled_reason": endpoint.disabled_reason or None,
        "failing_since": wire_time(endpoint.failing_since),
        "previous_secret_until": wire_time(endpoint.previous_until),
        "created_by": endpoint.created_by,
        "created_at": wire_time(endpoint.created_at),
        "version": endpoint.version,
    }


def render_told(told: Told) -> dict[str, Any]:
    """Return a webhook with its secret, for the one answer that shows it."""
    return render_webhook(told.endpoint) | {"secret": told.secret, "secret_withheld": False}


def render_withheld(endpoint: WebhookEndpoint) -> dict[str, Any]:
    """Return what a repeat of the same request is answered with: the secret was shown to the first."""
    return render_webhook(endpoint) | {"secret": None, "secret_withheld": True}


def render_delivery(delivery: WebhookDelivery) -> dict[str, Any]:
    return {
        "id": delivery.pk,
        "object": "webhook_delivery",
        "webhook": delivery.endpoint_id,
        "event": delivery.event_id,
        "type": delivery.type,
        "state": delivery.state,
        "attempt": delivery.attempt,
        "status_code": delivery.status_code,
        "duration_ms": delivery.duration_ms,
        "response_excerpt": delivery.response_excerpt,
        "error": delivery.error or None,
        "next_attempt_at": wire_time(delivery.next_attempt_at),
        "occurred_at": wire_time(delivery.occurred_at),
        "created_at": wire_time(delivery.created_at),
        "updated_at": wire_time(delivery.updated_at),
    }


def render_subscription(workspace_id: str, wishes: Wishes) -> dict[str, Any]:
    return {
        "object": "notification_subscription",
        "workspace": workspace_id,
        "channel": "email",
        "enabled": wishes.enabled,
        "minimum_risk": wishes.minimum_risk,
        "subject_types": list(wishes.subject_types),
        "quiet_from": wishes.quiet_from,
        "quiet_to": wishes.quiet_to,
        "time_zone": wishes.time_zone,
    }
