"""The posture matrix, and one tool in one scope."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from django.http import HttpResponse
from django.urls import reverse

from governance import postures
from governance.admin.access import Visit
from governance.admin.layout import show
from governance.admin.names import names_of
from governance.admin.pages import page
from governance.admin.paging import text_filter
from governance.admin.posture_words import ENDS, ORDER, STATES, action_word, group_of, is_held, origin
from governance.admin.verbs import Answered, Offer, VerbForm, form_of, offer
from governance.friction import numbers
from governance.models import Session
from identity.authority import ANYWHERE
from identity.authorization import authorize
from identity.models import Agent
from identity.reach import visible_agents
from identity.roles import Permission
from kernel.errors import InvalidError, NotFoundError
from policy.catalog import short_name
from policy.models import PostureEvent, PostureOverride
from policy.posture import GLOBAL, Place, loosens
from policy.posture_rows import plain, version_tag
from policy.posture_selectors import PostureView, postures_at
from policy.recommendations import Recommendation
from policy.types import ScopeKind

READ, MANAGE = Permission.TOOLS_READ, Permission.POSTURE_MANAGE
MOST_AGENTS = 200
MOST_SESSIONS = 50
MOST_EVENTS = 20
PUT_OFF = (("defer", "In 7 days"), ("dismiss", "In 30 days"))


@dataclass(frozen=True, slots=True)
class Column:
    """One scope of the matrix."""

    title: str
    about: str
    place: Place


@dataclass(frozen=True, slots=True)
class Cell:
    """One tool in one scope. `is_held`: something above decides."""

    column: str
    state: str
    origin: str
    is_held: bool
    is_own: bool
    url: str


@dataclass(frozen=True, slots=True)
class MatrixRow:
    view: PostureView
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Advice:
    """One recommendation with the forms that answer it."""

    one: Recommendation
    place: str
    accept: VerbForm
    put_off: VerbForm


@dataclass(frozen=True, slots=True)
class Link:
    """One scope of a tool's chain, with its row or without."""

    kind: str
    word: str
    row: PostureOverride | None


@page(READ)
def matrix(visit: Visit) -> HttpResponse:
    """Show what every tool may do, scope by scope."""
    return shown_matrix(visit)


def shown_matrix(visit: Visit, answered: Answered | None = None) -> HttpResponse:
    """Return the matrix, with an answer to a recommendation that came back open."""
    agents = _agents(visit)
    agent = next((one for one in agents if one.pk == visit.request.GET.get("agent")), None)
    sessions = _sessions(agent)
    session = next((one for one in sessions if one.pk == visit.request.GET.get("session")), None)
    text = text_filter(visit, "tool").casefold()
    columns = _columns(visit, agent, session)
    return show(
        visit,
        "console/posture.html",
        {
            "title": "Posture",
            "columns": columns,
            "groups": _groups(visit, columns, text),
            "agents": [("", "No agent"), *((one.pk, one.name) for one in agents)],
            "sessions": [("", "No session"), *((one.pk, one.key) for one in sessions)],
            "agent": agent,
            "session": session,
            "tool": text,
            "advice": advice(visit, answered),
            "put_off_choices": PUT_OFF,
        },
        status=answered.told.status if answered else 200,
    )


@page(READ)
def tool_page(visit: Visit, tool: str) -> HttpResponse:
    """Show one tool in the scope that the query names."""
    return shown_tool(visit, tool, place_asked(visit))


