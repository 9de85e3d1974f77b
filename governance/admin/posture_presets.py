"""Pages of presets and of the history of postures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from django.http import HttpResponse

from governance import postures
from governance.admin.access import Visit
from governance.admin.layout import show
from governance.admin.names import names_of
from governance.admin.pages import page
from governance.admin.paging import ListPage, list_page, text_filter
from governance.admin.posture_words import ENDS, action_word
from governance.admin.postures import READ, offer_at, place_asked, query_of, scope_choices, where_of
from governance.admin.verbs import Answered, VerbForm, form_of, offer
from kernel.errors import NotFoundError
from policy.models import PostureEvent
from policy.posture import Place
from policy.posture_acts import UNDOABLE, preset_named
from policy.posture_selectors import previewed
from policy.presets import PRESETS


@dataclass(frozen=True, slots=True)
class Entry:
    """One act of the history; `undo` is None for what cannot be undone."""

    event: PostureEvent
    word: str
    where: str
    undo: VerbForm | None


@page(READ)
def presets(visit: Visit) -> HttpResponse:
    """Show the presets, with the scope to try them in."""
    place = place_asked(visit)
    return show(
        visit,
        "console/posture_presets.html",
        {
            "title": "Presets",
            "presets": PRESETS,
            "place": place,
            "query": query_of(place),
            "where": where_of(visit, place),
            "scopes": scope_choices(visit),
            "chosen": f"{place.kind}:{place.id}",
        },
    )


@page(READ)
def preset(visit: Visit, preset_id: str) -> HttpResponse:
    """Show what one preset would change in a scope."""
    return shown_preset(visit, preset_id, place_asked(visit))


def shown_preset(
    visit: Visit, preset_id: str, place: Place, answered: Answered | None = None
) -> HttpResponse:
    """Return the preview of a preset, with its verb that came back open."""
    found = preset_named(preset_id)
    rows = previewed(found, place, postures.host_locks(visit.now), expires_at=None, now=visit.now)
    rows = tuple(sorted(rows, key=lambda row: (not row.changed, row.locked, row.tool)))
    changed = sum(row.changed for row in rows)
    offered = offer_at(visit, place, fresh=any(row.loosens for row in rows))
    if offered.allowed and not changed:
        offered = offer(visit, None, blocked="There is nothing to change here.")
    return show(
        visit,
        "console/posture_preset.html",
        {
            "title": found.title,
            "preset": found,
            "rows": rows,
            "changed": changed,
            "locked": sum(row.locked for row in rows),
            "loosened": sum(row.loosens for row in rows),
            "place": place,
            "query": query_of(place),
            "where": where_of(visit, place),
            "apply": form_of(visit, "apply", offered, answered),
            "ends": ENDS,
        },
        status=answered.told.status if answered else 200,
    )


@page(READ)
def history(visit: Visit) -> HttpResponse:
    """Show who changed which posture, newest first."""
    return shown_history(visit)


def shown_history(visit: Visit, event_id: str = "", answered: Answered | None = None) -> HttpResponse:
    """Return the history, with an undoing that came back open."""
    filters = {name: text_filter(visit, name) for name in ("tool", "scope_id")}
    wanted = {name: value for name, value in filters.items() if value}
    rows = postures.visible_events(visit.principal).filter(**wanted)
    found = list_page(visit, rows, prefix="evt", filters=filters)
    return show(
        visit,
        "console/posture_history.html",
        {
            "title": "History of postures",
            "found": found,
            "entries": _entries(visit, found, event_id, answered),
            "names": names_of(event.actor for event in found.rows),
            "filters": filters,
        },
        status=answered.told.status if answered else 200,
    )


def _entries(
    visit: Visit, found: ListPage[PostureEvent], event_id: str, answered: Answered | None
) -> list[Entry]:
    ids = [event.pk for event in found.rows]
    undone = set(PostureEvent.objects.filter(undoes__in=ids).values_list("undoes", flat=True))
    places: dict[tuple[str, str], Place | None] = {}
    return [
        Entry(
            event=event,
            word=action_word(event),
            where=_where(visit, event, places),
            undo=_undoing(visit, event, places, undone, answered if event.pk == event_id else None),
        )
        for event in found.rows
    ]


def _where(visit: Visit, event: PostureEvent, places: dict[tuple[str, str], Place | None]) -> str:
    scope = (event.scope_kind, event.scope_id)
    if scope not in places:
        try:
            places[scope] = postures.place_of_event(visit.principal, event)
        except NotFoundError:
            places[scope] = None
    place = places[scope]
    return event.scope_id if place is None else where_of(visit, place)


def _undoing(
    visit: Visit,
    event: PostureEvent,
    places: Mapping[tuple[str, str], Place | None],
    undone: set[str | None],
    answered: Answered | None,
) -> VerbForm | None:
    place = places.get((event.scope_kind, event.scope_id))
    if place is None or event.action not in UNDOABLE or not event.changes or event.pk in undone:
        return None
    offered = offer_at(visit, place)
    return form_of(visit, "undo", offered, answered) if offered.allowed else None
