"""The operator's other verbs, and what the sweeper does. Each is one transaction with its events."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from django.db import DatabaseError, IntegrityError, transaction

from approvals import selectors as approval_selectors, services as approvals
from approvals.models import ApprovalRequest
from governance import authority, closing, founding, idempotency, wakeup
from governance.call_state import CallState
from governance.gates import Gate, GateRow, Verdict
from governance.idempotency import Ticket
from governance.journal.ledger import record
from governance.models import Run, ToolCall
from governance.runs import lifecycle
from governance.runs.turns import hold_run, hold_run_of_execution, hold_run_of_request
from governance.selectors import CallView, require_call, require_run, stoppable_calls, view_of
from identity.credentials import verify_totp
from identity.models import Agent, User
from identity.roles import Permission
from identity.types import Principal, PrincipalKind
from kernel.errors import AuthenticationError, ConflictError, InvalidError, NotFoundError, PalyraError
from kernel.ids import new_id
from kernel.record import Actor, system_actor
from kernel.state import transition
from policy.selectors import tool_call_config
from sandbox import selectors as sandbox_selectors, services as sandbox
from sandbox.lifecycle import ExecutionState
from sandbox.selection import Probe
from vault import services as vault

log = logging.getLogger(__name__)

SWEEP_LIMIT = 500
QUEUE_TIMEOUT = "sandbox.queue_timeout"
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


def open_run(
    *,
    principal: Principal,
    wishes: Mapping[str, Any],
    now: datetime,
    ticket: Ticket | None = None,
    render: Callable[[Run], object] | None = None,
) -> Run:
    """Open a run for the principal itself, or for an agent that a person owns or manages."""
    with transaction.atomic(durable=True):
        authority.require_permission(principal, Permission.RUNS_CREATE, principal.workspace_id, now)
        config = tool_call_config(principal.workspace_id)
        wanted = int(wishes.get("max_calls", config.max_calls_per_run))
        if wanted > config.max_calls_per_run:
            raise InvalidError("invalid", f"A run may make at most {config.max_calls_per_run} calls.")
        agent = _agent_of(principal, wishes.get("agent"))
        lifetime = timedelta(seconds=wishes.get("ttl_seconds", lifecycle.DEFAULT_LIFETIME.total_seconds()))
        run = Run.objects.create(
            id=new_id("run", now),
            workspace_id=principal.workspace_id,
            principal_kind="agent" if agent else principal.kind.value,
            principal_id=agent.id if agent else principal.id,
            owner_id=agent.owner_id if agent else principal.owner_id,
            purpose=wishes.get("purpose", ""),
            labels=wishes.get("labels", {}),
            origin=wishes.get("origin", "manual"),
            approval_channel=wishes.get("approval_channel", "interactive"),
            max_calls=wanted,
            opened_at=now,
            deadline_at=now + lifetime,
        )
        record(
            event="run.opened",
            actor=principal.actor(),
            subject=run.id,
            now=now,
            data={"principal": run.principal_id, "max_calls": run.max_calls, "origin": run.origin},
            run=run.id,
        )
        if render is not None:
            idempotency.store(ticket, status=201, body=render(run), object_id=run.id)
    return run


def cancel_run(
    *,
    run_id: str,
    principal: Principal,
    reason: str,
    now: datetime,
    ticket: Ticket | None = None,
    render: Callable[[Run], object] | None = None,
) -> Run:
    """Close a run and end everything of it that waits, is queued or runs. Repeating it changes nothing."""
    with transaction.atomic(durable=True):
        run = hold_run(require_run(principal, run_id).id)
        _require_may_cancel(principal, run.principal_id, run.owner_id, run.workspace_id, now)
        if run.state == "open":
            _close_run(run, "cancelled", "requester_cancelled", principal.actor(), now)
            for call in stoppable_calls(run):
                _stop(view_of(call), principal.actor(), now, close_code="run_closed")
        elif run.state != "cancelled":
            raise ConflictError("run.closed", "The run is closed.")
        run.refresh_from_db()
        if render is not None:
            idempotency.store(ticket, status=200, body=render(run), object_id=run.id)
    return run


def cancel_call(
    *,
    call_id: str,
    principal: Principal,
    reason: str,
    now: datetime,
    ticket: Ticket | None = None,
    render: Callable[[CallView], tuple[int, object]] | None = None,
) -> CallView:
    """Cancel what waits or is queued at once; ask a worker to stop what runs.

    Raises ConflictError `state_changed` for a call that has ended.
    """
    with transaction.atomic(durable=True):
        hold_run(require_call(principal, call_id).call.run_id)
        view = require_call(principal, call_id)
        call = view.call
        _require_may_cancel(principal, call.principal_id, call.owner_id, call.workspace_id, now)
        if not _stop(view, principal.actor(), now, close_code="requester_cancelled"):
            raise ConflictError("state_changed", f"The call has ended: {view.state.value}.")
        view = view_of(ToolCall.objects.get(id=call_id))
        if render is not None:
            status, body = render(view)
            idempotency.store(ticket, status=status, body=body, object_id=call_id)
    return view


def cancel_request(*, request_id: str, principal: Principal, now: datetime) -> ApprovalRequest:
    """Withdraw a pending request and end the calls that wait on it."""
    with transaction.atomic(durable=True):
        hold_run_of_request(request_id)
        request = approval_selectors.visible_to(principal, now).filter(id=request_id).first()
        if request is None:
            raise NotFoundError("not_found", "There is no such request.")
        _require_may_cancel(
            principal, request.requester_id, request.requester_owner_id, request.workspace_id, now
        )
        approvals.cancel_request(
            request_id=request_id,
            close_code="requester_cancelled",
            actor=principal.actor(),
            now=now,
            record=record,
        )
        closing.close_waiting(request_id, principal.actor(), now)
        request.refresh_from_db()
    return request


def attestation_envelope(view: CallView) -> dict[str, Any]:
    """Return the DSSE envelope of a call that has ended; NotFoundError while it has not."""
    if view.attestation is None:
        raise NotFoundError("not_found", "The call has no attestation yet.")
    envelope: dict[str, Any] = json.loads(view.attestation.envelope)
    return envelope


def is_traceparent(text: str) -> bool:
    """Tell whether this is a W3C Trace Context header; anything else is ignored, not refused."""
    return _TRACEPARENT.fullmatch(text) is not None


def step_up(*, principal: Principal, code: str, now: datetime) -> datetime:
    """Verify a one-time code and return `now`; AuthenticationError `step_up_required` when it is wrong.

    Runs before the verb it protects and commits on its own, so that a wrong code stays counted.
    """
    user = User.objects.filter(id=principal.id).first() if principal.kind is PrincipalKind.USER else None
    accepted = user is not None and verify_totp(user=user, code=code, now=now)
    with transaction.atomic(durable=True):
        record(
            event="step_up.succeeded" if accepted else "step_up.failed",
            actor=principal.actor(),
            subject=principal.id,
            now=now,
            data={},
        )
    if not accepted:
        raise AuthenticationError("step_up_required", "The one-time code is wrong or was used before.")
    return now


def record_refusal(principal: Principal, subject: str, refusal: PalyraError, now: datetime) -> None:
    """Leave `request.refused` in a transaction of its own; the refusal stands even if that fails."""
    try:
        with transaction.atomic(durable=True):
            record(
                event="request.refused",
                actor=principal.actor(),
                subject=subject,
                now=now,
                data={"code": refusal.code},
            )
    except (DatabaseError, PalyraError):
        log.exception("a refusal could not be recorded")


def record_login(*, user_id: str | None, succeeded: bool, now: datetime) -> None:
    """Leave `login.succeeded` or `login.failed`; an unknown name is the subject `anonymous`."""
    subject = user_id or "anonymous"
    proved = Actor(kind="user", id=subject, auth="session", surface="console")
    actor = proved if succeeded else system_actor("console")
    with transaction.atomic(durable=True):
        record(
            event="login.succeeded" if succeeded else "login.failed",
            actor=actor,
            subject=subject,
            now=now,
            data={},
        )


def bootstrap(*, now: datetime) -> founding.Founded | None:
    """Found the installation once: keys first, then everything else in one transaction.

    Returns None when somebody exists already. Two starts at once end with one installation.
    """
    vault.ensure_ready(now=now)
    if User.objects.exists():
        return None
    try:
        with transaction.atomic(durable=True):
            return founding.found(now)
    except IntegrityError:
        return None


def announce_worker(*, host: str, boot: str, probe: Probe, now: datetime) -> None:
    """Write a worker host's sign of life and what its probe found."""
    with transaction.atomic(durable=True):
        sandbox.store_probe(host=host, boot_id=boot, probe=probe, now=now)


