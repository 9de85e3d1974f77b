"""Approval pages: the inbox with its tabs, its live part, and one request with its decision form."""

from __future__ import annotations

import hashlib
from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render

from approvals.models import ApprovalRequest
from approvals.selectors import visible_to
from approvals.types import RequestStatus, SubjectType
from governance.admin.access import Visit
from governance.admin.answer_form import DecisionForm
from governance.admin.approval_detail import detail_facts
from governance.admin.deciding import Decided, decide
from governance.admin.inbox import (
    MOST_PENDING,
    InboxItem,
    filtered,
    folded,
    items,
    just_expired,
    pending,
)
from governance.admin.layout import show
from governance.admin.pages import page
from governance.admin.paging import choice_filter, list_page, text_filter
from governance.admin.verbs import Answered
from governance.admin.words import RISKS
from governance.operations import approvals as operations
from identity.roles import Permission
from kernel.errors import NotFoundError
from kernel.ids import is_id

READ = Permission.APPROVALS_READ
TABS = (("yours", "Yours"), ("pending", "All pending"), ("decided", "Decided"))
SUBJECTS = tuple(one.value for one in SubjectType)
SHOWN = 50
LONGEST_GONE = MOST_PENDING * 31


@page(READ)
def inbox(visit: Visit) -> HttpResponse:
    """List what waits for the visitor, what waits at all, or what was decided."""
    filters = _filters(visit)
    context = _decided(visit, filters) if filters["tab"] == "decided" else _waiting(visit, filters)
    return show(visit, "console/inbox.html", {"title": "Approvals", "tabs": TABS} | _frame(filters) | context)


@page(READ)
def live(visit: Visit) -> HttpResponse:
    """Give the waiting part of the inbox alone, or 304 when nothing of it changed.

    `gone` names requests that left the page's list: how each ended is said, whatever the filters are.
    """
    filters = _filters(visit)
    context = _waiting(visit, filters) | {"gone": _gone(visit)}
    tag = f'"{context["stamp"]}"'
    if visit.request.headers.get("If-None-Match") == tag and not context["gone"]:
        answer = HttpResponse(status=304)
    else:
        answer = _fragment(visit, "console/inbox_live.html", _frame(filters) | context)
    answer["ETag"] = tag
    return answer


def _filters(visit: Visit) -> dict[str, str]:
    return {
        "tab": choice_filter(visit, "tab", frozenset(name for name, _ in TABS)) or "yours",
        "risk": choice_filter(visit, "risk", frozenset(RISKS)),
        "subject": choice_filter(visit, "subject", frozenset(SUBJECTS)),
        **{name: text_filter(visit, name) for name in ("agent", "owner", "tool", "run")},
    }


def _frame(filters: dict[str, str]) -> dict[str, Any]:
    chosen = any(value for name, value in filters.items() if name != "tab")
    return {
        "tab": filters["tab"],
        "filters": filters,
        "is_filtered": chosen,
        "risks": RISKS,
        "subjects": SUBJECTS,
    }


def _waiting(visit: Visit, filters: dict[str, str]) -> dict[str, Any]:
    listed, after = _part(visit, filters, _start(visit))
    shown, left = folded(listed), items(visit, just_expired(visit))
    query = {name: value for name, value in filters.items() if value}
    return {
        "items": shown,
        "left": left,
        "more": f"?{urlencode(query | {'from': after})}" if after else "",
        "back": f"?{urlencode(query)}" if _start(visit) else "",
        "together": any(item.together for item in shown),
        "stamp": _stamp(filters, listed, left),
    }


