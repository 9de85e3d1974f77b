"""Which part of a rule's condition held: each operand of its `&&` and `||`, evaluated alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import cedarpy

from policy.compilation import Rule
from policy.engine import Case
from policy.expressions import Expression, chain_of, operator_of, text_of
from policy.judging import judge
from policy.slicing import policy_set
from policy.types import ApprovalFacts

MAX_CLAUSES = 400
MAX_DEPTH = 8
MAX_TEXT = 2_000


class Truth(StrEnum):
    """What an expression comes to. `error`: it raised, or could not be evaluated alone."""

    TRUE = "true"
    FALSE = "false"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Clause:
    """One operand of a condition, evaluated alone. `joined_by` `&&` or `||` says how `parts` combine.

    A chain's parts are its operands; a clause that is no chain has none.
    """

    text: str
    value: Truth
    joined_by: str = ""
    parts: tuple[Clause, ...] = ()


@dataclass(frozen=True, slots=True)
class Condition:
    """A `when` or `unless` of a rule: the whole of it, with its operands below."""

    kind: str
    clause: Clause


@dataclass(slots=True)
class Probing:
    """Evaluates expressions within the facts of one case, at most `budget` of them."""

    case: Case
    allow_sensitive: bool
    approval: ApprovalFacts | None
    budget: int = MAX_CLAUSES
    _request: dict[str, object] = field(init=False)

    def __post_init__(self) -> None:
        self._request = self.case.prepared.cedar(allow_sensitive=self.allow_sensitive, approval=self.approval)

    def holding(self, rules: Iterable[Rule]) -> dict[str, Truth]:
        """Return whether the conditions of each rule hold as a whole, whatever its effect."""
        return self._truths({rule.id: probe_of(rule, rule.body.get("conditions", [])) for rule in rules})

    def conditions(self, rule: Rule) -> tuple[Condition, ...]:
        """Return the conditions of a rule with the truth of every operand, as far as the budget goes."""
        kinds = [str(condition["kind"]) for condition in rule.body.get("conditions", [])]
        nodes = [self._node(condition["body"], 0) for condition in rule.body.get("conditions", [])]
        every = [node for root in nodes for node in root.walk()]
        probes = {
            f"probe{number}": probe_of(rule, [{"kind": "when", "body": node.expression}])
            for number, node in enumerate(every)
        }
        truths = dict(zip(map(id, every), self._truths(probes).values(), strict=True))
        return tuple(Condition(kind, _clause(node, truths)) for kind, node in zip(kinds, nodes, strict=True))

    def _node(self, expression: Expression, depth: int) -> _Node:
        self.budget -= 1
        operator = operator_of(expression) if depth < MAX_DEPTH else ""
        parts: list[_Node] = []
        for operand in chain_of(expression, operator) if operator else ():
            if self.budget <= 0:
                break
            parts.append(self._node(operand, depth + 1))
        return _Node(expression, operator, tuple(parts))

    def _truths(self, probes: Mapping[str, Mapping[str, Any]]) -> dict[str, Truth]:
        """Ask all at once; when one raised, ask one by one, because an error names no rule safely."""
        held = self._held(probes)
        if held is not None:
            return {name: Truth.TRUE if name in held else Truth.FALSE for name in probes}
        return {name: self._truth(name, probe) for name, probe in probes.items()}

    def _truth(self, name: str, probe: Mapping[str, Any]) -> Truth:
        held = self._held({name: probe})
        if held is None:
            return Truth.ERROR
        return Truth.TRUE if held else Truth.FALSE

    def _held(self, probes: Mapping[str, Mapping[str, Any]]) -> frozenset[str] | None:
        """Return which probes apply, or None when one raised or could not be read."""
        try:
            schema = self.case.policies.schema_handle
            verdict = judge(self._request, policy_set(probes), self.case.entities.handle, schema)
        except (ValueError, RecursionError):
            return None
        failed = verdict.errors or verdict.decision is cedarpy.Decision.NoDecision
        return None if failed else frozenset(verdict.reasons)


@dataclass(frozen=True, slots=True)
class _Node:
    """An expression that is to be evaluated, above its operands."""

    expression: Expression
    operator: str
    parts: tuple[_Node, ...]

    def walk(self) -> Iterator[_Node]:
        yield self
        for part in self.parts:
            yield from part.walk()


def _clause(node: _Node, truths: Mapping[int, Truth]) -> Clause:
    parts = tuple(_clause(part, truths) for part in node.parts)
    return Clause(written(node.expression), truths[id(node)], node.operator, parts)


def probe_of(rule: Rule, conditions: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return a permit of a rule's scope with other conditions: it applies exactly where they hold."""
    scope = {part: rule.body[part] for part in ("principal", "action", "resource")}
    return {"effect": "permit", **scope, "conditions": list(conditions)}


def written(expression: Expression) -> str:
    """Return the text of an expression, cut; a form that cannot be written is `…`."""
    try:
        text = text_of(expression)
    except (ValueError, KeyError, TypeError, RecursionError):
        return "…"
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"
