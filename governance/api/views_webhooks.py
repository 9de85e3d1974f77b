"""Webhooks: where events are posted, and how that went. And what one wants mail about."""

from __future__ import annotations

from typing import Any, ClassVar

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from governance.api import schemas_webhooks as schemas
from governance.api.authentication import caller
from governance.api.bodies_identity import EmptyBody
from governance.api.bodies_webhooks import SubscriptionBody, WebhookBody, WebhookChangeBody
from governance.api.etags import etag, is_unchanged, seen_version
from governance.api.idempotent import once
from governance.api.openapi import IF_MATCH, list_parameters
from governance.api.paging import PAGE_PARAMETERS, page
from governance.api.strict import read_body, read_query, read_texts
from governance.api.views_calls import known_values
from governance.api.wire_webhooks import (
    render_delivery,
    render_subscription,
    render_told,
    render_webhook,
    render_withheld,
)
from governance.idempotency import Ticket
from governance.notifications.lifecycle import DeliveryState
from governance.notifications.models import WebhookEndpoint
from governance.notifications.subscriptions import Wishes, wishes_of
from governance.notifications.webhooks import require_endpoint, visible_endpoints
from governance.operations import subscriptions, webhooks
from identity.roles import Permission
from kernel.clock import utc_now
from kernel.ids import require_id

STATES = tuple(DeliveryState)


class Webhooks(APIView):
    permissions: ClassVar = {"GET": Permission.WEBHOOKS_MANAGE, "POST": Permission.WEBHOOKS_MANAGE}

    @extend_schema(operation_id="webhooks_list", parameters=list_parameters(), responses=schemas.WebhookList)
    def get(self, request: Request) -> Response:
        filters = read_query(request, PAGE_PARAMETERS)
        rows = visible_endpoints(caller(request), utc_now())
        return page(
            request, rows, filters=filters, render=lambda found: [render_webhook(row) for row in found]
        )

    @extend_schema(
        operation_id="webhooks_create", request=WebhookBody, responses={201: schemas.WebhookWithSecret}
    )
    def post(self, request: Request) -> Response:
        """The secret is told in this answer and never again."""
        read_query(request, frozenset())
        body = read_body(request, WebhookBody)

        def work(ticket: Ticket | None) -> Response:
            told = webhooks.create(
                principal=caller(request),
                url=body["url"],
                event_types=body["event_types"],
                description=body.get("description", ""),
                now=utc_now(),
                ticket=ticket,
                render=render_withheld,
            )
            return _created(render_told(told))

        return once(
            request, route="POST /webhooks", work=work, refresh=lambda replay: _created(dict(replay.body))
        )


class WebhookDetail(APIView):
    permissions: ClassVar = {
        "GET": Permission.WEBHOOKS_MANAGE,
        "PATCH": Permission.WEBHOOKS_MANAGE,
        "DELETE": Permission.WEBHOOKS_MANAGE,
    }

    @extend_schema(operation_id="webhooks_show", responses=schemas.Webhook)
    def get(self, request: Request, webhook_id: str) -> Response:
        read_query(request, frozenset())
        endpoint = require_endpoint(caller(request), require_id("whk", webhook_id), utc_now())
        tag = etag(endpoint.pk, endpoint.version)
        return Response(status=304, headers={"ETag": tag}) if is_unchanged(request, tag) else _shown(endpoint)

    @extend_schema(
        operation_id="webhooks_change",
        parameters=[IF_MATCH],
        request=WebhookChangeBody,
        responses=schemas.Webhook,
    )
    def patch(self, request: Request, webhook_id: str) -> Response:
        read_query(request, frozenset())
        changes = read_body(request, WebhookChangeBody)
        endpoint = webhooks.change(
            principal=caller(request),
            endpoint_id=require_id("whk", webhook_id),
            changes=changes,
            seen_version=seen_version(request, webhook_id),
            now=utc_now(),
        )
        return _shown(endpoint)

    @extend_schema(operation_id="webhooks_delete", parameters=[IF_MATCH], responses={204: None})
    def delete(self, request: Request, webhook_id: str) -> Response:
        read_query(request, frozenset())
        webhooks.delete(
            principal=caller(request),
            endpoint_id=require_id("whk", webhook_id),
            seen_version=seen_version(request, webhook_id),
            now=utc_now(),
        )
        return Response(status=204)


