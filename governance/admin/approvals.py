"""Approval pages: the inbox with its tabs, and one request with its decision form."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.db.models import QuerySet
from django.http import HttpResponse
from django.shortcuts import redirect

from approvals.models import ApprovalRequest, Review
from approvals.selectors import visible_to
from approvals.types import RequestStatus
from governance.admin.access import Visit
from governance.admin.arguments import arguments
from governance.admin.deciding import DecisionForm, decide
from governance.admin.inbox import (
    ABOUT_RULES,
    MOST_PENDING,
    items,
    pending,
    standing,
    subject_name,
    wish_of,
)
from governance.admin.layout import show
from governance.admin.names import names_of
from governance.admin.pages import page
from governance.admin.paging import choice_filter, list_page, text_filter
from governance.admin.policy_reading import Changes
from governance.admin.policy_sets import changes_between
from governance.admin.words import RISKS
from governance.models import Run
from governance.selectors import views_of, visible_calls
from identity.models import Agent
from identity.roles import Permission
from kernel.errors import NotFoundError
from policy.selectors import tool_named
from policy.set_selectors import require_set

TABS = (("yours", "Yours"), ("pending", "All pending"), ("decided", "Decided"))


@page(Permission.APPROVALS_READ)
def inbox(visit: Visit) -> HttpResponse:
    """List what waits for the visitor, what waits at all, or what was decided."""
    tab = choice_filter(visit, "tab", frozenset(name for name, _ in TABS)) or "yours"
    filters = {
        "tab": tab,
        "risk": choice_filter(visit, "risk", frozenset(RISKS)),
        "agent": text_filter(visit, "agent"),
        "tool": text_filter(visit, "tool"),
    }
    context = _decided(visit, filters) if tab == "decided" else _waiting(visit, filters)
    return show(
        visit,
        "console/inbox.html",
        {"title": "Approvals", "tabs": TABS, "tab": tab, "filters": filters, "risks": RISKS} | context,
    )


def _waiting(visit: Visit, filters: dict[str, str]) -> dict[str, Any]:
    rows = list(_filtered(pending(visit), filters).prefetch_related("reviews")[: MOST_PENDING + 1])
    listed = items(visit, rows[:MOST_PENDING])
    if filters["tab"] == "yours":
        listed = [item for item in listed if item.may_answer]
    stamp = ",".join(f"{item.request.pk}:{item.request.version}" for item in listed)
    return {"items": listed, "is_cut": len(rows) > MOST_PENDING, "stamp": stamp}


def _decided(visit: Visit, filters: dict[str, str]) -> dict[str, Any]:
    rows = visible_to(visit.principal, visit.now).exclude(status=RequestStatus.PENDING)
    found = list_page(
        visit, _filtered(rows, filters).prefetch_related("reviews"), prefix="apr", filters=filters
    )
    return {"items": items(visit, found.rows), "found": found}


def _filtered(rows: QuerySet[ApprovalRequest], filters: dict[str, str]) -> QuerySet[ApprovalRequest]:
    if filters["risk"]:
        rows = rows.filter(risk=filters["risk"])
    if filters["tool"]:
        rows = rows.filter(subject_label__icontains=filters["tool"])
    if filters["agent"]:
        named = Agent.objects.filter(name__icontains=filters["agent"])
        rows = rows.filter(requester_id__in=named.values("pk"))
    return rows


@page(Permission.APPROVALS_READ)
def detail(visit: Visit, request_id: str) -> HttpResponse:
    """Show one request; a POST decides it."""
    request = _visible(visit, request_id)
    if visit.request.method != "POST":
        return _detail(visit, request, DecisionForm())
    decided = decide(visit, request)
    if decided.form is None:
        level = messages.SUCCESS if decided.status == 200 else messages.WARNING
        messages.add_message(visit.request, level, decided.sentence)
        return redirect("admin:approval", request_id=request_id)
    fresh = _visible(visit, request_id)
    return _detail(visit, fresh, decided.form, sentence=decided.sentence, status=decided.status)


def _visible(visit: Visit, request_id: str) -> ApprovalRequest:
    rows = visible_to(visit.principal, visit.now).prefetch_related("reviews", "calls")
    found = rows.filter(pk=request_id).first()
    if found is None:
        raise NotFoundError("not_found", "There is no such request.")
    return found


def _detail(
    visit: Visit, request: ApprovalRequest, form: DecisionForm, *, sentence: str = "", status: int = 200
) -> HttpResponse:
    context, stand = request.context, standing(visit, request)
    reviews = list(request.reviews.all())
    names = names_of(
        [request.requester_id, request.requester_owner_id, *(row.reviewer_id for row in reviews)]
    )
    tool = tool_named(subject_name(request)) if request.subject_type == "tool" else None
    ids = [waiting.call_id for waiting in request.calls.all()]
    facts = {
        "title": f"Approval of {subject_name(request)}",
        "request_row": request,
        "subject": subject_name(request),
        "wish": wish_of(request),
        "is_about_rules": request.subject_type == ABOUT_RULES,
        "ask": context,
        "changes": _changes(request),
        "agent_name": names.get(request.requester_id, request.requester_id),
        "owner_name": names.get(request.requester_owner_id, request.requester_owner_id),
        "arguments": arguments(context.get("parameters_view"), tool.input_schema if tool else None),
        "calls": views_of(list(visible_calls(visit.principal).filter(pk__in=ids).order_by("pk"))),
        "run": Run.objects.filter(pk=request.run_id).first(),
        "reviews": [(row, names.get(row.reviewer_id, row.reviewer_id)) for row in reviews],
        "allows": sum(row.verdict == "allow" for row in reviews),
        "similar": _similar(visit, request),
        "is_open": request.status == RequestStatus.PENDING and request.expires_at > visit.now,
        "shows_code": stand.needs_code or request.risk in ("high", "critical"),
        "comment_is_due": request.risk == "critical" or bool(request.obligations.get("comment")),
        "stand": stand,
        "form": form,
        "sentence": sentence,
    }
    return show(visit, "console/approval.html", facts, status=status)


def _changes(request: ApprovalRequest) -> Changes | None:
    """Return what the rules asked for change in those the request names; neither text can change any more."""
    if request.subject_type != ABOUT_RULES:
        return None
    wish = request.context["parameters_view"]
    return changes_between(
        require_set(wish["in_force"]) if wish["in_force"] else None, require_set(wish["set"])
    )


def _similar(visit: Visit, request: ApprovalRequest) -> list[tuple[ApprovalRequest, Review | None]]:
    """The last ten decided requests of the same agent for the same tool, with the answer that ended each."""
    rows = (
        visible_to(visit.principal, visit.now)
        .filter(requester_id=request.requester_id, subject_label=request.subject_label)
        .exclude(status=RequestStatus.PENDING)
        .exclude(pk=request.pk)
        .order_by("-requested_at")
        .prefetch_related("reviews")[:10]
    )
    return [(row, next(iter(row.reviews.all()), None)) for row in rows]
