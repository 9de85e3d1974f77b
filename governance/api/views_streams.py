"""Streams: the story of a run, and the questions that wait for an approver."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from typing import ClassVar

from django.core.handlers.asgi import ASGIRequest
from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import exceptions
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.views import APIView

from governance.api.authentication import caller, credential
from governance.api.strict import read_query
from governance.authority import require_permission
from governance.models import Run
from governance.selectors import require_run
from governance.streams import sending
from governance.streams.approvals import ApprovalSource, after_here
from governance.streams.names import StreamName
from governance.streams.places import PLACES
from governance.streams.runs import RunSource, after_in
from governance.streams.shown import Reader
from governance.streams.sources import Source
from identity.authentication import Authenticated, authenticate_again
from identity.authorization import authorize
from identity.flags import require_tokens_allowed
from identity.roles import Permission
from identity.types import Principal, PrincipalKind
from kernel.clock import utc_now
from kernel.errors import MalformedError
from kernel.ids import require_id

EVENT_STREAM = "text/event-stream"
LINES = "application/x-ndjson"
_NO_OUTPUT = "No runner hands out what a tool writes while it runs; its result holds it."


class EventStreamRenderer(JSONRenderer):
    """What a client asks for; problems are written as JSON all the same."""

    media_type = EVENT_STREAM
    format = "events"


class LinesRenderer(JSONRenderer):
    media_type = LINES
    format = "lines"


_AFTER = OpenApiParameter("after", str, description="Go on after this event: its key or its `evt_…` id.")
LAST_EVENT = OpenApiParameter(
    "Last-Event-ID", str, OpenApiParameter.HEADER, description="As `after`, and stronger: what browsers send."
)
_EVENTS = OpenApiParameter(
    "events", str, description="Names to show, separated by commas; numbers stay as they are."
)
_OUTPUT = OpenApiParameter("output", str, enum=["false"], description="Live output of tools is not offered.")
_ANSWERS = {(200, EVENT_STREAM): OpenApiTypes.STR, (200, LINES): OpenApiTypes.STR}


class RunEvents(APIView):
    permissions: ClassVar = {"GET": Permission.RUNS_READ}
    renderer_classes = (EventStreamRenderer, LinesRenderer)

    @extend_schema(
        operation_id="runs_events", parameters=[_AFTER, LAST_EVENT, _EVENTS, _OUTPUT], responses=_ANSWERS
    )
    def get(self, request: Request, run_id: str) -> HttpResponseBase:
        filters = read_query(request, frozenset({"after", "events", "output"}))
        if filters.get("output", ["false"]) != ["false"]:
            raise MalformedError("invalid_parameter", _NO_OUTPUT)
        principal = caller(request)
        run = require_run(principal, require_id("run", run_id))
        last = _last_seen(request, filters)
        found = credential(request)
        source = RunSource(
            run,
            after=0 if last is None else after_in(run, last),
            wanted=_wanted(filters),
            reader=_reader(principal, run),
            ask=lambda: _reader(_again(found, run), run),
            credential_id=found.token_id,
        )
        return answer(request, source)


class ApprovalEvents(APIView):
    """Questions are put to people, so an agent's stream of them stays empty."""

    permissions: ClassVar = {"GET": Permission.APPROVALS_READ}
    renderer_classes = (EventStreamRenderer, LinesRenderer)

    @extend_schema(
        operation_id="approvals_events", parameters=[_AFTER, LAST_EVENT, _EVENTS], responses=_ANSWERS
    )
    def get(self, request: Request) -> HttpResponseBase:
        filters = read_query(request, frozenset({"after", "events"}))
        principal = caller(request)
        last = _last_seen(request, filters)
        found = credential(request)
        source = ApprovalSource(
            principal=principal,
            after=None if last is None else after_here(principal, last, utc_now()),
            wanted=_wanted(filters),
            clock=utc_now,
            ask=lambda: permitted(found, Permission.APPROVALS_READ),
        )
        return answer(request, source)


def answer(request: Request, source: Source) -> HttpResponseBase:
    """Answer in the form that was asked for; a place must be free before anything is sent."""
    kind = _kind(request)
    if request.method == "HEAD":
        return HttpResponse(content_type=kind)
    principal_id = caller(request).id
    PLACES.require_free(principal_id)
    response = StreamingHttpResponse(
        _content(request, kind, source, principal_id), content_type=f"{kind}; charset=utf-8"
    )
    response["X-Accel-Buffering"] = "no"
    return response


def _kind(request: Request) -> str:
    """Return the form of the answer. A stream that goes on needs the main listener: elsewhere it would hold
    a thread as long as it lasts, so whoever takes anything gets lines there.
    """
    kind: str = request.accepted_renderer.media_type
    if kind == LINES or _is_main(request):
        return kind
    if "*/*" not in request.headers.get("Accept", "*/*"):
        raise exceptions.NotAcceptable
    return LINES


def _content(
    request: Request, kind: str, source: Source, principal_id: str
) -> AsyncIterator[bytes] | Iterator[bytes]:
    if kind == EVENT_STREAM:
        return sending.events(source, principal_id)
    send = sending.lines if _is_main(request) else sending.lines_now
    return send(source, principal_id)


def _is_main(request: Request) -> bool:
    return isinstance(request._request, ASGIRequest)


def _last_seen(request: Request, filters: Mapping[str, list[str]]) -> str | None:
    given = request.headers.get("Last-Event-ID") or None
    after = filters.get("after")
    if after is not None and len(after) != 1:
        raise MalformedError("invalid_parameter", "after takes one event.")
    return given or (after[0] if after else None)


def _wanted(filters: Mapping[str, list[str]]) -> frozenset[StreamName]:
    given = filters.get("events")
    if given is None:
        return frozenset(StreamName)
    names = [name for value in given for name in value.split(",")]
    unknown = set(names) - set(StreamName)
    if unknown:
        raise MalformedError("invalid_parameter", f"events takes names out of {', '.join(StreamName)}.")
    return frozenset(StreamName(name) for name in names)


def permitted(found: Authenticated, permission: Permission) -> Principal:
    """Return who holds a credential with what they hold by now, or raise what ends a stream."""
    now = utc_now()
    again = authenticate_again(found, now=now)
    require_tokens_allowed(again.principal, again.kind)
    require_permission(again.principal, permission, again.principal.workspace_id, now)
    return again.principal


def _again(found: Authenticated, run: Run) -> Principal:
    principal = permitted(found, Permission.RUNS_READ)
    require_run(principal, run.id)
    return principal


def _reader(principal: Principal, run: Run) -> Reader:
    reveals = authorize(
        principal,
        Permission.JOURNAL_REVEAL,
        workspace_id=run.workspace_id,
        flags=principal.flags,
        now=utc_now(),
    )
    return Reader(principal.id, is_person=principal.kind is PrincipalKind.USER, reveals=reveals.allowed)
