"""Patterns in words an approver reads before allowing them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from approvals.commands import LEFT_OUT
from approvals.constraints import Constraint, Op, argv_of, interval
from approvals.fields import ToolShape, program_of
from approvals.patterns import BoundPattern, Rest

LONGEST_VALUE = 80
LONGEST_PLACE = 512
"""The end of a host says whose it is, so the longest there can be is shown whole."""
MOST_CHOICES = 5
_PLAIN = re.compile(r"[\w./:@+-]+…?")


def sentence(bound: BoundPattern, tool: ToolShape) -> str:
    """Return what a pattern covers, for example `fs.write under src/app, content may differ`.

    Values in it are an agent's own words wherever the approved call had them: show them as such.
    """
    name = _named(bound, tool)
    if bound.rest is Rest.ANY:
        return f"Every call of {name} in this session, whatever its parameters"
    if not bound.constraints:
        return "Exactly this call"
    places = [one for one in bound.constraints if one.op in {Op.PATH_PREFIX, Op.HOST, Op.HOST_SUFFIX}]
    is_argument = tool.runs_programs and not tool.argv_template
    first = places[0] if len(places) == 1 and not is_argument else None
    others = [_phrase(one) for one in bound.constraints if one is not first]
    head = f"{name} {_where(first)}" if first is not None else name
    return ", ".join([head, *others, "all else the same"])


def _named(bound: BoundPattern, tool: ToolShape) -> str:
    program = program_of(tool, bound.approved) if tool.runs_programs and bound.approved is not None else None
    return " ".join(filter(None, [tool.name or "this tool", _shown(program) if program else ""]))


def _where(constraint: Constraint) -> str:
    value = _shown(constraint.value, LONGEST_PLACE)
    match constraint.op:
        case Op.PATH_PREFIX:
            return f"under {value}"
        case Op.HOST:
            return f"anywhere on {value}"
    return f"anywhere on {value} and hosts beneath it"


def _phrase(constraint: Constraint) -> str:
    name = constraint.pointer.removeprefix("/").replace("/", ".")
    match constraint.op:
        case Op.ANY:
            return f"{name} may differ"
        case Op.LTE:
            return f"{name} at most {constraint.value}"
        case Op.RANGE:
            low, high = interval(constraint)
            return f"{name} from {low} to {high}"
        case Op.ONE_OF if isinstance(constraint.value, list):
            shown = [_shown(item) for item in constraint.value[:MOST_CHOICES]]
            left = len(constraint.value) - len(shown)
            return f"{name} one of {', '.join(shown)}" + (f" and {left} more" if left else "")
        case Op.ARGV:
            return _argv_phrase(name, constraint.value)
    return f"{name} {_where(constraint)}"


def _argv_phrase(name: str, value: object) -> str:
    argv = argv_of(value)
    may_miss = [] if argv is None else sorted(LEFT_OUT.intersection(argv.tokens))
    said = []
    if isinstance(value, Mapping) and value.get("under") is not None:
        said.append(f"{name} may name other files under {_shown(value['under'], LONGEST_PLACE)}")
    if may_miss:
        said.append(f"{name} may leave out {' and '.join(may_miss)}")
    return ", ".join(said) or f"{name} the same"


def _shown(value: object, longest: int = LONGEST_VALUE) -> str:
    """Return a value as it is when it cannot be mistaken for words of the sentence, else in quotes."""
    text = value if isinstance(value, str) else json.dumps(value)
    short = text if len(text) <= longest else text[: longest - 1] + "…"
    return short if _PLAIN.fullmatch(short) else json.dumps(short, ensure_ascii=False)
