"""Pages of feature flags: the tree, and one flag with its history and its switch."""

from __future__ import annotations

from dataclasses import dataclass

from django.http import HttpResponse

from governance.admin.access import Visit
from governance.admin.flag_words import STAGES, audience, depth_of, reached, tree_order, why_off
from governance.admin.layout import show
from governance.admin.names import names_of
from governance.admin.pages import page
from governance.admin.verbs import Answered, form_of, offer
from identity.access import UNDIVIDED, Registry
from identity.flag_views import FlagView, changes_of, flag_views
from identity.models import FeatureFlagChange, Workspace
from identity.roles import Permission
from kernel.errors import NotFoundError

READ, MANAGE = Permission.WORKSPACE_READ, Permission.ROLLOUT_MANAGE
MOST_COUNTED = 1000
MOST_LISTED = 100
MOST_CHANGES = 50


@dataclass(frozen=True, slots=True)
class FlagRow:
    """One flag as the tree shows it. `reached` counts workspaces, for members of the instance only."""

    view: FlagView
    depth: int
    audience: str
    why_off: str
    reached: int | None

    @property
    def key(self) -> str:
        return self.view.feature.key


@dataclass(frozen=True, slots=True)
class Choice:
    """A workspace that the stage `pilot` may name."""

    workspace: Workspace
    is_chosen: bool


@page(READ)
def flags(visit: Visit) -> HttpResponse:
    """Show every flag, each under the one it needs."""
    rows = rows_of(visit)
    places = _places(visit)
    return show(
        visit,
        "console/flags.html",
        {
            "title": "Feature flags",
            "rows": [rows[key] for key in tree_order()],
            "live_places": len(places or ()),
            "is_safe_mode": not rows["rbac"].view.setting.enabled,
        },
    )


@page(READ)
def flag(visit: Visit, key: str) -> HttpResponse:
    """Show one flag."""
    return shown(visit, key)


def shown(visit: Visit, key: str, answered: Answered | None = None) -> HttpResponse:
    """Return the page of a flag, with a verb that came back open."""
    rows = rows_of(visit)
    row = rows.get(key)
    if row is None:
        raise NotFoundError("not_found", "There is no such feature flag.")
    changes = _history(visit, key)
    offered = offer(visit, MANAGE)
    form = form_of(visit, "audience", offered, answered)
    chosen = form.chosen if form.is_open else frozenset(row.view.workspaces)
    choices = _choices(row.view) if offered.allowed else []
    return show(
        visit,
        "console/flag.html",
        {
            "title": key,
            "row": row,
            "below": _below(rows, row),
            "above": [rows[name] for name in row.view.dependants],
            "stage_now": row.view.setting.stage.value,
            "falling": [name for name in row.view.dependants if rows[name].view.setting.enabled],
            "switch": form_of(visit, "switch", offered, answered),
            "audience": form,
            "stages": [(stage.value, word) for stage, word in STAGES.items()],
            "choices": [Choice(one, one.pk in chosen) for one in choices],
            "is_divisible": key not in UNDIVIDED,
            "changes": changes,
            "names": names_of(change.actor for change in changes or ()),
        },
        status=answered.told.status if answered else 200,
    )


def rows_of(visit: Visit) -> dict[str, FlagRow]:
    """Return every flag as this person sees it."""
    views = flag_views(visit.principal)
    registry = Registry({view.feature.key: view.setting for view in views})
    places = _places(visit)
    return {
        view.feature.key: FlagRow(
            view=view,
            depth=depth_of(view.feature.key),
            audience=audience(view),
            why_off=why_off(view, registry),
            reached=reached(view, places) if places is not None else None,
        )
        for view in views
    }


def _places(visit: Visit) -> list[str] | None:
    """The workspaces a rollout is counted over; None for whoever may not know of them."""
    if visit.reach is not None:
        return None
    live = Workspace.objects.filter(archived_at__isnull=True).order_by("pk")
    return list(live.values_list("pk", flat=True)[:MOST_COUNTED])


def _below(rows: dict[str, FlagRow], row: FlagRow) -> list[FlagRow]:
    """The flags this one needs, nearest first."""
    name = row.view.feature.depends_on
    return [] if name is None else [rows[name], *_below(rows, rows[name])]


def _history(visit: Visit, key: str) -> list[FeatureFlagChange] | None:
    if not visit.holds(Permission.SETTINGS_READ):
        return None
    return list(changes_of(key).order_by("-pk")[:MOST_CHANGES])


def _choices(view: FlagView) -> list[Workspace]:
    """The workspaces to choose from: those chosen already, then the first others by name."""
    live = Workspace.objects.filter(archived_at__isnull=True)
    chosen = list(live.filter(pk__in=view.workspaces).order_by("name"))
    others = live.exclude(pk__in=view.workspaces).order_by("name")
    return chosen + list(others[: max(0, MOST_LISTED - len(chosen))])
