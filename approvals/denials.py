"""A person's no is remembered for one action of one principal, never for a whole tool."""

from __future__ import annotations

from datetime import datetime, timedelta

from approvals.answers import checked_comment
from approvals.models import ApprovalRequest, DenialMemory
from kernel.clock import wire_time
from kernel.errors import NotFoundError
from kernel.ids import new_id
from kernel.record import Actor, Record

REMEMBERED = timedelta(hours=24)


def remember_denial(request: ApprovalRequest, now: datetime) -> DenialMemory | None:
    """Keep the no to what a call would do; a question that no call waits on leaves nothing to repeat.

    A second no to the same action begins the term anew.
    """
    if not request.calls.exists():
        return None
    found, _ = DenialMemory.objects.update_or_create(
        principal_id=request.requester_id,
        action_digest=request.action_digest,
        defaults={"request": request, "created_at": now, "expires_at": now + REMEMBERED},
        create_defaults={
            "id": new_id("dnl", now),
            "request": request,
            "created_at": now,
            "expires_at": now + REMEMBERED,
        },
    )
    return found


def remembered_denial(*, principal_id: str, action_digest: str, now: datetime) -> DenialMemory | None:
    """Return the no that still counts for exactly this action, or None."""
    return DenialMemory.objects.filter(
        principal_id=principal_id, action_digest=action_digest, expires_at__gt=now
    ).first()


def forget_denial(
    *, denial_id: str, comment: str, actor: Actor, now: datetime, record: Record
) -> DenialMemory:
    """Let the action be asked about again.

    Raises InvalidError `comment_required`, NotFoundError for a no that is gone or over.
    """
    words = checked_comment(comment, required=True)
    found = DenialMemory.objects.select_for_update().filter(pk=denial_id, expires_at__gt=now).first()
    if found is None:
        raise NotFoundError("not_found", "There is no such denial.")
    record(
        event="approval.denial_forgotten",
        actor=actor,
        subject=found.request_id,
        now=now,
        data={
            "denial": found.pk,
            "principal": found.principal_id,
            "action_digest": found.action_digest,
            "would_expire_at": wire_time(found.expires_at),
            "comment": words,
        },
    )
    DenialMemory.objects.filter(pk=denial_id).delete()
    return found


def sweep_denials(now: datetime, limit: int) -> int:
    """Delete up to `limit` denials whose term is over; they stopped counting by themselves."""
    due = DenialMemory.objects.filter(expires_at__lte=now).order_by("expires_at")
    return DenialMemory.objects.filter(pk__in=list(due.values_list("pk", flat=True)[:limit])).delete()[0]
