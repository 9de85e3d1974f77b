"""Withdrawing a question because a person asks another one in its place: with other arguments."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from approvals.answers import checked_comment, refuse
from approvals.ending import already_decided, close, expire_now
from approvals.models import ApprovalRequest
from approvals.selectors import eligibility_of, may_see
from approvals.types import CloseCode, RequestStatus
from identity.types import Principal
from kernel.errors import ConflictError, NotFoundError, PreconditionFailedError
from kernel.record import Record


@dataclass(frozen=True, slots=True)
class EditInput:
    """What a person says when they change arguments; nothing in it is trusted.

    `otp_verified_at` and `seen_version` are as in ReviewInput.
    """

    comment: str
    seen_version: int | None = None
    otp_verified_at: datetime | None = None
    surface: str = "api"


def edit_arguments(
    *,
    request_id: str,
    principal: Principal,
    edit: EditInput,
    now: datetime,
    record: Record,
    no_earlier_than: datetime | None = None,
) -> ApprovalRequest:
    """Close a question about a call as superseded; the caller asks the other one in its transaction.

    Needs what an answer needs, in the order of `record_review`: NotFoundError, ConflictError
    `already_decided`, PreconditionFailedError, the refusals of `may_review`, InvalidError
    `comment_required`. ConflictError `conflict` for a question about something else than a call. A
    question whose time is over, by `no_earlier_than` too, comes back expired, for the caller to commit.
    """
    request = ApprovalRequest.objects.select_for_update().filter(pk=request_id).first()
    if request is None or not may_see(principal, request, now):
        raise NotFoundError("not_found", "No such approval request.")
    if request.status != RequestStatus.PENDING:
        raise already_decided(request)
    if max(now, no_earlier_than or now) >= request.expires_at:
        expire_now(request, now, record)
        return request
    if edit.seen_version is not None and edit.seen_version != request.version:
        raise PreconditionFailedError("precondition_failed", "The request changed since it was shown.")
    eligibility = eligibility_of(
        request=request, principal=principal, otp_verified_at=edit.otp_verified_at, now=now
    )
    if not eligibility.ok:
        raise refuse(eligibility)
    if not request.calls.exists():
        raise ConflictError("conflict", "Only the arguments of a call can be changed.")
    checked_comment(edit.comment, required=True)
    close(request, RequestStatus.CANCELLED, CloseCode.SUPERSEDED_BY_EDIT, now)
    record(
        event="approval.cancelled",
        actor=principal.actor(),
        subject=request.pk,
        now=now,
        data={"close_code": CloseCode.SUPERSEDED_BY_EDIT.value},
        run=request.run_id or None,
    )
    return request
