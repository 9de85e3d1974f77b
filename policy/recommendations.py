"""What the last two weeks say about postures: where a person is asked in vain, and where too much is open."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import reduce

from policy.posture import Scope, effective_posture
from policy.types import EffectivePosture, PostureRow, PostureState, Risk, ToolFacts

WINDOW = timedelta(days=14)
UNUSED = timedelta(days=30)
LEAST_APPROVED = 5
LEAST_SESSIONS = 2
LEAST_DENIED = 3
DENIED_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class FrictionFacts:
    """How often a tool asked within `WINDOW`, in one scope. `last_at`: its last call, asked or not.

    `scope` is the chain that leads there, broadest first; `sessions` counts those in which it asked.
    Calls without a session count as one session of their agent.
    """

    tool: str
    scope: tuple[Scope, ...]
    requested: int = 0
    approved: int = 0
    denied: int = 0
    expired: int = 0
    pending: int = 0
    sessions: int = 0
    last_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class StoredOverride:
    """One override, the chain that leads to it, and when it was written.

    One without `since` counts in the chain and is not judged itself: nobody looked at all its calls.
    """

    tool: str
    row: PostureRow
    chain: tuple[Scope, ...]
    since: datetime | None


@dataclass(frozen=True, slots=True)
class PutOff:
    """A recommendation that somebody does not want to see until then."""

    recommendation_id: str
    until: datetime


@dataclass(frozen=True, slots=True)
class Recommendation:
    """A change of one override and what speaks for it. `kind` is loosen or tighten."""

    kind: str
    tool: str
    scope: Scope
    current: str
    target: str
    reason: str
    facts: FrictionFacts

    @property
    def id(self) -> str:
        return f"rec:{self.kind}:{self.scope[0]}:{self.scope[1]}:{self.tool}:{self.target}"


def recommend(
    facts: Sequence[FrictionFacts],
    overrides: Sequence[StoredOverride],
    tools: Sequence[ToolFacts],
    answers: Sequence[PutOff],
    now: datetime,
) -> tuple[Recommendation, ...]:
    """Return what holds now and nobody has put off, by tool. `tools` are those that nothing locks.

    A scope is proposed that is the narrowest to hold all requests of the tool.
    """
    hidden = {answer.recommendation_id for answer in answers if answer.until > now}
    by_tool: dict[str, list[FrictionFacts]] = defaultdict(list)
    for one in facts:
        by_tool[one.tool].append(one)
    rows: dict[str, list[StoredOverride]] = defaultdict(list)
    for stored in overrides:
        rows[stored.tool].append(stored)
    found = (
        recommendation
        for tool in sorted(tools, key=lambda tool: tool.name)
        for recommendation in _about(tool, by_tool[tool.name], rows[tool.name], now)
    )
    return tuple(one for one in found if one.id not in hidden)


def _about(
    tool: ToolFacts, facts: list[FrictionFacts], stored: list[StoredOverride], now: datetime
) -> Iterator[Recommendation]:
    asked = [one for one in facts if one.requested]
    if asked:
        target = _by_friction(tool, asked)
        if target is not None and _would_count(tool, asked, stored, target, now):
            total = _sum(asked)
            yield Recommendation(
                "loosen" if target == PostureState.ALWAYS_ALLOW else "tighten",
                tool.name, total.scope[-1], PostureState.ASK_EACH_TIME, target, _words(total), total,
            )  # fmt: skip
    yield from _unused(tool, facts, stored, now)


def _by_friction(tool: ToolFacts, asked: list[FrictionFacts]) -> PostureState | None:
    """Return the state that the answers of people speak for, or None."""
    total = _sum(asked)
    if total.denied >= LEAST_DENIED and total.denied >= DENIED_SHARE * total.requested:
        return PostureState.DISABLED
    in_vain = total.approved >= LEAST_APPROVED and not (total.denied or total.expired or total.pending)
    harmless = Risk(tool.risk).rank <= Risk.MEDIUM.rank and not tool.sinks
    if in_vain and harmless and total.sessions >= LEAST_SESSIONS:
        return PostureState.ALWAYS_ALLOW
    return None


def _would_count(
    tool: ToolFacts,
    asked: list[FrictionFacts],
    stored: list[StoredOverride],
    target: PostureState,
    now: datetime,
) -> bool:
    """Tell whether the tool asks wherever it asked, and a row in the common scope would change all that."""
    common = _sum(asked).scope
    if not common:
        return False
    kind, identifier = common[-1]
    rows = [one.row for one in stored]
    others = [row for row in rows if (row.scope_kind, row.scope_id) != (kind, identifier)]
    changed = [*others, PostureRow(kind, identifier, target)]
    return all(
        _posture(tool, one.scope, rows, now).state == PostureState.ASK_EACH_TIME
        and _posture(tool, one.scope, changed, now).state == target
        for one in (*asked, _sum(asked))
    )


def _unused(
    tool: ToolFacts, facts: list[FrictionFacts], stored: list[StoredOverride], now: datetime
) -> Iterator[Recommendation]:
    rows = [one.row for one in stored]
    for one in stored:
        place = (one.row.scope_kind, one.row.scope_id)
        posture = _posture(tool, one.chain, rows, now)
        decides = posture.source_scope == one.row.scope_kind and posture.state == PostureState.ALWAYS_ALLOW
        if not decides or one.since is None or one.since > now - UNUSED:
            continue
        calls = [fact.last_at for fact in facts if fact.last_at is not None and place in fact.scope]
        last = max(calls, default=None)
        if last is not None and last > now - UNUSED:
            continue
        yield Recommendation(
            "tighten", tool.name, place, PostureState.ALWAYS_ALLOW, PostureState.ASK_EACH_TIME,
            f"Always allowed, and not called for {UNUSED.days} days.",
            FrictionFacts(tool.name, (place,), last_at=last),
        )  # fmt: skip


def _sum(facts: list[FrictionFacts]) -> FrictionFacts:
    """Return the facts of the narrowest scope that holds all of these."""
    calls = [one.last_at for one in facts if one.last_at is not None]
    return FrictionFacts(
        tool=facts[0].tool,
        scope=reduce(_common, (one.scope for one in facts)),
        requested=sum(one.requested for one in facts),
        approved=sum(one.approved for one in facts),
        denied=sum(one.denied for one in facts),
        expired=sum(one.expired for one in facts),
        pending=sum(one.pending for one in facts),
        sessions=sum(one.sessions for one in facts),
        last_at=max(calls, default=None),
    )


def _common(left: tuple[Scope, ...], right: tuple[Scope, ...]) -> tuple[Scope, ...]:
    length = next(
        (n for n, (one, other) in enumerate(zip(left, right, strict=False)) if one != other),
        min(len(left), len(right)),
    )
    return left[:length]


def _posture(
    tool: ToolFacts, chain: Sequence[Scope], rows: Sequence[PostureRow], now: datetime
) -> EffectivePosture:
    return effective_posture(
        requires_approval=tool.requires_approval, chain=chain, overrides=rows, locks=(), now=now
    )


def _words(total: FrictionFacts) -> str:
    if total.denied:
        return f"Denied {total.denied} of {total.requested} times in {WINDOW.days} days."
    often = f"Allowed {total.approved} times in {total.sessions} sessions"
    return f"{often} and never refused, in {WINDOW.days} days."
