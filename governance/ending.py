"""How runs and calls end before their time."""

from __future__ import annotations

from datetime import datetime

from django.db.models import F

from approvals import services as approvals
from governance import allowances, closing
from governance.call_state import CallState
from governance.journal.ledger import record
from governance.models import Run, ToolCall
from governance.runs import lifecycle
from governance.selectors import CallView, stoppable_calls, view_of
from kernel.record import Actor
from kernel.state import transition
from sandbox import services as sandbox
from sandbox.lifecycle import ExecutionState


def end_run(
    run: Run, state: str, run_code: str, call_code: str, actor: Actor, now: datetime, *, reason: str = ""
) -> None:
    """Close an open run whose turn the caller holds, and end all of it that waits, is queued or runs.

    What waits or is queued ends before the run does, so that the end of the run is the last word about it;
    a tool that runs is asked to stop and ends after it.
    """
    for call in stoppable_calls(run):
        stop(view_of(call), actor, now, close_code=call_code)
    allowances.withdraw(run, now)
    _close_run(run, state, run_code, reason, actor, now)


def _close_run(run: Run, state: str, code: str, reason: str, actor: Actor, now: datetime) -> None:
    transition(
        Run.objects.filter(id=run.id),
        lifecycle.ALLOWED,
        source="open",
        target=state,
        closed_at=now,
        close_code=code,
        version=F("version") + 1,
    )
    record(
        event="run.closed",
        actor=actor,
        subject=run.id,
        now=now,
        data={"state": state, "close_code": code, "reason": reason},
        run=run.id,
    )


def stop(view: CallView, actor: Actor, now: datetime, *, close_code: str) -> bool:
    """End a call that has not ended; False when there was nothing to end."""
    call = view.call
    if view.state is CallState.AWAITING_APPROVAL and call.approval_id:
        _withdraw(call, close_code, actor, now)
        return True
    if view.state in (CallState.QUEUED, CallState.RUNNING) and call.execution_id:
        state = sandbox.request_cancel(
            execution_id=call.execution_id, reason=close_code, actor=actor, now=now, record=record
        )
        if state is ExecutionState.CANCELLED and view.execution is not None:
            view.execution.refresh_from_db()
            closing.close_cancelled(call, view.execution, actor, now)
        return True
    return False


def _withdraw(call: ToolCall, close_code: str, actor: Actor, now: datetime) -> None:
    """End one waiting call; its request ends with the last call that waits on it."""
    others = ToolCall.objects.filter(approval_id=call.approval_id, effect="require_approval")
    if not others.exclude(id=call.id).exists():
        approvals.cancel_request(
            request_id=call.approval_id or "", close_code=close_code, actor=actor, now=now, record=record
        )
    closing.close_answered(call, "approval.cancelled", "The call was cancelled.", actor, now)
