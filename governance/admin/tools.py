"""Pages of the tool catalog: the tools by category, and one tool with its versions and its verbs."""

from __future__ import annotations

from dataclasses import dataclass

from django.http import HttpResponse

from governance.admin.access import Visit
from governance.admin.layout import show
from governance.admin.names import names_of
from governance.admin.pages import page
from governance.admin.paging import text_filter
from governance.admin.tool_words import CATEGORIES, category_of, property_rows, schema_text
from governance.admin.verbs import Answered, form_of, offer
from governance.catalog import ToolEntry, tool_entries
from governance.tool_views import ToolView, tool_view
from identity.roles import Permission
from identity.selectors import instance_holders
from policy.tools import WEAK_TIER

READ, MANAGE = Permission.TOOLS_READ, Permission.TOOLS_MANAGE
NOT_IN_INSTANCE = "The catalog belongs to the whole installation: this needs tools.manage in it."


@dataclass(frozen=True, slots=True)
class Category:
    title: str
    about: str
    entries: tuple[ToolEntry, ...]


@page(READ)
def tools(visit: Visit) -> HttpResponse:
    """List every tool that can be proposed, by category, with its posture in this workspace."""
    text = text_filter(visit, "tool").casefold()
    entries = [entry for entry in tool_entries(visit.principal, visit.now) if text in entry.name.casefold()]
    context = {"title": "Tools", "categories": _categories(entries), "filters": {"tool": text}}
    return show(visit, "console/tools.html", context)


@page(READ)
def tool(visit: Visit, name: str) -> HttpResponse:
    """Show one tool."""
    return shown(visit, name)


def shown(visit: Visit, name: str, answered: Answered | None = None) -> HttpResponse:
    """Return the page of a tool, with a verb that came back open."""
    view = tool_view(visit.principal, name, visit.now)
    manage = offer(visit, MANAGE, fresh=True)
    barred = _barred(visit)
    switch = offer(visit, MANAGE, fresh=True, blocked=barred or _why_not(visit, view))
    described = offer(visit, MANAGE, fresh=True, blocked=barred)
    return show(
        visit,
        "console/tool.html",
        {
            "title": view.entry.name,
            "view": view,
            "entry": view.entry,
            "tool": view.entry.tool,
            "category": CATEGORIES[category_of(view.entry.name, view.entry.kind)][0],
            "properties": property_rows(view.entry.input_schema),
            "schema": schema_text(view.entry.input_schema),
            "results": _results(view),
            "switch": form_of(visit, "switch", switch, answered),
            "allow": form_of(visit, "allow", manage, answered),
            "describe": form_of(visit, "describe", described, answered),
            "names": names_of(row.registered_by for row in view.versions),
            "needs_second": _needs_second(visit, view),
        },
        status=answered.told.status if answered else 200,
    )


def _categories(entries: list[ToolEntry]) -> tuple[Category, ...]:
    found: dict[str, list[ToolEntry]] = {key: [] for key in CATEGORIES}
    for entry in entries:
        found[category_of(entry.name, entry.kind)].append(entry)
    return tuple(Category(*CATEGORIES[key], tuple(rows)) for key, rows in found.items() if rows)


def _results(view: ToolView) -> str:
    schema = view.entry.tool.output_schema if view.entry.tool else None
    return "" if schema is None else schema_text(schema)


def _needs_second(visit: Visit, view: ToolView) -> bool:
    """Tell whether this person may not switch this tool on, because they registered it themselves."""
    entry, current = view.entry, view.current
    own = current is not None and current.registered_by == visit.user.pk
    if entry.tier != WEAK_TIER or entry.enabled or not own:
        return False
    return instance_holders(MANAGE, visit.now) != {visit.user.pk}


def _barred(visit: Visit) -> str:
    """The catalog is the whole installation's: a role in one workspace is not enough."""
    return "" if visit.user.pk in instance_holders(MANAGE, visit.now) else NOT_IN_INSTANCE


def _why_not(visit: Visit, view: ToolView) -> str:
    return "You registered this version; somebody else switches it on." if _needs_second(visit, view) else ""