def abandon_orphans(*, host: str, boot: str, now: datetime) -> int:
    """Declare runs of this host's earlier boots ambiguous at once; their workers cannot be alive."""
    return _each(sandbox_selectors.orphaned_ids(host=host, boot_id=boot), _abandon_one, now)


def sweep(now: datetime) -> dict[str, int]:
    """Do everything that nobody is waiting for; each item in its own transaction."""
    done = {
        "approvals_expired": _each(approval_selectors.due_for_expiry(now, SWEEP_LIMIT), _expire_one, now),
        "answers_applied": _each(_answered_requests(), _apply_answer, now),
        "executions_lost": _each(sandbox_selectors.lost_ids(now), _lose_one, now),
        "executions_overdue": _each(sandbox_selectors.overdue_queue(now), _refuse_overdue, now),
        "runs_expired": _each(_overdue_runs(now), _expire_run, now),
        "keys_forgotten": idempotency.sweep(now),
    }
    if sandbox_selectors.queued_ids(1):
        wakeup.ring()
    return done


def _each(ids: tuple[str, ...], act: Callable[[str, Actor, datetime], None], now: datetime) -> int:
    actor, count = system_actor("sweeper"), 0
    for one in ids:
        try:
            with transaction.atomic(durable=True):
                act(one, actor, now)
            count += 1
        except ConflictError:
            continue
        except Exception:  # one row that cannot be swept must not keep the others waiting
            log.exception("the sweep of %s failed", one)
    return count