def shown_tool(visit: Visit, tool: str, place: Place, answered: Answered | None = None) -> HttpResponse:
    """Return the page of one tool in one scope, with a verb that came back open."""
    view = _view(visit, tool, place)
    changes = _changes(visit, view.tool.name, place)
    override = view.override
    return show(
        visit,
        "console/posture_tool.html",
        {
            "title": f"Posture of {view.tool.name}",
            "view": view,
            "place": place,
            "where": where_of(visit, place),
            "query": query_of(place),
            "origin": origin(view, place),
            "is_held": is_held(view, place),
            "links": _chain(visit, view, place),
            "numbers": numbers(view.tool.name, place, visit.reach, visit.now),
            "changes": changes,
            "names": names_of([*(row.actor for row in view.rows), *(event.actor for _, event in changes)]),
            "set": form_of(visit, "set", offer_at(visit, place), answered),
            "clear": form_of(visit, "clear", _clearing(visit, view, place), answered),
            "seen": "" if override is None else version_tag(override),
            "states": STATES,
            "ends": ENDS,
            "present": override.state if override is not None else view.posture.state,
        },
        status=answered.told.status if answered else 200,
    )


def place_asked(visit: Visit) -> Place:
    """Return the scope that the query names, this workspace without one. NotFoundError for no scope.

    A form with one choice for it names it as `scope=kind:id`.
    """
    kind, identifier = (visit.request.GET.get(name, "") for name in ("scope_kind", "scope_id"))
    if not kind:
        kind, _, identifier = visit.request.GET.get("scope", "").partition(":")
    if not kind:
        return Place(ScopeKind.WORKSPACE, visit.workspace.pk, visit.workspace.pk)
    try:
        return postures.place_for(visit.principal, kind, identifier)
    except InvalidError as error:
        raise NotFoundError("not_found", "There is no such scope.") from error


def query_of(place: Place) -> str:
    """Return the query that names a scope."""
    return urlencode({"scope_kind": place.kind, **({"scope_id": place.id} if place.id else {})})


def where_of(visit: Visit, place: Place) -> str:
    """Return a scope as a person calls it."""
    if place.kind == ScopeKind.GLOBAL:
        return "Everywhere"
    if place.kind == ScopeKind.WORKSPACE:
        return visit.workspace.name if place.id == visit.workspace.pk else place.id
    if place.kind == ScopeKind.AGENT:
        return names_of([place.id]).get(place.id, place.id)
    session = Session.objects.filter(pk=place.id).first()
    return place.id if session is None else session.key


def advice(visit: Visit, answered: Answered | None) -> list[Advice]:
    """Return what the last weeks recommend here. Only those who may answer are shown forms that work."""
    shown = visit.request.POST.get("recommendation", "")
    found = []
    for one in postures.recommendations(visit.workspace.pk, visit.now):
        kind, identifier = one.scope
        place = Place(kind, identifier, "" if kind == ScopeKind.GLOBAL else visit.workspace.pk)
        back = answered if one.id == shown else None
        accepting = offer_at(visit, place, fresh=one.kind == "loosen")
        found.append(
            Advice(
                one=one,
                place=where_of(visit, place),
                accept=form_of(visit, "accept", accepting, back),
                put_off=form_of(visit, "put_off", offer_at(visit, place), back),
            )
        )
    return found


def scope_choices(visit: Visit) -> list[tuple[str, str]]:
    """Return the scopes that a form offers, as `kind:id` and a word for each."""
    agents = [(f"agent:{one.pk}", f"Agent {one.name}") for one in _agents(visit)]
    here = (f"workspace:{visit.workspace.pk}", f"Workspace {visit.workspace.name}")
    return [here, ("global:", "Everywhere"), *agents]


def _agents(visit: Visit) -> list[Agent]:
    rows = visible_agents(visit.principal).filter(workspace_id=visit.workspace.pk)
    return list(rows.order_by("name")[:MOST_AGENTS])


def _sessions(agent: Agent | None) -> list[Session]:
    if agent is None:
        return []
    rows = Session.objects.filter(principal_id=agent.pk, workspace_id=agent.workspace_id)
    return list(rows.order_by("-pk")[:MOST_SESSIONS])


