"""Patterns: which other calls of a tool an answer covers (approvals part, §3.5)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NoReturn

from approvals.fields import ToolShape
from approvals.pointers import without
from kernel.canonical import digest
from kernel.errors import Detail, InvalidError

VERSION = 1
WHOLE_TOOL = 9


class Op(StrEnum):
    EQUALS = "equals"
    ONE_OF = "one_of"
    PATH_PREFIX = "path_prefix"
    HOST = "host"
    HOST_SUFFIX = "host_suffix"
    ARGV = "argv"
    LTE = "lte"
    RANGE = "range"
    ANY = "any"
    ABSENT = "absent"


class Rest(StrEnum):
    """What holds for the parameters that no constraint names."""

    EQUAL = "equal"
    ANY = "any"


@dataclass(frozen=True, slots=True)
class Constraint:
    """What one parameter may be. `value` is JSON; ops that need none have None."""

    pointer: str
    op: Op
    value: object = None

    def as_json(self) -> dict[str, object]:
        bare: dict[str, object] = {"pointer": self.pointer, "op": self.op.value}
        return bare if self.value is None else bare | {"value": self.value}


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

    def exact(self) -> BoundPattern:
        """Return the pattern of the approved call and no other; ValueError after storage."""
        if self.approved is None:
            raise ValueError("a stored pattern no longer knows the approved call")
        return BoundPattern((), Rest.EQUAL, digest(self.approved), self.approved)


def parse_pattern(value: object) -> Pattern:
    """Return a pattern from JSON, or raise InvalidError `invalid` or `pattern_too_broad`."""
    if not isinstance(value, Mapping) or set(value) != {"v", "constraints", "rest"}:
        _refuse("invalid", "A pattern has v, constraints and rest.")
    if value["v"] != VERSION or value["constraints"] != [] or value["rest"] != Rest.EQUAL:
        _refuse("pattern_too_broad", "Only the exact call is offered.")
    return EXACT


def bind(pattern: Pattern, approved: Mapping[str, object], definition: ToolShape) -> BoundPattern:
    """Tie a pattern to the parameters of an asked call of a tool.

    InvalidError `pattern_too_broad` when an op's limits are broken or the parameters do not match.
    """
    parameters = dict(approved)
    return BoundPattern(pattern.constraints, pattern.rest, digest(parameters), parameters)


def restored(stored: object, rest_digest: str) -> BoundPattern | None:
    """Return the pattern of a grant, or None for one that cannot be read, which then matches nothing."""
    try:
        pattern = parse_pattern(stored)
    except InvalidError:
        return None
    return BoundPattern(pattern.constraints, pattern.rest, rest_digest)


def matches(bound: BoundPattern, parameters: object) -> bool:
    """Tell whether a call with these parameters is covered. Total: whatever is not understood is not."""
    try:
        places: tuple[tuple[str, ...], ...] = ()
        return not bound.constraints and digest(without(parameters, places)) == bound.rest_digest
    except Exception:  # an exception is no match
        return False


def narrower_or_equal(one: BoundPattern, other: BoundPattern) -> bool:
    """Tell whether `other` surely covers all that `one` covers; False when that is not known."""
    return one == other


def breadth(bound: BoundPattern) -> int:
    """Return 0 for the exact call up to 9 for the whole tool."""
    return WHOLE_TOOL if bound.rest is Rest.ANY else 0


def _refuse(code: str, detail: str) -> NoReturn:
    raise InvalidError(code, detail, errors=(Detail("/pattern", code, detail),))