def _start(visit: Visit) -> int:
    text = visit.request.GET.get("from", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0


def _part(visit: Visit, filters: dict[str, str], start: int) -> tuple[list[InboxItem], int]:
    """Return a page of what waits from row `start` on, and where the next one begins, 0 for none.

    What is the visitor's own to answer is told row by row, so its page is looked for in several steps.
    """
    rows, found, at = filtered(pending(visit), filters), list[InboxItem](), start
    while at - start < MOST_PENDING and len(found) < SHOWN:
        step = list(rows[at : at + SHOWN + 1])
        listed = items(visit, step[:SHOWN])
        found += [item for item in listed if item.may_answer or filters["tab"] != "yours"]
        at += SHOWN
        if len(step) <= SHOWN:
            return found, 0
    return found, at


def _stamp(filters: dict[str, str], *lists: list[InboxItem]) -> str:
    """Return what changes whenever a row of the list does."""
    rows = [
        [item.request.pk, item.request.version, item.allows, item.waiting, item.may_answer, item.agent]
        for listed in lists
        for item in listed
    ]
    return hashlib.sha256(repr((sorted(filters.items()), rows)).encode()).hexdigest()[:32]


def _gone(visit: Visit) -> list[InboxItem]:
    """Return how the named requests ended; one that this visitor may not see is left out."""
    named = visit.request.GET.get("gone", "")[:LONGEST_GONE].split(",")
    ids = [one for one in named if is_id("apr", one)][:MOST_PENDING]
    return items(visit, list(visible_to(visit.principal, visit.now).filter(pk__in=ids))) if ids else []


def _decided(visit: Visit, filters: dict[str, str]) -> dict[str, Any]:
    rows = visible_to(visit.principal, visit.now).exclude(status=RequestStatus.PENDING)
    found = list_page(visit, filtered(rows, filters), prefix="apr", filters=filters)
    return {"items": items(visit, found.rows), "found": found}


@page(READ)
def detail(visit: Visit, request_id: str) -> HttpResponse:
    """Show one request; a POST decides it."""
    request = visible_request(visit, request_id)
    if visit.request.method != "POST":
        if request.seen_at is None:
            operations.note_seen(request_id=request.pk, principal=visit.principal, now=visit.now)
        return shown_request(visit, request)
    decided = decide(visit, request)
    if decided.form is None:
        level = messages.SUCCESS if decided.status == 200 else messages.WARNING
        messages.add_message(visit.request, level, decided.sentence)
        return redirect("admin:approval", request_id=request_id)
    fresh = visible_request(visit, request_id)
    return shown_request(visit, fresh, decided.form, decided=decided)


@page(READ)
def state(visit: Visit, request_id: str) -> HttpResponse:
    """Say in one fragment how a request stands, for a page that is open on it; 304 while nothing changed."""
    request = visible_request(visit, request_id)
    item = items(visit, [request])[0]
    tag = f'"{request.version}-{request.status}-{item.allows}-{bool(item.outcome)}"'
    if visit.request.headers.get("If-None-Match") == tag:
        answer = HttpResponse(status=304)
    else:
        answer = _fragment(visit, "console/approval_state.html", {"item": item})
    answer["ETag"] = tag
    return answer


def _fragment(visit: Visit, template: str, context: dict[str, Any]) -> HttpResponse:
    """Render a part of a page without the frame around it."""
    return render(visit.request, template, {"now": visit.now} | context)


def visible_request(visit: Visit, request_id: str) -> ApprovalRequest:
    """Return a request this person may know of, or raise NotFoundError."""
    rows = visible_to(visit.principal, visit.now).prefetch_related("reviews", "calls")
    found = rows.filter(pk=request_id).first()
    if found is None:
        raise NotFoundError("not_found", "There is no such request.")
    return found


def shown_request(
    visit: Visit,
    request: ApprovalRequest,
    form: DecisionForm | None = None,
    *,
    decided: Decided | None = None,
    answered: Answered | None = None,
) -> HttpResponse:
    """Return the page of a request, with a decision or another verb that came back open."""
    is_late = decided is not None and decided.is_late
    told = {"is_late": is_late, "sentence": decided.sentence if decided and not is_late else ""}
    facts = detail_facts(visit, request, form or DecisionForm(), answered)
    status = decided.status if decided else answered.told.status if answered else 200
    return show(visit, "console/approval.html", facts | told, status=status)
