"""Patterns: which other calls of a tool an answer covers (approvals part, §3.5).

A pattern widens some parameters of an approved call, one constraint each; every other parameter must
equal the approved one. Whatever is not understood is not covered.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from approvals.constraints import (
    Constraint as Constraint,
    Op as Op,
    accepts,
    is_within,
    parse_constraint,
    refuse,
    weight,
)
from approvals.fields import SECRETS_READ, ToolShape, runs_a_program
from approvals.fitting import fitted
from approvals.pointers import find, without
from kernel.canonical import canonical, digest
from kernel.errors import InvalidError

VERSION = 1
WHOLE_TOOL = 9
MAX_CONSTRAINTS = 32
MAX_PATTERN_BYTES = 16_384


class Rest(StrEnum):
    """What holds for the parameters that no constraint names."""

    EQUAL = "equal"
    ANY = "any"


@dataclass(frozen=True, slots=True)
class Pattern:
    """A pattern as somebody wrote it, well-formed and not yet tied to a call."""

    constraints: tuple[Constraint, ...] = ()
    rest: Rest = Rest.EQUAL

    def as_json(self) -> dict[str, object]:
        """Return the stored form; equal patterns have equal forms."""
        return {
            "v": VERSION,
            "constraints": [constraint.as_json() for constraint in self.constraints],
            "rest": self.rest.value,
        }


EXACT = Pattern()


@dataclass(frozen=True, slots=True)
class BoundPattern:
    """A pattern tied to the parameters somebody approved.

    `rest_digest` is over what no constraint names, empty for `rest: any`. `approved` is there only
    between `bind` and the end of a decision: it is not stored, compared or shown.
    """

    constraints: tuple[Constraint, ...]
    rest: Rest
    rest_digest: str
    approved: Mapping[str, object] | None = field(default=None, compare=False, repr=False)

    def as_json(self) -> dict[str, object]:
        """Return what a grant stores as its pattern."""
        return Pattern(self.constraints, self.rest).as_json()

    @property
    def is_exact(self) -> bool:
        """Whether only the approved call itself matches."""
        return self.rest is Rest.EQUAL and not self.constraints

    def exact(self) -> BoundPattern:
        """Return the pattern of the approved call and no other; ValueError after storage."""
        if self.approved is None:
            raise ValueError("a stored pattern no longer knows the approved call")
        return BoundPattern((), Rest.EQUAL, digest(self.approved), self.approved)


def parse_pattern(value: object) -> Pattern:
    """Return a pattern from JSON, its constraints in the order of their pointers.

    InvalidError `invalid` for what is no pattern, `pattern_too_broad` past a limit that no call can
    change. Two constraints never name one parameter, or one inside another.
    """
    if not isinstance(value, Mapping) or set(value) != {"v", "constraints", "rest"}:
        refuse("invalid", "A pattern has v, constraints and rest.")
    if value["v"] != VERSION or isinstance(value["v"], bool):
        refuse("invalid", "The version of a pattern is 1.", "/pattern/v")
    if not isinstance(value["rest"], str) or value["rest"] not in frozenset(Rest):
        refuse("invalid", "The rest is equal or any.", "/pattern/rest")
    listed = value["constraints"]
    if not isinstance(listed, list) or len(listed) > MAX_CONSTRAINTS:
        refuse("invalid", f"A pattern has at most {MAX_CONSTRAINTS} constraints.", "/pattern/constraints")
    constraints = tuple(
        parse_constraint(item, f"/pattern/constraints/{place}") for place, item in enumerate(listed)
    )
    rest = Rest(value["rest"])
    if rest is Rest.ANY and constraints:
        refuse("pattern_too_broad", "A whole tool takes no constraints.", "/pattern/rest")
    pattern = Pattern(tuple(sorted(constraints, key=lambda constraint: constraint.parts)), rest)
    _require_apart(pattern)
    if len(canonical(pattern.as_json())) > MAX_PATTERN_BYTES:
        refuse("invalid", f"A pattern has at most {MAX_PATTERN_BYTES} bytes.")
    return pattern


def bind(pattern: Pattern, approved: Mapping[str, object], definition: ToolShape) -> BoundPattern:
    """Tie a pattern to the parameters of an asked call of a tool, with all that the tool's schema limits.

    InvalidError `pattern_too_broad` when an op goes beyond its limits, does not fit its field, or does
    not match the approved parameters. What a constraint says without opening anything (`equals`,
    `absent`, a choice of one) goes to the rest. Binding what is bound to the same call changes nothing.
    """
    parameters = dict(approved)
    if pattern.rest is Rest.ANY:
        if SECRETS_READ in definition.capabilities or runs_a_program(definition, parameters):
            detail = "A tool that runs programs or reads secrets is never allowed as a whole."
            refuse("pattern_too_broad", detail, "/pattern/rest")
        canonical(parameters)
        return BoundPattern((), Rest.ANY, "", parameters)
    constraints = fitted(pattern.constraints, parameters, definition)
    places = tuple(constraint.parts for constraint in constraints)
    return BoundPattern(constraints, Rest.EQUAL, digest(without(parameters, places)), parameters)


def restored(stored: object, rest_digest: str) -> BoundPattern | None:
    """Return the pattern of a grant, or None for one that cannot be read, which then covers nothing."""
    try:
        pattern = parse_pattern(stored)
    except InvalidError:
        return None
    return BoundPattern(pattern.constraints, pattern.rest, rest_digest)


def matches(bound: BoundPattern, parameters: object) -> bool:
    """Tell whether a call with these parameters is covered. Total: whatever is not understood is not."""
    try:
        return _matches(bound, parameters)
    except Exception:
        return False


def narrower_or_equal(one: BoundPattern, other: BoundPattern) -> bool:
    """Tell whether `other` surely covers all that `one` covers; False when that is not known.

    Reflexive and transitive over patterns that `bind` made. One that comes out of storage does not know
    the approved values any more, so it is within another only if both constrain the same parameters.
    """
    try:
        return _is_within(one, other)
    except Exception:
        return False


def breadth(bound: BoundPattern) -> int:
    """Return 0 for the exact call up to 9 for the whole tool; what is within another is no broader."""
    if bound.rest is Rest.ANY:
        return WHOLE_TOOL
    return min(WHOLE_TOOL - 1, sum(map(weight, bound.constraints)))


def _require_apart(pattern: Pattern) -> None:
    places = [constraint.parts for constraint in pattern.constraints]
    for place, parts in enumerate(places):
        for later in places[place + 1 :]:
            if later[: len(parts)] == parts:
                detail = "Two constraints name one parameter, or one inside another."
                refuse("invalid", detail, "/pattern/constraints")


def _matches(bound: BoundPattern, parameters: object) -> bool:
    if not isinstance(parameters, dict):
        return False
    if bound.rest is Rest.ANY:
        canonical(parameters)
        return not bound.constraints
    for constraint in bound.constraints:
        if not accepts(constraint, find(parameters, constraint.parts)):
            return False
    places = tuple(constraint.parts for constraint in bound.constraints)
    return digest(without(parameters, places)) == bound.rest_digest


def _is_within(one: BoundPattern, other: BoundPattern) -> bool:
    if other.rest is Rest.ANY or one.rest is Rest.ANY:
        return other.rest is Rest.ANY
    mine = {constraint.parts: constraint for constraint in one.constraints}
    its = {constraint.parts: constraint for constraint in other.constraints}
    if not mine.keys() <= its.keys():
        return False
    if not all(is_within(constraint, its[parts]) for parts, constraint in mine.items()):
        return False
    if len(mine) == len(its):
        return one.rest_digest == other.rest_digest
    if one.approved is None:
        return False
    pinned = its.keys() - mine.keys()
    if not all(accepts(its[parts], find(one.approved, parts)) for parts in pinned):
        return False
    return digest(without(one.approved, tuple(its))) == other.rest_digest
