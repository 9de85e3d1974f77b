"""The page of a session: what it has read, which calls brought that in, and the form that takes it away."""

from __future__ import annotations

from dataclasses import dataclass

from django.http import HttpResponse
from django.shortcuts import redirect

from governance.admin.access import Visit
from governance.admin.layout import show
from governance.admin.names import names_of
from governance.admin.once import Told
from governance.admin.pages import page
from governance.admin.verbs import Answered, VerbForm, do, form_of, notify, offer, text, verb
from governance.idempotency import Ticket
from governance.label_selectors import Conversation, LabelView, labels_shown, require_conversation
from governance.operations import labels as operations
from governance.selectors import visible_calls, visible_runs
from identity.roles import Permission
from policy.flows import FROM_SAFETY, PRIVATE, UNTRUSTED
from policy.label_models import SessionLabel

MANAGE, READ = Permission.TOOLS_MANAGE, Permission.TOOLS_READ
MOST_SHOWN = 20
MEANING = {
    UNTRUSTED: "Text that somebody outside wrote: pages, mails, files of others.",
    PRIVATE: "Data that is not for everybody.",
    **dict.fromkeys(FROM_SAFETY, "A finding of the safety checks."),
}
BY_RULES = "A label that an administrator gave to a tool."
DONE = "The label is gone. The next call that brings it in brings it back."


@dataclass(frozen=True, slots=True)
class LabelRow:
    """One label as the page shows it; `form` is None for one that counts no more."""

    row: SessionLabel
    state: str
    meaning: str
    calls: list[tuple[str, str]]
    form: VerbForm | None


@page(READ)
def session_page(visit: Visit, session_id: str) -> HttpResponse:
    """Show the labels of a session, or of an agent's runs without one."""
    return shown(visit, require_conversation(visit.principal, session_id), session_id)


@verb(MANAGE, sees=READ)
def declassify(visit: Visit, session_id: str) -> HttpResponse:
    """Take one label away."""
    found = require_conversation(visit.principal, session_id)
    fields = {"label": text(visit, "label"), "reason": text(visit, "reason")}

    def work(stepped: Visit, ticket: Ticket) -> Told:
        operations.declassify(
            principal=stepped.principal,
            session_id=session_id,
            label=fields["label"],
            reason=fields["reason"],
            now=stepped.now,
            ticket=ticket,
            render=lambda row: {"sentence": DONE},
        )
        return Told(DONE)

    told = do(visit, route=f"sessions/{session_id}/declassify", subject=found.id, fields=fields, work=work)
    if not told.is_done:
        return shown(visit, found, session_id, Answered(form_name(fields["label"]), told))
    notify(visit, told)
    return redirect("admin:session", session_id=session_id)


def shown(
    visit: Visit, found: Conversation, session_id: str, answered: Answered | None = None
) -> HttpResponse:
    """Return the page, with a form that came back open."""
    runs = visible_runs(visit.principal).filter(workspace_id=found.workspace_id)
    own = (
        {"session_id": session_id} if found.key else {"session_id": None, "principal_id": found.principal_id}
    )
    sees_runs = visit.holds(Permission.RUNS_READ)
    context = {
        "title": "Session",
        "found": found,
        "session_id": session_id,
        "name": names_of([found.principal_id]).get(found.principal_id, found.principal_id),
        "labels": _rows(visit, found, answered),
        "sees_runs": sees_runs,
        "runs": list(runs.filter(**own).order_by("-pk")[:MOST_SHOWN]) if sees_runs else [],
    }
    return show(visit, "console/session.html", context, status=answered.told.status if answered else 200)


def form_name(label: str) -> str:
    """Return the name of the form that takes this label away."""
    return f"declassify-{label}"


def _rows(visit: Visit, found: Conversation, answered: Answered | None) -> list[LabelRow]:
    views = labels_shown(found, visit.now)
    wanted = [call for view in views for call in view.row.call_ids]
    visible = dict(visible_calls(visit.principal).filter(id__in=wanted).values_list("id", "tool_name"))
    offered = offer(visit, MANAGE, workspace_id=found.workspace_id, fresh=True)

    def row(view: LabelView) -> LabelRow:
        name = view.row.label
        form = form_of(visit, form_name(name), offered, answered) if view.state == "active" else None
        calls = [(call, visible.get(call, "")) for call in view.row.call_ids]
        return LabelRow(view.row, view.state, MEANING.get(name, BY_RULES), calls, form)

    return [row(view) for view in views]
