"""Postures: the state of each tool in a scope, and the overrides that make it so."""

from __future__ import annotations

import re
from typing import Any, ClassVar

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from governance import postures
from governance.api import schemas_posture as schemas
from governance.api.authentication import caller
from governance.api.bodies_posture import PostureBody
from governance.api.strict import read_body, read_query, read_texts
from governance.api.wire_posture import render_posture, tag_of
from governance.operations import postures as operations
from governance.operations.postures import PostureWishes
from identity.roles import Permission
from kernel.clock import utc_now
from kernel.errors import InvalidError, MalformedError, NotFoundError
from policy.catalog import short_name
from policy.posture import MAX_REASON, Place
from policy.posture_selectors import PostureView, postures_at

_TAG = re.compile(r'"posture-([0-9]{1,18}):([0-9]{1,9})"')
SCOPE_PARAMETERS = [
    OpenApiParameter("scope_kind", str, enum=["global", "workspace", "agent", "session"]),
    OpenApiParameter("scope_id", str),
]
IF_MATCH = OpenApiParameter("If-Match", str, OpenApiParameter.HEADER, required=False)
_SCOPE = frozenset({"scope_kind", "scope_id"})


class Postures(APIView):
    """The effective posture of every tool in one scope, by default the caller's workspace."""

    permissions: ClassVar = {"GET": Permission.TOOLS_READ}

    @extend_schema(operation_id="posture_list", parameters=SCOPE_PARAMETERS, responses=schemas.PostureList)
    def get(self, request: Request) -> Response:
        place = place_of_query(request)
        now = utc_now()
        views = postures_at(place, postures.host_locks(now), now)
        return whole([render_posture(view, place) for view in views])


class PostureDetail(APIView):
    """One tool in one scope. An override that stands is changed against its ETag; a new one needs none."""

    permissions: ClassVar = {
        "GET": Permission.TOOLS_READ,
        "PUT": Permission.POSTURE_MANAGE,
        "DELETE": Permission.POSTURE_MANAGE,
    }

    @extend_schema(operation_id="posture_show", parameters=SCOPE_PARAMETERS, responses=schemas.Posture)
    def get(self, request: Request, tool: str) -> Response:
        return _shown(tool, place_of_query(request))

    @extend_schema(
        operation_id="posture_set", parameters=[IF_MATCH], request=PostureBody, responses=schemas.Posture
    )
    def put(self, request: Request, tool: str) -> Response:
        read_query(request, frozenset())
        body = read_body(request, PostureBody)
        place = place_of_body(request, body)
        operations.set_override(
            principal=caller(request),
            place=place,
            tool=tool,
            wishes=PostureWishes(**body),
            seen=_seen(request),
            now=utc_now(),
        )
        return _shown(tool, place)

    @extend_schema(
        operation_id="posture_clear",
        parameters=[*SCOPE_PARAMETERS, OpenApiParameter("reason", str), IF_MATCH],
        responses={204: None},
    )
    def delete(self, request: Request, tool: str) -> Response:
        place = place_of_query(request, frozenset({"reason"}))
        operations.clear_override(
            principal=caller(request),
            place=place,
            tool=tool,
            seen=_seen(request),
            reason=_reason(request),
            now=utc_now(),
        )
        return Response(status=204)


def place_of_query(request: Request, more: frozenset[str] = frozenset()) -> Place:
    """Return the scope that the query names, the caller's workspace without one."""
    given = read_query(request, _SCOPE | more)
    named = {name: read_texts(given, name) for name in _SCOPE if name in given}
    if any(len(values) != 1 for values in named.values()):
        raise MalformedError("invalid_parameter", "A scope is named once.")
    if not named:
        return postures.home_of(caller(request))
    kind, scope_id = (named.get(name, [""])[0] for name in ("scope_kind", "scope_id"))
    try:
        return postures.place_for(caller(request), kind, scope_id)
    except InvalidError as error:
        raise MalformedError("invalid_parameter", error.detail) from error


def place_of_body(request: Request, body: dict[str, Any]) -> Place:
    """Take the scope out of a body and return it."""
    return postures.place_for(caller(request), body.pop("scope_kind"), body.pop("scope_id", ""))


def whole(data: list[dict[str, Any]]) -> Response:
    """Answer a list that is short by itself."""
    return Response({"object": "list", "data": data, "has_more": False, "next_cursor": None})


def _shown(tool: str, place: Place) -> Response:
    view = _view(tool, place)
    headers = {} if view.override is None else {"ETag": tag_of(view.override)}
    return Response(render_posture(view, place), headers=headers)


def _view(tool: str, place: Place) -> PostureView:
    now, name = utc_now(), short_name(tool)
    for view in postures_at(place, postures.host_locks(now), now):
        if view.tool.name == name:
            return view
    raise NotFoundError("tool_not_found", "There is no such tool.")


def _seen(request: Request) -> str | None:
    """Return the version of the row that the caller saw, None when they saw none."""
    given = request.headers.get("If-Match")
    if given is None:
        return None
    match = _TAG.fullmatch(given)
    if match is None:
        raise MalformedError("invalid_if_match", "If-Match takes the ETag of an override.")
    return f"{match[1]}:{match[2]}"


def _reason(request: Request) -> str:
    given = request.query_params.getlist("reason")
    if len(given) > 1 or any(len(text) > MAX_REASON or "\0" in text for text in given):
        raise MalformedError("invalid_parameter", f"reason takes one text of up to {MAX_REASON} characters.")
    return given[0] if given else ""
