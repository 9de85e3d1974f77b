"""Cursor lists: one indexed range query of `limit + 1` rows, never COUNT, never OFFSET."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any, TypeVar

from django.core import signing
from django.db.models import Model, QuerySet
from rest_framework.request import Request
from rest_framework.response import Response

from governance.api.authentication import caller
from governance.api.strict import read_integer
from kernel.canonical import digest
from kernel.errors import MalformedError

Row = TypeVar("Row", bound=Model)

PAGE_PARAMETERS = frozenset({"limit", "cursor", "order"})
DEFAULT_LIMIT = 50
MAX_LIMIT = 200
CHUNK = 100
_SALT = "palyra.cursor.v1"


def page(
    request: Request,
    rows: QuerySet[Row],
    *,
    filters: Mapping[str, list[str]],
    render: Callable[[list[Row]], list[dict[str, Any]]],
    keep: Callable[[Row], bool] | None = None,
    by: str = "id",
) -> Response:
    """Answer one page ordered by the primary key, which is the column `by`. The cursor is signed and valid
    for the same filters only.

    `keep` drops rows by a rule that the database cannot ask; give it rows that are few by themselves.
    """
    limit = read_integer(filters, "limit", default=DEFAULT_LIMIT, low=1, high=MAX_LIMIT)
    order = _order(filters)
    scope = scope_of(request, filters)
    after = after_of(filters, scope)
    if after is not None:
        rows = rows.filter(**{f"{by}__lt" if order == "desc" else f"{by}__gt": after})
    ordered = rows.order_by(f"-{by}" if order == "desc" else by)
    if keep is None:
        found = list(ordered[: limit + 1])
    else:
        found = list(islice(filter(keep, ordered.iterator(chunk_size=CHUNK)), limit + 1))
    shown = found[:limit]
    more = len(found) > limit
    cursor = cursor_at(str(shown[-1].pk), scope) if more else None
    return Response({"object": "list", "data": render(shown), "has_more": more, "next_cursor": cursor})


def _order(filters: Mapping[str, list[str]]) -> str:
    order = filters.get("order", ["desc"])
    if order not in (["asc"], ["desc"]):
        raise MalformedError("invalid_parameter", "order takes asc or desc.")
    return order[0]


def scope_of(request: Request, filters: Mapping[str, list[str]]) -> str:
    """What a cursor is bound to: who asks, nobody on a public route, where, and with which filters."""
    stable = {name: sorted(values) for name, values in filters.items() if name not in ("limit", "cursor")}
    principal = caller(request).id if request.authenticators else ""
    return digest({"path": request.path, "principal": principal, "filters": stable})


def cursor_at(last_id: str, scope: str) -> str:
    """Return the cursor of the page behind this row."""
    return signing.dumps({"after": last_id, "scope": scope}, salt=_SALT)


def after_of(filters: Mapping[str, list[str]], scope: str) -> str | None:
    """Return the id behind which the asked page begins; MalformedError `invalid_cursor` for a foreign one."""
    given = filters.get("cursor")
    if given is None:
        return None
    try:
        content = signing.loads(given[0], salt=_SALT)
    except signing.BadSignature as error:
        raise MalformedError("invalid_cursor", "The cursor was changed.") from error
    if len(given) != 1 or content["scope"] != scope:
        raise MalformedError("invalid_cursor", "The cursor belongs to another list.")
    return str(content["after"])
