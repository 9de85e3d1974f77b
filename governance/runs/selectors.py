"""What runs are made of at this moment: its calls by state, and its phase."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from django.db.models import Count

from governance.call_state import CallState, call_state
from governance.freeze_scopes import Standing, Work, covering
from governance.freezes import instance_ids
from governance.models import Freeze, Run, ToolCall
from governance.runs.phase import Phase, phase_of
from sandbox.models import Execution


@dataclass(frozen=True, slots=True)
class RunView:
    """A run with its calls counted. `counts` holds every state, also those that no call is in."""

    run: Run
    counts: dict[CallState, int]
    phase: Phase


def run_view(run: Run) -> RunView:
    """Return a run as it stands, in three queries whatever the number of its calls."""
    return run_views([run])[0]


def run_views(runs: Sequence[Run]) -> list[RunView]:
    """Return many runs as they stand, in the same three queries."""
    counts, frozen = counts_of(runs), frozen_among(runs)
    return [
        RunView(
            run,
            counts[run.id],
            phase_of(counts[run.id], is_open=run.state == "open", frozen=run.id in frozen),
        )
        for run in runs
    ]


def counts_of(runs: Sequence[Run]) -> dict[str, dict[CallState, int]]:
    """Return by run the number of its calls in each state."""
    ids = [run.id for run in runs]
    found: dict[str, Counter[CallState]] = {one: Counter() for one in ids}
    calls = ToolCall.objects.filter(run__in=ids).order_by()
    decided = calls.exclude(effect="allow").values_list("run_id", "effect", "reason_code")
    for run_id, effect, code, number in decided.annotate(n=Count("id")):
        found[run_id][call_state(effect=effect, reason_code=code, execution_state=None)] += number
    executed = Execution.objects.filter(call_id__in=calls.filter(effect="allow").values("id")).order_by()
    for run_id, state, number in executed.values_list("run_id", "state").annotate(n=Count("id")):
        found[run_id][CallState(state)] += number
    return {run_id: {state: counted[state] for state in CallState} for run_id, counted in found.items()}


def frozen_among(runs: Sequence[Run]) -> frozenset[str]:
    """Return the open ones for which an active freeze stops whatever they propose.

    For showing; it holds no lock.
    """
    running = [run for run in runs if run.state == "open"]
    if not running:
        return frozenset()
    everywhere = instance_ids()
    places = {*everywhere, *(run.workspace_id for run in running)}
    rows = Freeze.objects.filter(state="active", workspace_id__in=places).order_by("id")
    standing = [
        (workspace_id, Standing(*row))
        for workspace_id, *row in rows.values_list("workspace_id", "id", "scope", "scope_id")
    ]
    return frozenset(run.id for run in running if _is_frozen(run, standing, everywhere))


def _is_frozen(run: Run, standing: Sequence[tuple[str, Standing]], everywhere: frozenset[str]) -> bool:
    reaching = (freeze for place, freeze in standing if place == run.workspace_id or place in everywhere)
    return covering(reaching, Work(run.principal_id, run.id, run.device_id)) is not None
