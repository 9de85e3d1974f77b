"""How deep a statement goes, counted on its tokens before Cedar parses them.

Cedar's parser, type checker and JSON reader recurse: text that is deep enough overflows the native
stack, which ends the process, and somewhat below that the type checker passes what it did not look
at. The count is never less than the depth of Cedar's own tree.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from policy.source import Kind, Token

MAX_NESTING = 64
"""Brackets within each other."""

MAX_DEPTH = 128
"""Levels of the expression tree: brackets and operators, those of a chain such as `a || b || c` too."""

_BINARY = frozenset({"&&", "||", "==", "!=", "<", "<=", ">", ">=", "+", "*", "/", "%", "="})
_WORDS = frozenset({"in", "like", "has", "is"})
_COUNTED = re.compile(r"[(\[{.!+\-*/%<>=]|&&|\|\||\b(?:in|like|has|is|if|when|unless)\b")


@dataclass(slots=True)
class _Level:
    """What one bracket holds: operators since the last comma, and how deep its operands are."""

    indexes: bool = False
    operators: int = 0
    around: int = 0
    inside: int = 0
    operand: int = 0
    deepest: int = 0
    after_operand: bool = False

    @property
    def depth(self) -> int:
        return max(self.deepest, self.operators + max(self.operand, self.around + self.inside))

    def operate(self) -> None:
        """Take an operator between two operands."""
        self.end_operand()
        self.operators += 1

    def prefix(self) -> None:
        """Take an operator around the operand that is being read: `!`, `-`, `.`, a call, an index."""
        self.around += 1
        self.after_operand = False

    def end_operand(self) -> None:
        self.operand = max(self.operand, self.around + self.inside)
        self.around = self.inside = 0
        self.after_operand = False

    def end_part(self) -> None:
        self.end_operand()
        self.deepest = max(self.deepest, self.operators + self.operand)
        self.operators = self.operand = 0


def at_most(text: str) -> int:
    """Return a bound of the depth that costs little: every bracket and operator of the text."""
    return sum(1 for _ in _COUNTED.finditer(text))


def excess(statement: Iterable[Token]) -> Token | None:
    """Return the first token of a statement that goes too deep, or None when none does."""
    levels = [_Level()]
    for token in statement:
        _take(levels, token)
        if len(levels) - 1 > MAX_NESTING or len(levels) - 1 + levels[-1].depth > MAX_DEPTH:
            return token
    return None


def _take(levels: list[_Level], token: Token) -> None:
    level, text = levels[-1], token.text
    if token.kind is Kind.NAME:
        _take_name(level, text, outermost=len(levels) == 1)
    elif token.kind is not Kind.SYMBOL:
        level.after_operand = True
    elif text in "([{":
        levels.append(_Level(indexes=level.after_operand))
    elif text in ")]}":
        _close(levels)
    elif text in (",", "@"):
        level.end_part() if text == "," else level.end_operand()
    elif text in _BINARY or (text == "-" and level.after_operand):
        level.operate()
    elif text in ("!", "-", "."):
        level.prefix()


def _take_name(level: _Level, text: str, *, outermost: bool) -> None:
    if text == "if" or (outermost and text in ("when", "unless")):
        level.operate()
    elif text in ("then", "else"):
        level.end_operand()
    elif text in _WORDS and level.after_operand:
        level.operate()
    else:
        level.after_operand = True


def _close(levels: list[_Level]) -> None:
    if len(levels) == 1:
        return
    closed = levels.pop()
    closed.end_part()
    levels[-1].inside = max(levels[-1].inside, closed.deepest + 1)
    levels[-1].around += closed.indexes
    levels[-1].after_operand = True
