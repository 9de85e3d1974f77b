"""Emptying what executions hold of the parameters they ran with."""

from __future__ import annotations

from collections.abc import Sequence

from sandbox.lifecycle import OPEN
from sandbox.models import Execution


def is_open(runs: Sequence[str]) -> bool:
    """Tell whether something of these runs is queued or running."""
    return Execution.objects.filter(run_id__in=runs, state__in=sorted(OPEN)).exists()


def erase_executions(runs: Sequence[str]) -> int:
    """Take the unsalted digest of the parameters away; limits, usage and the salted digest stay."""
    return Execution.objects.filter(run_id__in=runs).exclude(state__in=sorted(OPEN)).update(action_digest="")
