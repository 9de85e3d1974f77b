"""The bar that stands on every page while a freeze is in force."""

from __future__ import annotations

from dataclasses import dataclass

from governance import freezes
from governance.admin.access import Visit
from governance.admin.names import names_of
from governance.freeze_scopes import FreezeScope
from governance.models import Freeze
from identity.roles import Permission

MOST_BARS = 3


@dataclass(frozen=True, slots=True)
class Bar:
    """One freeze as the bar tells it."""

    freeze: Freeze
    what: str
    by: str
    may_lift: bool


@dataclass(frozen=True, slots=True)
class Frozen:
    """What is frozen for this visit: the widest and newest first, and how many more there are."""

    bars: tuple[Bar, ...] = ()
    more: int = 0


def frozen(visit: Visit) -> Frozen:
    """Return the freezes in force that this person may know of."""
    rows = list(freezes.visible_freezes(visit.principal).filter(state="active").order_by("-id"))
    if not rows:
        return Frozen()
    rows.sort(key=lambda row: row.scope != FreezeScope.GLOBAL)
    first = rows[:MOST_BARS]
    names = names_of(one for row in first for one in (row.set_by, row.scope_id))
    bars = tuple(
        Bar(row, frozen_words(row, names), names.get(row.set_by, row.set_by), _may_lift(visit, row))
        for row in first
    )
    return Frozen(bars, len(rows) - len(first))


def _may_lift(visit: Visit, freeze: Freeze) -> bool:
    """Tell whether the bar may say so; the page looks closer, and the operation decides."""
    own = freeze.scope == FreezeScope.GLOBAL and freeze.set_by == visit.principal.id
    return not own and visit.holds(Permission.FREEZE_SET, freeze.workspace_id)


def frozen_words(freeze: Freeze, names: dict[str, str]) -> str:
    """Return what is frozen, in words."""
    if freeze.scope == FreezeScope.GLOBAL:
        return "Everything"
    return f"{freeze.scope.capitalize()} {names.get(freeze.scope_id, freeze.scope_id)}"
