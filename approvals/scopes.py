"""How far an answer reaches. Only `once` is offered: the waiting calls of one request."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from approvals.types import GrantStatus, Scope

ONCE_LIFE = timedelta(minutes=15)
OFFERED: frozenset[str] = frozenset({Scope.ONCE})


@dataclass(frozen=True, slots=True)
class GrantTerms:
    """When a grant begins and ends, and how often it may be used."""

    scope: Scope
    not_before: datetime
    expires_at: datetime
    uses_allowed: int


def grant_terms(*, covered_calls: int, now: datetime) -> GrantTerms:
    """Return the terms of scope `once`: one use per covered call, 15 minutes from the decision."""
    if covered_calls < 1:
        raise ValueError("a grant covers at least one call")
    return GrantTerms(Scope.ONCE, now, now + ONCE_LIFE, covered_calls)


def unusable_because(
    *,
    status: str,
    not_before: datetime,
    expires_at: datetime,
    uses: int,
    uses_allowed: int | None,
    now: datetime,
) -> str | None:
    """Return the reason code why a grant cannot be used at `now`, or None when it can."""
    if status == GrantStatus.REVOKED:
        return "approval.grant_revoked"
    if status == GrantStatus.CONSUMED or (uses_allowed is not None and uses >= uses_allowed):
        return "approval.grant_consumed"
    if status != GrantStatus.ACTIVE or not not_before <= now < expires_at:
        return "approval.grant_expired"
    return None
