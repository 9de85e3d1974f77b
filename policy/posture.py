"""Posture: what the chain of overrides comes to for one tool. Stricter always wins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from kernel.errors import AuthenticationError, ConflictError, InvalidError
from policy.types import Code, EffectivePosture, PostureRow, PostureState, Risk, ScopeKind, ToolCapability

FRESH_OTP = timedelta(minutes=5)
MAX_HIGH = timedelta(days=30)
MAX_PROCESS = timedelta(hours=24)
MAX_REASON = 500

Scope = tuple[str, str]
_ANY_NARROWER = PostureRow("narrower", "*", PostureState.ALWAYS_ALLOW)
_STRICTNESS = (PostureState.ALWAYS_ALLOW, PostureState.ASK_EACH_TIME, PostureState.DISABLED)


@dataclass(frozen=True, slots=True)
class Place:
    """A scope with what contains it. `workspace_id` is empty for global only; a session names its agent."""

    kind: str
    id: str
    workspace_id: str = ""
    agent_id: str | None = None

    @property
    def scope(self) -> Scope:
        return (self.kind, self.id)

    @property
    def chain(self) -> tuple[Scope, ...]:
        """The scopes that apply here, broadest first; this one is the last."""
        if self.kind == ScopeKind.GLOBAL:
            return ((ScopeKind.GLOBAL, ""),)
        session_id = self.id if self.kind == ScopeKind.SESSION else None
        agent_id = self.agent_id if self.kind != ScopeKind.WORKSPACE else None
        return scope_chain(workspace_id=self.workspace_id, agent_id=agent_id, session_id=session_id)

    @property
    def broader(self) -> tuple[Scope, ...]:
        return self.chain[:-1]


GLOBAL = Place(ScopeKind.GLOBAL, "")


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


def require_unshadowed(state: str, broader: Sequence[PostureRow]) -> None:
    """Raise ConflictError `posture_shadowed` for a row that could never count.

    That is a looser row below a disabled one, or an always_allow below an ask that may not be overridden.
    """
    reason = shadow_over(state, broader)
    if reason:
        raise ConflictError("posture_shadowed", reason)


def shadow_over(state: str, broader: Sequence[PostureRow]) -> str:
    """Return why a row of this state could never count below those of broader scopes, or an empty text."""
    if state != PostureState.DISABLED and any(row.state == PostureState.DISABLED for row in broader):
        return "A broader scope switches this tool off."
    pinned = any(row.state == PostureState.ASK_EACH_TIME and not row.overridable for row in broader)
    if state == PostureState.ALWAYS_ALLOW and pinned:
        return "A broader scope asks each time and may not be overridden."
    return ""


def loosens(
    *,
    before: PostureRow | None,
    after: PostureRow | None,
    place: Place,
    broader: Sequence[PostureRow],
    requires_approval: bool,
    now: datetime,
) -> bool:
    """Tell whether a tool would be freer at any moment from `now` on if `after` stood in `before`'s place.

    The row is weighed with what stands above it now, as if nothing stood above it, and as a narrower
    scope feels it: all three have to come out no freer. An always_allow that somebody wrote is freer
    than one by default, since only the former answers for a sensitive tool.
    """
    ends = [row.expires_at for row in (before, after, *broader) if row is not None and row.expires_at]
    moments = [now, *(end for end in ends if end > now)]
    narrower = (None,) if place.kind == ScopeKind.SESSION else (None, _ANY_NARROWER)
    return any(
        _freedom((*above, after, below), requires_approval, at)
        > _freedom((*above, before, below), requires_approval, at)
        for above in (tuple(broader), ())
        for below in narrower
        for at in moments
    )


def require_code(otp_verified_at: datetime | None, now: datetime) -> None:
    """Raise AuthenticationError `step_up_required` without a one-time code of the last five minutes."""
    if otp_verified_at is None or not now - FRESH_OTP <= otp_verified_at <= now:
        raise AuthenticationError("step_up_required", "A fresh one-time code is required.")


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
    require_code(otp_verified_at, now)


def _freedom(rows: Sequence[PostureRow | None], requires_approval: bool, at: datetime) -> tuple[int, bool]:
    """Return how free a tool is under these rows, broadest first; more is freer."""
    standing = [row for row in rows if row is not None]
    found = effective_posture(
        requires_approval=requires_approval,
        chain=[(row.scope_kind, row.scope_id) for row in standing],
        overrides=standing,
        locks=(),
        now=at,
    )
    return (
        -_STRICTNESS.index(PostureState(found.state)),
        found.explicit and found.state == PostureState.ALWAYS_ALLOW,
    )


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
