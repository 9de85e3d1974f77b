"""Reads of executions and workspace roots."""

from __future__ import annotations

from datetime import datetime

from sandbox.lifecycle import ExecutionState, lost_before, overdue_before
from sandbox.models import Execution, WorkspaceRoot


def execution_of_call(call_id: str) -> Execution | None:
    """Return the one execution of a call, or None when it never got that far."""
    return Execution.objects.filter(call_id=call_id).first()


def queued_ids(limit: int) -> tuple[str, ...]:
    """Return what waits for a worker, oldest first."""
    rows = Execution.objects.filter(state=ExecutionState.QUEUED).order_by("queued_at", "id")
    return tuple(rows.values_list("id", flat=True)[:limit])


def lost_ids(now: datetime) -> tuple[str, ...]:
    """Return running rows whose heartbeat is older than 15 s, oldest first."""
    rows = Execution.objects.filter(state=ExecutionState.RUNNING, heartbeat_at__lt=lost_before(now))
    return tuple(rows.order_by("heartbeat_at").values_list("id", flat=True))


def overdue_queue(now: datetime) -> tuple[str, ...]:
    """Return rows that have been queued for more than 15 minutes, oldest first."""
    rows = Execution.objects.filter(state=ExecutionState.QUEUED, queued_at__lt=overdue_before(now))
    return tuple(rows.order_by("queued_at").values_list("id", flat=True))


def cancel_requested(execution_id: str) -> bool:
    """Tell a worker whether somebody asked to stop this run. A row that is gone counts as asked."""
    row = Execution.objects.filter(pk=execution_id).only("cancel_requested_at").first()
    return row is None or row.cancel_requested_at is not None


def root_for_agent(agent_id: str) -> WorkspaceRoot | None:
    """Return the agent's workspace root; None means an empty scratch directory."""
    return WorkspaceRoot.objects.filter(agents__agent_id=agent_id).first()
