"""Pages of webhooks: where events are posted to, and how each delivery went."""

from __future__ import annotations

from dataclasses import dataclass

from django.http import HttpResponse

from governance.admin.access import Visit
from governance.admin.layout import show
from governance.admin.names import names_of
from governance.admin.pages import page
from governance.admin.paging import ListPage, choice_filter, list_page
from governance.admin.verbs import Answered, VerbForm, form_of, offer
from governance.notifications.addresses import LONGEST_URL
from governance.notifications.lifecycle import ENDED, DeliveryState
from governance.notifications.models import WebhookDelivery, WebhookEndpoint
from governance.notifications.outbox import NOTIFIED
from governance.notifications.webhooks import (
    BY_PERSON,
    LONGEST_DESCRIPTION,
    origin_of,
    require_endpoint,
    visible_endpoints,
)
from identity.roles import Permission

MANAGE = Permission.WEBHOOKS_MANAGE
STATES = tuple(state.value for state in DeliveryState)
OFF_WORDS = {
    BY_PERSON: "Somebody switched it off.",
    "gone": "Its receiver said that it is gone.",
}
ALL = "*"


@dataclass(frozen=True, slots=True)
class EndpointRow:
    """One endpoint as listed: scheme and host only, since some services want a key in the path."""

    endpoint: WebhookEndpoint
    origin: str
    state: str


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """One delivery with the form that sends it again."""

    delivery: WebhookDelivery
    again: VerbForm | None


@page(MANAGE)
def webhooks(visit: Visit) -> HttpResponse:
    """List the endpoints of the workspaces in which this person manages webhooks."""
    found = list_page(visit, visible_endpoints(visit.principal, visit.now), prefix="whk", filters={})
    return show(
        visit,
        "console/webhooks.html",
        {
            "title": "Webhooks",
            "found": found,
            "rows": [EndpointRow(one, origin_of(one.url), state_of(one)) for one in found.rows],
            "create": offer(visit, MANAGE),
        },
    )


@page(MANAGE)
def webhook_page(visit: Visit, webhook_id: str) -> HttpResponse:
    """Show one endpoint and what was sent to it."""
    return shown(visit, webhook_id)


def shown(visit: Visit, webhook_id: str, answered: Answered | None = None) -> HttpResponse:
    """Return the page of an endpoint, with a verb that came back open."""
    endpoint = require_endpoint(visit.principal, webhook_id, visit.now)
    filters = {"state": choice_filter(visit, "state", frozenset(STATES))}
    rows = WebhookDelivery.objects.filter(endpoint=endpoint)
    if filters["state"]:
        rows = rows.filter(state=filters["state"])
    found: ListPage[WebhookDelivery] = list_page(visit, rows, prefix="whd", filters=filters)
    offered = offer(visit, MANAGE, workspace_id=endpoint.workspace_id)
    off = "" if endpoint.enabled else "The webhook is switched off."
    testing = offer(visit, MANAGE, workspace_id=endpoint.workspace_id, blocked=off)
    overlaps = endpoint.previous_until is not None and endpoint.previous_until > visit.now
    return show(
        visit,
        "console/webhook.html",
        {
            "title": "Webhook",
            "endpoint": endpoint,
            "origin": origin_of(endpoint.url),
            "state": state_of(endpoint),
            "off_words": OFF_WORDS.get(endpoint.disabled_reason, endpoint.disabled_reason),
            "overlaps": overlaps,
            "names": names_of([endpoint.created_by]),
            "found": found,
            "deliveries": [_delivery(visit, row, offered.allowed, answered) for row in found.rows],
            "filters": filters,
            "states": STATES,
            "ping": form_of(visit, "test", testing, answered),
            "switch": form_of(visit, "switch", offered, answered),
            "change": form_of(visit, "change", offered, answered),
            "rotate": form_of(visit, "rotate", offered, answered),
            "delete": form_of(visit, "delete", offered, answered),
            "chosen": endpoint.event_types,
            "longest_description": LONGEST_DESCRIPTION,
        }
        | choices(),
        status=answered.told.status if answered else 200,
    )


def choices() -> dict[str, object]:
    """Return what the fields of an endpoint offer: families of events, and each by its name."""
    families: dict[str, list[str]] = {}
    for name in NOTIFIED:
        families.setdefault(name.partition(".")[0], []).append(name)
    return {"families": sorted(families.items()), "every": ALL, "longest_url": LONGEST_URL}


def state_of(endpoint: WebhookEndpoint) -> str:
    """Return active, degraded while its deliveries fail, or disabled."""
    if not endpoint.enabled:
        return "disabled"
    return "active" if endpoint.failing_since is None else "degraded"


def _delivery(visit: Visit, row: WebhookDelivery, allowed: bool, answered: Answered | None) -> DeliveryRow:
    if row.state not in ENDED or not allowed:
        return DeliveryRow(row, None)
    return DeliveryRow(row, form_of(visit, f"again-{row.pk}", offer(visit, MANAGE), answered))