def _expire_one(request_id: str, actor: Actor, now: datetime) -> None:
    hold_run_of_request(request_id)
    approvals.expire_request(request_id=request_id, now=now, record=record)
    closing.close_waiting(request_id, actor, now)


def _answered_requests() -> tuple[str, ...]:
    """Requests that are closed while a call still waits on them."""
    waiting = ToolCall.objects.filter(effect="require_approval").values("approval_id")
    closed = ApprovalRequest.objects.filter(id__in=waiting).exclude(status="pending")
    return tuple(closed.values_list("id", flat=True)[:SWEEP_LIMIT])


def _apply_answer(request_id: str, actor: Actor, now: datetime) -> None:
    hold_run_of_request(request_id)
    closing.close_waiting(request_id, actor, now)


def _lose_one(execution_id: str, actor: Actor, now: datetime) -> None:
    closing.close_lost(execution_id, actor, now)


def _abandon_one(execution_id: str, actor: Actor, now: datetime) -> None:
    closing.close_lost(execution_id, actor, now, proven_dead=True)


def _refuse_overdue(execution_id: str, actor: Actor, now: datetime) -> None:
    hold_run_of_execution(execution_id)
    call = ToolCall.objects.get(execution_id=execution_id)
    reason = "No worker took the call in time."
    row = GateRow(Gate.BACKEND, Verdict.DENY, QUEUE_TIMEOUT, reason, None, 0.0)
    closing.close_refused(call, row, actor, now)


def _overdue_runs(now: datetime) -> tuple[str, ...]:
    rows = Run.objects.filter(state="open", deadline_at__lte=now)
    return tuple(rows.values_list("id", flat=True)[:SWEEP_LIMIT])


def _expire_run(run_id: str, actor: Actor, now: datetime) -> None:
    run = hold_run(run_id)
    _close_run(run, "expired", "timeout", actor, now)
    for call in stoppable_calls(run):
        _stop(view_of(call), actor, now, close_code="run_closed")


def _close_run(run: Run, state: str, code: str, actor: Actor, now: datetime) -> None:
    transition(
        Run.objects.filter(id=run.id),
        lifecycle.ALLOWED,
        source="open",
        target=state,
        closed_at=now,
        close_code=code,
    )
    record(
        event="run.closed",
        actor=actor,
        subject=run.id,
        now=now,
        data={"state": state, "close_code": code},
        run=run.id,
    )


def _stop(view: CallView, actor: Actor, now: datetime, *, close_code: str) -> bool:
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


def _agent_of(principal: Principal, agent_id: str | None) -> Agent | None:
    """The agent a person opens a run for. Only its owner does: the run acts with the owner's rights."""
    if agent_id is None or agent_id == principal.id:
        return None
    agent = Agent.objects.filter(id=agent_id, workspace_id=principal.workspace_id, state="active").first()
    if agent is None or principal.kind is not PrincipalKind.USER or agent.owner_id != principal.id:
        raise NotFoundError("not_found", "There is no such agent of yours.")
    return agent


def _require_may_cancel(
    principal: Principal, requester_id: str, owner_id: str, workspace_id: str, now: datetime
) -> None:
    """The requester and its owner cancel their own; anybody else's needs `runs.cancel_any`."""
    own = principal.id in (requester_id, owner_id)
    permission = Permission.RUNS_CANCEL if own else Permission.RUNS_CANCEL_ANY
    authority.require_permission(principal, permission, workspace_id, now)
