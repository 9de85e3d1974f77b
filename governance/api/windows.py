"""`since` and `until` of lists: a window of time, its beginning inclusive and its end exclusive."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from django.db.models import Model, QuerySet
from drf_spectacular.utils import OpenApiParameter

from governance.api.strict import read_span

Row = TypeVar("Row", bound=Model)

WINDOW = frozenset({"since", "until"})


def within(rows: QuerySet[Row], filters: Mapping[str, list[str]], *, column: str) -> QuerySet[Row]:
    """Return the rows whose `column` lies in the window that the query names.

    MalformedError `invalid_parameter` as `read_span` says.
    """
    since, until = read_span(filters)
    if since is not None:
        rows = rows.filter(**{f"{column}__gte": since})
    return rows if until is None else rows.filter(**{f"{column}__lt": until})


def window_parameters() -> list[OpenApiParameter]:
    """Return the two parameters of a list that has a window."""
    moment = {"type": "string", "format": "date-time"}
    return [
        OpenApiParameter("since", moment, description="From this moment on, inclusive."),
        OpenApiParameter("until", moment, description="Up to this moment, exclusive."),
    ]
