"""The journal to read: its events, their proofs, and its tail."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar

from django.http import HttpResponse
from django.http.response import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from governance.api import schemas_journal as schemas
from governance.api.authentication import caller, credential
from governance.api.openapi import list_parameters
from governance.api.paging import PAGE_PARAMETERS, page
from governance.api.strict import read_query, read_span, read_texts
from governance.api.views_streams import (
    EVENT_STREAM,
    LAST_EVENT,
    LINES,
    EventStreamRenderer,
    LinesRenderer,
    answer,
    permitted,
)
from governance.api.windows import WINDOW, window_parameters
from governance.journal.lookup import (
    EventFilter,
    found_events,
    found_leaves,
    leaves_of,
    require_event,
    reveal_reason,
    types_named,
    visible_events,
)
from governance.journal.proving import consistency, proof_of
from governance.journal.wire import encoded, render_event
from governance.operations.viewing import note_view
from governance.streams.journal import JournalSource, start_after
from identity.roles import Permission
from identity.types import Principal
from kernel.clock import utc_now
from kernel.errors import MalformedError, RefusedError
from kernel.ids import require_id

VIEWED = "journal.events"
_NUMBER = re.compile(r"-?[0-9]{1,18}")
_NAMED = frozenset({"actor", "subject", "run", "call"})
_FILTERS = WINDOW | _NAMED | {"type", "after_seq"}
_SEQ = {"type": "integer", "minimum": 0}
_AFTER_SEQ = OpenApiParameter(
    "after_seq", _SEQ, description="Sealed events behind this number, in the order of numbers."
)


class TextRenderer(JSONRenderer):
    """What a client asks for; problems are written as JSON all the same."""

    media_type = "text/plain"
    format = "text"


class JournalEvents(APIView):
    permissions: ClassVar = {"GET": Permission.JOURNAL_READ}
    renderer_classes = (JSONRenderer, EventStreamRenderer, LinesRenderer)

    @extend_schema(
        operation_id="journal_events_list",
        parameters=[
            *list_parameters("type", *sorted(_NAMED)),
            *window_parameters(),
            _AFTER_SEQ,
            LAST_EVENT,
        ],
        responses={
            200: schemas.JournalEventList,
            (200, EVENT_STREAM): OpenApiTypes.STR,
            (200, LINES): OpenApiTypes.STR,
        },
    )
    def get(self, request: Request) -> HttpResponseBase:
        """The newest first; with `order=asc` or `after_seq` the sealed ones in the order of their numbers.

        As an event stream it goes on with what is sealed, as lines it ends there. `type` takes a name or a
        family such as `tool_call.*`.
        """
        if request.accepted_renderer.media_type != JSONRenderer.media_type:
            return _tail(request)
        filters = read_query(request, PAGE_PARAMETERS | _FILTERS)
        after = read_number(filters, "after_seq")
        if after is None and filters.get("order") != ["asc"]:
            return _newest(request, filters)
        if filters.get("order", ["asc"]) != ["asc"]:
            raise MalformedError("invalid_parameter", "after_seq goes with order=asc.")
        return _by_number(request, filters, after)


class JournalEventDetail(APIView):
    permissions: ClassVar = {"GET": Permission.JOURNAL_READ}

    @extend_schema(operation_id="journal_events_show", responses=schemas.JournalEvent)
    def get(self, request: Request, event_id: str) -> Response:
        read_query(request, frozenset())
        principal, now = caller(request), utc_now()
        event = require_event(principal, require_id("evt", event_id), now)
        withheld = _withheld(request, [event.pk], now)
        return Response(render_event(found_events([event], withheld=withheld)[0], principal))


class JournalEventProof(APIView):
    permissions: ClassVar = {"GET": Permission.JOURNAL_READ}
    renderer_classes = (TextRenderer, JSONRenderer)

    @extend_schema(
        operation_id="journal_events_proof",
        parameters=[OpenApiParameter("size", _SEQ, description="That of a checkpoint; the newest without.")],
        responses={(200, "text/plain"): OpenApiTypes.STR},
    )
    def get(self, request: Request, event_id: str) -> HttpResponse:
        """A `c2sp.org/tlog-proof@v1` file: the envelope, its way up and the signed checkpoint."""
        size = read_number(read_query(request, frozenset({"size"})), "size")
        event = require_event(caller(request), require_id("evt", event_id), utc_now())
        return text_answer(proof_of(event, size))


class JournalConsistency(APIView):
    permissions: ClassVar = {"GET": Permission.JOURNAL_READ}

    @extend_schema(
        operation_id="journal_consistency",
        parameters=[
            OpenApiParameter("from", _SEQ, required=True, description="Size of the older tree."),
            OpenApiParameter("to", _SEQ, description="Size of the newer tree; that of the newest without."),
        ],
        responses=schemas.JournalConsistency,
    )
    def get(self, request: Request) -> Response:
        """The proof of RFC 6962, section 2.1.2, that the log of one size begins with that of another."""
        filters = read_query(request, frozenset({"from", "to"}))
        old = read_number(filters, "from")
        if old is None:
            raise MalformedError("invalid_parameter", "from takes the size of the older tree.")
        found = consistency(old, read_number(filters, "to"))
        return Response(
            {
                "object": "journal_consistency",
                "from": found.old,
                "to": found.new,
                "from_root": encoded(found.old_root),
                "to_root": encoded(found.new_root),
                "hashes": [encoded(one) for one in found.hashes],
            }
        )


def read_number(values: Mapping[str, list[str]], name: str) -> int | None:
    """Return one whole number of the query, of any sign, or None; MalformedError `invalid_parameter`."""
    given = values.get(name)
    if given is None:
        return None
    if len(given) != 1 or _NUMBER.fullmatch(given[0]) is None:
        raise MalformedError("invalid_parameter", f"{name} takes one whole number.")
    return int(given[0])


def text_answer(text: str) -> HttpResponse:
    return HttpResponse(text, content_type="text/plain; charset=utf-8")


def _newest(request: Request, filters: Mapping[str, list[str]]) -> Response:
    principal, now = caller(request), utc_now()
    rows = _chosen(filters).narrow(visible_events(principal, now))

    def render(events: list[Any]) -> list[dict[str, Any]]:
        withheld = _withheld(request, [event.pk for event in events], now)
        return [render_event(one, principal) for one in found_events(events, withheld=withheld)]

    return page(request, rows, filters=filters, render=render)


def _by_number(request: Request, filters: Mapping[str, list[str]], after: int | None) -> Response:
    principal, now = caller(request), utc_now()
    rows = leaves_of(principal, _chosen(filters), now).filter(seq__gt=-1 if after is None else after)

    def render(leaves: list[Any]) -> list[dict[str, Any]]:
        withheld = _withheld(request, [leaf.event_id for leaf in leaves], now)
        return [render_event(one, principal) for one in found_leaves(leaves, withheld=withheld)]

    return page(request, rows, filters={**filters, "order": ["asc"]}, render=render, by="seq")


def _tail(request: Request) -> HttpResponseBase:
    filters = read_query(request, _FILTERS)
    principal, found, now = caller(request), credential(request), utc_now()
    start = start_after(_last_number(request, filters))
    source = JournalSource(
        principal=principal,
        start=start,
        chosen=_chosen(filters),
        withheld=reveal_reason(principal, now),
        clock=utc_now,
        ask=lambda: permitted(found, Permission.JOURNAL_READ),
    )
    served = answer(request, source)
    source.withheld = _withheld(request, None, now)
    return served


def _last_number(request: Request, filters: Mapping[str, list[str]]) -> int | None:
    """Return the number that the reader has seen last; `Last-Event-ID` is stronger than `after_seq`."""
    given = request.headers.get("Last-Event-ID") or None
    return read_number(filters if given is None else {"after_seq": [given]}, "after_seq")


def _chosen(filters: Mapping[str, list[str]]) -> EventFilter:
    named = {f"{name}s": tuple(read_texts(filters, name)) for name in _NAMED if name in filters}
    since, until = read_span(filters)
    return EventFilter(types=_types(filters), since=since, until=until, **named)


def _types(filters: Mapping[str, list[str]]) -> tuple[str, ...]:
    if "type" not in filters:
        return ()
    found = [types_named(text) for text in read_texts(filters, "type")]
    if not all(found):
        raise MalformedError("invalid_parameter", "type takes names of events, or families as tool_call.*.")
    return tuple(sorted({name for names in found for name in names}))


def _withheld(request: Request, ids: Sequence[str] | None, now: datetime) -> str | None:
    """Return why the payloads of these events stay closed, or record that they are opened and return None.

    Without ids it is those that are still to come. Whoever asks for the head of an answer sees none.
    """
    principal: Principal = caller(request)
    reason = reveal_reason(principal, now)
    if reason is not None or ids == [] or request.method == "HEAD":
        return reason
    try:
        note_view(principal=principal, what=VIEWED, ids=ids, now=now)
    except RefusedError as refused:
        return refused.code
    return None
