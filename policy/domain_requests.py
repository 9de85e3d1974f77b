"""Requests to a domain other than `palyra`: in AuthZEN's terms, decided by the domain's own rules.

A subject or resource is a stored entity with the request's properties laid over it, or made of its
properties alone. Types, actions and attributes that the schema does not declare do not exist.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import cedarpy

from policy.compilation import Rule
from policy.domains import CedarRequest, CompiledDomain, Entity, Facts, facts_from, references
from policy.obligations import obligations_of, unknown_obligations
from policy.schema_reading import ActionShape, prune
from policy.slicing import Uid
from policy.types import Code, DeterminingPolicy, Effect, Obligation, PolicyDecision, PolicyExplanation

ACTION_PROPERTIES = "action_properties"
MAX_ID = 512


@dataclass(frozen=True, slots=True)
class Party:
    """A subject or a resource as it is named in a request."""

    type: str
    id: str
    properties: Mapping[str, object] = field(default_factory=dict)

    @property
    def uid(self) -> Uid:
        return (self.type, self.id)


@dataclass(frozen=True, slots=True)
class DomainRequest:
    subject: Party
    action: str
    resource: Party
    context: Mapping[str, object] = field(default_factory=dict)
    action_properties: Mapping[str, object] = field(default_factory=dict)


class NotApplicableError(Exception):
    """The schema gives the request no meaning; nothing can be permitted."""

    def __init__(self, code: Code, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


def decide_in(domain: CompiledDomain, request: DomainRequest) -> PolicyDecision:
    """Decide. Never raises: what has no meaning, does not fit the schema or fails is a denial."""
    try:
        _require_known(domain, request)
        return _judged(domain, request, _facts_about(domain, request))
    except NotApplicableError as error:
        return _refused(domain, error.code, error.reason)
    except ValueError:
        return _refused(domain, Code.INVALID_REQUEST, "The properties do not fit the schema.")
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a panic of the engine is not an Exception
        reason = "The rules could not be evaluated, so nothing is permitted."
        return _refused(domain, Code.EVALUATION_FAILED, reason, (type(error).__name__,))


def judged_subjects(domain: CompiledDomain, request: DomainRequest, after: str) -> Iterator[tuple[str, bool]]:
    """Yield each stored subject of the request's type, in order beyond `after`, and whether it may."""
    facts = _searched(domain, request, request.resource)
    for name in () if facts is None else _stored(domain, request.subject.type, after):
        asked = replace(request, subject=Party(request.subject.type, name))
        yield name, _is_permitted(domain, asked, facts)


def judged_resources(
    domain: CompiledDomain, request: DomainRequest, after: str
) -> Iterator[tuple[str, bool]]:
    """Yield each stored resource of the request's type, as above, and whether it may be acted upon."""
    facts = _searched(domain, request, request.subject)
    for name in () if facts is None else _stored(domain, request.resource.type, after):
        asked = replace(request, resource=Party(request.resource.type, name))
        yield name, _is_permitted(domain, asked, facts)


def judged_actions(domain: CompiledDomain, request: DomainRequest, after: str) -> Iterator[tuple[str, bool]]:
    """Yield the name of each action, as above, and whether the subject may do it to the resource."""
    facts = _searched(domain, request, request.subject, request.resource)
    names = () if facts is None else sorted({name for _, name in domain.shape.actions if name > after})
    for name in names:
        yield name, _is_permitted(domain, replace(request, action=name), facts)


def _require_known(domain: CompiledDomain, request: DomainRequest) -> tuple[Uid, ActionShape]:
    """Return the action; NotApplicableError when action, types or ids can mean nothing here."""
    for name in (request.subject.id, request.resource.id):
        if not name or len(name) > MAX_ID or "\0" in name:
            raise NotApplicableError(Code.INVALID_REQUEST, "An identifier is blank, too long or holds NUL.")
    uid = domain.shape.action_named(request.action)
    if uid is None:
        raise NotApplicableError(Code.NO_PERMIT, "The domain knows no such action.")
    action = domain.shape.actions[uid]
    if request.subject.type not in action.principals or request.resource.type not in action.resources:
        raise NotApplicableError(Code.NO_PERMIT, "The action does not apply to these types.")
    return uid, action


def _judged(domain: CompiledDomain, request: DomainRequest, facts: Facts) -> PolicyDecision:
    uid, action = _require_known(domain, request)
    given = {**request.context, ACTION_PROPERTIES: dict(request.action_properties) or None}
    context = prune(given, action.context)
    assert isinstance(context, dict)  # a context is a record
    asked = CedarRequest(request.subject.uid, uid, request.resource.uid, context)
    verdict = domain.ground.judge(asked, facts)
    if verdict.decision is cedarpy.Decision.NoDecision:
        return _refused(domain, Code.INVALID_CONTEXT, "The context does not fit the schema.", verdict.errors)
    if verdict.errors:
        reason = "The rules could not be evaluated, so nothing is permitted."
        return _refused(domain, Code.EVALUATION_FAILED, reason, verdict.errors)
    return _answered(domain, verdict.allowed, tuple(domain.rules[name] for name in verdict.reasons))


