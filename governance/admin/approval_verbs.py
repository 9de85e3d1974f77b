"""Other things a person may do with a waiting request: withdraw it, or force it in an emergency."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpResponse
from django.shortcuts import redirect

from governance.admin.access import Visit
from governance.admin.approvals import READ, shown_request, visible_request
from governance.admin.deciding import sentence_for, told
from governance.admin.once import Told, once
from governance.admin.stepping_up import stepped_up
from governance.admin.verbs import Answered, notify, seen_version, text, verb
from governance.idempotency import Ticket
from governance.operations import approvals as operations, runs
from identity.roles import Permission

FORCE = Permission.APPROVALS_BREAK_GLASS
CANCEL = Permission.RUNS_CANCEL
Work = Callable[[Ticket], Told]


@verb(CANCEL, sees=READ)
def withdraw(visit: Visit, request_id: str) -> HttpResponse:
    """Take the question back; what waited on it does not run."""

    def work(_: Ticket) -> Told:
        runs.cancel_request(request_id=request_id, principal=visit.principal, now=visit.now)
        return Told("Withdrawn. What waited on it does not run.", object_id=request_id)

    return _post(visit, request_id, "withdraw", {}, work)


@verb(FORCE, sees=READ)
def break_glass(visit: Visit, request_id: str) -> HttpResponse:
    """Allow alone in an emergency: once, and somebody else says within a day whether it was right."""
    fields = {name: text(visit, name) for name in ("comment", "version")}

    def work(ticket: Ticket) -> Told:
        stepped = stepped_up(visit)
        outcome = operations.break_glass(
            request_id=request_id,
            principal=stepped.principal,
            comment=fields["comment"],
            otp_verified_at=stepped.code_at,
            seen_version=seen_version(visit),
            surface="console",
            now=visit.now,
            ticket=ticket,
            render=lambda made: (200, {"sentence": told(made)}),
        )
        return Told(told(outcome), object_id=request_id)

    return _post(visit, request_id, "glass", fields, work)


def _post(visit: Visit, request_id: str, name: str, fields: dict[str, str], work: Work) -> HttpResponse:
    """Do the verb once. Its operation leaves the event of a refusal."""
    request = visible_request(visit, request_id)
    answer = once(
        visit,
        route=f"approvals/{request_id}/{name}",
        fields=fields,
        work=work,
        say=lambda refusal: sentence_for(request, refusal),
    )
    if not answer.is_done:
        return shown_request(visit, visible_request(visit, request_id), answered=Answered(name, answer))
    notify(visit, answer)
    return redirect("admin:approval", request_id=request_id)
