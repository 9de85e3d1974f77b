"""What a workspace allows: limits of tool calls, allowlists, and what it holds to be sensitive."""

from __future__ import annotations

from typing import ClassVar

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from governance.api import schemas_tools as schemas
from governance.api.authentication import caller
from governance.api.bodies_tools import LimitsBody, ListedBody, SensitiveBody
from governance.api.etags import etag, seen_version
from governance.api.idempotent import once
from governance.api.openapi import IF_MATCH, list_parameters
from governance.api.paging import PAGE_PARAMETERS, page
from governance.api.strict import read_body, read_query, read_texts
from governance.api.views_calls import known_values
from governance.api.wire_tools import render_limits, render_listed, render_rule
from governance.idempotency import Ticket
from governance.operations import limits as operations
from identity.roles import Permission
from kernel.clock import utc_now
from kernel.errors import MalformedError
from policy.limits import limits_of
from policy.models import AllowlistEntry, SensitiveRule
from policy.types import AllowlistKind, SensitiveKind

_ONE = frozenset({"kind", "value"})


def _which(kinds: tuple[str, ...]) -> list[OpenApiParameter]:
    return [
        OpenApiParameter("kind", str, required=True, enum=list(kinds)),
        OpenApiParameter("value", str, required=True),
    ]


class ToolCallLimits(APIView):
    """The limits of the caller's workspace."""

    permissions: ClassVar = {"GET": Permission.TOOLS_READ, "PATCH": Permission.TOOLS_MANAGE}

    @extend_schema(operation_id="tool_call_config_show", responses=schemas.ToolCallConfig)
    def get(self, request: Request) -> Response:
        read_query(request, frozenset())
        # Never 304: the allowlist moves by its own route too, not with the version of the limits.
        return _shown(request)

    @extend_schema(
        operation_id="tool_call_config_change",
        parameters=[IF_MATCH],
        request=LimitsBody,
        responses=schemas.ToolCallConfig,
    )
    def patch(self, request: Request) -> Response:
        read_query(request, frozenset())
        body = read_body(request, LimitsBody)
        tools = body.pop("allowed_tools", None)
        operations.change(
            principal=caller(request),
            reason=body.pop("reason"),
            preset=body.pop("preset", None),
            allowed_tools=None if tools is None else tuple(tools),
            values=body,
            seen_version=seen_version(request, caller(request).workspace_id),
            now=utc_now(),
        )
        return _shown(request)


class Allowlist(APIView):
    """The names that the caller's workspace allows."""

    permissions: ClassVar = {
        "GET": Permission.TOOLS_READ,
        "POST": Permission.TOOLS_MANAGE,
        "DELETE": Permission.TOOLS_MANAGE,
    }

    @extend_schema(
        operation_id="allowlist_list",
        parameters=list_parameters(kind=tuple(AllowlistKind)),
        responses=schemas.AllowlistEntryList,
    )
    def get(self, request: Request) -> Response:
        filters = read_query(request, PAGE_PARAMETERS | {"kind"})
        rows = AllowlistEntry.objects.filter(workspace_id=caller(request).workspace_id)
        if "kind" in filters:
            rows = rows.filter(kind__in=known_values(filters["kind"], tuple(AllowlistKind), "kind"))
        return page(
            request, rows, filters=filters, render=lambda found: [render_listed(row) for row in found]
        )

    @extend_schema(operation_id="allowlist_add", request=ListedBody, responses={201: schemas.AllowlistEntry})
    def post(self, request: Request) -> Response:
        read_query(request, frozenset())
        body = read_body(request, ListedBody)

        def work(ticket: Ticket | None) -> Response:
            entry = operations.allow(
                principal=caller(request),
                kind=body["kind"],
                value=body["value"],
                now=utc_now(),
                ticket=ticket,
                render=render_listed,
            )
            return Response(render_listed(entry), status=201)

        return once(request, route="POST /allowlist", work=work)

    @extend_schema(
        operation_id="allowlist_remove", parameters=_which(tuple(AllowlistKind)), responses={204: None}
    )
    def delete(self, request: Request) -> Response:
        kind, value = _named(request, tuple(AllowlistKind))
        operations.disallow(principal=caller(request), kind=kind, value=value, now=utc_now())
        return Response(status=204)


class SensitiveRules(APIView):
    """What the caller's workspace holds to be sensitive besides the defaults."""

    permissions: ClassVar = {
        "GET": Permission.TOOLS_READ,
        "POST": Permission.TOOLS_MANAGE,
        "DELETE": Permission.TOOLS_MANAGE,
    }

    @extend_schema(
        operation_id="sensitive_rules_list",
        parameters=list_parameters(kind=tuple(SensitiveKind)),
        responses=schemas.SensitiveRuleList,
    )
    def get(self, request: Request) -> Response:
        filters = read_query(request, PAGE_PARAMETERS | {"kind"})
        rows = SensitiveRule.objects.filter(workspace_id=caller(request).workspace_id)
        if "kind" in filters:
            rows = rows.filter(kind__in=known_values(filters["kind"], tuple(SensitiveKind), "kind"))
        return page(request, rows, filters=filters, render=lambda found: list(map(render_rule, found)))

    @extend_schema(
        operation_id="sensitive_rules_add", request=SensitiveBody, responses={201: schemas.SensitiveRule}
    )
    def post(self, request: Request) -> Response:
        read_query(request, frozenset())
        body = read_body(request, SensitiveBody)

        def work(ticket: Ticket | None) -> Response:
            rule = operations.hold_sensitive(
                principal=caller(request),
                kind=body["kind"],
                value=body["value"],
                now=utc_now(),
                ticket=ticket,
                render=render_rule,
            )
            return Response(render_rule(rule), status=201)

        return once(request, route="POST /sensitive-rules", work=work)

    @extend_schema(
        operation_id="sensitive_rules_remove", parameters=_which(tuple(SensitiveKind)), responses={204: None}
    )
    def delete(self, request: Request) -> Response:
        kind, value = _named(request, tuple(SensitiveKind))
        operations.release_sensitive(principal=caller(request), kind=kind, value=value, now=utc_now())
        return Response(status=204)


def _named(request: Request, kinds: tuple[str, ...]) -> tuple[str, str]:
    """Return which entry a DELETE is about; MalformedError unless it names exactly one."""
    filters = read_query(request, _ONE)
    given = {name: read_texts(filters, name) for name in _ONE & set(filters)}
    if set(given) != _ONE or any(len(values) != 1 for values in given.values()):
        raise MalformedError("invalid_parameter", "Name one kind and one value.")
    return known_values(given["kind"], kinds, "kind")[0], given["value"][0]


def _shown(request: Request) -> Response:
    row, tools = limits_of(caller(request).workspace_id)
    return Response(render_limits(row, tools), headers={"ETag": etag(row.workspace_id, row.version)})
