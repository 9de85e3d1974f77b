"""Why a decision came out as it did, and the least that would turn it into an allow.

The decision is that of `policy.engine.evaluate` itself; everything else is found by asking it again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import combinations, islice
from math import comb

import cedarpy

from policy.changes import REMOVE_FORBID, Question, applied, changes_of_facts
from policy.clauses import Condition, Probing, Truth
from policy.compilation import CompiledSet, Rule, SourceFile
from policy.engine import Case, case_of, evaluate, most_favourable
from policy.placement import EntityHandles, entities_of
from policy.reading import id_in
from policy.slicing import uid_of
from policy.source import Lines, statements
from policy.types import Asked, Effect, PolicyDecision

MAX_RULES = 50
MAX_PROBED = 500
MAX_CHANGES = 32
LARGEST_CHANGE = 2
MAX_TRIED = 20_000
"""Rules put to Cedar for finding the least change: each trial asks all whose scope matches."""


@dataclass(frozen=True, slots=True)
class ExplainedRule:
    """A rule with its text, and what its conditions came to.

    `text` is that of its file where `placed` found it there, with line and column from 1; without a
    place both are 0 and the text is Cedar's own. `holds` is the truth of its conditions as a whole.
    `assuming_approval`: they were evaluated as if a person had allowed the call, because only then the
    rule decides.
    """

    id: str
    effect: str
    file: str
    line: int
    column: int
    text: str
    annotations: tuple[tuple[str, str], ...]
    holds: Truth
    conditions: tuple[Condition, ...]
    assuming_approval: bool = False


@dataclass(frozen=True, slots=True)
class ExplainedEntity:
    """An entity the request was judged with, and its parents, as Cedar writes uids."""

    uid: str
    parents: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Explained:
    """A decision with its reasons.

    `near_misses` are the rules whose scope matched and whose condition did not hold, `outweighed` the
    permits that held beside a deciding forbid. `minimal_change` holds every smallest set of changes
    that gives allow, empty when nothing is needed or no set of up to two does. `complete` is False
    when rules or clauses were left off, or changes not tried, for their number.
    """

    decision: PolicyDecision
    determining: tuple[ExplainedRule, ...] = ()
    near_misses: tuple[ExplainedRule, ...] = ()
    outweighed: tuple[ExplainedRule, ...] = ()
    entities: tuple[ExplainedEntity, ...] = ()
    minimal_change: tuple[tuple[str, ...], ...] = ()
    complete: bool = True


def explain(asked: Asked, policies: CompiledSet, handles: EntityHandles | None = None) -> Explained:
    """Explain one question put to one set; what cannot be put has a decision and no rules.

    Each clause is evaluated by Cedar alone; each change is applied and decided again.
    """
    decision = decide(asked, policies, handles)
    try:
        case = case_of(asked, policies, handles)
    except Exception:  # whatever keeps a question from being put, the decision has said it
        return Explained(decision)
    if case.prepared.action is None:
        return Explained(decision, entities=_entities(case))
    return _explain_case(case, asked, decision)


def placed(found: Explained, files: Sequence[SourceFile]) -> Explained:
    """Return an explanation whose rules have the text and the place they have in these files."""
    rules = (*found.determining, *found.near_misses, *found.outweighed)
    wanted = {rule.file for rule in rules}
    places = {
        (file.name, id_in(file.text, statement)): (file, statement)
        for file in files
        if file.name in wanted
        for statement in statements(file.text)
    }
    lines = {file.name: Lines(file.text) for file in files if file.name in wanted}

    def at(rule: ExplainedRule) -> ExplainedRule:
        if (rule.file, rule.id) not in places:
            return rule
        file, statement = places[rule.file, rule.id]
        line, column = lines[rule.file].place(statement.start)
        return replace(
            rule, line=line, column=column, text=file.text[statement.start : statement.end].strip()
        )

    return replace(
        found,
        determining=tuple(map(at, found.determining)),
        near_misses=tuple(map(at, found.near_misses)),
        outweighed=tuple(map(at, found.outweighed)),
    )


def decide(asked: Asked, policies: CompiledSet, handles: EntityHandles | None = None) -> PolicyDecision:
    """Put a question to a set, as the gate does."""
    return evaluate(
        request=asked.request,
        context=asked.context,
        config=asked.config,
        world=asked.world,
        policies=policies,
        handles=handles,
    )


def _explain_case(case: Case, asked: Asked, decision: PolicyDecision) -> Explained:
    rules = case.policies.rules
    deciding = [one.id for one in decision.explanation.determining_policies]
    others = [one for one in case.candidates if one not in deciding]
    real, favourable = _probings(case, asked)
    holds = real.holding(rules[one] for one in (*deciding, *others[:MAX_PROBED]))
    missed = _telling_first(
        [one for one in holds if one not in deciding and not _held(holds[one])], case, holds, decision
    )
    beside = [one for one in holds if one not in deciding and _held(holds[one])]
    determining = tuple(_determining(rules[one], holds[one], real, favourable) for one in deciding)
    near = tuple(_explained(rules[one], holds[one], real) for one in missed[:MAX_RULES])
    outweighed = tuple(_explained(rules[one], Truth.TRUE, real) for one in beside[:MAX_RULES])
    left_off = len(others) > MAX_PROBED or max(len(missed), len(beside)) > MAX_RULES
    changes, tried_all = _minimal_change(asked, case, decision)
    return Explained(
        decision=decision,
        determining=determining,
        near_misses=near,
        outweighed=outweighed,
        entities=_entities(case),
        minimal_change=changes,
        complete=not left_off and tried_all and min(real.budget, favourable.budget) > 0,
    )


def _held(truth: Truth) -> bool:
    return truth is Truth.TRUE


def _probings(case: Case, asked: Asked) -> tuple[Probing, Probing]:
    """Return the facts as they are, and as they would be with the best approval there could be."""
    approval = asked.context.approval
    sensitive = asked.config.allow_sensitive_tools or approval is not None
    return (
        Probing(case, sensitive, approval),
        Probing(case, allow_sensitive=True, approval=most_favourable(case.policies)),
    )


def _determining(rule: Rule, holds: Truth, real: Probing, favourable: Probing) -> ExplainedRule:
    if _held(holds):
        return _explained(rule, holds, real)
    return _explained(rule, favourable.holding([rule])[rule.id], favourable, assuming_approval=True)


def _telling_first(
    ids: list[str], case: Case, holds: dict[str, Truth], decision: PolicyDecision
) -> list[str]:
    """Put first what raised, then what would have changed the answer: permits of a denial, else forbids."""
    helpful = "permit" if decision.effect is Effect.DENY else "forbid"
    rules = case.policies.rules
    return sorted(ids, key=lambda one: (holds[one] is not Truth.ERROR, rules[one].effect != helpful))


def _explained(
    rule: Rule, holds: Truth, probing: Probing, *, assuming_approval: bool = False
) -> ExplainedRule:
    return ExplainedRule(
        id=rule.id,
        effect=rule.effect,
        file=rule.file,
        line=0,
        column=0,
        text=_text(rule),
        annotations=tuple(sorted(rule.annotations.items())),
        holds=holds,
        conditions=probing.conditions(rule) if probing.budget > 0 else (),
        assuming_approval=assuming_approval,
    )


def _text(rule: Rule) -> str:
    """Return the rule as Cedar writes it, formatted; empty for one Cedar will not write."""
    document = {"staticPolicies": {rule.id: dict(rule.body)}, "templates": {}, "templateLinks": []}
    try:
        return _formatted(json.dumps(document))
    except (ValueError, RecursionError):
        return ""


@lru_cache(maxsize=1024)
def _formatted(document: str) -> str:
    return cedarpy.format_policies(cedarpy.policies_from_json_str(document)).strip()


def _entities(case: Case) -> tuple[ExplainedEntity, ...]:
    return tuple(
        ExplainedEntity(_written(entity["uid"]), tuple(map(_written, _listed(entity["parents"]))))
        for entity in entities_of(case.prepared.placement)
    )


def _written(reference: object) -> str:
    assert isinstance(reference, dict)  # built by `placement`
    kind, name = uid_of(reference)
    return f"{kind}::{json.dumps(name)}"


def _listed(parents: object) -> Iterable[object]:
    assert isinstance(parents, list)  # built by `placement`
    return parents


def _minimal_change(
    asked: Asked, case: Case, decision: PolicyDecision
) -> tuple[tuple[tuple[str, ...], ...], bool]:
    """Return every smallest set of changes whose decision is allow, and whether all were tried.

    Each of them was decided again.
    """
    if decision.effect is Effect.ALLOW:
        return (), True
    question = Question(asked, case.policies)
    facts = changes_of_facts(asked)
    forbids = _forbids(question) | _forbids(applied(facts, question))
    names = [*facts, *(f"{REMOVE_FORBID}{one}" for one in sorted(forbids))][:MAX_CHANGES]
    handles = EntityHandles(case.policies.schema_handle)
    trials = MAX_TRIED // max(1, len(case.candidates))
    for size in range(1, LARGEST_CHANGE + 1):
        chosen = list(islice(combinations(names, size), trials))
        trials -= len(chosen)
        found = tuple(one for one in chosen if _allows(applied(one, question), handles))
        tried_all = len(chosen) == comb(len(names), size)
        if found or not tried_all:
            return found, tried_all
    return (), True


def _forbids(question: Question) -> set[str]:
    """Return the forbids that stand in the way of a question, with an approval or without."""
    try:
        case = case_of(question.asked, question.policies)
    except Exception:  # a change that makes a question impossible allows nothing
        return set()
    rules = [case.policies.rules[one] for one in case.candidates[:MAX_PROBED]]
    forbids = [rule for rule in rules if rule.effect == "forbid"]
    return {
        name
        for probing in _probings(case, question.asked)
        for name, held in probing.holding(forbids).items()
        if held is not Truth.FALSE
    }


def _allows(question: Question, handles: EntityHandles) -> bool:
    return decide(question.asked, question.policies, handles).effect is Effect.ALLOW
