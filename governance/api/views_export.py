"""Approvals to take away: JSON lines or one JSON document, in pages behind a signed cursor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.views import APIView

from approvals.types import RequestStatus, Risk, SubjectType
from governance.api.authentication import caller
from governance.api.paging import after_of, cursor_at, scope_of
from governance.api.strict import read_integer, read_query, read_span, read_texts
from governance.api.views_calls import known_values
from governance.journal.models import JournalCheckpoint
from governance.journal.proving import served_note
from governance.journal.wire import encoded
from governance.operations.exporting import MOST_RECORDS, Export, export_approvals
from identity.roles import Permission
from kernel.canonical import canonical
from kernel.clock import utc_now

NDJSON = "application/x-ndjson"
_CHOICES = {
    "state": ("status", tuple(RequestStatus)),
    "risk": ("risk", tuple(Risk)),
    "subject_type": ("subject_type", tuple(SubjectType)),
}
_TEXTS = {"agent": "requester_id", "run": "run_id"}
_KNOWN = frozenset({"format", "limit", "cursor", "since", "until", *_CHOICES, *_TEXTS})


class ApprovalExport(APIView):
    permissions: ClassVar = {"GET": Permission.JOURNAL_EXPORT}

    @extend_schema(
        operation_id="approvals_export",
        parameters=[
            OpenApiParameter("limit", {"type": "integer", "minimum": 1, "maximum": 5000, "default": 5000}),
            *(OpenApiParameter(name, str) for name in ("cursor", "since", "until")),
            *(OpenApiParameter(name, str, many=True) for name in _TEXTS),
            *(OpenApiParameter(name, str, many=True, enum=list(of)) for name, (_, of) in _CHOICES.items()),
            OpenApiParameter("format", str, enum=("ndjson", "json"), default="ndjson"),
        ],
        responses={(200, NDJSON): OpenApiTypes.STR, (200, "application/json"): OpenApiTypes.OBJECT},
    )
    def get(self, request: Request) -> HttpResponse:
        """Every line is one request with its answers, grants and events; the last one counts them."""
        filters = read_query(request, _KNOWN)
        shape = known_values(filters.get("format", ["ndjson"]), ("ndjson", "json"), "format")[-1]
        scope = scope_of(request, {name: values for name, values in filters.items() if name != "format"})
        limit = read_integer(filters, "limit", default=MOST_RECORDS, low=1, high=MOST_RECORDS)
        narrowed = _narrowing(filters)
        taken = export_approvals(
            principal=caller(request),
            filters={name: values for name, values in filters.items() if name not in ("format", "cursor")},
            after=after_of(filters, scope),
            limit=limit,
            now=utc_now(),
            narrow=lambda rows: rows.filter(**narrowed),
        )
        return _document(taken, scope) if shape == "json" else _lines(taken, scope)


def _narrowing(filters: Mapping[str, list[str]]) -> dict[str, Any]:
    wanted: dict[str, Any] = {}
    for name, (column, allowed) in _CHOICES.items():
        if name in filters:
            wanted[f"{column}__in"] = known_values(filters[name], allowed, name)
    for name, column in _TEXTS.items():
        if name in filters:
            wanted[f"{column}__in"] = read_texts(filters, name)
    since, until = read_span(filters)
    if since is not None:
        wanted["requested_at__gte"] = since
    if until is not None:
        wanted["requested_at__lt"] = until
    return wanted


def _trailer(taken: Export, scope: str) -> dict[str, Any]:
    """What closes an export, with the signed tree in which its events lie."""
    last = taken.records[-1]["id"] if taken.records else ""
    return {
        "object": "export_trailer",
        "count": len(taken.records),
        "has_more": taken.has_more,
        "next_cursor": cursor_at(last, scope) if taken.has_more else None,
        "checkpoint": taken.checkpoint and _signed(taken.checkpoint),
    }


def _signed(checkpoint: JournalCheckpoint) -> dict[str, Any]:
    root = encoded(bytes(checkpoint.root))
    return {"tree_size": checkpoint.tree_size, "root": root, "note": served_note(checkpoint)}


def _lines(taken: Export, scope: str) -> HttpResponse:
    lines = [*(canonical(one) for one in taken.records), canonical(_trailer(taken, scope))]
    return HttpResponse(b"\n".join(lines) + b"\n", content_type=NDJSON)


def _document(taken: Export, scope: str) -> HttpResponse:
    whole = {"object": "export", "data": list(taken.records), "trailer": _trailer(taken, scope)}
    return HttpResponse(canonical(whole), content_type="application/json")
