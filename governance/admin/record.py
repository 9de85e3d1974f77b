"""Pages of what happened: the journal as a timeline, and the executions. Read only."""

from __future__ import annotations

from django.db.models import Q, QuerySet
from django.http import HttpResponse

from governance.admin.access import Visit
from governance.admin.layout import show
from governance.admin.names import names_of
from governance.admin.pages import page
from governance.admin.paging import choice_filter, list_page, text_filter
from governance.admin.words import event_words
from governance.journal.models import JournalEvent
from governance.selectors import visible_calls, visible_runs
from identity.roles import Permission
from sandbox.lifecycle import ExecutionState
from sandbox.models import Execution

STATES = tuple(state.value for state in ExecutionState)


@page(Permission.JOURNAL_READ)
def journal(visit: Visit) -> HttpResponse:
    """List events by their public columns, newest first; payloads stay closed."""
    filters = {name: text_filter(visit, name) for name in ("type", "actor", "subject", "run")}
    columns = {"type": "type", "actor": "actor", "subject": "subject", "run": "run_id"}
    rows = (
        _events(visit)
        .filter(**{columns[name]: value for name, value in filters.items() if value})
        .defer("envelope")
    )
    found = list_page(visit, rows, prefix="evt", filters=filters)
    names = names_of(one for row in found.rows for one in (row.actor, row.subject))
    events = [(row, event_words(row.type), names.get(row.actor, row.actor)) for row in found.rows]
    return show(
        visit,
        "console/journal.html",
        {"title": "Journal", "found": found, "events": events, "names": names, "filters": filters},
    )


def _events(visit: Visit) -> QuerySet[JournalEvent]:
    """Everything for who reads the whole instance; else what belongs to no run or to a visible one."""
    if visit.reach is None:
        return JournalEvent.objects.all()
    own = Q(run_id__in=visible_runs(visit.principal).values("pk"))
    return JournalEvent.objects.filter(own | Q(run_id__isnull=True))


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
