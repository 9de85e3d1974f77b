"""What the outside is told: a row in the transaction of the event, with ids and codes only.

No parameter, no comment and no other text of an agent or a person ever stands in a body.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from datetime import datetime

from django.conf import settings
from django.db import DatabaseError, connection, transaction

from approvals.lifecycle import decision_of
from approvals.models import ApprovalRequest, Grant
from governance import wakeup
from governance.freeze_models import Freeze
from governance.notifications.models import (
    NotificationSubscription,
    OutboxEvent,
    WebhookDelivery,
    WebhookEndpoint,
)
from kernel.clock import wire_time

log = logging.getLogger(__name__)

MOST_BYTES = 16_384
EVERYWHERE = ""
DIED = "webhook.died"
TEST = "webhook.test"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,159}")

Told = tuple[str, dict[str, object]]
"""The workspace it belongs to (`EVERYWHERE` for all) and the facts."""


def enqueue(*, event: str, event_id: str, subject: str, now: datetime) -> None:
    """Keep an event for those who are told of its kind, inside the caller's transaction.

    Does nothing for other events, and while nobody listens. The subject's row must show the event's
    effect already. Raises what the database raises, so that the event and its effect are undone too.
    """
    compose = NOTIFIED.get(event)
    if compose is None or not (event in TOLD_UNASKED or _somebody_listens()):
        return
    told = _told(compose, subject)
    if told is None:
        return
    workspace_id, data = told
    body = {"type": event, "timestamp": wire_time(now), "data": data}
    OutboxEvent.objects.create(
        event_id=event_id, type=event, workspace_id=workspace_id, body=body, occurred_at=now
    )
    ring_after_commit()


def _told(compose: Callable[[str], Told | None], subject: str) -> Told | None:
    """What cannot be told changes no decision; a database that fails does, as for every event."""
    try:
        return compose(subject)
    except DatabaseError:
        raise
    except Exception:
        log.exception("nobody is told of %s", subject)
        return None


def ring_after_commit() -> None:
    """Wake whoever sends once the transaction is committed, once for all of its events."""
    rung = (entry[1] is wakeup.ring_notifications for entry in connection.run_on_commit)
    if not any(rung):
        transaction.on_commit(wakeup.ring_notifications, robust=True)


def _somebody_listens() -> bool:
    return (
        WebhookEndpoint.objects.filter(enabled=True, deleted_at__isnull=True).exists()
        or NotificationSubscription.objects.filter(enabled=True).exists()
    )


def _of_approval(request_id: str) -> Told:
    request = ApprovalRequest.objects.get(pk=request_id)
    return request.workspace_id, {
        "object": "approval",
        "id": request.pk,
        "state": request.status,
        "decision": decision_of(request.status, request.close_code),
        "close_code": request.close_code or None,
        "subject_type": request.subject_type,
        "subject_id": request.subject_id,
        "tool": _name(request.tool),
        "skill": _name(request.skill_id),
        "risk": request.risk,
        "quorum": request.quorum,
        "break_glass": request.break_glass,
        "requester_kind": request.requester_kind,
        "agent": request.requester_id,
        "run": request.run_id or None,
        "edited_from": request.edited_from_id or None,
        "requested_at": wire_time(request.requested_at),
        "expires_at": wire_time(request.expires_at),
        "workspace": request.workspace_id,
        "console_url": _console(f"approvals/{request.pk}/"),
    }


def _of_grant(grant_id: str) -> Told:
    grant = Grant.objects.get(pk=grant_id)
    return grant.workspace_id, {
        "object": "grant",
        "id": grant.pk,
        "state": grant.status,
        "approval": grant.request_id,
        "subject_type": grant.subject_type,
        "tool": _name(grant.tool),
        "skill": _name(grant.skill_id),
        "risk": grant.risk_ceiling,
        "agent": grant.principal_id,
        "scope": grant.scope,
        "uses": grant.uses,
        "uses_allowed": grant.uses_allowed,
        "expires_at": wire_time(grant.expires_at),
        "workspace": grant.workspace_id,
        "console_url": _console(f"grants/{grant.pk}/"),
    }


def _of_freeze(freeze_id: str) -> Told:
    freeze = Freeze.objects.get(pk=freeze_id)
    return EVERYWHERE if freeze.scope == "global" else freeze.workspace_id, {
        "object": "freeze",
        "id": freeze.pk,
        "state": freeze.state,
        "scope": freeze.scope,
        "scope_id": _name(freeze.scope_id),
        "kill_running": freeze.kill_running,
        "set_at": wire_time(freeze.set_at),
        "lifted_at": wire_time(freeze.lifted_at),
        "workspace": freeze.workspace_id,
        "console_url": _console("freezes/"),
    }


def _of_death(delivery_id: str) -> Told | None:
    delivery = WebhookDelivery.objects.select_related("endpoint").get(pk=delivery_id)
    if delivery.type == DIED:
        return None  # or two dead receivers would go on telling each other's death
    return delivery.endpoint.workspace_id, {
        "object": "webhook_delivery",
        "id": delivery.pk,
        "state": delivery.state,
        "webhook": delivery.endpoint_id,
        "event": delivery.event_id,
        "event_type": delivery.type,
        "attempts": delivery.attempt,
        "status_code": delivery.status_code,
        "error": delivery.error or None,
        "workspace": delivery.endpoint.workspace_id,
        "console_url": _console(""),
    }


def _name(text: str) -> str | None:
    """Return a name as catalogs have them; whatever else stands there is not repeated."""
    return text if _NAME.fullmatch(text) else None


def _console(path: str) -> str:
    return f"{settings.PALYRA_PUBLIC_URL}/admin/{path}"


NOTIFIED: Mapping[str, Callable[[str], Told | None]] = {
    "approval.requested": _of_approval,
    "approval.decided": _of_approval,
    "approval.expired": _of_approval,
    "approval.cancelled": _of_approval,
    "approval.failed": _of_approval,
    "approval.edited": _of_approval,
    "approval.reminded": _of_approval,
    "approval.break_glass": _of_approval,
    "grant.created": _of_grant,
    "grant.revoked": _of_grant,
    "grant.expiring": _of_grant,
    "freeze.set": _of_freeze,
    "freeze.lifted": _of_freeze,
    DIED: _of_death,
}
"""The journal events that the outside may hear of; there are no others."""

TOLD_UNASKED = frozenset({"approval.break_glass", "grant.expiring"})
"""Events that somebody gets by mail without having asked for it."""


def is_known_type(text: str) -> bool:
    """Tell whether an endpoint may ask for this: `*`, a family such as `approval.*`, or a name."""
    families = {f"{name.partition('.')[0]}.*" for name in NOTIFIED}
    return text == "*" or text in NOTIFIED or text in families


def asks_for(event_types: list[str], event: str) -> bool:
    """Tell whether an endpoint with these types is told of this event."""
    return any(text in ("*", event, f"{event.partition('.')[0]}.*") for text in event_types)
