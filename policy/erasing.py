"""Forgetting the decisions about somebody's calls and what their conversations were seen to hold."""

from __future__ import annotations

from collections.abc import Sequence

from policy.decision_records import forget
from policy.models import DecisionRecord, LabelHolder, SessionLabel, SessionValueMark, SimulationFlip


def erase_decisions(calls: Sequence[str]) -> int:
    """Delete the replayable requests of these calls and empty what simulations say of them.

    Counts of simulations and shadows stay: they say nothing of a single call.
    """
    SimulationFlip.objects.filter(call_id__in=calls).update(resource_id="")
    return forget(DecisionRecord.objects.filter(call_id__in=calls))


def erase_decisions_about(principal_id: str) -> int:
    """As `erase_decisions`, for all that was ever decided about one principal, call or not."""
    SimulationFlip.objects.filter(principal_id=principal_id).update(resource_id="")
    return forget(DecisionRecord.objects.filter(principal_id=principal_id))


def erase_marks(holders: Sequence[str]) -> int:
    """Delete the marks of values these holders have seen.

    Without them every argument counts as tainted from now on: to forget must not make anything trusted.
    """
    SessionLabel.objects.filter(holder_id__in=holders).update(declassified_reason="")
    LabelHolder.objects.filter(pk__in=holders).update(marks_full=True)
    deleted, _ = SessionValueMark.objects.filter(holder_id__in=holders).delete()
    return deleted
