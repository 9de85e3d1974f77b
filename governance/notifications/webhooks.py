"""Endpoints of webhooks: who sees them, and every write on one. Each runs in the caller's transaction."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import QuerySet

from governance.notifications.addresses import Reach, parse_target
from governance.notifications.models import WebhookDelivery, WebhookEndpoint
from governance.notifications.outbox import is_known_type
from governance.notifications.signing import SECRET_BYTES, secret_text
from identity.authorization import authorize
from identity.models import Workspace
from identity.roles import Permission
from identity.sealing import open_field, seal_field
from identity.types import Principal
from kernel.clock import wire_time
from kernel.errors import ConflictError, Detail, InvalidError, NotFoundError, PreconditionFailedError
from kernel.ids import new_id
from kernel.record import Actor, Record

MOST_ENDPOINTS = 20
MOST_TYPES = 20
LONGEST_DESCRIPTION = 500
OVERLAP = timedelta(hours=24)
BY_PERSON = "person"
_MODEL = "WebhookEndpoint"


@dataclass(frozen=True, slots=True)
class Told:
    """An endpoint with the text of its new secret, which is in this answer and nowhere else."""

    endpoint: WebhookEndpoint
    secret: str = field(repr=False)


def reach() -> Reach:
    """Return what this installation opens to webhooks."""
    return Reach(private=settings.PALYRA_WEBHOOK_ALLOW_PRIVATE, plain_loopback=settings.DEBUG)


def visible_endpoints(principal: Principal, now: datetime) -> QuerySet[WebhookEndpoint]:
    """Return the endpoints of the workspaces in which this principal manages webhooks."""
    live = WebhookEndpoint.objects.filter(deleted_at__isnull=True)
    if principal.instance_roles and _manages(principal, "", now):
        return live
    if _manages(principal, principal.workspace_id, now):
        return live.filter(workspace_id=principal.workspace_id)
    return live.none()


def require_endpoint(principal: Principal, endpoint_id: str, now: datetime) -> WebhookEndpoint:
    """Return a visible endpoint, or raise NotFoundError; a foreign id answers like an unknown one."""
    endpoint = visible_endpoints(principal, now).filter(pk=endpoint_id).first()
    if endpoint is None:
        raise NotFoundError("not_found", "There is no such webhook.")
    return endpoint


def require_delivery(principal: Principal, delivery_id: str, now: datetime) -> WebhookDelivery:
    """Return a delivery of a visible endpoint, or raise NotFoundError."""
    seen = visible_endpoints(principal, now)
    delivery = WebhookDelivery.objects.select_related("endpoint").filter(pk=delivery_id, endpoint__in=seen)
    found = delivery.first()
    if found is None:
        raise NotFoundError("not_found", "There is no such delivery.")
    return found


def _manages(principal: Principal, workspace_id: str, now: datetime) -> bool:
    asked = Permission.WEBHOOKS_MANAGE
    return authorize(principal, asked, workspace_id=workspace_id, flags=principal.flags, now=now).allowed


def create_endpoint(
    *,
    workspace_id: str,
    url: str,
    event_types: Sequence[str],
    description: str,
    actor: Actor,
    now: datetime,
    record: Record,
) -> Told:
    """Add an endpoint. InvalidError for a URL or type that is not for webhooks, ConflictError beyond 20."""
    Workspace.objects.select_for_update().get(pk=workspace_id)  # two that come at once are counted in turn
    present = WebhookEndpoint.objects.filter(workspace_id=workspace_id, deleted_at__isnull=True).count()
    if present >= MOST_ENDPOINTS:
        raise ConflictError("conflict", f"A workspace has at most {MOST_ENDPOINTS} webhooks.")
    endpoint = WebhookEndpoint(
        id=new_id("whk", now),
        workspace_id=workspace_id,
        url=_checked_url(url),
        event_types=_checked_types(event_types),
        description=description,
        created_by=actor.id,
        created_at=now,
    )
    secret = os.urandom(SECRET_BYTES)
    endpoint.secret_sealed = seal_field(_MODEL, endpoint.pk, "secret", secret)
    endpoint.save(force_insert=True)
    record(event="webhook.created", actor=actor, subject=endpoint.pk, now=now, data=_facts(endpoint))
    return Told(endpoint, secret_text(secret))


def change_endpoint(
    *,
    endpoint_id: str,
    changes: Mapping[str, object],
    seen_version: int,
    actor: Actor,
    now: datetime,
    record: Record,
) -> WebhookEndpoint:
    """Change `url`, `description`, `event_types` or `enabled` of an endpoint as it was at `seen_version`.

    Switching one on again forgets why it was off and since when it failed.
    """
    endpoint = _held(endpoint_id, seen_version)
    if not changes:
        return endpoint
    if "url" in changes:
        endpoint.url = _checked_url(str(changes["url"]))
    if "event_types" in changes:
        endpoint.event_types = _checked_types(changes["event_types"])
    if "description" in changes:
        endpoint.description = str(changes["description"])
    if "enabled" in changes and bool(changes["enabled"]) is not endpoint.enabled:
        endpoint.enabled = bool(changes["enabled"])
        endpoint.disabled_reason = "" if endpoint.enabled else BY_PERSON
        endpoint.failing_since = None
    endpoint.version += 1
    endpoint.save()
    record(event="webhook.changed", actor=actor, subject=endpoint.pk, now=now, data=_facts(endpoint))
    return endpoint


def rotate_secret(*, endpoint_id: str, actor: Actor, now: datetime, record: Record) -> Told:
    """Give an endpoint a new secret; the one before signs beside it for 24 hours."""
    endpoint = _held(endpoint_id, None)
    previous = open_field(_MODEL, endpoint.pk, "secret", bytes(endpoint.secret_sealed))
    secret = os.urandom(SECRET_BYTES)
    endpoint.previous_sealed = seal_field(_MODEL, endpoint.pk, "previous", previous)
    endpoint.previous_until = now + OVERLAP
    endpoint.secret_sealed = seal_field(_MODEL, endpoint.pk, "secret", secret)
    endpoint.version += 1
    endpoint.save()
    record(
        event="webhook.rotated",
        actor=actor,
        subject=endpoint.pk,
        now=now,
        data={"previous_until": wire_time(endpoint.previous_until)},
    )
    return Told(endpoint, secret_text(secret))


def delete_endpoint(
    *, endpoint_id: str, seen_version: int, actor: Actor, now: datetime, record: Record
) -> None:
    """Take an endpoint out of use for good. Its secrets go; what was sent stays listed in the journal."""
    endpoint = _held(endpoint_id, seen_version)
    endpoint.enabled = False
    endpoint.deleted_at = now
    endpoint.secret_sealed, endpoint.previous_sealed, endpoint.previous_until = b"", None, None
    endpoint.version += 1
    endpoint.save()
    data = {"url": origin_of(endpoint.url)}
    record(event="webhook.deleted", actor=actor, subject=endpoint.pk, now=now, data=data)


def disable_endpoint(*, endpoint_id: str, reason: str, actor: Actor, now: datetime, record: Record) -> None:
    """Switch off an endpoint whose receiver said that it is gone. Nothing when it is off already."""
    rows = WebhookEndpoint.objects.filter(pk=endpoint_id, enabled=True, deleted_at__isnull=True)
    endpoint = rows.select_for_update().first()
    if endpoint is None:
        return
    endpoint.enabled, endpoint.disabled_reason = False, reason
    endpoint.version += 1
    endpoint.save()
    record(event="webhook.disabled", actor=actor, subject=endpoint.pk, now=now, data={"reason": reason})


def secrets_of(endpoint: WebhookEndpoint, now: datetime) -> tuple[bytes, ...]:
    """Return what signs at `now`, the present secret first. InvalidError when it does not open."""
    present = open_field(_MODEL, endpoint.pk, "secret", bytes(endpoint.secret_sealed))
    if endpoint.previous_sealed is None or endpoint.previous_until is None or now >= endpoint.previous_until:
        return (present,)
    return present, open_field(_MODEL, endpoint.pk, "previous", bytes(endpoint.previous_sealed))


def origin_of(url: str) -> str:
    """Return scheme, host and port: in path and query some services want a key."""
    target = parse_target(url, Reach(private=True, plain_loopback=True))
    return f"{target.scheme}://{target.authority}" if target else ""


def _held(endpoint_id: str, seen_version: int | None) -> WebhookEndpoint:
    rows = WebhookEndpoint.objects.select_for_update().filter(pk=endpoint_id, deleted_at__isnull=True)
    endpoint = rows.first()
    if endpoint is None:
        raise NotFoundError("not_found", "There is no such webhook.")
    if seen_version is not None and endpoint.version != seen_version:
        raise PreconditionFailedError("precondition_failed", "The webhook changed since it was seen.")
    return endpoint


def _checked_url(url: str) -> str:
    if parse_target(url, reach()) is None:
        detail = Detail("/url", "url_refused", "Use https and a public host, without user or fragment.")
        raise InvalidError("invalid", "No webhook is sent to this URL.", errors=(detail,))
    return url


def _checked_types(types: object) -> list[str]:
    texts = [str(text) for text in types] if isinstance(types, Sequence) else []
    if not 1 <= len(texts) <= MOST_TYPES or not all(map(is_known_type, texts)):
        detail = Detail("/event_types", "unknown_type", "Use *, a family such as approval.*, or a name.")
        raise InvalidError("invalid", "There is no such kind of event.", errors=(detail,))
    return sorted(set(texts))


def _facts(endpoint: WebhookEndpoint) -> dict[str, object]:
    return {
        "url": origin_of(endpoint.url),
        "event_types": list(endpoint.event_types),
        "enabled": endpoint.enabled,
    }
