"""Trying rules out: simulations over what was decided, and shadows over what is being decided."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Case, IntegerField, Q, QuerySet, Value, When
from django.http import HttpResponse
from django.shortcuts import redirect
from django.utils.safestring import SafeString

from governance.admin.access import Visit
from governance.admin.charts import Series, StackedBars, stacked_bars, swatch
from governance.admin.layout import show
from governance.admin.names import names_of
from governance.admin.once import Told
from governance.admin.pages import page
from governance.admin.policy_sets import EDIT, READ, SIMULATE, shown
from governance.admin.verbs import Answered, do, notify, number, text, verb
from governance.api.wire_simulations import flips_as_csv
from governance.idempotency import Ticket
from governance.models import Job
from governance.operations import simulations as operations
from identity.inserting import invalid
from kernel.errors import NotFoundError
from policy.models import DecisionRecord, ShadowResult, SimulationFlip, SimulationRun
from policy.set_selectors import require_set
from policy.shadowing import results_of
from policy.simulation import DEFAULT_RECORDS, MAX_RECORDS, Wishes

EFFECTS = ("allow", "require_approval", "deny")
WORDS = {"allow": "Allowed", "require_approval": "Asked", "deny": "Denied"}
FLIPS_SHOWN = 50
MOST_DAYS = 365
HOURS = 24
SAME, LOOSER, TIGHTER = "Same answer", "Looser", "Tighter"
RANKS = ("0", "1", "2", "3")
LONGEST_KEY = 19
EXAMPLES_SHOWN = 5
_RANK = {"deny": 0, "require_approval": 1, "allow": 2}
_FIRST = Case(
    When(direction="loosened", new_effect="allow", then=Value(0)),
    When(direction="loosened", then=Value(1)),
    When(direction="tightened", then=Value(2)),
    default=Value(3),
    output_field=IntegerField(),
)


@dataclass(frozen=True, slots=True)
class MatrixRow:
    """How decisions of one effect would come out: word, count and step of each new effect."""

    effect: str
    cells: tuple[tuple[str, int, str], ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """How often a shadow would have answered `new` where `old` was said, and the last examples of it."""

    old: str
    new: str
    step: str
    count: int
    examples: tuple[DecisionRecord, ...]


@page(READ)
def simulation(visit: Visit, set_id: str, number: str) -> HttpResponse:
    """Show one simulation: its progress while it runs, then what would change, the loosest first."""
    run = _run(set_id, number)
    after = _place(visit)
    flips = list(_flips_after(visible_flips(visit, run), after)[: FLIPS_SHOWN + 1])
    job = Job.objects.filter(pk=run.job_id).first() if run.job_id else None
    return show(
        visit,
        "console/policy_simulation.html",
        {
            "title": f"Simulation {run.number} of version {run.policy_set.version}",
            "set": run.policy_set,
            "run": run,
            "job": job,
            "is_open": run.state in ("queued", "running"),
            "matrix": _matrix(run),
            "effects": [(effect, WORDS[effect]) for effect in EFFECTS],
            "flips": flips[:FLIPS_SHOWN],
            "more": _key_of(flips[FLIPS_SHOWN - 1]) if len(flips) > FLIPS_SHOWN else "",
            "is_first": after is None,
            "names": names_of(flip.principal_id for flip in flips),
        },
    )


@page(READ)
def flips_csv(visit: Visit, set_id: str, number: str) -> HttpResponse:
    """Give every flip that this person may see as a CSV file."""
    run = _run(set_id, number)
    name = f"simulation-{run.policy_set.version}-{run.number}.csv"
    answer = HttpResponse(flips_as_csv(visible_flips(visit, run)), content_type="text/csv; charset=utf-8")
    answer["Content-Disposition"] = f'attachment; filename="{name}"'
    return answer


@page(READ)
def shadow(visit: Visit, set_id: str) -> HttpResponse:
    """Show what a set in shadow would have answered, by the hour."""
    row = require_set(set_id)
    results = list(results_of(row).filter(hour__gt=visit.now - timedelta(hours=HOURS)))
    chart = _chart(results, visit.now)
    return show(
        visit,
        "console/policy_shadow.html",
        {
            "title": f"Shadow of version {row.version}",
            "set": row,
            "results": _totals(visit, results),
            "errors": sum(one.errors for one in results),
            "drawing": stacked_bars(chart),
            "legend": _legend(chart),
            "table": list(zip(chart.labels, *(one.values for one in chart.series), strict=True)),
            "series": [one.name for one in chart.series],
        },
    )


@verb(SIMULATE, sees=READ)
def simulate(visit: Visit, set_id: str) -> HttpResponse:
    """Replay recorded decisions against a set; a large replay runs as a job."""
    fields = {field: text(visit, field) for field in ("n", "days", "agent", "tool")}

    def work(stepped: Visit, _: Ticket) -> Told:
        made = operations.simulate(
            principal=stepped.principal, set_id=set_id, wishes=_wishes(stepped), now=stepped.now
        )
        say = "runs in the background" if made.job else f"replayed {made.run.total} decisions"
        return Told(f"Simulation {made.run.number} {say}.", object_id=str(made.run.number))

    told = do(visit, route="policy simulate", subject=set_id, fields=fields, work=work)
    if not told.is_done or told.object_id is None:
        return shown(visit, set_id, Answered("simulate", told))
    notify(visit, told)
    return redirect("admin:simulation", set_id=set_id, number=told.object_id)


@verb(EDIT, sees=READ)
def change_shadow(visit: Visit, set_id: str) -> HttpResponse:
    """Put a validated set into shadow, or take it out."""
    fields = {"to": text(visit, "to")}

    def work(stepped: Visit, _: Ticket) -> Told:
        if fields["to"] not in ("on", "off"):
            raise invalid("/to", "unknown", "Choose on or off.")
        on = fields["to"] == "on"
        operations.change_shadow(principal=stepped.principal, set_id=set_id, enabled=on, now=stepped.now)
        return Told("The set is watched in shadow." if on else "The set is in shadow no longer.")

    told = do(visit, route="policy shadow", subject=set_id, fields=fields, work=work)
    if not told.is_done:
        return shown(visit, set_id, Answered("shadow", told))
    notify(visit, told)
    return redirect("admin:policy_set", set_id=set_id)


def visible_flips(visit: Visit, run: SimulationRun) -> QuerySet[SimulationFlip]:
    """Return the flips this person may see, newly allowed ones first: calls belong to workspaces."""
    flips = SimulationFlip.objects.filter(run=run)
    if visit.reach is not None:
        flips = flips.filter(workspace_id=visit.reach)
    return flips.annotate(first=_FIRST).order_by("first", "pk")


def _wishes(visit: Visit) -> Wishes:
    days = number(visit, "days", "/days", 0)
    records = number(visit, "n", "/n", DEFAULT_RECORDS)
    if not 1 <= records <= MAX_RECORDS:
        raise invalid("/n", "range", f"Replay 1 to {MAX_RECORDS} decisions.")
    if days > MOST_DAYS:
        raise invalid("/days", "range", f"At most {MOST_DAYS} days.")
    since = visit.now - timedelta(days=days) if days else None
    return Wishes(records, since, text(visit, "agent") or None, text(visit, "tool") or None)


def _run(set_id: str, number: str) -> SimulationRun:
    known = number.isascii() and number.isdigit() and len(number) < 10
    rows = SimulationRun.objects.select_related("policy_set", "against_set")
    run = rows.filter(policy_set_id=set_id, number=int(number)).first() if known else None
    if run is None:
        raise NotFoundError("not_found", "There is no such simulation.")
    return run


def _place(visit: Visit) -> tuple[int, int] | None:
    """Return the flip after which the list goes on: its rank and its key; None for the beginning."""
    rank, dot, key = visit.request.GET.get("after", "").partition(".")
    known = dot and rank in RANKS and key.isascii() and key.isdigit() and len(key) < LONGEST_KEY
    return (int(rank), int(key)) if known else None


def _flips_after(flips: QuerySet[SimulationFlip], place: tuple[int, int] | None) -> QuerySet[SimulationFlip]:
    if place is None:
        return flips
    return flips.filter(Q(first__gt=place[0]) | Q(first=place[0], pk__gt=place[1]))


def _key_of(flip: SimulationFlip) -> str:
    rank = {"loosened": 0 if flip.new_effect == "allow" else 1, "tightened": 2}.get(flip.direction, 3)
    return f"{rank}.{flip.pk}"


def _matrix(run: SimulationRun) -> list[MatrixRow]:
    """Return the stored matrix, old effects down and new ones across."""
    stored: dict[str, dict[str, int]] = run.matrix
    rows = []
    for old in EFFECTS:
        row = stored.get(old, {})
        rows.append(MatrixRow(old, tuple((WORDS[new], row.get(new, 0), _step(old, new)) for new in EFFECTS)))
    return rows


def _step(old: str, new: str) -> str:
    if old == new:
        return SAME
    return LOOSER if _RANK[new] > _RANK[old] else TIGHTER


def _chart(results: Sequence[ShadowResult], now: datetime) -> StackedBars:
    end = now.replace(minute=0, second=0, microsecond=0)
    hours = [end - timedelta(hours=HOURS - 1 - back) for back in range(HOURS)]
    counted: Counter[tuple[datetime, str]] = Counter()
    for one in results:
        counted[one.hour, _step(one.old_effect, one.new_effect)] += one.count
    kinds = ((SAME, "info", "plain"), (TIGHTER, "hold", "hatched"), (LOOSER, "bad", "dotted"))
    series = tuple(
        Series(name, tone, pattern, tuple(counted[hour, name] for hour in hours))
        for name, tone, pattern in kinds
    )
    changed = sum(sum(one.values) for one in series[1:])
    return StackedBars(
        title="Answers of the shadow per hour",
        description=f"{changed} answers would have been others in 24 hours, times in UTC.",
        labels=tuple(f"{hour:%H}:00" for hour in hours),
        series=series,
    )


def _legend(chart: StackedBars) -> list[tuple[SafeString, str, int]]:
    return [(swatch(one), one.name, sum(one.values)) for one in chart.series]


def _totals(visit: Visit, results: Sequence[ShadowResult]) -> list[Difference]:
    """Return what differed, summed over the hours, loosest first."""
    counts: Counter[tuple[str, str]] = Counter()
    newest: dict[tuple[str, str], list[str]] = {}
    for one in sorted(results, key=lambda row: row.hour):
        pair = (one.old_effect, one.new_effect)
        if pair[0] != pair[1]:
            counts[pair] += one.count
            newest[pair] = [*newest.get(pair, []), *one.examples][-EXAMPLES_SHOWN:]
    known = _examples(visit, [key for keys in newest.values() for key in keys])
    found = [
        Difference(*pair, _step(*pair), count, tuple(known[key] for key in newest[pair] if key in known))
        for pair, count in counts.items()
    ]
    return sorted(found, key=lambda one: (_RANK[one.old] - _RANK[one.new], -one.count))


def _examples(visit: Visit, ids: Sequence[str]) -> dict[str, DecisionRecord]:
    """Return the records that are still kept and that this person may see: calls belong to workspaces."""
    rows = DecisionRecord.objects.filter(pk__in=ids).only("call_id", "resource_id", "decided_at")
    if visit.reach is not None:
        rows = rows.filter(workspace_id=visit.reach)
    return {row.pk: row for row in rows}
