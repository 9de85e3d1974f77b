"""Editing the arguments of a waiting call, which is then decided about anew."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from django.http import HttpResponse
from django.shortcuts import redirect

from approvals.editing import EditInput
from approvals.models import ApprovalRequest
from approvals.types import RequestStatus, Risk
from governance.admin.access import Visit
from governance.admin.approvals import READ, visible_request
from governance.admin.deciding import errors_of, sentence_for
from governance.admin.edited_arguments import EditField, edited, fields_of
from governance.admin.inbox import Standing, standing, subject_name
from governance.admin.layout import show
from governance.admin.once import Told, has_intent, new_intent, once
from governance.admin.pages import page
from governance.admin.stepping_up import step_up_if_given
from governance.admin.verbs import notify, seen_version, text
from governance.editing import Edited
from governance.idempotency import Ticket
from governance.input_schemas import input_of, schema_of_tool
from governance.models import ToolCall
from governance.operations import editing as operations
from governance.prompts import masked
from kernel.errors import NotFoundError, PalyraError

NOTHING_CHANGED = "Nothing was changed."
DONE = {
    "asked": "Changed. The call with the new arguments waits for an answer of its own.",
    "allowed": "Changed and allowed. The call with the new arguments goes on to its last checks.",
    "queued": "Changed. The call with the new arguments needs no answer and goes on.",
}


@page(READ)
def edit(visit: Visit, request_id: str) -> HttpResponse:
    """Show the arguments as fields; a POST puts the call with the new ones in the place of this one."""
    request = visible_request(visit, request_id)
    call = _call(request)
    schema = schema_of_tool(call.tool_name, call.input)
    shown = masked(input_of(call), schema)
    if not isinstance(shown, Mapping) or not isinstance(call.input, Mapping):
        raise NotFoundError("not_found", "These arguments cannot be changed field by field.")
    if visit.request.method != "POST":
        return _page(visit, request, fields_of(shown, schema))
    fields = fields_of(shown, schema, visit.request.POST)
    wanted, errors = edited(call.input, shown, fields, visit.request.POST)
    if errors or not has_intent(visit):
        marked = [replace(one, error=errors.get(one.name, "")) for one in fields]
        return _page(visit, request, marked, told=Told("Nothing was recorded.", 422))
    return _save(visit, request, fields, wanted)


def _save(
    visit: Visit, request: ApprovalRequest, fields: list[EditField], wanted: Mapping[str, object]
) -> HttpResponse:
    typed = {name: text(visit, name) for name in ("comment", "version")}

    def work(ticket: Ticket) -> Told:
        done = operations.edit_request(
            request_id=request.pk,
            new_input=dict(wanted),
            edit=EditInput(
                comment=typed["comment"],
                seen_version=seen_version(visit),
                otp_verified_at=step_up_if_given(visit),
                surface="console",
            ),
            principal=visit.principal,
            now=visit.now,
            ticket=ticket,
            render=lambda made: (200, {"sentence": _said(made)}),
        )
        return Told(_said(done), object_id=_next(done))

    told = once(
        visit,
        route=f"approvals/{request.pk}/edit",
        fields={**typed, "input": wanted},
        work=work,
        say=lambda refusal: sentence_for(request, refusal),
    )
    if not told.is_done:
        return _page(visit, visible_request(visit, request.pk), fields, told=told)
    notify(visit, told)
    return redirect("admin:approval", request_id=told.object_id or request.pk)


def _said(done: Edited) -> str:
    if done.request is None:
        return DONE["queued"]
    return DONE["allowed" if done.request.status == RequestStatus.ALLOWED else "asked"]


def _next(done: Edited) -> str:
    """Return the request to look at next: the one about the new arguments, if they needed one."""
    return done.request.pk if done.request is not None else done.asked.pk


def _call(request: ApprovalRequest) -> ToolCall:
    """Return the first call that waits; the operation edits that one."""
    ids = [waiting.call_id for waiting in request.calls.all()]
    found = ToolCall.objects.filter(pk__in=ids).order_by("pk").first()
    if found is None:
        raise NotFoundError("not_found", "Only the arguments of a call can be changed.")
    return found


def _page(
    visit: Visit, request: ApprovalRequest, fields: list[EditField], *, told: Told | None = None
) -> HttpResponse:
    stand: Standing = standing(visit, request)
    refusal: PalyraError | None = told.refusal if told else None
    context = {
        "title": "Change the arguments",
        "request_row": request,
        "subject": subject_name(request),
        "fields": fields,
        "stand": stand,
        "is_open": request.status == RequestStatus.PENDING and request.expires_at > visit.now,
        "counts_as_allow": request.risk in (Risk.LOW, Risk.MEDIUM),
        "intent": new_intent(),
        "comment": visit.request.POST.get("comment", ""),
        "sentence": told.sentence if told else "",
        "errors": errors_of(refusal, told.sentence) if told and refusal else {},
        "shows_code": stand.needs_code or request.risk in (Risk.HIGH, Risk.CRITICAL),
    }
    return show(visit, "console/approval_edit.html", context, status=told.status if told else 200)
