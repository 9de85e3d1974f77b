"""The catalog, and who is asking."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import ClassVar, Protocol

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from governance.api import schemas, schemas_tools as tool_schemas
from governance.api.authentication import caller
from governance.api.bodies_tools import ToolBody, ToolChangeBody, ToolVersionBody, definition_of
from governance.api.etags import etag, seen_version
from governance.api.idempotent import once
from governance.api.openapi import IF_MATCH
from governance.api.strict import read_body, read_query
from governance.api.views_calls import known_values
from governance.api.wire_tools import render_catalog, render_tool, render_view
from governance.callable_tools import callable_tools
from governance.catalog import tool_entries
from governance.idempotency import Ticket
from governance.operations import tools as operations
from governance.tool_views import ToolView, tool_view
from identity.roles import Permission
from identity.types import Principal
from kernel.clock import utc_now
from policy.catalog import short_name
from policy.types import PostureState, Risk, ToolDefinition

_FILTERS = [
    OpenApiParameter("risk", str, many=True, enum=list(Risk)),
    OpenApiParameter("posture", str, many=True, enum=list(PostureState)),
]


class Tools(APIView):
    """The catalog is small and is answered whole."""

    permissions: ClassVar = {"GET": Permission.TOOLS_READ, "POST": Permission.TOOLS_MANAGE}

    @extend_schema(operation_id="tools_list", parameters=_FILTERS, responses=schemas.ToolList)
    def get(self, request: Request) -> Response:
        filters = read_query(request, frozenset({"risk", "posture"}))
        entries = tool_entries(caller(request), utc_now())
        for name, known in (("risk", tuple(Risk)), ("posture", tuple(PostureState))):
            if name in filters:
                wanted = known_values(filters[name], known, name)
                entries = [entry for entry in entries if getattr(entry, name) in wanted]
        data = [render_tool(entry) for entry in entries]
        return Response({"object": "list", "data": data, "has_more": False, "next_cursor": None})

    @extend_schema(operation_id="tools_register", request=ToolBody, responses={201: tool_schemas.ToolDetail})
    def post(self, request: Request) -> Response:
        read_query(request, frozenset())
        definition = definition_of(read_body(request, ToolBody))
        return _define(request, definition, operations.register, "POST /tools")


class ToolDetail(APIView):
    permissions: ClassVar = {"GET": Permission.TOOLS_READ, "PATCH": Permission.TOOLS_MANAGE}

    @extend_schema(operation_id="tools_show", responses=tool_schemas.ToolDetail)
    def get(self, request: Request, name: str) -> Response:
        read_query(request, frozenset())
        # Never 304: posture and tier move without the tool's version.
        return _shown(tool_view(caller(request), name, utc_now()))

    @extend_schema(
        operation_id="tools_change",
        parameters=[IF_MATCH],
        request=ToolChangeBody,
        responses=tool_schemas.ToolDetail,
    )
    def patch(self, request: Request, name: str) -> Response:
        read_query(request, frozenset())
        body = read_body(request, ToolChangeBody)
        known = short_name(name)
        view = operations.change(
            principal=caller(request),
            name=known,
            reason=body["reason"],
            enabled=body.get("enabled"),
            description=body.get("description"),
            seen_version=seen_version(request, known),
            now=utc_now(),
        )
        return _shown(view)


class ToolVersions(APIView):
    permissions: ClassVar = {"POST": Permission.TOOLS_MANAGE}

    @extend_schema(
        operation_id="tools_add_version",
        request=ToolVersionBody,
        responses={201: tool_schemas.ToolDetail},
    )
    def post(self, request: Request, name: str) -> Response:
        read_query(request, frozenset())
        definition = definition_of(read_body(request, ToolVersionBody) | {"name": name})
        return _define(request, definition, operations.add_version, "POST /tools/{name}/versions")


class ToolCatalog(APIView):
    """What the caller could call now, and why it could not call the rest."""

    permissions: ClassVar = {"GET": Permission.TOOLS_READ}

    @extend_schema(operation_id="tools_catalog", responses=tool_schemas.ToolCatalog)
    def get(self, request: Request) -> Response:
        read_query(request, frozenset())
        return Response(render_catalog(callable_tools(caller(request), utc_now())))


class _Define(Protocol):
    def __call__(
        self,
        *,
        principal: Principal,
        definition: ToolDefinition,
        now: datetime,
        ticket: Ticket | None,
        render: Callable[[ToolView], object] | None,
    ) -> ToolView: ...


def _define(request: Request, definition: ToolDefinition, verb: _Define, route: str) -> Response:
    def work(ticket: Ticket | None) -> Response:
        view = verb(
            principal=caller(request),
            definition=definition,
            now=utc_now(),
            ticket=ticket,
            render=render_view,
        )
        return _shown(view, status=201)

    return once(request, route=route, work=work)


def _shown(view: ToolView, *, status: int = 200) -> Response:
    headers = {"ETag": etag(view.entry.name, view.edit_version)}
    return Response(render_view(view), status=status, headers=headers)


class Whoami(APIView):
    permissions: ClassVar = {"GET": None}

    @extend_schema(operation_id="whoami", responses=schemas.Whoami)
    def get(self, request: Request) -> Response:
        read_query(request, frozenset())
        principal = caller(request)
        return Response(
            {
                "id": principal.id,
                "object": "principal",
                "kind": principal.kind.value,
                "owner": principal.owner_id,
                "token_id": principal.token_id,
                "workspace_id": principal.workspace_id,
                "roles": sorted(principal.roles),
                "permissions": sorted(principal.permissions),
            }
        )
