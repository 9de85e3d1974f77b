"""The journal to take away: lines that are sent as they are read."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.db import connections
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
from governance.api.views_calls import known_values
from governance.api.views_streams import EVENT_STREAM, LINES, EventStreamRenderer, LinesRenderer
from governance.journal.export import Export, Shape, Wanted
from governance.journal_taking import require_opener, require_taker, reveals
from governance.operations.journal_export import export
from governance.streams import sending
from governance.streams.journal import start_after
from governance.streams.journal_export import ExportSource
from governance.streams.places import PLACES
from identity.authentication import Authenticated, authenticate_again
from identity.flags import require_tokens_allowed
from identity.roles import Permission
from identity.types import Principal
from kernel.clock import utc_now
from kernel.errors import MalformedError

ASK_SECONDS = 1.0
"""How often it is asked whether the taker may still take."""
_KNOWN = frozenset({"format", "from", "to", "follow"})
_SEQ = {"type": "integer", "minimum": 0}


class JournalExport(APIView):
    permissions: ClassVar = {"GET": Permission.JOURNAL_EXPORT}
    renderer_classes = (JSONRenderer, LinesRenderer, EventStreamRenderer)

    @extend_schema(
        operation_id="journal_export",
        parameters=[
            OpenApiParameter("format", str, enum=[one.value for one in Shape], default=Shape.JSONL.value),
            OpenApiParameter("from", _SEQ, description="Number of the first event; 0 without it."),
            OpenApiParameter("follow", str, enum=("0", "1"), default="0"),
            OpenApiParameter(
                "to", _SEQ, description="Number of the last event; of the last sealed one without."
            ),
        ],
        responses={(200, LINES): OpenApiTypes.STR, (200, EVENT_STREAM): OpenApiTypes.STR},
    )
    def get(self, request: Request) -> HttpResponseBase:
        """Every line is one sealed event; the last one holds the checkpoint they belong to.

        An answer that ends without that line is not whole. With `follow=1` it is an event stream without
        an end, which goes on as events are sealed and is resumed by the number of the last one.
        """
        filters = read_query(request, _KNOWN)
        shape = Shape(known_values(filters.get("format", [Shape.JSONL.value]), tuple(Shape), "format")[-1])
        first, last = read_seq(filters, "from"), read_seq(filters, "to")
        follow = known_values(filters.get("follow", ["0"]), ("0", "1"), "follow")[-1] == "1"
        if follow and last is not None:
            raise MalformedError("invalid_parameter", "What is followed has no last number.")
        seen = read_seq({"Last-Event-ID": [request.headers.get("Last-Event-ID", "")]}, "Last-Event-ID", "")
        if follow and seen is not None:
            first = start_after(seen)
        is_main = isinstance(request._request, ASGIRequest)
        if follow and not is_main:
            raise exceptions.NotAcceptable
        if request.method == "HEAD":
            return HttpResponse(content_type=EVENT_STREAM if follow else LINES)
        principal, now = caller(request), utc_now()
        PLACES.require_free(principal.id)
        wanted = export(principal=principal, shape=shape, first=first, last=last, follow=follow, now=now)
        return self._answer(request, wanted, principal.id, is_main=is_main, follow=follow)

    def _answer(
        self, request: Request, wanted: Wanted, principal_id: str, *, is_main: bool, follow: bool
    ) -> HttpResponseBase:
        found = credential(request)
        taken = Taking(Export(wanted), found)
        content: AsyncIterator[bytes] | Iterator[bytes]
        if follow:
            source = ExportSource(wanted, credential_id=found.token_id, ask=lambda: reveals_now(found))
            content = sending.events(source, principal_id)
        elif is_main:
            content = _sent(taken, principal_id)
        else:
            content = _sent_now(taken, principal_id)
        kind = f"{EVENT_STREAM}; charset=utf-8" if follow else LINES
        answer = StreamingHttpResponse(content, content_type=kind)
        answer["X-Accel-Buffering"] = "no"
        return answer


def read_seq(values: Mapping[str, list[str]], name: str, absent: str | None = None) -> int | None:
    """Return one number of a leaf, or None; MalformedError `invalid_parameter` for anything else."""
    given = values.get(name)
    if given is None or given == [absent]:
        return None
    text = given[0]
    if len(given) != 1 or not text.isascii() or not text.isdigit() or len(text) > 18:
        raise MalformedError("invalid_parameter", f"{name} takes one whole number.")
    return int(text)


def reveals_now(found: Authenticated) -> bool:
    """Tell whether this credential may still open data; raises when it may take nothing any more."""
    now = utc_now()
    return reveals(_taker_now(found, now), now)


def _taker_now(found: Authenticated, now: datetime) -> Principal:
    again = authenticate_again(found, now=now)
    require_tokens_allowed(again.principal, again.kind)
    require_taker(again.principal, now)
    return again.principal


@dataclass(slots=True)
class Taking:
    """An export, and the credential that must stand as long as it goes on."""

    export: Export
    found: Authenticated
    _asked: float = field(default_factory=time.monotonic)

    def read(self) -> bytes:
        """Return the next piece, nothing after the last; raises what ends the export early."""
        if time.monotonic() - self._asked >= ASK_SECONDS:
            now = utc_now()
            principal = _taker_now(self.found, now)
            if self.export.wanted.reveals:
                require_opener(principal, now)
            self._asked = time.monotonic()
        return self.export.read()

    def read_and_let_go(self) -> bytes:
        try:
            return self.read()
        finally:
            connections.close_all()


async def _sent(taken: Taking, principal_id: str) -> AsyncIterator[bytes]:
    read = sync_to_async(taken.read_and_let_go, thread_sensitive=True)
    with PLACES.take(principal_id):
        while piece := await read():
            yield piece


def _sent_now(taken: Taking, principal_id: str) -> Iterator[bytes]:
    """For a server that runs a request in one thread from its beginning to its end."""
    with PLACES.take(principal_id):
        while piece := taken.read():
            yield piece
