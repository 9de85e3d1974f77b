"""What an explanation says, as a person reads it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from policy.changes import (
    ALLOWLIST_CHANNEL,
    ALLOWLIST_PRINCIPAL,
    ALLOWLIST_TOOL,
    ATTACH_APPROVAL,
    CLEAR_LABEL,
    ENABLE_TOOL,
    REMOVE_FORBID,
)
from policy.clauses import Clause, Truth
from policy.explaining import ExplainedRule

MAX_INDENT = 6
_JOINED = {"&&": "all of these", "||": "at least one of these"}
_CHANGES = {
    ATTACH_APPROVAL: "A person allows the call",
    ALLOWLIST_TOOL: "The tool is put on the workspace's allowlist",
    ALLOWLIST_PRINCIPAL: "The principal is put on the list of those who may execute tools",
    ALLOWLIST_CHANNEL: "The channel is put on the list of those tools are executed from",
    ENABLE_TOOL: "The tool is switched on",
}


@dataclass(frozen=True, slots=True)
class ClauseRow:
    """One line of a clause tree. `word` says what it came to, `joined` how the lines below it combine."""

    depth: int
    text: str
    tone: str
    icon: str
    word: str
    joined: str


@dataclass(frozen=True, slots=True)
class ConditionRows:
    kind: str
    rows: tuple[ClauseRow, ...]


_LOOKS = {
    Truth.TRUE: ("ok", "check", "True"),
    Truth.FALSE: ("off", "cross", "False"),
    Truth.ERROR: ("warn", "alert", "No value"),
}


def clause_rows(rule: ExplainedRule) -> tuple[ConditionRows, ...]:
    """Return the clause trees of a rule, one for each `when` and `unless`, as lines."""
    return tuple(ConditionRows(one.kind, tuple(_rows(one.clause, 0))) for one in rule.conditions)


def change_words(changes: Sequence[str]) -> str:
    """Return a set of changes as a sentence without its period."""
    first, *others = map(_one, changes)
    return ", and ".join((first, *(other[0].lower() + other[1:] for other in others)))


def rule_words(rule: ExplainedRule) -> str:
    """Return what came of a rule's conditions, in a few words."""
    if rule.assuming_approval:
        return "decides once a person has allowed the call"
    if not rule.conditions and rule.holds is Truth.TRUE:
        return "has no condition"
    if rule.holds is Truth.ERROR:
        return "its condition could not be evaluated"
    return "its condition holds" if rule.holds is Truth.TRUE else "its condition does not hold"


def _rows(clause: Clause, depth: int) -> Iterator[ClauseRow]:
    tone, icon, word = _LOOKS[clause.value]
    joined = _JOINED.get(clause.joined_by, "")
    yield ClauseRow(min(depth, MAX_INDENT), clause.text, tone, icon, word, joined)
    for part in clause.parts:
        yield from _rows(part, depth + 1)


def _one(change: str) -> str:
    if change.startswith(CLEAR_LABEL):
        return f"A person takes away the session's label {change.removeprefix(CLEAR_LABEL)}"
    if change.startswith(REMOVE_FORBID):
        return f"The rule {change.removeprefix(REMOVE_FORBID)} is taken out of the policy set"
    return _CHANGES.get(change, change)
