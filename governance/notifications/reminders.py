"""Requests that nobody who may answer has opened by the half of their time."""

from __future__ import annotations

from datetime import datetime

from django.db.models import DurationField, ExpressionWrapper, F, Value

from approvals.models import ApprovalRequest
from approvals.types import RequestStatus
from kernel.clock import wire_time
from kernel.record import Actor, Record


def unopened_ids(now: datetime, limit: int) -> tuple[str, ...]:
    """Return pending requests, past the half of their time, that nobody opened or was reminded of."""
    gone = ExpressionWrapper(Value(now) - F("requested_at"), output_field=DurationField())
    left = ExpressionWrapper(F("expires_at") - Value(now), output_field=DurationField())
    rows = ApprovalRequest.objects.filter(
        status=RequestStatus.PENDING, seen_at__isnull=True, reminded_at__isnull=True, expires_at__gt=now
    )
    due = rows.annotate(gone=gone, left=left).filter(gone__gte=F("left")).order_by("expires_at")
    return tuple(due.values_list("pk", flat=True)[:limit])


def remind(*, request_id: str, actor: Actor, now: datetime, record: Record) -> bool:
    """Record `approval.reminded` once; False when somebody opened, closed or reminded meanwhile."""
    rows = ApprovalRequest.objects.filter(
        pk=request_id,
        status=RequestStatus.PENDING,
        seen_at__isnull=True,
        reminded_at__isnull=True,
        expires_at__gt=now,
    )
    if rows.update(reminded_at=now) != 1:
        return False
    request = ApprovalRequest.objects.get(pk=request_id)
    record(
        event="approval.reminded",
        actor=actor,
        subject=request.pk,
        now=now,
        data={"risk": request.risk, "expires_at": wire_time(request.expires_at)},
        run=request.run_id or None,
    )
    return True
