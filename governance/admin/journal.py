"""The timeline of the journal: one line per event, as a list or as the trees of calls. Read only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from django.db.models import Q
from django.http import HttpResponse

from governance.admin.access import Visit
from governance.admin.event_lines import Line, lines_of
from governance.admin.journal_gaps import Gap, gaps_between, holes_in_run
from governance.admin.journal_tree import branches_of
from governance.admin.layout import show
from governance.admin.pages import page
from governance.admin.paging import ListPage, list_page, text_filter
from governance.journal import sealing_state
from governance.journal.event_names import EventName
from governance.journal.lookup import EventFilter, sees_all, types_named, visible_events
from governance.journal.models import JournalEvent
from governance.selectors import visible_calls
from identity.roles import Permission
from kernel.ids import is_id

NAMES = ("type", "actor", "subject", "run", "call", "since", "until")
FAMILIES = tuple(sorted({name.value.partition(".")[0] for name in EventName}))
_ONE = ("actor", "subject", "run")


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table: a line, or a gap between lines."""

    line: Line | None = None
    gap: Gap | None = None


@page(Permission.JOURNAL_READ)
def timeline(visit: Visit) -> HttpResponse:
    """List events by what stands in their envelopes, newest first; payloads stay closed."""
    filters = {name: text_filter(visit, name) for name in NAMES}
    chosen, odd = _chosen(filters)
    rows = chosen.narrow(visible_events(visit.principal, visit.now))
    if filters["call"]:
        rows = rows.filter(_of_call(visit, filters["call"]))
    found = list_page(visit, rows, prefix="evt", filters=filters)
    lines = lines_of(visit, found.rows)
    tree = branches_of(lines) if filters["run"] or filters["call"] else None
    return show(
        visit,
        "console/journal.html",
        {
            "title": "Journal",
            "found": found,
            "rows": _rows(lines, _gaps(visit, found, filters)),
            "tree": tree,
            "holes": holes_in_run(found.rows) if tree is not None and _is_whole_run(filters) else (),
            "unsealed": sum(line.seq is None for line in lines),
            "families": FAMILIES,
            "family": filters["type"].removesuffix(".*"),
            "filters": filters,
            "odd": odd,
            "alarm": sealing_state.refusal(visit.now),
        },
    )


def _chosen(filters: dict[str, str]) -> tuple[EventFilter, tuple[str, ...]]:
    """Return what the list is narrowed to, and which filters say nothing that can be looked for."""
    types = types_named(filters["type"]) if filters["type"] else ()
    since, until = _day(filters["since"]), _day(filters["until"])
    odd = [name for name, found in (("type", types), ("since", since), ("until", until))
           if filters[name] and not found]  # fmt: skip
    one = {f"{name}s": (filters[name],) if filters[name] else () for name in _ONE}
    end = until + timedelta(days=1) if until and until.year < date.max.year else None
    return EventFilter(types=types, since=since, until=end, **one), tuple(odd)


def _day(text: str) -> datetime | None:
    """Return the beginning of a day in UTC, None for what is no day."""
    try:
        return datetime.combine(date.fromisoformat(text), time(), UTC) if text else None
    except ValueError:
        return None


def _gaps(visit: Visit, found: ListPage[JournalEvent], filters: dict[str, str]) -> list[Gap]:
    """Return what is missing on this page. Only the whole journal shows it: a filter leaves out by itself."""
    if any(filters.values()) or not sees_all(visit.principal, visit.now):
        return []
    before, after = (_key(visit, name) for name in ("before", "after"))
    first, last = (found.rows[0].pk, found.rows[-1].pk) if found.rows else ("", "")
    low = after or (last if found.older else "")
    high = (before if not after else "") or (first if found.newer else "")
    return gaps_between(low, high)


def _of_call(visit: Visit, call_id: str) -> Q:
    """Match the events of a call, and those of its answers that belong to no other call."""
    call = visible_calls(visit.principal).filter(pk=call_id).values_list("approval_id", "grant_id").first()
    answers = [one for one in call or () if one]
    return Q(call_id=call_id) | Q(subject__in=answers, call_id__isnull=True)


def _key(visit: Visit, name: str) -> str:
    text = visit.request.GET.get(name, "")
    return text if is_id("evt", text) else ""


def _is_whole_run(filters: dict[str, str]) -> bool:
    return bool(filters["run"]) and not any(filters[name] for name in NAMES if name != "run")


def _rows(lines: Sequence[Line], gaps: Sequence[Gap]) -> list[Row]:
    """Put each gap where the newest of its events would stand."""
    rows = [(line.event.pk, Row(line=line)) for line in lines]
    rows += [(gap.below, Row(gap=gap)) for gap in gaps]
    return [row for _, row in sorted(rows, key=lambda one: one[0], reverse=True)]
