"""Several requests of one agent for one tool, answered together: one table, one comment, one code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.http import HttpResponse

from approvals.models import ApprovalRequest
from approvals.selectors import pending_for
from governance.admin.access import Visit
from governance.admin.approval_diff import leaves
from governance.admin.inbox import InboxItem, items
from governance.admin.layout import show
from governance.admin.pages import page
from governance.safety.visible import visible
from identity.roles import Permission
from kernel.ids import is_id

MOST = 50
MOST_COLUMNS = 8


@dataclass(frozen=True, slots=True)
class Table:
    """What differs between the requests: a column for each place, a row for each request.

    `same` are the places in which all agree; `left_off` differ too and have no column.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[InboxItem, tuple[str, ...]], ...]
    same: tuple[tuple[str, str], ...]
    left_off: int


@page(Permission.APPROVALS_READ)
def together(visit: Visit) -> HttpResponse:
    """Show the ticked requests beside each other."""
    named = [one for one in visit.request.GET.getlist("id") if is_id("apr", one)][: MOST + 1]
    return shown(visit, named)


def shown(visit: Visit, ids: Sequence[str], *, status: int = 200) -> HttpResponse:
    rows = pending_for(visit.principal, visit.now).filter(pk__in=ids[:MOST]).order_by("pk")
    found = items(visit, list(rows))
    reason = why_not(found, len(ids))
    context = {
        "title": "Decide together",
        "items": found,
        "reason": reason,
        "table": table_of(found) if found else None,
        "first": found[0] if found else None,
    }
    return show(visit, "console/approvals_together.html", context, status=status)


def why_not(found: Sequence[InboxItem], asked: int) -> str:
    """Return why these requests are not answered together, or an empty text."""
    if asked > MOST:
        return f"At most {MOST} requests are decided together."
    if not found:
        return "None of the ticked requests waits any more."
    if len({(one.request.requester_id, one.request.subject_label) for one in found}) > 1:
        return "Only requests of one agent for one tool are decided together."
    if not all(one.together for one in found):
        return "One of them is above medium risk, or is not yours to decide; open it by itself."
    return ""


def table_of(found: Sequence[InboxItem]) -> Table:
    """Return the arguments beside each other, by JSON pointer."""
    values = [leaves(_arguments(one.request)) for one in found]
    pointers = list(dict.fromkeys(at for value in values for at in value))
    differing = [at for at in pointers if len({value.get(at) for value in values}) > 1]
    same = tuple((visible(at), visible(values[0][at])) for at in pointers if at not in set(differing))
    columns = differing[:MOST_COLUMNS]
    return Table(
        columns=tuple(visible(at) for at in columns),
        rows=tuple(
            (one, tuple(visible(value.get(at, "")) for at in columns))
            for one, value in zip(found, values, strict=True)
        ),
        same=same[:MOST],
        left_off=len(differing) - len(columns),
    )


def _arguments(request: ApprovalRequest) -> object:
    return request.context.get("parameters_view")
