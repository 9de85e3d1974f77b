"""Which patterns an approver is offered, and what each would have covered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from approvals.fields import ToolShape
from approvals.patterns import EXACT, BoundPattern, bind, matches


@dataclass(frozen=True, slots=True)
class PastAsk:
    """An earlier question of the same agent about the same tool, and whether a person said no."""

    parameters: Mapping[str, object]
    denied: bool


@dataclass(frozen=True, slots=True)
class Candidate:
    """A pattern in words, and how many of the earlier questions it would have answered."""

    bound: BoundPattern
    sentence: str
    covers_asks: int
    covers_matched: int


def candidates(
    parameters: Mapping[str, object], definition: ToolShape, history: Sequence[PastAsk]
) -> tuple[Candidate, ...]:
    """Return the patterns to choose from, narrowest first; the first is the call itself."""
    exact = bind(EXACT, parameters, definition)
    matched = sum(matches(exact, ask.parameters) for ask in history)
    return (Candidate(exact, "Exactly this call", len(history), matched),)


def pattern_covers_denied(bound: BoundPattern, history: Sequence[PastAsk]) -> bool:
    """Tell whether a pattern would allow what somebody denied."""
    return any(ask.denied and matches(bound, ask.parameters) for ask in history)
