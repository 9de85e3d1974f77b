"""How a grant ends before it is used up, and who hears of it in time."""

from __future__ import annotations

from datetime import datetime

from approvals.answers import checked_comment
from approvals.lifecycle import GRANT_ALLOWED
from approvals.models import Grant
from approvals.types import GrantStatus
from kernel.clock import wire_time
from kernel.errors import ConflictError, NotFoundError
from kernel.record import Actor, Record, system_actor
from kernel.state import transition


def revoke_grant(*, grant_id: str, comment: str, actor: Actor, now: datetime, record: Record) -> Grant:
    """Take an active grant back: no claim after the commit uses it. Uses that were made stay made.

    Raises InvalidError `comment_required`, NotFoundError, and ConflictError `conflict` for a grant that
    is used up, over or revoked already.
    """
    words = checked_comment(comment, required=True)
    grant = Grant.objects.select_for_update().filter(pk=grant_id).first()
    if grant is None:
        raise NotFoundError("not_found", "There is no such grant.")
    if grant.status != GrantStatus.ACTIVE or grant.expires_at <= now:
        raise ConflictError("conflict", "The grant has ended already.")
    end_grant(grant_id, GrantStatus.REVOKED, revoked_by=actor.id, revoked_at=now, revoke_reason=words)
    grant.refresh_from_db()
    record(
        event="grant.revoked",
        actor=actor,
        subject=grant.pk,
        now=now,
        data={"scope": grant.scope, "uses": grant.uses, "comment": words},
        run=grant.run_id or None,
    )
    return grant


def expire_grant(*, grant_id: str, now: datetime, record: Record) -> None:
    """Make visible that a grant's time is over. ConflictError when it ended or is not due."""
    grant = Grant.objects.select_for_update().filter(pk=grant_id).first()
    if grant is None or now < grant.expires_at:
        raise ConflictError("conflict", "The grant is not due.")
    end_grant(grant_id, GrantStatus.EXPIRED)
    record(
        event="grant.expired",
        actor=system_actor("sweeper"),
        subject=grant.pk,
        now=now,
        data={"scope": grant.scope, "uses": grant.uses},
        run=grant.run_id or None,
    )


def remind_of_grant(*, grant_id: str, now: datetime, record: Record) -> None:
    """Say once that a lasting grant ends soon. ConflictError when that was said or it has ended."""
    rows = Grant.objects.filter(
        pk=grant_id, status=GrantStatus.ACTIVE, reminded_at__isnull=True, expires_at__gt=now
    )
    if rows.update(reminded_at=now) != 1:
        raise ConflictError("conflict", "There is nothing to remind of.")
    grant = Grant.objects.select_related("request").get(pk=grant_id)
    record(
        event="grant.expiring",
        actor=system_actor("sweeper"),
        subject=grant.pk,
        now=now,
        data={
            "principal": grant.principal_id,
            "owner": grant.request.requester_owner_id,
            "tool": grant.tool,
            "expires_at": wire_time(grant.expires_at),
        },
    )


def end_grant(grant_id: str, target: GrantStatus, **changes: object) -> None:
    """Move an active grant to its end by compare-and-set; ConflictError `state_changed` otherwise."""
    transition(
        Grant.objects.filter(pk=grant_id),
        GRANT_ALLOWED,
        source=GrantStatus.ACTIVE,
        target=target,
        column="status",
        **changes,
    )
