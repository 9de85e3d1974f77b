"""Who may know of which grants and remembered denials, and which are due. Reads only."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TypeVar

from django.db.models import Q, QuerySet

from approvals.models import DenialMemory, Grant
from approvals.types import GrantStatus, Scope
from identity.authorization import authorize
from identity.roles import Permission
from identity.types import Principal, PrincipalKind

REMINDED_BEFORE = timedelta(days=7)

Row = TypeVar("Row", Grant, DenialMemory)


def visible_grants(principal: Principal, now: datetime) -> QuerySet[Grant]:
    """Return the grants this principal may know of; the rest do not exist for it."""
    return _visible(Grant.objects.all(), principal, "workspace_id", now)


def visible_denials(principal: Principal, now: datetime) -> QuerySet[DenialMemory]:
    """Return the denials that still count and that this principal may know of."""
    rows = DenialMemory.objects.filter(expires_at__gt=now)
    return _visible(rows, principal, "request__workspace_id", now)


def _visible(rows: QuerySet[Row], principal: Principal, workspace: str, now: datetime) -> QuerySet[Row]:
    """Agents see their own, owners those of their agents, readers those of their workspace."""
    own = Q(principal_id=principal.id)
    if principal.kind is not PrincipalKind.USER:
        return rows.filter(own)
    own |= Q(request__requester_owner_id=principal.id)
    if principal.instance_roles and _reads(principal, "", now):
        return rows
    if _reads(principal, principal.workspace_id, now):
        own |= Q(**{workspace: principal.workspace_id})
    return rows.filter(own)


def _reads(principal: Principal, workspace_id: str, now: datetime) -> bool:
    return authorize(
        principal, Permission.APPROVALS_READ, workspace_id=workspace_id, flags=principal.flags, now=now
    ).allowed


def in_state(states: list[str], now: datetime) -> Q:
    """Return the WHERE clause of states as they are shown: a grant whose time is over is expired."""
    clause = Q(pk__in=())
    for state in states:
        if state == GrantStatus.ACTIVE:
            clause |= Q(status=state, expires_at__gt=now)
        elif state == GrantStatus.EXPIRED:
            clause |= Q(status=state) | Q(status=GrantStatus.ACTIVE, expires_at__lte=now)
        else:
            clause |= Q(status=state)
    return clause


def shown_state(grant: Grant, now: datetime) -> str:
    """Return the state of a grant as it counts at `now`."""
    over = grant.status == GrantStatus.ACTIVE and grant.expires_at <= now
    return GrantStatus.EXPIRED.value if over else grant.status


def grants_to_expire(now: datetime, limit: int) -> tuple[str, ...]:
    """Return up to `limit` active grants whose time is over, the oldest first."""
    due = Grant.objects.filter(status=GrantStatus.ACTIVE, expires_at__lte=now).order_by("expires_at")
    return tuple(due.values_list("pk", flat=True)[:limit])


def grants_to_remind_of(now: datetime, limit: int) -> tuple[str, ...]:
    """Return up to `limit` lasting grants that end within seven days and of which nobody was told."""
    due = Grant.objects.filter(
        status=GrantStatus.ACTIVE,
        scope=Scope.ALWAYS,
        reminded_at__isnull=True,
        expires_at__gt=now,
        expires_at__lte=now + REMINDED_BEFORE,
    )
    return tuple(due.order_by("expires_at").values_list("pk", flat=True)[:limit])
