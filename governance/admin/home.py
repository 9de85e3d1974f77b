"""The first page: what needs the visitor, what was decided, and whether the machine is well."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import BooleanField, Count, ExpressionWrapper, Q
from django.db.models.functions import TruncHour
from django.http import HttpResponse

from governance.admin.access import Visit
from governance.admin.charts import Series, StackedBars, stacked_bars, swatch, thin_bar
from governance.admin.freezes import switch
from governance.admin.health import journal_state, tiers, workers
from governance.admin.inbox import MOST_PENDING, InboxItem, items, pending
from governance.admin.layout import MOST_COUNTED, show
from governance.admin.pages import page
from governance.admin.paging import first_id
from governance.admin.start import checklist
from governance.admin.words import RISKS
from governance.call_state import CallState
from governance.selectors import state_filter, visible_calls
from identity.roles import Permission

HOURS = 24
MOST_REASONS = 8
MOST_SHOWN = 5
_ASKED = ExpressionWrapper(Q(approval_id__isnull=False), output_field=BooleanField())
KINDS = (("Allowed", "ok", "plain"), ("Asked", "hold", "hatched"), ("Denied", "bad", "dotted"))


@dataclass(frozen=True, slots=True)
class Waiting:
    """The pending requests that the visitor may decide."""

    mine: tuple[InboxItem, ...]
    by_risk: tuple[tuple[str, int], ...]
    others: int

    @property
    def oldest(self) -> datetime | None:
        return min((item.request.requested_at for item in self.mine), default=None)


@dataclass(frozen=True, slots=True)
class Ambiguous:
    """How many calls have an unknown outcome, and the newest of them."""

    count: str
    ids: tuple[str, ...]


@page(None)
def index(visit: Visit) -> HttpResponse:
    """Show the home page; each part appears only for who may read it."""
    calls = visit.holds(Permission.CALLS_READ)
    chart = decisions(visit) if calls else None
    return show(
        visit,
        "console/home.html",
        {
            "title": "Home",
            "waiting": waiting(visit) if visit.holds(Permission.APPROVALS_READ) else None,
            "ambiguous": ambiguous(visit) if calls else None,
            "chart": chart,
            "drawing": stacked_bars(chart) if chart else None,
            "legend": [(swatch(one), one.name, sum(one.values)) for one in chart.series] if chart else (),
            "table": chart_table(chart) if chart else (),
            "reasons": denials(visit) if calls else None,
            "tiers": tiers(visit.now) if visit.holds(Permission.TOOLS_READ) else None,
            "workers": workers(visit.now) if calls else None,
            "journal": journal_state(visit.now) if visit.holds(Permission.JOURNAL_READ) else None,
            "steps": checklist(visit),
        }
        | switch(visit),
    )


def waiting(visit: Visit) -> Waiting:
    """Return what waits for this person, the most urgent first."""
    found = items(visit, list(pending(visit).prefetch_related("reviews")[:MOST_PENDING]))
    mine = tuple(item for item in found if item.may_answer)
    counted = Counter(item.request.risk for item in mine)
    by_risk = tuple((risk, counted[risk]) for risk in reversed(RISKS) if counted[risk])
    return Waiting(mine, by_risk, len(found) - len(mine))


def ambiguous(visit: Visit) -> Ambiguous:
    """Return the newest calls whose outcome nobody knows, counted up to a bound."""
    rows = visible_calls(visit.principal).filter(state_filter([CallState.AMBIGUOUS])).order_by("-pk")
    ids = tuple(rows.values_list("pk", flat=True)[: MOST_COUNTED + 1])
    count = f"{MOST_COUNTED}+" if len(ids) > MOST_COUNTED else str(len(ids))
    return Ambiguous(count, ids[:MOST_SHOWN])


def decisions(visit: Visit) -> StackedBars:
    """Return the decisions of the last 24 hours by the hour, as they stand now."""
    end = visit.now.replace(minute=0, second=0, microsecond=0)
    hours = [end - timedelta(hours=HOURS - 1 - back) for back in range(HOURS)]
    counted: Counter[tuple[datetime, int]] = Counter()
    rows = (
        visible_calls(visit.principal)
        .filter(pk__gte=first_id("call", hours[0]), created_at__gte=hours[0])
        .annotate(hour=TruncHour("created_at"), asked=_ASKED)
        .order_by()
        .values_list("hour", "effect", "asked")
        .annotate(n=Count("pk"))
    )
    for hour, effect, asked, n in rows:
        kind = 2 if effect == "deny" else 1 if asked else 0
        counted[hour, kind] += n
    series = tuple(
        Series(name, tone, pattern, tuple(counted[hour, kind] for hour in hours))
        for kind, (name, tone, pattern) in enumerate(KINDS)
    )
    total = sum(sum(one.values) for one in series)
    return StackedBars(
        title="Decisions per hour",
        description=f"{total} decisions in 24 hours, times in UTC.",
        labels=tuple(f"{hour:%H}:00" for hour in hours),
        series=series,
    )


def chart_table(chart: StackedBars) -> list[tuple[str | int, ...]]:
    """Return the chart's numbers as rows, for the hidden table beside it."""
    return list(zip(chart.labels, *(one.values for one in chart.series), strict=True))


def denials(visit: Visit) -> list[tuple[str, int, str]]:
    """Return the commonest reasons of denials in 24 hours, each with a bar beside the commonest."""
    since = visit.now - timedelta(hours=HOURS)
    rows = (
        visible_calls(visit.principal)
        .filter(pk__gte=first_id("call", since), created_at__gte=since, effect="deny")
        .values_list("reason_code")
        .annotate(n=Count("pk"))
        .order_by("-n", "reason_code")[:MOST_REASONS]
    )
    found = list(rows)
    most = max((n for _, n in found), default=1)
    return [(code, n, thin_bar(n / most, tone="bad", label=f"{n}")) for code, n in found]
