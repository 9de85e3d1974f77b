"""Asking: a request is opened, or a call is attached to an identical one."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import IntegrityError, transaction

from approvals.ending import expire_now
from approvals.models import ApprovalCall, ApprovalRequest
from approvals.types import NewRequest, RequestStatus, Risk, SubjectType
from identity.parties import MINTER
from kernel.canonical import canonical, digest
from kernel.clock import wire_time
from kernel.errors import ConflictError, InvalidError
from kernel.ids import new_id
from kernel.record import Actor, Record

MAX_TIMEOUT_S = 86_400


def open_request(*, request: NewRequest, actor: Actor, now: datetime, record: Record) -> ApprovalRequest:
    """Ask, or attach the call to an identical question of the same requester, digest and run.

    A question without a call meets its twin and changes nothing. A twin whose time is over is expired
    first and not attached to. Raises ConflictError when the call waits already, InvalidError for values
    no request can have.
    """
    _require_sound(request)
    twin = _pending_twin(request)
    if twin is not None and now >= twin.expires_at:
        expire_now(twin, now, record)
        twin = None
    if twin is not None:
        return _attach(twin, request, actor, now, record)
    try:
        with transaction.atomic():
            created = _insert(request, now)
    except IntegrityError:
        twin = _pending_twin(request)
        if twin is None:
            raise ConflictError("conflict", "The request met another one.") from None
        return _attach(twin, request, actor, now, record)
    if request.call_id is not None:
        _wait(created, request.call_id, 1, now)
    record(
        event="approval.requested",
        actor=actor,
        subject=created.pk,
        now=now,
        data={
            "subject_type": created.subject_type,
            "subject_label": created.subject_label,
            "action_digest": created.action_digest,
            "risk": created.risk,
            "quorum": created.quorum,
            "expires_at": wire_time(created.expires_at),
        },
        run=created.run_id or None,
        call=request.call_id,
    )
    return created


def _require_sound(request: NewRequest) -> None:
    known = request.risk in frozenset(Risk) and request.subject_type in frozenset(SubjectType)
    quorum, timeout = request.obligation.quorum, min(request.timeout_s, request.obligation.timeout_s)
    if not known or not 1 <= quorum <= 5 or not 1 <= timeout <= MAX_TIMEOUT_S:
        raise InvalidError("invalid", "No such request can be opened.")


def _pending_twin(request: NewRequest) -> ApprovalRequest | None:
    return (
        ApprovalRequest.objects.select_for_update()
        .filter(
            status=RequestStatus.PENDING,
            requester_id=request.requester_id,
            action_digest=request.action_digest,
            run_id=request.run_id or "",
        )
        .first()
    )


def _insert(request: NewRequest, now: datetime) -> ApprovalRequest:
    obligations = request.obligation.as_json()
    timeout = min(request.timeout_s, request.obligation.timeout_s)
    return ApprovalRequest.objects.create(
        id=new_id("apr", now),
        subject_type=request.subject_type,
        subject_id=request.subject_id,
        subject_label=request.subject_label,
        action_digest=request.action_digest,
        policy_set_hash=request.policy_set_hash,
        tool_definition_hash=request.tool_definition_hash,
        obligations=obligations,
        obligations_digest=digest(obligations),
        requester_kind=request.requester_kind,
        requester_id=request.requester_id,
        requester_owner_id=request.requester_owner_id,
        minter_id=request.minter_id,
        parties=dict(request.parties),
        on_behalf_of_id=request.on_behalf_of_id,
        workspace_id=request.workspace_id,
        run_id=request.run_id or "",
        session_id=request.session_id or "",
        device_id=request.device_id,
        channel=request.channel,
        tool=request.tool,
        skill_id=request.skill_id,
        skill_digest=request.skill_digest,
        sas=request.sas,
        edited_from_id=request.edited_from_id,
        edited_by_id=request.edited_by_id,
        resume=dict(request.resume),
        context_text=canonical(dict(request.context)).decode(),
        risk=request.risk,
        quorum=request.obligation.quorum,
        requested_at=now,
        expires_at=now + timedelta(seconds=timeout),
    )


def _attach(
    twin: ApprovalRequest, asked: NewRequest, actor: Actor, now: datetime, record: Record
) -> ApprovalRequest:
    """Let another call wait on a question. Whoever had a part in that call has one in the question now."""
    call_id = asked.call_id
    if call_id is None:
        return twin
    joined = {asked.minter_id: MINTER} if asked.minter_id not in ("", twin.minter_id) else {}
    twin.parties = {**asked.parties, **joined, **twin.parties}
    twin.version += 1
    twin.save(update_fields=["version", "parties"])
    _wait(twin, call_id, twin.calls.count() + 1, now)
    record(
        event="approval.attached",
        actor=actor,
        subject=twin.pk,
        now=now,
        data={"version": twin.version},
        run=twin.run_id or None,
        call=call_id,
    )
    return twin


def _wait(request: ApprovalRequest, call_id: str, position: int, now: datetime) -> None:
    try:
        with transaction.atomic():
            ApprovalCall.objects.create(
                request=request,
                call_id=call_id,
                attached_at=now,
                position=position,
                version=request.version,
            )
    except IntegrityError:
        raise ConflictError("conflict", "This call waits already.") from None
