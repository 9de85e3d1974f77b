"""Regular expressions of a custom tool's schema: regular ones only, and none that can stall a gate.

Python's engine backtracks, so the bound is on the ways in which an expression can match: a repeat
within a repeat is refused, and the ways of those side by side multiply.
"""

from __future__ import annotations

import re
from re import _parser as parser  # type: ignore[attr-defined]  # the tree that `re` itself compiles
from typing import Any

MAX_PATTERN = 256
MAX_WAYS = 1_000_000
_NOT_REGULAR = "must be a regular expression without backreference or lookaround, at most 256 characters"
_TOO_SLOW = "may take too long on a text of {} characters: repeat less, begin with ^ or set maxLength"


class _EndlessError(Exception):
    """No number bounds the ways in which the expression can match."""


class _IrregularError(Exception):
    """The expression needs more than a finite automaton."""


def pattern_problem(pattern: object, longest: int) -> str:
    """Return what is wrong with an expression for texts of at most `longest` characters; empty is good."""
    if not isinstance(pattern, str) or len(pattern) > MAX_PATTERN:
        return _NOT_REGULAR
    try:
        re.compile(pattern)
        tree = parser.parse(pattern)
        ways, _ = _sequence(tree, longest)
    except (re.error, RecursionError, OverflowError, _IrregularError):
        return _NOT_REGULAR
    except _EndlessError:
        return _TOO_SLOW.format(longest)
    starts = 1 if _is_anchored(tree) else longest + 1
    return "" if ways * starts <= MAX_WAYS else _TOO_SLOW.format(longest)


def _is_anchored(tree: Any) -> bool:
    if not len(tree) or tree.state.flags & re.MULTILINE:
        return False
    name, argument = str(tree[0][0]), tree[0][1]
    return name == "AT" and str(argument) in {"AT_BEGINNING", "AT_BEGINNING_STRING"}


def _sequence(tree: Any, longest: int) -> tuple[int, bool]:
    """Return in how many ways these parts can match one text, and whether they can match nothing."""
    ways, empty = 1, True
    for operator, argument in tree:
        more, can_be_empty = _part(str(operator), argument, longest)
        ways *= more
        empty = empty and can_be_empty
        if ways > MAX_WAYS:
            raise _EndlessError
    return ways, empty


def _part(operator: str, argument: Any, longest: int) -> tuple[int, bool]:
    if operator in {"LITERAL", "NOT_LITERAL", "ANY", "IN", "CATEGORY", "RANGE"}:
        return 1, False
    if operator == "AT":
        return 1, True
    if operator == "SUBPATTERN":
        return _sequence(argument[3], longest)
    if operator == "BRANCH":
        found = [_sequence(branch, longest) for branch in argument[1]]
        return sum(ways for ways, _ in found), any(empty for _, empty in found)
    if operator in {"MAX_REPEAT", "MIN_REPEAT"}:
        return _repeat(argument, longest)
    raise _IrregularError


def _repeat(argument: Any, longest: int) -> tuple[int, bool]:
    low, high, body = int(argument[0]), int(argument[1]), argument[2]
    ways, empty = _sequence(body, longest)
    if high <= 1:
        return ways + (1 - low), low == 0 or empty
    if low == high and low <= MAX_PATTERN:
        return min(ways**low, MAX_WAYS + 1), empty
    if ways > 1 or empty:
        raise _EndlessError
    return max(1, min(high, longest) - min(low, longest) + 1), low == 0
