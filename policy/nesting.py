"""How deep a statement goes and how far it unfolds, counted on its tokens before Cedar parses them.

Cedar's parser, type checker and JSON reader recurse: text that is deep enough overflows the native
stack, which ends the process, and somewhat below that the type checker passes what it did not look
at. Its parser also writes the left side of `x has a.b` and of `x is T in y` once more for each part, so a
few hundred characters of these within each other would fill the memory. Both counts are never less than
what Cedar builds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from policy.source import Kind, Token

MAX_NESTING = 64
"""Brackets within each other."""

MAX_DEPTH = 128
"""Levels of the expression tree: brackets and operators, those of a chain such as `a || b || c` too."""

MAX_COPIES = 1_000
"""Tokens that one statement's `has` and `is … in` write again."""

_SHALLOW = 25
_CLOSER = {"(": ")", "[": "]", "{": "}"}
_RELATIONS = frozenset({"==", "!=", "<", "<=", ">", ">=", "="})
_BINARY = _RELATIONS | {"&&", "||", "+", "*", "/", "%"}
_WORDS = frozenset({"in", "like", "has", "is"})
_MARKS = re.compile(r"[(\[{.!+\-*/%<>=,]|&&|\|\||\b(?:in|like|has|is|if|when|unless)\b")
_COPYING = {("has", "."), ("is", "in")}


@dataclass(frozen=True, slots=True)
class Measure:
    """How many tokens Cedar writes again, and the first token that exceeds a limit, if one does."""

    copies: int = 0
    excess: Token | None = None


@dataclass(slots=True)
class _Level:
    """What one bracket holds: operators since the last comma, how deep its operands are, and their size.

    `left` is the size of what stands left of the `has` or `is` that is being read, `path` of what follows it.
    """

    closer: str = ""
    indexes: bool = False
    operators: int = 0
    around: int = 0
    inside: int = 0
    operand: int = 0
    deepest: int = 0
    after_operand: bool = False
    size: int = 0
    total: int = 0
    word: str = ""
    left: int = 0
    path: int = 0

    @property
    def depth(self) -> int:
        return max(self.deepest, self.operators + max(self.operand, self.around + self.inside))

    def operate(self, *, ends_relation: bool) -> None:
        """Take an operator between two operands; a relation ends where another or a weaker one begins."""
        self.end_operand()
        self.operators += 1
        if ends_relation:
            self.end_relation()

    def prefix(self) -> None:
        """Take an operator around the operand that is being read: `!`, `-`, `.`, a call, an index."""
        self.around += 1
        self.after_operand = False

    def begin_copying(self, word: str) -> None:
        """Take a `has` or an `is`, whose left side may be written again."""
        self.word, self.left, self.path = word, self.size, 0

    def copy(self) -> int:
        """Count the left side once more, with the path that has been read behind it."""
        self.path += 2
        again = self.left + (self.path if self.word == "has" else 0)
        self.size += again
        return again

    def end_operand(self) -> None:
        self.operand = max(self.operand, self.around + self.inside)
        self.around = self.inside = 0
        self.after_operand = False

    def end_relation(self) -> None:
        self.total += self.size
        self.size = 0
        self.word = ""

    def end_part(self) -> None:
        self.end_operand()
        self.end_relation()
        self.deepest = max(self.deepest, self.operators + self.operand)
        self.operators = self.operand = 0


def is_plain(text: str) -> bool:
    """Tell, at little cost, that a statement exceeds no limit and writes nothing again."""
    marks = _MARKS.findall(text)
    if len(marks) - marks.count(",") > MAX_NESTING or not _COPYING.isdisjoint(pairwise(marks)):
        return False
    return "//" not in text or ("has" not in marks and "is" not in marks)


def is_shallow(text: str) -> bool:
    """Tell, at little cost, that a statement has so few operators that its JSON form cannot be deep."""
    return len(_MARKS.findall(text)) <= _SHALLOW


def measure(statement: Iterable[Token]) -> Measure:
    """Return the measure of one statement; reading ends at the first token that exceeds a limit."""
    levels = [_Level()]
    copies = 0
    for token in statement:
        copies += _take(levels, token)
        too_deep = len(levels) - 1 > MAX_NESTING or len(levels) - 1 + levels[-1].depth > MAX_DEPTH
        if too_deep or copies > MAX_COPIES:
            return Measure(copies, token)
    return Measure(copies)


def _take(levels: list[_Level], token: Token) -> int:
    """Take one token and return how many tokens it makes Cedar write again."""
    level, text = levels[-1], token.text
    level.size += 1
    if token.kind is Kind.NAME:
        return _take_name(level, text, outermost=len(levels) == 1)
    if token.kind is not Kind.SYMBOL:
        level.after_operand = True
    elif text in _CLOSER:
        levels.append(_Level(closer=_CLOSER[text], indexes=level.after_operand))
    elif text in ")]}":
        _close(levels, text)
    elif text in (",", "@"):
        level.end_part() if text == "," else level.end_operand()
    elif text in _BINARY or (text == "-" and level.after_operand):
        level.operate(ends_relation=text in ("&&", "||"))
    elif text in ("!", "-", "."):
        level.prefix()
        return level.copy() if text == "." and level.word == "has" else 0
    return 0


def _take_name(level: _Level, text: str, *, outermost: bool) -> int:
    if text == "if" or (outermost and text in ("when", "unless")):
        level.operate(ends_relation=True)
    elif text in ("then", "else"):
        level.end_operand()
        level.end_relation()
    elif text in _WORDS and level.after_operand:
        level.operate(ends_relation=False)
        if text == "in" and level.word == "is":
            return level.copy()
        if text in ("has", "is"):
            level.begin_copying(text)
    else:
        level.after_operand = True
    return 0


def _close(levels: list[_Level], closer: str) -> None:
    """End a bracket. One that does not fit counts as missing: whoever recovers from it may go on inside."""
    if levels[-1].closer != closer:
        return
    closed = levels.pop()
    closed.end_part()
    outer = levels[-1]
    outer.inside = max(outer.inside, closed.deepest + 1)
    outer.around += closed.indexes
    outer.size += closed.total
    outer.after_operand = True
