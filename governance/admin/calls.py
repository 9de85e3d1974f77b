"""Pages of calls: the list by key, one call from proposal to attestation, and cancelling it."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.db.models import Q
from django.http import HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect

from governance.admin.access import Visit
from governance.admin.arguments import arguments
from governance.admin.isolation import isolation_of, limits_used
from governance.admin.layout import show
from governance.admin.names import names_of
from governance.admin.pages import page
from governance.admin.paging import choice_filter, list_page, text_filter
from governance.admin.timeline import steps_of
from governance.admin.verbs import Answered, Offer, form_of, offer
from governance.call_state import OPEN_STATES, CallState
from governance.evidence_checks import call_checks
from governance.input_schemas import input_of, schema_of_tool
from governance.operations import runs
from governance.prompts import parameters_view
from governance.runs.findings import LONGEST_NOTE, OUTCOMES
from governance.selectors import (
    CallView,
    require_call,
    state_filter,
    views_of,
    visible_calls,
)
from identity.models import Agent
from identity.roles import Permission
from kernel.errors import PalyraError
from policy.selectors import tool_named

STATES = tuple(state.value for state in CallState)
STREAMS = ("stdout", "stderr")
STEP_UP = "step_up_required"
_IN_ORDER: dict[str, object] = {"properties": {name: {} for name in STREAMS}}


@page(Permission.CALLS_READ)
def call_list(visit: Visit) -> HttpResponse:
    """List calls, newest first."""
    filters = {
        "state": choice_filter(visit, "state", frozenset(STATES)),
        "tool": text_filter(visit, "tool"),
        "agent": text_filter(visit, "agent"),
        "reason": text_filter(visit, "reason"),
    }
    rows = visible_calls(visit.principal).filter(_by(filters))
    if filters["state"]:
        rows = rows.filter(state_filter([CallState(filters["state"])]))
    found = list_page(visit, rows, prefix="call", filters=filters)
    names = names_of(one for row in found.rows for one in (row.principal_id, row.owner_id))
    return show(
        visit,
        "console/calls.html",
        {"title": "Calls", "found": found, "views": views_of(found.rows), "names": names,
         "filters": filters, "states": STATES},
    )  # fmt: skip


def _by(filters: dict[str, str]) -> Q:
    clause = Q()
    if filters["tool"]:
        clause &= Q(tool_name__icontains=filters["tool"])
    if filters["reason"]:
        clause &= Q(reason_code=filters["reason"])
    if filters["agent"]:
        clause &= Q(principal_id__in=Agent.objects.filter(name__icontains=filters["agent"]).values("pk"))
    return clause


@page(Permission.CALLS_READ)
def call_page(visit: Visit, call_id: str) -> HttpResponse:
    """Show one call: what was asked, what each gate said, who answered, what ran, what was signed."""
    return shown(visit, call_id)


def shown(visit: Visit, call_id: str, answered: Answered | None = None) -> HttpResponse:
    """Return the page of a call, with a verb that came back open."""
    view = require_call(visit.principal, call_id)
    call = view.call
    tool = tool_named(call.tool_name)
    stored = input_of(call)
    given = stored if isinstance(stored, dict) else {"input": stored}
    shown, warnings = parameters_view(given, schema_of_tool(call.tool_name, given))
    reviews = list(view.approval.reviews.order_by("pk")) if view.approval else []
    finder = (call.finding or {}).get("by", "")
    names = names_of([call.principal_id, call.owner_id, finder, *(row.reviewer_id for row in reviews)])
    return show(
        visit,
        "console/call.html",
        {
            "title": f"Call of {call.tool_name}",
            "view": view,
            "call": call,
            "agent_name": names.get(call.principal_id, call.principal_id),
            "owner_name": names.get(call.owner_id, call.owner_id),
            "arguments": arguments(shown, tool.input_schema if tool else None),
            "warnings": warnings,
            "output": _output(view),
            "steps": steps_of(view, reviews, names),
            "isolation": isolation_of(view.execution),
            "limits": limits_used(view.execution),
            "may_explain": visit.holds(Permission.POLICY_READ),
            "sees_labels": visit.holds(Permission.TOOLS_READ),
            "may_cancel": view.state in OPEN_STATES and _may_cancel(visit, call.owner_id, call.workspace_id),
            "refresh": view.state in OPEN_STATES,
            "names": names,
            "is_ambiguous": view.state is CallState.AMBIGUOUS,
            "resolve": form_of(visit, "resolve", resolve_offer(visit, view), answered),
            "outcomes": [("", "Choose"), *((one, one.capitalize()) for one in OUTCOMES)],
            "longest_note": LONGEST_NOTE,
            "checks": call_checks(view),
            "evidence": form_of(visit, "evidence", evidence_offer(visit, view), answered),
            "may_reveal": visit.refusal(Permission.JOURNAL_REVEAL, call.workspace_id) in (None, STEP_UP),
        },
        status=answered.told.status if answered else 200,
    )


def _output(view: CallView) -> dict[str, Any]:
    """The stored result, masked and cut as arguments are; stdout and stderr apart when there are any."""
    result = view.call.result
    if not result:
        return {}
    shown, _ = parameters_view({"output": result.get("output")})
    output = shown.get("output") if isinstance(shown, dict) else shown
    streams = {name: output[name] for name in STREAMS if isinstance(output, dict) and output.get(name)}
    return {"about": result, "value": output, "parts": arguments(streams, _IN_ORDER) if streams else ()}


@page(Permission.CALLS_READ)
def cancel_call(visit: Visit, call_id: str) -> HttpResponse:
    """Stop one call; what has ended stays as it is."""
    if visit.request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    try:
        runs.cancel_call(call_id=call_id, principal=visit.principal, reason="console", now=visit.now)
        messages.success(visit.request, "The call is being stopped.")
    except PalyraError as refusal:
        if refusal.status == 404:
            raise
        messages.warning(visit.request, refusal.detail or refusal.code)
    return redirect("admin:call", call_id=call_id)


def resolve_offer(visit: Visit, view: CallView) -> Offer:
    """Return whether this person may say what became of an ambiguous call, or the reason in words."""
    stands = "Somebody found out already; it is on record." if view.call.finding else ""
    return offer(
        visit,
        Permission.RUNS_CANCEL_ANY,
        workspace_id=view.call.workspace_id,
        blocked=stands,
        fresh=True,
    )


def evidence_offer(visit: Visit, view: CallView) -> Offer:
    """Return whether this person may take the evidence away, or the reason in words."""
    going_on = "" if view.attestation else "The call has not ended, so nothing is attested yet."
    place = view.call.workspace_id
    return offer(visit, Permission.JOURNAL_EXPORT, workspace_id=place, blocked=going_on)


def _may_cancel(visit: Visit, owner_id: str, workspace_id: str) -> bool:
    own = visit.principal.id == owner_id
    permission = Permission.RUNS_CANCEL if own else Permission.RUNS_CANCEL_ANY
    return visit.holds(permission, workspace_id)