class WebhookRotate(APIView):
    permissions: ClassVar = {"POST": Permission.WEBHOOKS_MANAGE}

    @extend_schema(
        operation_id="webhooks_rotate", request=EmptyBody, responses={200: schemas.WebhookWithSecret}
    )
    def post(self, request: Request, webhook_id: str) -> Response:
        """The new secret is told in this answer; the one before signs beside it for 24 hours."""
        read_query(request, frozenset())
        read_body(request, EmptyBody)

        def work(ticket: Ticket | None) -> Response:
            told = webhooks.rotate(
                principal=caller(request),
                endpoint_id=require_id("whk", webhook_id),
                now=utc_now(),
                ticket=ticket,
                render=render_withheld,
            )
            return Response(render_told(told))

        return once(request, route="POST /webhooks/{id}/rotate", work=work)


class WebhookTest(APIView):
    permissions: ClassVar = {"POST": Permission.WEBHOOKS_MANAGE}

    @extend_schema(operation_id="webhooks_test", request=EmptyBody, responses={202: schemas.WebhookDelivery})
    def post(self, request: Request, webhook_id: str) -> Response:
        """Send `webhook.test`, which says nothing and is tried once."""
        read_query(request, frozenset())
        read_body(request, EmptyBody)

        def work(ticket: Ticket | None) -> Response:
            made = webhooks.ping(
                principal=caller(request),
                endpoint_id=require_id("whk", webhook_id),
                now=utc_now(),
                ticket=ticket,
                render=render_delivery,
            )
            return Response(render_delivery(made), status=202)

        return once(request, route="POST /webhooks/{id}/test", work=work)


class WebhookDeliveries(APIView):
    """What was sent, is on its way, or was given up; the last 30 days of what ended."""

    permissions: ClassVar = {"GET": Permission.WEBHOOKS_MANAGE}

    @extend_schema(
        operation_id="webhooks_deliveries",
        parameters=list_parameters("type", state=STATES),
        responses=schemas.WebhookDeliveryList,
    )
    def get(self, request: Request, webhook_id: str) -> Response:
        filters = read_query(request, PAGE_PARAMETERS | {"state", "type"})
        endpoint = require_endpoint(caller(request), require_id("whk", webhook_id), utc_now())
        rows = endpoint.deliveries.all()
        if "state" in filters:
            rows = rows.filter(state__in=known_values(filters["state"], STATES, "state"))
        if "type" in filters:
            rows = rows.filter(type__in=read_texts(filters, "type"))
        return page(
            request, rows, filters=filters, render=lambda found: [render_delivery(row) for row in found]
        )


class WebhookReplay(APIView):
    permissions: ClassVar = {"POST": Permission.WEBHOOKS_MANAGE}

    @extend_schema(
        operation_id="webhooks_replay", request=EmptyBody, responses={202: schemas.WebhookDelivery}
    )
    def post(self, request: Request, delivery_id: str) -> Response:
        """Send an ended delivery again, under the same id."""
        read_query(request, frozenset())
        read_body(request, EmptyBody)

        def work(ticket: Ticket | None) -> Response:
            again = webhooks.redeliver(
                principal=caller(request),
                delivery_id=require_id("whd", delivery_id),
                now=utc_now(),
                ticket=ticket,
                render=render_delivery,
            )
            return Response(render_delivery(again), status=202)

        return once(request, route="POST /webhooks/deliveries/{id}/replay", work=work)


class Subscription(APIView):
    """One's own wishes for mail about requests; nobody sets another's."""

    permissions: ClassVar = {"GET": None, "PUT": None}

    @extend_schema(operation_id="notifications_show", responses=schemas.NotificationSubscription)
    def get(self, request: Request) -> Response:
        read_query(request, frozenset())
        who = caller(request)
        subscriptions.require_person(principal=who, now=utc_now())
        return Response(render_subscription(who.workspace_id, wishes_of(who.id, who.workspace_id)))

    @extend_schema(
        operation_id="notifications_set",
        request=SubscriptionBody,
        responses=schemas.NotificationSubscription,
    )
    def put(self, request: Request) -> Response:
        read_query(request, frozenset())
        body = read_body(request, SubscriptionBody)
        wishes = Wishes(**{**body, "subject_types": tuple(body.get("subject_types", ()))})
        who = caller(request)
        kept = subscriptions.subscribe(principal=who, wishes=wishes, now=utc_now())
        return Response(render_subscription(who.workspace_id, kept))


def _shown(endpoint: WebhookEndpoint) -> Response:
    return Response(render_webhook(endpoint), headers={"ETag": etag(endpoint.pk, endpoint.version)})


def _created(body: dict[str, Any]) -> Response:
    return Response(body, status=201, headers={"Location": f"/api/v1/webhooks/{body['id']}"})
