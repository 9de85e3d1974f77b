"""Posture: what the chain of overrides comes to for one tool. Stricter always wins."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from kernel.errors import AuthenticationError, InvalidError
from policy.types import Code, EffectivePosture, PostureRow, PostureState, Risk, ScopeKind, ToolCapability

FRESH_OTP = timedelta(minutes=5)
MAX_HIGH = timedelta(days=30)
MAX_PROCESS = timedelta(hours=24)
MAX_REASON = 500

Scope = tuple[str, str]


def scope_chain(*, workspace_id: str, agent_id: str | None, session_id: str | None) -> tuple[Scope, ...]:
    """Return the scopes that apply, broadest first."""
    chain: list[Scope] = [(ScopeKind.GLOBAL, ""), (ScopeKind.WORKSPACE, workspace_id)]
    if agent_id:
        chain.append((ScopeKind.AGENT, agent_id))
    if session_id:
        chain.append((ScopeKind.SESSION, session_id))
    return tuple(chain)


def effective_posture(
    *,
    requires_approval: bool,
    chain: Sequence[Scope],
    overrides: Sequence[PostureRow],
    locks: Sequence[str],
    now: datetime,
) -> EffectivePosture:
    """Return the posture. A lock disables; disabled at any scope stays; then the narrowest row wins.

    A narrower always_allow does not loosen a broader ask_each_time that is not overridable.
    """
    default = PostureState.ASK_EACH_TIME if requires_approval else PostureState.ALWAYS_ALLOW
    rows = tuple(live_rows(chain, overrides, now))
    if locks:
        return _posture(PostureState.DISABLED, default, "lock", rows, lock=locks[0])
    disabled = [row for row in rows if row.state == PostureState.DISABLED]
    if disabled:
        return _posture(PostureState.DISABLED, default, disabled[0].scope_kind, rows, explicit=True)
    winner = _most_specific(rows)
    if winner is None:
        return _posture(default, default, "default", rows)
    return _posture(winner.state, default, winner.scope_kind, rows, explicit=True)


def unavailable(default_requires_approval: bool) -> EffectivePosture:
    """Return the posture when overrides cannot be read: disabled."""
    default = PostureState.ASK_EACH_TIME if default_requires_approval else PostureState.ALWAYS_ALLOW
    return _posture(PostureState.DISABLED, default, "lock", (), lock=Code.POSTURE_UNAVAILABLE)


def live_rows(chain: Sequence[Scope], overrides: Sequence[PostureRow], now: datetime) -> list[PostureRow]:
    """Return the rows of the chain that count at `now`, broadest first."""
    return [
        row
        for scope in chain
        for row in overrides
        if (row.scope_kind, row.scope_id) == scope and (row.expires_at is None or row.expires_at > now)
    ]


def is_shadowed(state: str, broader: Sequence[PostureRow]) -> bool:
    """Tell whether a looser row would stand below a disabled one, where it could never count."""
    return state != PostureState.DISABLED and any(row.state == PostureState.DISABLED for row in broader)


def check_loosening(
    *,
    state: str,
    risk: str,
    capabilities: frozenset[str],
    reason: str,
    expires_at: datetime | None,
    otp_verified_at: datetime | None,
    now: datetime,
) -> None:
    """Refuse an always_allow that is wider than a tool of this risk may have.

    Raises InvalidError `posture_too_loose`, or AuthenticationError `step_up_required` without a
    one-time code of the last five minutes.
    """
    if state != PostureState.ALWAYS_ALLOW or Risk(risk).rank < Risk.HIGH.rank:
        return
    if risk == Risk.CRITICAL:
        raise InvalidError("posture_too_loose", "A tool of critical risk is never always allowed.")
    longest = MAX_PROCESS if ToolCapability.PROCESS_EXEC in capabilities else MAX_HIGH
    if not reason.strip() or expires_at is None or expires_at > now + longest:
        raise InvalidError("posture_too_loose", f"Needs a reason and an end within {longest}.")
    if otp_verified_at is None or not now - FRESH_OTP <= otp_verified_at <= now:
        raise AuthenticationError("step_up_required", "A fresh one-time code is required.")


def _most_specific(rows: Sequence[PostureRow]) -> PostureRow | None:
    winner: PostureRow | None = None
    pinned = False
    for row in rows:
        if pinned and row.state == PostureState.ALWAYS_ALLOW:
            continue
        winner = row
        pinned = pinned or (row.state == PostureState.ASK_EACH_TIME and not row.overridable)
    return winner


def _posture(
    state: str,
    default: str,
    source: str,
    rows: tuple[PostureRow, ...],
    *,
    lock: str = "",
    explicit: bool = False,
) -> EffectivePosture:
    return EffectivePosture(
        state=str(state),
        default_state=str(default),
        source_scope=str(source),
        chain=rows,
        lock_reason=str(lock),
        editable=not lock,
        explicit=explicit,
    )
