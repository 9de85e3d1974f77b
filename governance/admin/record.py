"""The page of executions. Read only."""

from __future__ import annotations

from django.http import HttpResponse

from governance.admin.access import Visit
from governance.admin.layout import show
from governance.admin.pages import page
from governance.admin.paging import choice_filter, list_page
from governance.selectors import visible_calls
from identity.roles import Permission
from sandbox.lifecycle import ExecutionState
from sandbox.models import Execution

STATES = tuple(state.value for state in ExecutionState)


@page(Permission.CALLS_READ)
def executions(visit: Visit) -> HttpResponse:
    """List executions of calls within reach, newest first."""
    filters = {"state": choice_filter(visit, "state", frozenset(STATES))}
    rows = Execution.objects.filter(**({"state": filters["state"]} if filters["state"] else {}))
    if visit.reach is not None:
        rows = rows.filter(call_id__in=visible_calls(visit.principal).values("pk"))
    found = list_page(visit, rows, prefix="exe", filters=filters)
    calls = visible_calls(visit.principal).in_bulk([row.call_id for row in found.rows])
    return show(
        visit,
        "console/executions.html",
        {
            "title": "Executions",
            "found": found,
            "rows": [(row, calls.get(row.call_id)) for row in found.rows],
            "filters": filters,
            "states": STATES,
        },
    )
