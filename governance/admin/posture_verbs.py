"""Verbs on postures, as their pages post them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from django.http import HttpResponse
from django.shortcuts import redirect
from django.urls import reverse

from governance import postures
from governance.admin.access import Visit
from governance.admin.once import Told
from governance.admin.posture_presets import shown_history, shown_preset
from governance.admin.posture_words import end_of
from governance.admin.postures import MANAGE, READ, place_asked, query_of, shown_matrix, shown_tool
from governance.admin.verbs import Answered, do, notify, reasoned, text, verb
from governance.idempotency import Ticket
from governance.operations import postures as operations
from governance.operations.postures import PostureWishes
from identity.inserting import invalid
from kernel.errors import PalyraError
from policy.posture_acts import preset_named

Work = Callable[[Visit, Ticket], Told]
CHANGED = "The posture changed while this page was open. Look at it again."
_MOVED = frozenset({"precondition_failed", "precondition_required", "state_changed"})


@verb(MANAGE, sees=READ)
def set_posture(visit: Visit, tool: str) -> HttpResponse:
    """Set the posture of a tool in the scope of the page, against the row that the page showed."""
    place = place_asked(visit)
    names = ("state", "end", "reason", "seen", "fixed")
    fields = {name: text(visit, name) for name in names} | {"scope": query_of(place)}

    def work(stepped: Visit, _: Ticket) -> Told:
        wishes = PostureWishes(
            state=fields["state"],
            reason=reasoned(fields["reason"]),
            overridable=fields["fixed"] != "yes",
            expires_at=_end(fields["end"], stepped.now),
        )
        operations.set_override(
            principal=stepped.principal,
            place=place,
            tool=tool,
            wishes=wishes,
            seen=fields["seen"] or None,
            now=stepped.now,
        )
        return Told("The posture is set. The next call meets it.")

    told = do(visit, route=f"posture/{tool}/set", subject=tool, fields=fields, work=work, say=_say)
    if not told.is_done:
        return shown_tool(visit, tool, place, Answered("set", told))
    return _back(visit, told, reverse("admin:posture_tool", kwargs={"tool": tool}), query_of(place))


@verb(MANAGE, sees=READ)
def clear_posture(visit: Visit, tool: str) -> HttpResponse:
    """Take the row of a tool away in the scope of the page, as the page showed it."""
    place = place_asked(visit)
    fields = {name: text(visit, name) for name in ("reason", "seen")} | {"scope": query_of(place)}

    def work(stepped: Visit, _: Ticket) -> Told:
        operations.clear_override(
            principal=stepped.principal,
            place=place,
            tool=tool,
            seen=fields["seen"] or None,
            reason=reasoned(fields["reason"]),
            now=stepped.now,
        )
        return Told("The setting is gone. What stands above decides again.")

    told = do(visit, route=f"posture/{tool}/clear", subject=tool, fields=fields, work=work, say=_say)
    if not told.is_done:
        return shown_tool(visit, tool, place, Answered("clear", told))
    return _back(visit, told, reverse("admin:posture_tool", kwargs={"tool": tool}), query_of(place))


@verb(MANAGE, sees=READ)
def apply_preset(visit: Visit, preset_id: str) -> HttpResponse:
    """Write what a preset changes in the scope of the page."""
    preset, place = preset_named(preset_id), place_asked(visit)
    fields = {name: text(visit, name) for name in ("reason", "end")} | {"scope": query_of(place)}

    def work(stepped: Visit, _: Ticket) -> Told:
        event = operations.apply_preset(
            principal=stepped.principal,
            place=place,
            preset_id=preset.id,
            reason=reasoned(fields["reason"]),
            expires_at=_end(fields["end"], stepped.now),
            now=stepped.now,
        )
        if event is None:
            return Told("Nothing had to change.")
        said = f"{preset.title} is in force: {len(event.changes)} changed. The history can undo it."
        return Told(said, object_id=event.pk)

    told = do(
        visit, route=f"posture/{preset.id}/apply", subject=preset.id, fields=fields, work=work, say=_say
    )
    if not told.is_done:
        return shown_preset(visit, preset.id, place, Answered("apply", told))
    return _back(visit, told, reverse("admin:posture_history"), "")


@verb(MANAGE, sees=READ)
def undo(visit: Visit, event_id: str) -> HttpResponse:
    """Put back what one act changed."""
    event = postures.require_event(visit.principal, event_id)
    fields = {"reason": text(visit, "reason")}

    def work(stepped: Visit, _: Ticket) -> Told:
        operations.undo(
            principal=stepped.principal,
            event_id=event.pk,
            reason=fields["reason"],
            now=stepped.now,
        )
        return Told("It is as it was before.", object_id=event.pk)

    told = do(visit, route=f"posture/undo/{event.pk}", subject=event.pk, fields=fields, work=work)
    if not told.is_done:
        return shown_history(visit, event.pk, Answered("undo", told))
    return _back(visit, told, reverse("admin:posture_history"), "")


@verb(MANAGE, sees=READ)
def answer(visit: Visit) -> HttpResponse:
    """Accept, dismiss or defer a recommendation of this workspace."""
    fields = {name: text(visit, name) for name in ("recommendation", "answer")}
    words = {
        "accept": "The posture is set as recommended.",
        "dismiss": "Hidden for 30 days.",
        "defer": "Hidden for 7 days.",
    }

    def work(stepped: Visit, _: Ticket) -> Told:
        operations.answer(
            principal=stepped.principal,
            recommendation_id=fields["recommendation"],
            answer=fields["answer"],
            now=stepped.now,
        )
        return Told(words[fields["answer"]])

    subject = fields["recommendation"][:80] or "recommendation"
    told = do(visit, route="posture/recommendations", subject=subject, fields=fields, work=work)
    if not told.is_done:
        name = "accept" if fields["answer"] == "accept" else "put_off"
        notify(visit, told)
        return shown_matrix(visit, Answered(name, told))
    return _back(visit, told, reverse("admin:posture"), "")


def _end(typed: str, now: datetime) -> datetime | None:
    try:
        length = end_of(typed)
    except KeyError as error:
        raise invalid("/end", "unknown", "Choose one of these.") from error
    return None if length is None else now + length


def _back(visit: Visit, told: Told, path: str, query: str) -> HttpResponse:
    notify(visit, told)
    return redirect(f"{path}?{query}" if query else path)


def _say(refusal: PalyraError) -> str:
    return CHANGED if refusal.code in _MOVED else refusal.detail or refusal.code
