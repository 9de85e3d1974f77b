"""What a run is made of at this moment: its calls by state, and its phase."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from django.db.models import Count

from governance.call_state import CallState, call_state
from governance.freeze_scopes import Standing, Work, covering
from governance.freezes import instance_ids
from governance.models import Freeze, Run
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
    counts = counts_of(run)
    is_open = run.state == "open"
    frozen = is_open and is_frozen(run)
    phase = phase_of(counts, is_open=is_open, frozen=frozen)
    return RunView(run, counts, phase)


def counts_of(run: Run) -> dict[CallState, int]:
    """Return the number of the run's calls in each state."""
    found: Counter[CallState] = Counter()
    decided = run.calls.exclude(effect="allow").order_by()
    for effect, code, number in decided.values_list("effect", "reason_code").annotate(n=Count("id")):
        found[call_state(effect=effect, reason_code=code, execution_state=None)] += number
    executed = Execution.objects.filter(call_id__in=run.calls.filter(effect="allow").values("id")).order_by()
    for state, number in executed.values_list("state").annotate(n=Count("id")):
        found[CallState(state)] += number
    return {state: found[state] for state in CallState}


def is_frozen(run: Run) -> bool:
    """Tell whether an active freeze stops whatever this run proposes. For showing; it holds no lock."""
    places = {run.workspace_id, *instance_ids()}
    rows = Freeze.objects.filter(state="active", workspace_id__in=places).order_by("id")
    standing = (Standing(*row) for row in rows.values_list("id", "scope", "scope_id"))
    work = Work(agent_id=run.principal_id, run_id=run.id, device_id=run.device_id)
    return covering(standing, work) is not None
