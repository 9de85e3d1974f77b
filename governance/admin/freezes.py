"""The page of freezes and the switch on Home."""

from __future__ import annotations

from dataclasses import dataclass

from django.http import HttpResponse

from governance import freezes
from governance.admin.access import Visit
from governance.admin.layout import show
from governance.admin.names import names_of
from governance.admin.pages import page
from governance.admin.verbs import Answered, Offer, VerbForm, form_of, offer
from governance.freeze_scopes import LONGEST_REASON, FreezeScope
from governance.freezes import LiftRequest
from governance.models import Freeze
from identity.roles import Permission
from identity.selectors import instance_holders

READ, SET = Permission.RUNS_READ, Permission.FREEZE_SET
MOST_LIFTED = 50
SCOPES = (
    (FreezeScope.GLOBAL, "Everything, in every workspace"),
    (FreezeScope.AGENT, "One agent"),
    (FreezeScope.TOOL, "One tool"),
    (FreezeScope.SKILL, "One skill"),
    (FreezeScope.DEVICE, "One device"),
    (FreezeScope.RUN, "One run"),
)


@dataclass(frozen=True, slots=True)
class ActiveFreeze:
    """A freeze in force, with what this person may do about it and who wants it lifted."""

    freeze: Freeze
    lift: VerbForm
    ask: VerbForm
    asked: tuple[LiftRequest, ...]


@page(READ)
def freeze_list(visit: Visit) -> HttpResponse:
    """Show what is frozen, and what was."""
    return shown(visit)


def shown(visit: Visit, answered: Answered | None = None) -> HttpResponse:
    """Return the page, with a verb that came back open."""
    rows = freezes.visible_freezes(visit.principal)
    standing = sorted(
        rows.filter(state="active").order_by("-id"), key=lambda row: row.scope != FreezeScope.GLOBAL
    )
    active = [active_freeze(visit, row, answered) for row in standing]
    lifted = list(rows.filter(state="lifted").order_by("-lifted_at")[:MOST_LIFTED])
    every = (*lifted, *(each.freeze for each in active))
    known = [one for row in every for one in (row.set_by, row.lifted_by, row.scope_id)]
    known += [asked.by for each in active for asked in each.asked]
    return show(
        visit,
        "console/freezes.html",
        {
            "title": "Freeze",
            "active": active,
            "lifted": lifted,
            "names": names_of(known),
            "everywhere": freezes.instance_ids(),
            "most_lifted": MOST_LIFTED,
        }
        | switch(visit, answered),
        status=answered.told.status if answered else 200,
    )


def switch(visit: Visit, answered: Answered | None = None) -> dict[str, object]:
    """Return what the form that sets a freeze needs; an address may have named the scope already."""
    query = visit.request.GET
    return {
        "brake": form_of(visit, "brake", offer(visit, SET, fresh=True), answered),
        "scopes": _scopes(visit),
        "scope_now": query.get("scope", ""),
        "scope_id_now": query.get("scope_id", "").replace("\0", ""),
        "longest_reason": LONGEST_REASON,
    }


def active_freeze(visit: Visit, freeze: Freeze, answered: Answered | None) -> ActiveFreeze:
    asked = freezes.lift_requests(freeze)
    mine = visit.principal.id in {one.by for one in asked}
    asking = Offer(True) if not mine else Offer(False, reason="You asked for it already.")
    return ActiveFreeze(
        freeze,
        form_of(visit, f"lift-{freeze.id}", lift_offer(visit, freeze), answered),
        form_of(visit, f"ask-{freeze.id}", asking, answered),
        asked,
    )


def lift_offer(visit: Visit, freeze: Freeze) -> Offer:
    """Return whether this person may lift the freeze now, or the reason in words."""
    blocked = ""
    if freeze.scope == FreezeScope.GLOBAL and freeze.set_by == visit.principal.id:
        others = instance_holders(SET, visit.now) - {visit.principal.id}
        if others:
            named = ", ".join(sorted(names_of(others).values()))
            blocked = f"You set it, so another person lifts it: {named}."
    return offer(visit, SET, workspace_id=freeze.workspace_id, blocked=blocked, fresh=True)


def _scopes(visit: Visit) -> list[tuple[str, str]]:
    """The scopes to choose from; everything only for who holds the permission everywhere."""
    everywhere = any(visit.holds(SET, place) for place in freezes.instance_ids())
    return [(scope.value, word) for scope, word in SCOPES if everywhere or scope is not FreezeScope.GLOBAL]
