"""Verbs on feature flags, as their page posts them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from django.http import HttpResponse
from django.shortcuts import redirect

from governance.admin.access import Visit
from governance.admin.flags import MANAGE, READ, shown
from governance.admin.once import Told
from governance.admin.verbs import Answered, do, notify, text, verb
from governance.idempotency import Ticket
from governance.operations import flags as operations
from identity.inserting import invalid
from identity.rollout import FlagWishes, feature_named
from kernel.errors import PalyraError

Work = Callable[[Visit, Ticket], Told]
CHANGED = "The flag changed while this page was open. Look at it again."


@verb(MANAGE, sees=READ)
def switch(visit: Visit, key: str) -> HttpResponse:
    """Switch a feature on, or off at once with what depends on it."""
    feature_named(key)
    fields = {name: text(visit, name) for name in ("to", "cascade", "reason", "version")}
    on = fields["to"] == "on"

    def work(stepped: Visit, _: Ticket) -> Told:
        if fields["to"] not in ("on", "off"):
            raise invalid("/to", "unknown", "Choose on or off.")
        wishes = FlagWishes(reason=fields["reason"], enabled=on, cascade=fields["cascade"] == "yes")
        fallen = _change(stepped, key, wishes, fields["version"])
        also = f" With it: {', '.join(fallen)}." if fallen else ""
        return Told(f"{key} is {'on' if on else 'off'} from the next request on.{also}", object_id=key)

    return _post(visit, key, "switch", fields, work)


@verb(MANAGE, sees=READ)
def audience(visit: Visit, key: str) -> HttpResponse:
    """Change who gets a feature while it is on."""
    feature_named(key)
    fields = {name: text(visit, name) for name in ("stage", "percent", "reason", "version")}
    chosen = sorted({one.replace("\0", "") for one in visit.request.POST.getlist("workspaces")})

    def work(stepped: Visit, _: Ticket) -> Told:
        wishes = FlagWishes(
            reason=fields["reason"],
            stage=fields["stage"],
            percent=_whole(fields["percent"]),
            workspaces=chosen,
        )
        _change(stepped, key, wishes, fields["version"])
        return Told("Who gets this feature was changed.", object_id=key)

    return _post(visit, key, "audience", fields | {"workspaces": chosen}, work)


def _change(visit: Visit, key: str, wishes: FlagWishes, seen: str) -> tuple[str, ...]:
    changed = operations.change(
        principal=visit.principal,
        key=key,
        wishes=wishes,
        seen_version=_version(seen),
        now=visit.now,
    )
    return changed.cascaded


def _post(visit: Visit, key: str, name: str, fields: Mapping[str, object], work: Work) -> HttpResponse:
    told = do(visit, route=f"flags/{key}/{name}", subject=key, fields=fields, work=work, say=_say)
    if not told.is_done:
        return shown(visit, key, Answered(name, told))
    notify(visit, told)
    return redirect("admin:flag", key=key)


def _say(refusal: PalyraError) -> str:
    return CHANGED if refusal.code == "precondition_failed" else refusal.detail or refusal.code


def _whole(typed: str) -> int:
    if not (typed.isascii() and typed.isdigit() and len(typed) < 4):
        raise invalid("/percent", "range", "A percentage is 0 to 100.")
    return int(typed)


def _version(typed: str) -> int:
    """A form without a version that is a number was not sent from the page; no flag stands at -1."""
    return int(typed) if typed.isascii() and typed.isdigit() and len(typed) < 10 else -1
