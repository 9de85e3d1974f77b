"""Fatigue limits: whoever is asked too often stops reading (approvals part §3.10)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil

from django.db.models import QuerySet

from approvals.eligibility import DECIDED_WITH
from approvals.models import ApprovalRequest
from approvals.types import NewRequest, RequestStatus
from identity.agent_limits import AskLimits, limits_from
from identity.models import Agent
from identity.roles import MATRIX

HOUR = timedelta(hours=1)
MOST_PENDING_OF_A_ROLE = 200


@dataclass(frozen=True, slots=True)
class TooMuch:
    """Which limit is reached, and after how many seconds asking again may succeed; None for never."""

    limit: str
    most: int
    retry_after: int | None


def asks_too_much(request: NewRequest, now: datetime) -> TooMuch | None:
    """Return the first limit that one more question would break, or None.

    Within the caller's transaction, which holds the run's turn; questions of one agent take turns here.
    """
    limits = _limits_of(request)
    return (
        _in_run(request, limits, now)
        or _in_hour(request, limits.asks_per_hour, now)
        or _of_roles(request, now)
    )


def _limits_of(request: NewRequest) -> AskLimits:
    """Return the agent's limits and keep its other runs from asking until the transaction ends."""
    agent = Agent.objects.select_for_update(no_key=True).filter(pk=request.requester_id).first()
    return limits_from(agent.limits if agent else {})


def _in_run(request: NewRequest, limits: AskLimits, now: datetime) -> TooMuch | None:
    if not request.run_id:
        return None
    asked = ApprovalRequest.objects.filter(run_id=request.run_id, requester_id=request.requester_id)
    if asked.count() >= limits.asks_per_run:
        return TooMuch("asks_per_run", limits.asks_per_run, None)
    waiting = _waiting(asked, now)
    if waiting.count() >= limits.pending_per_run:
        return TooMuch("pending_per_run", limits.pending_per_run, _until_one_ends(waiting, now))
    return None


def _in_hour(request: NewRequest, most: int, now: datetime) -> TooMuch | None:
    """Of the last `most` questions the oldest has to be an hour old."""
    lately = ApprovalRequest.objects.filter(
        requester_id=request.requester_id, requested_at__gt=now - HOUR
    ).order_by("-requested_at")
    oldest = lately.values_list("requested_at", flat=True)[most - 1 : most].first()
    return None if oldest is None else TooMuch("asks_per_hour", most, _seconds(oldest + HOUR, now))


def _of_roles(request: NewRequest, now: datetime) -> TooMuch | None:
    waiting = _waiting(ApprovalRequest.objects.filter(workspace_id=request.workspace_id), now)
    if waiting.count() < MOST_PENDING_OF_A_ROLE:
        return None
    load = Counter(
        role
        for subject_type, obligations in waiting.values_list("subject_type", "obligations")
        for role in _roles_asked(subject_type, obligations["role_sets"])
    )
    asked = _roles_asked(request.subject_type, request.obligation.role_sets)
    if all(load[role] < MOST_PENDING_OF_A_ROLE for role in asked):
        return None
    return TooMuch("pending_per_role", MOST_PENDING_OF_A_ROLE, _until_one_ends(waiting, now))


def _roles_asked(subject_type: str, role_sets: object) -> frozenset[str]:
    """Return the roles that see such a question as theirs: those it names, else all that may decide."""
    named = frozenset(
        str(role) for roles in (role_sets if isinstance(role_sets, list | tuple) else ()) for role in roles
    )
    return named or frozenset(role.value for role in MATRIX[DECIDED_WITH[subject_type]])


def _waiting(rows: QuerySet[ApprovalRequest], now: datetime) -> QuerySet[ApprovalRequest]:
    return rows.filter(status=RequestStatus.PENDING, expires_at__gt=now)


def _until_one_ends(waiting: QuerySet[ApprovalRequest], now: datetime) -> int:
    soonest = waiting.order_by("expires_at").values_list("expires_at", flat=True).first()
    return _seconds(soonest or now, now)


def _seconds(moment: datetime, now: datetime) -> int:
    return max(1, ceil((moment - now).total_seconds()))
