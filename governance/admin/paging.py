"""Lists by key: the page after or before an id, never a count and never an offset."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Generic, TypeVar
from urllib.parse import urlencode

from django.db.models import Model, QuerySet
from ulid import ULID

from governance.admin.access import Visit
from kernel.ids import is_id

Row = TypeVar("Row", bound=Model)
PAGE_SIZE = 50
MAX_FILTER = 200


@dataclass(frozen=True, slots=True)
class ListPage(Generic[Row]):
    """One page, newest first. `older` and `newer` are query strings or empty."""

    rows: list[Row]
    older: str
    newer: str


def list_page(visit: Visit, rows: QuerySet[Row], *, prefix: str, filters: dict[str, str]) -> ListPage[Row]:
    """Return the page that the request's `before` or `after` names; a malformed key is ignored."""
    before, after = (_key(visit, prefix, name) for name in ("before", "after"))
    if after:
        found = list(rows.filter(pk__gt=after).order_by("pk")[: PAGE_SIZE + 1])
        more_newer, more_older = len(found) > PAGE_SIZE, True
        shown = found[:PAGE_SIZE][::-1]
    else:
        rows = rows.filter(pk__lt=before) if before else rows
        found = list(rows.order_by("-pk")[: PAGE_SIZE + 1])
        more_newer, more_older = bool(before), len(found) > PAGE_SIZE
        shown = found[:PAGE_SIZE]
    return ListPage(
        rows=shown,
        older=_query(filters, before=shown[-1].pk) if shown and more_older else "",
        newer=_query(filters, after=shown[0].pk) if shown and more_newer else "",
    )


def first_id(prefix: str, moment: datetime) -> str:
    """Return the smallest id of this kind that can have been made at `moment` or later."""
    return f"{prefix}_{str(ULID.from_datetime(moment.astimezone(UTC)))[:10]}{'0' * 16}"


def text_filter(visit: Visit, name: str) -> str:
    """Return a filter as typed; one that no stored text can match (too long, NUL) counts as absent."""
    text = visit.request.GET.get(name, "").strip()
    return "" if "\0" in text or len(text) > MAX_FILTER else text


def choice_filter(visit: Visit, name: str, known: frozenset[str]) -> str:
    """Return a filter if it is one of the known words, else the empty text."""
    text = visit.request.GET.get(name, "")
    return text if text in known else ""


def _key(visit: Visit, prefix: str, name: str) -> str:
    text = visit.request.GET.get(name, "")
    return text if is_id(prefix, text) else ""


def _query(filters: dict[str, str], **key: str) -> str:
    return "?" + urlencode({name: value for name, value in (filters | key).items() if value})
