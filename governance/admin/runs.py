"""Pages of runs: the list with what each does, and one run with its story, its calls and its questions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from django.http import HttpResponse

from approvals.models import ApprovalRequest
from approvals.selectors import visible_to
from governance.admin.access import Visit
from governance.admin.approval_words import wish
from governance.admin.inbox import subject_name
from governance.admin.layout import show
from governance.admin.names import names_of
from governance.admin.pages import page
from governance.admin.paging import choice_filter, list_page, text_filter
from governance.admin.verbs import Answered, Offer, form_of, offer
from governance.admin.words import Look, event_words
from governance.call_state import OPEN_STATES, CallState
from governance.journal.models import JournalEvent
from governance.models import Run
from governance.runs.selectors import RunView, run_view, run_views
from governance.selectors import require_run, views_of, visible_calls, visible_runs
from governance.streams.names import stream_name
from identity.models import Agent
from identity.roles import Permission

READ = Permission.RUNS_READ
SINCE = (("hour", "The last hour"), ("day", "The last 24 hours"), ("week", "The last 7 days"))
_SPANS = {"hour": timedelta(hours=1), "day": timedelta(hours=24), "week": timedelta(days=7)}
MOST_EVENTS = 50
MOST_ASKS = 50
LONGEST_NUMBER = 18


@dataclass(frozen=True, slots=True)
class Told:
    """One event of a run by its public columns: its name in the stream, and what it was about."""

    event: JournalEvent
    stream: str
    look: Look
    tool: str
    who: str


@page(READ)
def run_list(visit: Visit) -> HttpResponse:
    """List runs, newest first."""
    filters = {
        "state": choice_filter(visit, "state", frozenset(Run.STATES)),
        "since": choice_filter(visit, "since", frozenset(_SPANS)),
        "agent": text_filter(visit, "agent"),
    }
    rows = visible_runs(visit.principal)
    if filters["state"]:
        rows = rows.filter(state=filters["state"])
    if filters["since"]:
        rows = rows.filter(opened_at__gt=visit.now - _SPANS[filters["since"]])
    if filters["agent"]:
        rows = rows.filter(
            principal_id__in=Agent.objects.filter(name__icontains=filters["agent"]).values("pk")
        )
    found = list_page(visit, rows, prefix="run", filters=filters)
    return show(
        visit,
        "console/runs.html",
        {
            "title": "Runs",
            "found": found,
            "views": run_views(found.rows),
            "names": names_of(one for row in found.rows for one in (row.principal_id, row.owner_id)),
            "filters": filters,
            "states": Run.STATES,
            "sinces": SINCE,
        },
    )


@page(READ)
def run_page(visit: Visit, run_id: str) -> HttpResponse:
    """Show one run."""
    return shown(visit, run_id)


def shown(visit: Visit, run_id: str, answered: Answered | None = None) -> HttpResponse:
    """Return the page of a run, with a verb that came back open."""
    run = require_run(visit.principal, run_id)
    view = run_view(run)
    found = list_page(visit, visible_calls(visit.principal).filter(run=run), prefix="call", filters={})
    events, older = _story(visit, run)
    return show(
        visit,
        "console/run.html",
        {
            "title": "Run",
            "run": run,
            "view": view,
            "counts": [(state.value, number) for state, number in view.counts.items() if number],
            "names": names_of([run.principal_id, run.owner_id]),
            "found": found,
            "views": views_of(found.rows),
            "events": events,
            "older": older,
            "asks": _asks(visit, run) if visit.holds(Permission.APPROVALS_READ) else None,
            "most_asks": MOST_ASKS,
            "sees_labels": visit.holds(Permission.TOOLS_READ),
            "cancel": form_of(visit, "cancel", cancel_offer(visit, run), answered),
            "complete": form_of(visit, "complete", complete_offer(visit, view), answered),
            "is_moving": _moves(view),
            "refresh": answered is None and _moves(view),
        },
        status=answered.told.status if answered else 200,
    )


def cancel_offer(visit: Visit, run: Run) -> Offer:
    """Return whether this person may cancel the run now, or the reason in words."""
    own = visit.principal.id in (run.principal_id, run.owner_id)
    permission = Permission.RUNS_CANCEL if own else Permission.RUNS_CANCEL_ANY
    ended = "" if run.state == "open" else "The run has ended."
    return offer(visit, permission, workspace_id=run.workspace_id, blocked=ended)


def complete_offer(visit: Visit, view: RunView) -> Offer:
    """Return whether this person may call the run's work done now, or the reason in words."""
    run, blocked = view.run, ""
    waiting = sum(view.counts[state] for state in OPEN_STATES)
    if run.state != "open":
        blocked = "The run has ended."
    elif visit.principal.id not in (run.principal_id, run.owner_id):
        blocked = "Only who the run belongs to, or its owner, says that its work is done."
    elif waiting:
        blocked = f"{waiting} of its calls have not ended. Wait for them, or cancel them or the run."
    return offer(visit, Permission.RUNS_CREATE, workspace_id=run.workspace_id, blocked=blocked)


def _moves(view: RunView) -> bool:
    return view.run.state == "open" or view.counts[CallState.RUNNING] > 0


def _story(visit: Visit, run: Run) -> tuple[list[Told], int]:
    """Return the newest events, or those up to the number in the address, and the number before them."""
    typed = visit.request.GET.get("upto", "")
    is_number = typed.isascii() and typed.isdigit() and len(typed) <= LONGEST_NUMBER
    upto = int(typed) if is_number else run.event_seq
    rows = JournalEvent.objects.filter(run_id=run.id, run_seq__lte=upto).defer("envelope")
    found = list(rows.order_by("-run_seq")[:MOST_EVENTS])
    calls = visible_calls(visit.principal).filter(pk__in=[row.call_id for row in found if row.call_id])
    tools = dict(calls.values_list("pk", "tool_name"))
    names = names_of(row.actor for row in found)
    oldest = (found[-1].run_seq or 1) - 1 if found else 0
    return [_told(row, tools, names) for row in found], oldest


def _told(row: JournalEvent, tools: dict[str, str], names: dict[str, str]) -> Told:
    tool = tools.get(row.call_id or "", "")
    who = names.get(row.actor, row.actor)
    return Told(row, stream_name(row.type).value, event_words(row.type), tool, who)


def _asks(visit: Visit, run: Run) -> Sequence[tuple[ApprovalRequest, str]]:
    """Return the newest questions of the run, each with what was wanted."""
    rows = visible_to(visit.principal, visit.now).filter(run_id=run.id).defer("context_text")
    return [
        (row, f"{wish(row.subject_type)} {subject_name(row)}") for row in rows.order_by("-pk")[:MOST_ASKS]
    ]
