"""Which patterns an approver is offered, and what each would have covered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from approvals import commands
from approvals.constraints import Constraint, Op
from approvals.fields import Kind, ToolShape, fields_of
from approvals.hosts import origin_of
from approvals.paths import path_parts
from approvals.patterns import (
    EXACT,
    BoundPattern,
    Pattern,
    Rest,
    bind,
    breadth,
    matches,
)
from approvals.pointers import find
from approvals.sentences import sentence
from approvals.types import Risk
from kernel.errors import InvalidError

MOST = 5
HISTORY = 50
"""Over how many earlier questions a candidate is counted."""


@dataclass(frozen=True, slots=True)
class PastAsk:
    """An earlier question of the same agent about the same tool, and whether a person said no.

    Without `parameters` it is too large to be compared: then any pattern may cover it.
    """

    parameters: Mapping[str, object] | None
    denied: bool


@dataclass(frozen=True, slots=True)
class Candidate:
    """A pattern in words, and how many of the earlier questions it would have answered.

    None of those it matched was denied.
    """

    bound: BoundPattern
    sentence: str
    covers_asks: int
    covers_matched: int


def candidates(
    parameters: Mapping[str, object],
    definition: ToolShape,
    history: Sequence[PastAsk],
    *,
    risk: str = Risk.CRITICAL,
) -> tuple[Candidate, ...]:
    """Return the patterns to choose from, at most five, narrowest first; the first is the call itself.

    Each is within the limits of `bind` and covers none of the denied asks of `history`, whose first 50, the
    newest, are what the counts are over. The whole tool comes last, for a risk of at most medium. A call of
    which nothing can be widened, such as one of a shell, has the first only. InvalidError `invalid` for
    parameters without a canonical form.
    """
    asks = history[:HISTORY]
    exact = bind(EXACT, parameters, definition)
    wider: list[BoundPattern] = []
    for pattern in _patterns(parameters, definition, risk):
        bound = _bound(pattern, parameters, definition)
        if bound is None or bound.is_exact or bound in wider or pattern_covers_denied(bound, history):
            continue
        wider.append(bound)
    chosen = (exact, *_spread(sorted(wider, key=breadth)))
    return tuple(
        Candidate(
            bound,
            sentence(bound, definition),
            len(asks),
            sum(matches(bound, ask.parameters) for ask in asks),
        )
        for bound in chosen
    )


def pattern_covers_denied(bound: BoundPattern, history: Sequence[PastAsk]) -> bool:
    """Tell whether a pattern would allow what somebody denied; the call itself is decided anew."""
    return not bound.is_exact and any(
        ask.denied and (ask.parameters is None or matches(bound, ask.parameters)) for ask in history
    )


def _bound(pattern: Pattern, parameters: Mapping[str, object], definition: ToolShape) -> BoundPattern | None:
    try:
        return bind(pattern, parameters, definition)
    except InvalidError:
        return None


def _spread(wider: list[BoundPattern]) -> list[BoundPattern]:
    """Keep the narrowest and the widest when there are more than fit."""
    room = MOST - 1
    return wider if len(wider) <= room else [*wider[: room - 1], wider[-1]]


def _patterns(parameters: Mapping[str, object], definition: ToolShape, risk: str) -> Iterator[Pattern]:
    """Yield what could be offered, each by the fields it widens; `bind` refuses what goes too far."""
    reach, wide, numbers, texts = _widenings(parameters, definition)
    for constraints in (reach, numbers, texts, reach + numbers, reach + texts, wide + texts):
        if constraints:
            yield Pattern(tuple(sorted(constraints, key=lambda constraint: constraint.parts)))
    if risk in (Risk.LOW, Risk.MEDIUM):
        yield Pattern((), Rest.ANY)


def _widenings(
    parameters: Mapping[str, object], definition: ToolShape
) -> tuple[list[Constraint], list[Constraint], list[Constraint], list[Constraint]]:
    """Return constraints on where a call reaches, nearest and one step wider, on numbers and on texts."""
    near: list[Constraint] = []
    wide: list[Constraint] = []
    numbers: list[Constraint] = []
    texts: list[Constraint] = []
    runs_anywhere = definition.runs_programs and not definition.argv_template
    for parts, kind in fields_of(definition, parameters):
        value = find(parameters, parts)
        if kind is Kind.PATH and not runs_anywhere:
            near += _under(parts, value, 1)
            wide += _under(parts, value, 2) or _under(parts, value, 1)
        elif kind is Kind.HOST:
            found = _on_host(parts, value)
            near += found
            wide += found
        elif kind is Kind.ARGV:
            found = _arguments(parts, value)
            near += found
            wide += found
        elif kind in {Kind.NUMBER, Kind.AMOUNT}:
            numbers.append(Constraint.of(parts, Op.LTE, value))
        elif kind is Kind.TEXT:
            texts.append(Constraint.of(parts, Op.ANY))
    return near, wide, numbers, texts


def _under(parts: tuple[str, ...], value: object, up: int) -> list[Constraint]:
    place = path_parts(value)
    if place is None or len(place) <= up:
        return []
    return [Constraint.of(parts, Op.PATH_PREFIX, "/".join(place[:-up]))]


def _on_host(parts: tuple[str, ...], value: object) -> list[Constraint]:
    origin = origin_of(value)
    if origin is None or not origin.scheme:
        return []
    return [Constraint.of(parts, Op.HOST, origin.text())]


def _arguments(parts: tuple[str, ...], value: object) -> list[Constraint]:
    """Return the vector with other files in the nearest directory that holds all of the approved ones."""
    tokens = commands.tokens_of(value) or ()
    places = [place for token in tokens if "/" in token and (place := commands.file_parts(token))]
    shared = _shared([place[:-1] for place in places])
    if not shared:
        return []
    filled = {"argv": list(tokens), "under": "/".join(shared)}
    return [Constraint.of(parts, Op.ARGV, filled)]


def _shared(places: list[tuple[str, ...]]) -> tuple[str, ...]:
    shared: list[str] = []
    for names in zip(*places, strict=False):
        if len(set(names)) != 1:
            break
        shared.append(names[0])
    return tuple(shared)
