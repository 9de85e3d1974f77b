"""The frame around every page: navigation, banners, the person, the theme."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse

from approvals.break_glass import overdue
from approvals.selectors import pending_for
from governance import bootstrapped
from governance.admin.access import Visit
from governance.admin.frozen import frozen
from identity.access import decide
from identity.roles import Permission
from identity.selectors import sole_holder

THEME = "palyra_theme"
THEMES = frozenset({"light", "dark"})
MOST_COUNTED = 99


@dataclass(frozen=True, slots=True)
class Destination:
    """A page as the rail lists it, and the permission that makes it appear."""

    group: str
    word: str
    icon: str
    route: str
    permission: Permission | None


@dataclass(frozen=True, slots=True)
class Entry:
    word: str
    icon: str
    url: str
    is_here: bool
    count: str


@dataclass(frozen=True, slots=True)
class Group:
    name: str
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Banner:
    tone: str
    icon: str
    title: str
    text: str
    route: str = ""
    verb: str = ""


DESTINATIONS = (
    Destination("Now", "Home", "home", "admin:index", None),
    Destination("Now", "Approvals", "inbox", "admin:approvals", Permission.APPROVALS_READ),
    Destination("Now", "Grants", "key", "admin:grants", Permission.APPROVALS_READ),
    Destination("Now", "Noise", "pulse", "admin:noise", Permission.APPROVALS_READ),
    Destination("Now", "Break-glass", "alert", "admin:break_glass_reviews", Permission.APPROVALS_READ),
    Destination("Govern", "Policy", "policy", "admin:policy", Permission.POLICY_READ),
    Destination("Govern", "Tools", "tool", "admin:tools", Permission.TOOLS_READ),
    Destination("Govern", "Posture", "hand", "admin:posture", Permission.TOOLS_READ),
    Destination("Trust", "Agents", "agent", "admin:agents", Permission.AGENTS_READ),
    Destination("Trust", "Users", "people", "admin:users", Permission.WORKSPACE_READ),
    Destination("Trust", "Workspaces", "place", "admin:workspaces", Permission.WORKSPACE_READ),
    Destination("Trust", "Tokens", "key", "admin:tokens", Permission.TOKENS_READ),
    Destination("Record", "Runs", "run", "admin:runs", Permission.RUNS_READ),
    Destination("Record", "Calls", "call", "admin:calls", Permission.CALLS_READ),
    Destination("Record", "Journal", "journal", "admin:journal", Permission.JOURNAL_READ),
    Destination("System", "Freeze", "ban", "admin:freezes", Permission.RUNS_READ),
    Destination("System", "Webhooks", "call", "admin:webhooks", Permission.WEBHOOKS_MANAGE),
    Destination("System", "Feature flags", "check", "admin:flags", Permission.WORKSPACE_READ),
    Destination("System", "Executions", "execution", "admin:executions", Permission.CALLS_READ),
)
_ALONE = Banner(
    "warn", "hand", "One person decides alone",
    "Only one active person may decide approvals, so the second-person rules are off. They return by "
    "themselves when a second person holds the permission approvals.decide.",
)  # fmt: skip
_BOOTSTRAP = Banner(
    "warn", "key", "The first start's credentials still work",
    "bootstrap.json in the server's home holds the owner's password, authenticator seed and token. Set up "
    "an authenticator of your own, then end them.",
    "admin:clear_bootstrap", "End them",
)  # fmt: skip
_OVERDUE = Banner(
    "bad", "alert", "A decision that you forced waits for its review",
    "Nobody has said within a day whether it was justified. Until somebody does, you cannot break the glass "
    "again.",
    "admin:break_glass_reviews", "Look at it",
)  # fmt: skip


def show(
    visit: Visit, template: str, context: dict[str, Any] | None = None, *, status: int = 200
) -> HttpResponse:
    """Render a page of the console inside its frame."""
    return render(visit.request, template, _frame(visit) | (context or {}), status=status)


def show_plain(request: HttpRequest, template: str, context: dict[str, Any], *, status: int) -> HttpResponse:
    """Render a page without the frame, for somebody who has no visit."""
    return render(request, template, context, status=status)


def _frame(visit: Visit) -> dict[str, Any]:
    roles = visit.principal.roles | visit.principal.instance_roles
    theme = visit.request.session.get(THEME, "")
    return {
        "now": visit.now,
        "rail": rail(visit),
        "workspace_name": visit.workspace.name,
        "places": visit.places if len(visit.places) > 1 else (),
        "place": visit.workspace,
        "person_name": str(visit.user),
        "person_roles": ", ".join(sorted(roles)) or "no role in this workspace",
        "theme": theme if theme in THEMES else "",
        "banners": banners(visit),
        "frozen": frozen(visit),
        "sees_journal": visit.holds(Permission.JOURNAL_READ),
    }


def rail(visit: Visit) -> tuple[Group, ...]:
    """Return the destinations this person may open, grouped, in a fixed order."""
    groups: dict[str, list[Entry]] = {}
    for place in DESTINATIONS:
        if place.permission is None or visit.holds(place.permission):
            groups.setdefault(place.group, []).append(_entry(visit, place))
    return tuple(Group(name, tuple(entries)) for name, entries in groups.items())


def _entry(visit: Visit, place: Destination) -> Entry:
    url, path = reverse(place.route), visit.request.path
    here = path == url if place.route == "admin:index" else _stands_for(url, path)
    count = _pending(visit) if place.route == "admin:approvals" else ""
    return Entry(place.word, place.icon, url, here, count)


def _stands_for(url: str, path: str) -> bool:
    """Tell whether a page lies under this destination and under none within it."""
    inner = (reverse(one.route) for one in DESTINATIONS)
    return path.startswith(url) and not any(
        other != url and other.startswith(url) and path.startswith(other) for other in inner
    )


def _pending(visit: Visit) -> str:
    ids = pending_for(visit.principal, visit.now).values_list("pk", flat=True)[: MOST_COUNTED + 1]
    found = len(ids)
    return "" if not found else f"{MOST_COUNTED}+" if found > MOST_COUNTED else str(found)


def banners(visit: Visit) -> tuple[Banner, ...]:
    """Return the standing warnings of the installation and of this person."""
    alone = sole_holder(Permission.APPROVALS_DECIDE, visit.now) is not None
    left = bootstrapped.is_left()
    late = _may_force(visit) and overdue(visit.principal.id, visit.now).exists()
    standing = ((late, _OVERDUE), (alone, _ALONE), (left, _BOOTSTRAP))
    return tuple(banner for holds, banner in standing if holds)


def _may_force(visit: Visit) -> bool:
    """Tell whether decisions can be forced here at all; where they cannot, nobody is reminded of one."""
    principal = visit.principal
    here = decide(
        principal.flags, "break_glass", workspace_id=principal.workspace_id, standing=principal.vouching
    )
    return here.enabled