def _answered(domain: CompiledDomain, allowed: bool, rules: tuple[Rule, ...]) -> PolicyDecision:
    """Turn Cedar's answer into an effect: a permit that asks for an approval is none yet."""
    unknown = unknown_obligations(rules)
    if unknown:
        return _decided(domain, Effect.DENY, Code.OBLIGATION_UNKNOWN, rules, (), f"Unknown: {unknown[0]}.")
    if not allowed:
        return _decided(domain, Effect.DENY, Code.DENIED if rules else Code.NO_PERMIT, rules, ())
    obligations = obligations_of(rules)
    if any(obligation.kind == "approval" for obligation in obligations):
        return _decided(domain, Effect.REQUIRE_APPROVAL, Code.APPROVAL_REQUIRED, rules, obligations)
    return _decided(domain, Effect.ALLOW, Code.ALLOWED, rules, obligations)


def _decided(
    domain: CompiledDomain,
    effect: Effect,
    code: Code,
    rules: tuple[Rule, ...],
    obligations: tuple[Obligation, ...],
    reason: str = "",
) -> PolicyDecision:
    described = next((text for rule in rules if (text := rule.annotations.get("description"))), "")
    text = reason or described or ("No rule permits this action." if not rules else "Decided by rules.")
    explanation = PolicyExplanation(
        evaluated_with_cedar=True,
        reason=text,
        determining_policies=tuple(_determining(rule) for rule in rules),
        matched_policy_ids=tuple(rule.id for rule in rules),
        policy_set=domain.ref,
    )
    return PolicyDecision(effect, code, text, obligations, explanation)


def _determining(rule: Rule) -> DeterminingPolicy:
    annotations = tuple(sorted(rule.annotations.items()))
    return DeterminingPolicy(rule.id, rule.effect, rule.annotations.get("description", ""), annotations)


def _refused(domain: CompiledDomain, code: Code, reason: str, errors: tuple[str, ...] = ()) -> PolicyDecision:
    explanation = PolicyExplanation(
        evaluated_with_cedar=bool(errors), reason=reason, diagnostics_errors=errors, policy_set=domain.ref
    )
    return PolicyDecision(Effect.DENY, code, reason, (), explanation)


def _is_permitted(domain: CompiledDomain, request: DomainRequest, facts: Facts | None) -> bool:
    try:
        return facts is not None and _judged(domain, request, facts).effect is Effect.ALLOW
    except NotApplicableError:
        return False


def _searched(domain: CompiledDomain, request: DomainRequest, *inputs: Party) -> Facts | None:
    """Return all facts with the inputs' properties laid over; None when an input is not known at all."""
    if any(party.uid not in domain.entities and not _laid(domain, party) for party in inputs):
        return None
    try:
        changed = {party.uid: _merged(domain, party) for party in inputs if _laid(domain, party)}
        if not changed:
            return domain.facts
        return facts_from([*({**domain.entities, **changed}).values()], domain.ground.schema)
    except ValueError:
        return None


def _stored(domain: CompiledDomain, kind: str, after: str) -> list[str]:
    return sorted(name for stored, name in domain.entities if stored == kind and name > after)


def _facts_about(domain: CompiledDomain, request: DomainRequest) -> Facts:
    """Return what this request can touch; raises ValueError for properties that break the schema."""
    parties = [party for party in (request.subject, request.resource) if _laid(domain, party)]
    if not parties:
        return domain.facts
    changed = {party.uid: _merged(domain, party) for party in parties}
    known = {**domain.entities, **changed}
    roots = (request.subject.uid, request.resource.uid, *domain.named)
    return facts_from(reachable(known, (*roots, *references(request.context))), domain.ground.schema)


def _laid(domain: CompiledDomain, party: Party) -> dict[str, object]:
    """Return the properties of a party that the schema declares."""
    declared = domain.shape.entities.get(party.type)
    laid = prune(dict(party.properties), declared) if declared is not None else {}
    assert isinstance(laid, dict)  # properties are an object
    return laid


def _merged(domain: CompiledDomain, party: Party) -> Entity:
    blank: Entity = {"uid": {"type": party.type, "id": party.id}, "attrs": {}, "parents": []}
    stored = domain.entities.get(party.uid, blank)
    return {**stored, "attrs": {**stored.get("attrs", {}), **_laid(domain, party)}}


def reachable(known: Mapping[Uid, Entity], roots: Iterable[Uid]) -> list[Entity]:
    """Return the entities that an evaluation can come to from these, through parents and attributes."""
    found: dict[Uid, Entity] = {}
    waiting = [uid for uid in roots if uid in known]
    while waiting:
        uid = waiting.pop()
        if uid in found:
            continue
        found[uid] = known[uid]
        waiting.extend(other for other in references(known[uid]) if other in known)
    return list(found.values())
