"""Verbs on runs and calls. Each is one transaction with its events."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction

from approvals import selectors as approval_selectors, services as approvals
from approvals.models import ApprovalRequest
from governance import authority, closing, ending, idempotency, labelling
from governance.authority import needs
from governance.call_state import CallState
from governance.idempotency import Ticket
from governance.journal.ledger import record
from governance.models import Run, ToolCall
from governance.runs import lifecycle
from governance.runs.findings import Finding, checked_finding
from governance.runs.sessions import session_under
from governance.runs.turns import hold_run, hold_run_of_request
from governance.selectors import (
    CallView,
    require_call,
    require_proposable_run,
    require_run,
    stoppable_calls,
    view_of,
)
from identity.models import Agent
from identity.roles import Permission
from identity.types import Principal, PrincipalKind
from kernel.clock import wire_time
from kernel.errors import ConflictError, InvalidError, NotFoundError, RefusedError
from kernel.ids import new_id
from kernel.record import Actor
from policy.selectors import tool_call_config

MOST_NAMED = 20
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


@needs(Permission.RUNS_CREATE)
def open_run(
    *,
    principal: Principal,
    wishes: Mapping[str, Any],
    now: datetime,
    ticket: Ticket | None = None,
    render: Callable[[Run], object] | None = None,
) -> Run:
    """Open a run for the principal itself, or for an agent that a person owns or manages.

    `session_key` names the conversation it belongs to; of `task_text` only marks are kept. `origin_run_id`
    is a run that the principal may know of; which surface a run comes from (`facade`, `mcp`) the caller of
    this function says, never a request.
    """
    with transaction.atomic(durable=True):
        authority.require_permission(principal, Permission.RUNS_CREATE, principal.workspace_id, now)
        config = tool_call_config(principal.workspace_id)
        wanted = int(wishes.get("max_calls", config.max_calls_per_run))
        if wanted > config.max_calls_per_run:
            raise InvalidError("invalid", f"A run may make at most {config.max_calls_per_run} calls.")
        agent = _agent_of(principal, wishes.get("agent"))
        origin_run_id = _origin_run_of(principal, wishes.get("origin_run_id"))
        lifetime = timedelta(seconds=wishes.get("ttl_seconds", lifecycle.DEFAULT_LIFETIME.total_seconds()))
        acting = agent.id if agent else principal.id
        run = Run.objects.create(
            id=new_id("run", now),
            workspace_id=principal.workspace_id,
            principal_kind="agent" if agent else principal.kind.value,
            principal_id=acting,
            owner_id=agent.owner_id if agent else principal.owner_id,
            session_id=_session_of(principal.workspace_id, acting, wishes.get("session_key"), now),
            purpose=wishes.get("purpose", ""),
            labels=wishes.get("labels", {}),
            device_id=principal.device_id or "",
            origin=wishes.get("origin", "manual"),
            origin_run_id=origin_run_id,
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
        if wishes.get("task_text"):
            by_person = principal.kind is PrincipalKind.USER
            labelling.mark_task(run, wishes["task_text"], now, by_person=by_person)
        idempotency.store_rendered(ticket, render, run, status=201, object_id=run.id)
    return run


@needs(Permission.RUNS_CANCEL)
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
            actor = principal.actor()
            ending.end_run(run, "cancelled", "requester_cancelled", "run_closed", actor, now, reason=reason)
        elif run.state != "cancelled":
            raise ConflictError("run.closed", "The run is closed.")
        run.refresh_from_db()
        idempotency.store_rendered(ticket, render, run, status=200, object_id=run.id)
    return run


@needs(Permission.RUNS_CREATE)
def complete_run(
    *,
    run_id: str,
    principal: Principal,
    now: datetime,
    ticket: Ticket | None = None,
    render: Callable[[Run], object] | None = None,
) -> Run:
    """Close a run whose work is done. Repeating it changes nothing.

    Only who the run belongs to, or its owner, may say so. Raises ConflictError `conflict` with the ids of
    up to twenty `open_calls` while calls wait, are queued or run: nobody's question is withdrawn and no
    tool is stopped by a word that says the work is done.
    """
    with transaction.atomic(durable=True):
        run = hold_run(require_run(principal, run_id).id)
        authority.require_permission(principal, Permission.RUNS_CREATE, run.workspace_id, now)
        if principal.id not in (run.principal_id, run.owner_id):
            raise RefusedError("role_required", "Only who a run belongs to, or its owner, completes it.")
        if run.state == "open":
            _require_all_ended(run)
            ending.end_run(run, "completed", "completed", "run_closed", principal.actor(), now)
        elif run.state != "completed":
            raise ConflictError("run.closed", "The run is closed.")
        run.refresh_from_db()
        idempotency.store_rendered(ticket, render, run, status=200, object_id=run.id)
    return run


@needs(Permission.RUNS_CANCEL_ANY)
def resolve_call(
    *,
    call_id: str,
    principal: Principal,
    outcome: str,
    note: str,
    now: datetime,
    ticket: Ticket | None = None,
    render: Callable[[CallView], object] | None = None,
) -> CallView:
    """Record what a person found out about a call whose end nobody saw. It stays ambiguous, and charged.

    Needs a fresh one-time code. Raises InvalidError as `checked_finding`, ConflictError `state_changed` for
    a call that is not ambiguous, `conflict` when a finding stands already.
    """
    with transaction.atomic(durable=True):
        hold_run(require_call(principal, call_id).call.run_id)
        view = require_call(principal, call_id)
        call = view.call
        authority.require_verb(principal, Permission.RUNS_CANCEL_ANY, call.workspace_id, now)
        finding = checked_finding(outcome, note)
        authority.require_fresh_code(principal, now)
        if view.state is not CallState.AMBIGUOUS:
            raise ConflictError("state_changed", f"The call is not ambiguous: {view.state.value}.")
        if call.finding is not None:
            raise ConflictError("conflict", "A finding about this call stands already.")
        _keep_finding(call, finding, principal.actor(), now)
        view = view_of(call)
        idempotency.store_rendered(ticket, render, view, status=200, object_id=call_id)
    return view


@needs(Permission.RUNS_CANCEL)
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
        if not ending.stop(view, principal.actor(), now, close_code="requester_cancelled"):
            raise ConflictError("state_changed", f"The call has ended: {view.state.value}.")
        view = view_of(ToolCall.objects.get(id=call_id))
        if render is not None:
            status, body = render(view)
            idempotency.store(ticket, status=status, body=body, object_id=call_id)
    return view


@needs(Permission.RUNS_CANCEL)
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


@needs(None)
def is_traceparent(text: str) -> bool:
    """Tell whether this is a W3C Trace Context header; anything else is ignored, not refused."""
    return _TRACEPARENT.fullmatch(text) is not None


def _require_all_ended(run: Run) -> None:
    waiting = list(stoppable_calls(run).values_list("id", flat=True)[:MOST_NAMED])
    if waiting:
        sentence = "Calls of the run have not ended: wait for them, or cancel them or the run."
        raise ConflictError("conflict", sentence, extra={"open_calls": waiting})


def _keep_finding(call: ToolCall, finding: Finding, actor: Actor, now: datetime) -> None:
    call.finding = {"outcome": finding.outcome, "note": finding.note, "by": actor.id, "at": wire_time(now)}
    call.updated_at = now
    call.save(update_fields=["finding", "updated_at"])
    record(
        event="tool_call.resolved",
        actor=actor,
        subject=call.id,
        now=now,
        data={"outcome": finding.outcome, "note": finding.note},
        run=call.run_id,
        call=call.id,
    )


def _origin_run_of(principal: Principal, run_id: str | None) -> str:
    return "" if run_id is None else require_proposable_run(principal, run_id).id


def _agent_of(principal: Principal, agent_id: str | None) -> Agent | None:
    """The agent a person opens a run for. Only its owner does: the run acts with the owner's rights."""
    if agent_id is None or agent_id == principal.id:
        return None
    agent = Agent.objects.filter(id=agent_id, workspace_id=principal.workspace_id, state="active").first()
    if agent is None or principal.kind is not PrincipalKind.USER or agent.owner_id != principal.id:
        raise NotFoundError("not_found", "There is no such agent of yours.")
    return agent


def _session_of(workspace_id: str, principal_id: str, key: str | None, now: datetime) -> str | None:
    if key is None:
        return None
    return session_under(key, workspace_id=workspace_id, principal_id=principal_id, now=now).id


def _require_may_cancel(
    principal: Principal, requester_id: str, owner_id: str, workspace_id: str, now: datetime
) -> None:
    """The requester and its owner cancel their own; anybody else's needs `runs.cancel_any`."""
    own = principal.id in (requester_id, owner_id)
    if own:
        authority.require_permission(principal, Permission.RUNS_CANCEL, workspace_id, now)
    else:
        authority.require_verb(principal, Permission.RUNS_CANCEL_ANY, workspace_id, now)
