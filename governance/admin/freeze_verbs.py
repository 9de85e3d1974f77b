"""Verbs on freezes, as the console posts them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from django.http import HttpResponse
from django.shortcuts import redirect

from governance.admin.access import Visit
from governance.admin.freezes import READ, SET, shown
from governance.admin.once import Told
from governance.admin.verbs import Answered, do, notify, text, verb
from governance.freeze_scopes import FreezeScope
from governance.idempotency import Ticket
from governance.operations import freezes as operations
from governance.operations.freezes import FreezeWishes
from identity.inserting import invalid

Work = Callable[[Visit, Ticket], Told]


@verb(SET, sees=READ)
def set_freeze(visit: Visit) -> HttpResponse:
    """Stop a scope."""
    fields = {name: text(visit, name) for name in ("scope", "scope_id", "reason", "kill_running")}

    def work(stepped: Visit, _: Ticket) -> Told:
        if fields["scope"] not in tuple(FreezeScope):
            raise invalid("/scope", "unknown", "Choose what to freeze.")
        freeze = operations.set_freeze(
            principal=stepped.principal,
            wishes=FreezeWishes(
                scope=FreezeScope(fields["scope"]),
                scope_id=fields["scope_id"],
                reason=fields["reason"],
                kill_running=fields["kill_running"] == "yes",
            ),
            now=stepped.now,
        )
        return Told("It is frozen. Nothing under it starts until the freeze is lifted.", object_id=freeze.id)

    return _post(visit, "brake", "freeze", fields, work)


@verb(SET, sees=READ)
def lift(visit: Visit, freeze_id: str) -> HttpResponse:
    """Let a scope start again."""
    fields = {"reason": text(visit, "reason")}

    def work(stepped: Visit, _: Ticket) -> Told:
        operations.lift(
            principal=stepped.principal, freeze_id=freeze_id, reason=fields["reason"], now=stepped.now
        )
        return Told("The freeze is lifted. What it refused stays refused.", object_id=freeze_id)

    return _post(visit, f"lift-{freeze_id}", freeze_id, fields, work)


@verb(READ, sees=READ)
def request_lift(visit: Visit, freeze_id: str) -> HttpResponse:
    """Put on record that this person wants a freeze lifted."""
    fields = {"reason": text(visit, "reason")}

    def work(stepped: Visit, _: Ticket) -> Told:
        operations.request_lift(
            principal=stepped.principal, freeze_id=freeze_id, reason=fields["reason"], now=stepped.now
        )
        return Told("Your wish stands on the page of freezes and in the journal.", object_id=freeze_id)

    return _post(visit, f"ask-{freeze_id}", freeze_id, fields, work)


def _post(visit: Visit, form: str, subject: str, fields: Mapping[str, object], work: Work) -> HttpResponse:
    told = do(visit, route=f"freezes/{form}", subject=subject, fields=fields, work=work)
    if not told.is_done:
        return shown(visit, Answered(form, told))
    notify(visit, told)
    return redirect("admin:freezes")