def _columns(visit: Visit, agent: Agent | None, session: Session | None) -> list[Column]:
    here = visit.workspace
    found = [
        Column("Everywhere", "global", GLOBAL),
        Column("Workspace", here.name, Place(ScopeKind.WORKSPACE, here.pk, here.pk)),
    ]
    if agent is not None:
        place = Place(ScopeKind.AGENT, agent.pk, agent.workspace_id, agent.pk)
        found.append(Column("Agent", agent.name, place))
    if agent is not None and session is not None:
        place = Place(ScopeKind.SESSION, session.pk, session.workspace_id, agent.pk)
        found.append(Column("Session", session.key, place))
    return found


def _groups(visit: Visit, columns: Sequence[Column], text: str) -> list[tuple[str, list[MatrixRow]]]:
    """Return the rows under their headings; a heading without rows is left out."""
    locks = postures.host_locks(visit.now)
    by_column = [(column, postures_at(column.place, locks, visit.now)) for column in columns]
    groups: dict[str, list[MatrixRow]] = {name: [] for name in ORDER}
    for number, view in enumerate(by_column[1][1]):
        if text in view.tool.name.casefold():
            cells = tuple(_cell(column, views[number]) for column, views in by_column)
            groups[group_of(view)].append(MatrixRow(view, cells))
    return [(name, rows) for name, rows in groups.items() if rows]


def _cell(column: Column, view: PostureView) -> Cell:
    address = reverse("admin:posture_tool", kwargs={"tool": view.tool.name})
    return Cell(
        column=column.title,
        state=view.posture.state,
        origin=origin(view, column.place),
        is_held=is_held(view, column.place),
        is_own=view.posture.source_scope == column.place.kind,
        url=f"{address}?{query_of(column.place)}",
    )


def _view(visit: Visit, tool: str, place: Place) -> PostureView:
    name = short_name(tool)
    for view in postures_at(place, postures.host_locks(visit.now), visit.now):
        if view.tool.name == name:
            return view
    raise NotFoundError("tool_not_found", "There is no such tool.")


def _chain(visit: Visit, view: PostureView, place: Place) -> list[Link]:
    rows = {(row.scope_kind, row.scope_id): row for row in view.rows}
    places = [Place(kind, identifier, place.workspace_id) for kind, identifier in place.chain]
    return [Link(one.kind, where_of(visit, one), rows.get(one.scope)) for one in places]


def _changes(visit: Visit, tool: str, place: Place) -> list[tuple[str, PostureEvent]]:
    """Return the acts in this scope that touched the tool, newest first, with a word for each."""
    rows = postures.visible_events(visit.principal).filter(scope_kind=place.kind, scope_id=place.id)
    touched = (
        event
        for event in rows.order_by("-pk")[: 10 * MOST_EVENTS]
        if event.tool == tool or any(change["tool"] == tool for change in event.changes)
    )
    return [(action_word(event), event) for event, _ in zip(touched, range(MOST_EVENTS), strict=False)]


def offer_at(visit: Visit, place: Place, *, fresh: bool = False) -> Offer:
    """Return whether postures may be changed in a scope; everywhere takes the whole instance."""
    blocked = ""
    if place.kind == ScopeKind.GLOBAL and not _rules_everywhere(visit):
        blocked = "Only who manages postures of the whole instance changes what holds everywhere."
    return offer(visit, MANAGE, workspace_id=place.workspace_id or None, blocked=blocked, fresh=fresh)


def _rules_everywhere(visit: Visit) -> bool:
    verdict = authorize(
        visit.principal, MANAGE, workspace_id=ANYWHERE, flags=visit.principal.flags, now=visit.now
    )
    return verdict.allowed


def _clearing(visit: Visit, view: PostureView, place: Place) -> Offer:
    """Return the offer to clear a row; a code is due when the tool becomes freer by it."""
    override = view.override
    if override is None:
        return offer(visit, MANAGE, blocked="Nothing is set in this scope.")
    freer = loosens(
        before=plain(override),
        after=None,
        place=place,
        broader=[plain(row) for row in view.rows if row is not override],
        requires_approval=view.tool.requires_approval,
        now=visit.now,
    )
    return offer_at(visit, place, fresh=freer)
