"""How far an answer reaches: which scopes a risk and a policy leave, and what each of them opens.

The table of the approvals part, §3.5. A risk, a scope or a subject that is not known gets the least.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from approvals.patterns import BoundPattern, narrower_or_equal
from approvals.types import GrantStatus, Risk, Scope, SubjectType

ONCE_LIFE = timedelta(minutes=15)
SESSION_LIFE = timedelta(hours=12)
ALWAYS_LIFE = timedelta(days=90)
SHORTEST_TTL_MS = 60_000
LONGEST_TTL_MS = 2_592_000_000
LONGEST_HIGH_TTL_MS = 28_800_000
SESSION_USES = 100
TEMPORARY_USES = 1_000

RISKS: tuple[str, ...] = (Risk.LOW, Risk.MEDIUM, Risk.HIGH, Risk.CRITICAL)
"""From the least to the greatest."""
SCOPES: tuple[Scope, ...] = (Scope.ONCE, Scope.SESSION, Scope.TEMPORARY, Scope.ALWAYS)
"""From the narrowest to the widest."""
REPEATED: frozenset[str] = frozenset(
    {
        SubjectType.TOOL,
        SubjectType.SKILL,
        SubjectType.CHANNEL_SEND,
        SubjectType.SECRET_ACCESS,
        SubjectType.BROWSER_ACTION,
        SubjectType.NODE_CAPABILITY,
    }
)
"""Subjects that come again as calls. Any other is a single act, which only `once` can allow."""
_UP_TO = {
    Scope.ONCE: Risk.CRITICAL,
    Scope.SESSION: Risk.HIGH,
    Scope.TEMPORARY: Risk.HIGH,
    Scope.ALWAYS: Risk.MEDIUM,
}


class NotOffered(StrEnum):
    """Why a scope cannot be chosen."""

    SUBJECT = "subject"
    RISK = "risk"
    POLICY = "policy"


@dataclass(frozen=True, slots=True)
class GrantTerms:
    """When a grant begins and ends, and how often it may be used; None is as often as one likes."""

    scope: Scope
    not_before: datetime
    expires_at: datetime
    uses_allowed: int | None


@dataclass(frozen=True, slots=True)
class Allow:
    """How far one of several people who allowed would let the request reach."""

    scope: Scope
    ttl_ms: int | None
    pattern: BoundPattern


def allowed_scopes(risk: str, max_scope: str, subject_type: str = SubjectType.TOOL) -> frozenset[Scope]:
    """Return the scopes an answer may have. `max_scope` is the widest that policy leaves."""
    return frozenset(SCOPES) - offered(risk, max_scope, subject_type).keys()


def offered(risk: str, max_scope: str, subject_type: str = SubjectType.TOOL) -> Mapping[Scope, NotOffered]:
    """Return each scope that is not offered with its reason, narrowest first; `once` always is."""
    refused: dict[Scope, NotOffered] = {}
    widest = SCOPES.index(Scope(max_scope)) if max_scope in SCOPES else 0
    for place, scope in enumerate(SCOPES):
        if scope is Scope.ONCE:
            continue
        if subject_type not in REPEATED:
            refused[scope] = NotOffered.SUBJECT
        elif _height(risk) > _height(_UP_TO[scope]):
            refused[scope] = NotOffered.RISK
        elif place > widest:
            refused[scope] = NotOffered.POLICY
    return refused


def longest_ttl_ms(risk: str) -> int:
    """Return the longest `temporary` grant of a risk: 8 hours from high on, 30 days below."""
    return LONGEST_TTL_MS if _height(risk) < _height(Risk.HIGH) else LONGEST_HIGH_TTL_MS


def is_at_most(risk: str, ceiling: str) -> bool:
    """Tell whether a risk is no greater than another; a risk that is not known never is."""
    return risk in RISKS and ceiling in RISKS and _height(risk) <= _height(ceiling)


def grant_terms(
    scope: Scope = Scope.ONCE,
    ttl_ms: int | None = None,
    *,
    covered_calls: int = 1,
    max_uses: int | None = None,
    session_ends_at: datetime | None = None,
    now: datetime,
) -> GrantTerms:
    """Return the terms of a grant decided at `now`, in milliseconds for `ttl_ms`.

    `once` is one use per covered call. `ttl_ms` is what `temporary` lasts; with any other scope it only
    shortens, which is how the shortest of several answers holds. `max_uses` only lowers. Raises
    ValueError for terms that no checked answer has.
    """
    if covered_calls < 1:
        raise ValueError("a grant covers at least one call")
    if ttl_ms is not None and not SHORTEST_TTL_MS <= ttl_ms <= LONGEST_TTL_MS:
        raise ValueError("a duration is 60,000 to 2,592,000,000 ms")
    ends = [now + _life(scope, ttl_ms)]
    if ttl_ms is not None:
        ends.append(now + timedelta(milliseconds=ttl_ms))
    if scope is Scope.SESSION and session_ends_at is not None:
        ends.append(session_ends_at)
    limits = (_uses(scope, covered_calls), max_uses)
    uses = min((limit for limit in limits if limit is not None), default=None)
    if min(ends) <= now or (uses is not None and uses < 1):
        raise ValueError("a grant lasts and can be used")
    return GrantTerms(scope, now, min(ends), uses)


def narrowest(allows: Sequence[Allow]) -> tuple[Scope, int | None, BoundPattern]:
    """Return what several allows of one request have in common: scope, ttl and pattern.

    The narrowest scope, the shortest ttl of all that name one, the pattern that is within every other.
    Without such a pattern nobody agreed to more than the call itself: exactly that, `once`.
    """
    if not allows:
        raise ValueError("nobody allowed")
    ttl = min((allow.ttl_ms for allow in allows if allow.ttl_ms is not None), default=None)
    scope = min((allow.scope for allow in allows), key=SCOPES.index)
    patterns = [allow.pattern for allow in allows]
    within = next((one for one in patterns if all(narrower_or_equal(one, other) for other in patterns)), None)
    if within is None or scope is Scope.ONCE:
        return Scope.ONCE, ttl, patterns[0].exact()
    return scope, ttl, within


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


def _height(risk: str) -> int:
    return RISKS.index(risk) if risk in RISKS else len(RISKS)


def _life(scope: Scope, ttl_ms: int | None) -> timedelta:
    if scope is Scope.ONCE:
        return ONCE_LIFE
    if scope is Scope.SESSION:
        return SESSION_LIFE
    if scope is Scope.ALWAYS:
        return ALWAYS_LIFE
    if ttl_ms is None:
        raise ValueError("a temporary grant has a duration")
    return timedelta(milliseconds=ttl_ms)


def _uses(scope: Scope, covered_calls: int) -> int | None:
    return {
        Scope.ONCE: covered_calls,
        Scope.SESSION: SESSION_USES,
        Scope.TEMPORARY: TEMPORARY_USES,
        Scope.ALWAYS: None,
    }[scope]
