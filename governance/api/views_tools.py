"""The catalog, and who is asking."""

from __future__ import annotations

from typing import ClassVar

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from governance.api import schemas
from governance.api.authentication import caller
from governance.api.strict import read_query
from governance.api.wire import render_tool
from governance.catalog import tool_entries
from identity.roles import Permission
from kernel.clock import utc_now
from kernel.errors import NotFoundError


class Tools(APIView):
    """The catalog is small and is answered whole."""

    permissions: ClassVar = {"GET": Permission.TOOLS_READ}

    @extend_schema(operation_id="tools_list", responses=schemas.ToolList)
    def get(self, request: Request) -> Response:
        read_query(request, frozenset())
        entries = tool_entries(caller(request), utc_now())
        data = [render_tool(entry, schema=False) for entry in entries]
        return Response({"object": "list", "data": data, "has_more": False, "next_cursor": None})


class ToolDetail(APIView):
    permissions: ClassVar = {"GET": Permission.TOOLS_READ}

    @extend_schema(operation_id="tools_show", responses=schemas.ToolDetail)
    def get(self, request: Request, name: str) -> Response:
        read_query(request, frozenset())
        for entry in tool_entries(caller(request), utc_now()):
            if entry.name == name.removeprefix("palyra."):
                return Response(render_tool(entry, schema=True))
        raise NotFoundError("tool_not_found", "There is no such tool.")


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
