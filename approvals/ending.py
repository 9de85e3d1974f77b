"""How a request ends without an answer, and the one place where its state changes."""

from __future__ import annotations

from datetime import datetime

from django.db.models import F

from approvals.eligibility import DECIDED_WITH
from approvals.lifecycle import REQUEST_ALLOWED, decision_of
from approvals.models import ApprovalRequest
from approvals.types import CANCEL_CODES, ERROR_CODES, CloseCode, RequestStatus
from identity.selectors import permissions_of_user
from kernel.clock import wire_time
from kernel.errors import ConflictError, InvalidError, NotFoundError
from kernel.record import Actor, Record, system_actor
from kernel.state import transition


def already_decided(request: ApprovalRequest) -> ConflictError:
    """Return the 409 for a closed request, with its outcome."""
    outcome = {
        "decision": decision_of(request.status, request.close_code),
        "resolved_at": wire_time(request.resolved_at),
    }
    return ConflictError("already_decided", "The request is closed.", extra={"outcome": outcome})


def cancel_request(
    *, request_id: str, close_code: str, actor: Actor, now: datetime, record: Record
) -> ApprovalRequest:
    """Withdraw a pending question. The requester, its owner, somebody who may decide, or the instance.

    Raises ConflictError `already_decided` when it is closed, NotFoundError for anybody else.
    """
    if close_code not in CANCEL_CODES:
        raise InvalidError("invalid", "A request is not cancelled for this cause.")
    request = ApprovalRequest.objects.select_for_update().filter(pk=request_id).first()
    if request is None or not _may_cancel(actor, request, now):
        raise NotFoundError("not_found", "No such approval request.")
    if request.status != RequestStatus.PENDING:
        raise already_decided(request)
    close(request, RequestStatus.CANCELLED, close_code, now)
    failed = close_code in ERROR_CODES
    record(
        event="approval.failed" if failed else "approval.cancelled",
        actor=actor,
        subject=request.pk,
        now=now,
        data={"close_code": close_code},
        run=request.run_id or None,
    )
    return request


def _may_cancel(actor: Actor, request: ApprovalRequest, now: datetime) -> bool:
    if actor.kind == "system" or actor.id in (request.requester_id, request.requester_owner_id):
        return True
    return actor.kind == "user" and DECIDED_WITH[request.subject_type] in permissions_of_user(
        user_id=actor.id, workspace_id=request.workspace_id, now=now
    )


def expire_request(
    *, request_id: str, no_earlier_than: datetime | None = None, now: datetime, record: Record
) -> ApprovalRequest:
    """Close a question whose time is over. ConflictError when it is closed or not yet due.

    It is due by `no_earlier_than` where that is later than `now`, as for `record_review`.
    """
    request = ApprovalRequest.objects.select_for_update().filter(pk=request_id).first()
    if request is None:
        raise NotFoundError("not_found", "No such approval request.")
    if request.status != RequestStatus.PENDING:
        raise already_decided(request)
    if max(now, no_earlier_than or now) < request.expires_at:
        raise ConflictError("conflict", "The request is not due yet.")
    expire_now(request, now, record)
    return request


def expire_now(request: ApprovalRequest, now: datetime, record: Record) -> None:
    close(request, RequestStatus.EXPIRED, CloseCode.TIMEOUT, now)
    record(
        event="approval.expired",
        actor=system_actor("sweeper"),
        subject=request.pk,
        now=now,
        data={"close_code": CloseCode.TIMEOUT.value},
        run=request.run_id or None,
    )


def close(request: ApprovalRequest, target: RequestStatus, close_code: str, now: datetime) -> None:
    transition(
        ApprovalRequest.objects.filter(pk=request.pk),
        REQUEST_ALLOWED,
        source=RequestStatus.PENDING,
        target=target,
        column="status",
        close_code=close_code,
        resolved_at=now,
        version=F("version") + 1,
    )
    request.refresh_from_db()
