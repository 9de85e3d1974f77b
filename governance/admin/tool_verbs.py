"""Verbs on tools, as their page posts them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from django.http import HttpResponse
from django.shortcuts import redirect

from governance.admin.access import Visit
from governance.admin.once import Told
from governance.admin.tools import MANAGE, READ, shown
from governance.admin.verbs import Answered, do, notify, reasoned, seen_version, text, verb
from governance.catalog import entry_named
from governance.idempotency import Ticket
from governance.operations import limits, tools as operations
from identity.inserting import invalid
from kernel.errors import PalyraError

Work = Callable[[Visit, Ticket], Told]
CHANGED = "The tool changed while this page was open. Look at it again."


@verb(MANAGE, sees=READ)
def switch(visit: Visit, name: str) -> HttpResponse:
    """Switch a tool on or off in the whole installation."""
    fields = {field: text(visit, field) for field in ("to", "reason", "version")}
    on = fields["to"] == "on"

    def work(stepped: Visit, _: Ticket) -> Told:
        if fields["to"] not in ("on", "off"):
            raise invalid("/to", "unknown", "Choose on or off.")
        operations.change(
            principal=stepped.principal,
            name=name,
            reason=reasoned(fields["reason"]),
            seen_version=seen_version(stepped),
            enabled=on,
            now=stepped.now,
        )
        done = "is on" if on else "is off. What is queued or waits is refused when its turn comes"
        return Told(f"{name} {done}.", object_id=name)

    return _post(visit, name, "switch", fields, work)


@verb(MANAGE, sees=READ)
def describe(visit: Visit, name: str) -> HttpResponse:
    """Describe a custom tool anew; its definition stays."""
    fields = {field: text(visit, field) for field in ("description", "reason", "version")}

    def work(stepped: Visit, _: Ticket) -> Told:
        operations.change(
            principal=stepped.principal,
            name=name,
            reason=reasoned(fields["reason"]),
            seen_version=seen_version(stepped),
            description=fields["description"],
            now=stepped.now,
        )
        return Told("The tool is described anew.", object_id=name)

    return _post(visit, name, "describe", fields, work)


@verb(MANAGE, sees=READ)
def allow(visit: Visit, name: str) -> HttpResponse:
    """Put a tool on the allowlist of this workspace, or take it off."""
    fields = {"to": text(visit, "to")}

    def work(stepped: Visit, _: Ticket) -> Told:
        who, now = stepped.principal, stepped.now
        if fields["to"] == "on":
            limits.allow(principal=who, kind="tool", value=name, now=now)
            return Told(f"{name} is allowed in this workspace.", object_id=name)
        if fields["to"] == "off":
            limits.disallow(principal=who, kind="tool", value=name, now=now)
            return Told(f"{name} is allowed here no longer.", object_id=name)
        raise invalid("/to", "unknown", "Choose on or off.")

    return _post(visit, name, "allow", fields, work)


def _post(visit: Visit, name: str, what: str, fields: Mapping[str, str], work: Work) -> HttpResponse:
    known = entry_named(visit.principal, name, visit.now).name
    told = do(visit, route=f"tools/{known}/{what}", subject=known, fields=fields, work=work, say=_say)
    if not told.is_done:
        return shown(visit, known, Answered(what, told))
    notify(visit, told)
    return redirect("admin:tool", name=known)


def _say(refusal: PalyraError) -> str:
    return CHANGED if refusal.code == "precondition_failed" else refusal.detail or refusal.code
