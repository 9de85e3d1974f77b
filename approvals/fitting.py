"""Which ops a field may have, and what of a constraint remains once the approved call is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NoReturn

from approvals import commands, hosts
from approvals.constraints import Constraint, Op, accepts, argv_of, interval, refuse
from approvals.fields import Kind, ToolShape, kind_of, program_of, runs_a_program
from approvals.pointers import find

_SAME = frozenset({Op.EQUALS, Op.ABSENT})
_FITS: Mapping[Op, frozenset[Kind]] = {
    Op.EQUALS: frozenset(Kind) - {Kind.SECRET},
    Op.ABSENT: frozenset(Kind) - {Kind.SECRET},
    Op.ONE_OF: frozenset(Kind) - {Kind.SECRET, Kind.ARGV},
    Op.PATH_PREFIX: frozenset({Kind.PATH, Kind.TEXT}),
    Op.HOST: frozenset({Kind.HOST, Kind.TEXT}),
    Op.HOST_SUFFIX: frozenset({Kind.HOST, Kind.TEXT}),
    Op.ARGV: frozenset({Kind.ARGV}),
    Op.LTE: frozenset({Kind.NUMBER, Kind.AMOUNT, Kind.FIGURE}),
    Op.RANGE: frozenset({Kind.NUMBER, Kind.AMOUNT, Kind.FIGURE}),
    Op.ANY: frozenset({Kind.BOOLEAN, Kind.NUMBER, Kind.TEXT}),
}


def fitted(
    constraints: Sequence[Constraint], approved: Mapping[str, object], shape: ToolShape
) -> tuple[Constraint, ...]:
    """Return the constraints that open something, complete; InvalidError `pattern_too_broad` otherwise."""
    found = tuple(fit for constraint in constraints if (fit := _fit(constraint, approved, shape)) is not None)
    if found and runs_a_program(shape, approved):
        _check_program(found, approved, shape)
    return found


def _fit(constraint: Constraint, approved: Mapping[str, object], shape: ToolShape) -> Constraint | None:
    kind = kind_of(shape, constraint.parts)
    if kind not in _FITS[constraint.op]:
        _too_broad(constraint, f"{constraint.op} does not fit what this parameter holds.")
    value = find(approved, constraint.parts)
    complete = _complete(constraint, value)
    if not accepts(complete, value):
        _too_broad(constraint, "The approved call does not match.")
    if complete.op in _SAME or _is_one_value(complete):
        return None
    _check_limits(complete, value, kind)
    return complete


def _complete(constraint: Constraint, value: object) -> Constraint:
    """Fill the approved vector into an argv constraint; one that was given must be the same."""
    if constraint.op is not Op.ARGV or not isinstance(constraint.value, Mapping):
        return constraint
    given = constraint.value.get("argv")
    if commands.tokens_of(value) is None or (given is not None and given != value):
        _too_broad(constraint, "The approved call does not match.")
    return Constraint.of(constraint.parts, Op.ARGV, {**constraint.value, "argv": value})


def _is_one_value(constraint: Constraint) -> bool:
    if constraint.op is Op.ONE_OF:
        return isinstance(constraint.value, list) and len(constraint.value) == 1
    if constraint.op in {Op.LTE, Op.RANGE}:
        low, high = interval(constraint)
        return low == high
    return False


def _check_limits(constraint: Constraint, value: object, kind: Kind) -> None:
    if constraint.op is Op.HOST_SUFFIX:
        suffix, origin = hosts.origin_of(constraint.value), hosts.origin_of(value)
        if suffix is None or origin is None or not hosts.may_be_suffix(suffix, origin):
            _too_broad(constraint, "host_suffix reaches one label up, and never to a public suffix.")
    elif constraint.op is Op.RANGE and value == 0 and interval(constraint)[0] < 0:
        _too_broad(constraint, "A range stays on the approved side of zero.")
    elif constraint.op is Op.ONE_OF and kind is Kind.COMMAND and isinstance(constraint.value, list):
        if not all(map(commands.may_generalise, constraint.value)):
            _too_broad(constraint, "Programs that run other programs are approved call by call.")
    elif constraint.op is Op.ARGV:
        argv = argv_of(constraint.value)
        if argv is None or (argv.under is not None and not commands.has_file_under(argv)):
            _too_broad(constraint, "No approved argument is a file beneath this directory.")


def _check_program(
    constraints: tuple[Constraint, ...], approved: Mapping[str, object], shape: ToolShape
) -> None:
    """A command widens as far as its program is known and takes its arguments as plain data.

    For the program of a template somebody vouched who registered the tool, unless it is one that runs others.
    """
    widens = commands.may_generalise if shape.argv_template else commands.works_on_data
    if not widens(program_of(shape, approved)):
        detail = "Programs that run others, or that nobody knows here, are approved call by call."
        _too_broad(constraints[0], detail)
    vectors = [constraint for constraint in constraints if constraint.op is Op.ARGV]
    if not vectors:
        return
    kinds = {kind_of(shape, constraint.parts) for constraint in constraints}
    moves = Kind.PATH in kinds and not shape.argv_template
    if len(vectors) > 1 or Kind.COMMAND in kinds or moves:
        detail = "Arguments widen only while the program and the directory it runs in stay the same."
        _too_broad(vectors[0], detail)


def _too_broad(constraint: Constraint, detail: str) -> NoReturn:
    refuse("pattern_too_broad", f"{constraint.pointer}: {detail}", "/pattern/constraints")
