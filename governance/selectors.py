"""Reads of runs and calls. Who may see what is decided here, once, for every surface."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from django.db.models import Q, QuerySet

from approvals.models import ApprovalRequest
from governance.call_state import ENDED_BY_APPROVAL, OPEN_STATES, CallState, call_state
from governance.journal.models import Attestation
from governance.models import Reservation, Run, ToolCall
from identity.roles import Permission
from identity.types import Principal, PrincipalKind
from kernel.errors import NotFoundError
from sandbox.models import Execution

Row = TypeVar("Row", Run, ToolCall)


@dataclass(frozen=True, slots=True)
class CallView:
    """One call with everything that hangs on it; `state` is derived."""

    call: ToolCall
    state: CallState
    approval: ApprovalRequest | None
    execution: Execution | None
    attestation: Attestation | None
    reservation: Reservation | None


def visible_runs(principal: Principal) -> QuerySet[Run]:
    """Return the runs this principal may know of: its own, or those of its workspace for a reader."""
    return _visible(Run.objects.all(), principal, Permission.RUNS_READ)


def visible_calls(principal: Principal) -> QuerySet[ToolCall]:
    """Return the calls this principal may know of: its own, or those of its workspace for a reader."""
    return _visible(ToolCall.objects.all(), principal, Permission.CALLS_READ)


def require_run(principal: Principal, run_id: str) -> Run:
    """Return a visible run, or raise NotFoundError `run_not_found`."""
    run = visible_runs(principal).filter(id=run_id).first()
    if run is None:
        raise NotFoundError("run_not_found", "There is no such run.")
    return run


def require_proposable_run(principal: Principal, run_id: str) -> Run:
    """Return a run to propose in: one's own, whatever the token may read, or a visible one.

    A visible run of somebody else is found, so that the attempt is a recorded denial at gate 2.
    """
    run = Run.objects.filter(id=run_id, principal_id=principal.id).first()
    return run if run is not None else require_run(principal, run_id)


def require_call(principal: Principal, call_id: str) -> CallView:
    """Return a visible call, or raise NotFoundError; a foreign id answers like an unknown one."""
    call = visible_calls(principal).filter(id=call_id).first()
    if call is None:
        raise NotFoundError("not_found", "There is no such call.")
    return view_of(call)


def view_of(call: ToolCall) -> CallView:
    """Return the call with its approval, execution, attestation and reservation."""
    return views_of([call])[0]


def views_of(calls: Sequence[ToolCall]) -> list[CallView]:
    """Return many calls in four queries, whatever their number."""
    ids = [call.id for call in calls]
    approvals = ApprovalRequest.objects.in_bulk([call.approval_id for call in calls if call.approval_id])
    executions = {row.call_id: row for row in Execution.objects.filter(call_id__in=ids)}
    attestations = {row.call_id: row for row in Attestation.objects.filter(call_id__in=ids)}
    reservations = {row.call_id: row for row in Reservation.objects.filter(call_id__in=ids)}
    return [
        CallView(
            call=call,
            state=_state(call, executions.get(call.id)),
            approval=approvals.get(call.approval_id or ""),
            execution=executions.get(call.id),
            attestation=attestations.get(call.id),
            reservation=reservations.get(call.id),
        )
        for call in calls
    ]


def stoppable_calls(run: Run) -> QuerySet[ToolCall]:
    """Return the calls of a run that have not ended: at most as many as the run may hold at once.

    Denied calls are not charged, so a run may have any number of them; nothing may walk through those.
    """
    return run.calls.filter(state_filter(sorted(OPEN_STATES))).order_by("id")


def state_filter(states: Sequence[CallState]) -> Q:
    """Return the WHERE clause of derived states, so that lists can be filtered in the database."""
    clause = Q(pk__in=())
    for state in states:
        clause |= _one_state(state)
    return clause


def state_of(call_id: str) -> CallState | None:
    """Return only the state of a call: one row of each table, for waiting."""
    call = ToolCall.objects.filter(id=call_id).only("effect", "reason_code").first()
    if call is None:
        return None
    return _state(call, Execution.objects.filter(call_id=call_id).only("state").first())


def newest_of(call_id: str) -> str:
    """Return the call that people's edits have put in the place of this one, itself without any."""
    seen = {call_id}
    while True:
        found = ToolCall.objects.filter(id=call_id).values_list("superseded_by_id", flat=True).first()
        if found is None or found in seen:
            return call_id
        seen.add(found)
        call_id = found


def _state(call: ToolCall, execution: Execution | None) -> CallState:
    return call_state(
        effect=call.effect,
        reason_code=call.reason_code,
        execution_state=execution.state if execution else None,
    )


def _one_state(state: CallState) -> Q:
    if state is CallState.AWAITING_APPROVAL:
        return Q(effect="require_approval", execution_id__isnull=True)
    ended = [reason for reason, result in ENDED_BY_APPROVAL.items() if result is state]
    executed = Execution.objects.filter(state=state.value).values("call_id")
    clause = Q(effect="allow", id__in=executed) | Q(effect="deny", reason_code__in=ended)
    if state is CallState.DENIED:
        clause |= Q(effect="deny") & ~Q(reason_code__in=list(ENDED_BY_APPROVAL))
    return clause


def _visible(rows: QuerySet[Row], principal: Principal, permission: Permission) -> QuerySet[Row]:
    if permission not in principal.permissions:
        return rows.none()
    if principal.kind is PrincipalKind.USER:
        return rows if principal.instance_roles else rows.filter(workspace_id=principal.workspace_id)
    return rows.filter(principal_id=principal.id)
