"""Verbs on runs, and what a person found out about a call whose end nobody saw."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from django.http import HttpResponse
from django.shortcuts import redirect

from governance.admin import calls
from governance.admin.access import Visit
from governance.admin.once import Told
from governance.admin.runs import READ, shown
from governance.admin.verbs import Answered, do, notify, reasoned, text, verb
from governance.idempotency import Ticket
from governance.operations import runs as operations
from governance.selectors import require_run
from identity.roles import Permission

Work = Callable[[Visit, Ticket], Told]
CANCELLED = "The run is closed; its open calls are being stopped."
COMPLETED = "The run is completed."
RESOLVED = "What you found out is on record. The call stays ambiguous, and charged."


@verb(Permission.RUNS_CANCEL, sees=READ)
def cancel(visit: Visit, run_id: str) -> HttpResponse:
    """Close a run and everything of it that waits, is queued or runs."""
    fields = {"reason": text(visit, "reason")}

    def work(stepped: Visit, ticket: Ticket) -> Told:
        operations.cancel_run(
            run_id=run_id,
            principal=stepped.principal,
            reason=reasoned(fields["reason"]),
            now=stepped.now,
            ticket=ticket,
            render=lambda run: {"sentence": CANCELLED},
        )
        return Told(CANCELLED, object_id=run_id)

    return _post(visit, run_id, "cancel", fields, work)


@verb(Permission.RUNS_CREATE, sees=READ)
def complete(visit: Visit, run_id: str) -> HttpResponse:
    """Say that the work of a run is done."""

    def work(stepped: Visit, ticket: Ticket) -> Told:
        operations.complete_run(
            run_id=run_id,
            principal=stepped.principal,
            now=stepped.now,
            ticket=ticket,
            render=lambda run: {"sentence": COMPLETED},
        )
        return Told(COMPLETED, object_id=run_id)

    return _post(visit, run_id, "complete", {}, work)


@verb(Permission.RUNS_CANCEL_ANY, sees=Permission.CALLS_READ)
def resolve(visit: Visit, call_id: str) -> HttpResponse:
    """Put on record what became of an ambiguous call."""
    fields = {name: text(visit, name) for name in ("outcome", "note")}

    def work(stepped: Visit, ticket: Ticket) -> Told:
        operations.resolve_call(
            call_id=call_id,
            principal=stepped.principal,
            outcome=fields["outcome"],
            note=fields["note"],
            now=stepped.now,
            ticket=ticket,
            render=lambda view: {"sentence": RESOLVED},
        )
        return Told(RESOLVED, object_id=call_id)

    told = do(visit, route=f"calls/{call_id}/resolve", subject=call_id, fields=fields, work=work)
    if not told.is_done:
        return calls.shown(visit, call_id, Answered("resolve", told))
    notify(visit, told)
    return redirect("admin:call", call_id=call_id)


def _post(visit: Visit, run_id: str, name: str, fields: Mapping[str, object], work: Work) -> HttpResponse:
    require_run(visit.principal, run_id)
    told = do(visit, route=f"runs/{run_id}/{name}", subject=run_id, fields=fields, work=work)
    if not told.is_done:
        return shown(visit, run_id, Answered(name, told))
    notify(visit, told)
    return redirect("admin:run", run_id=run_id)
