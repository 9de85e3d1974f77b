"""Policies under any schema: what a domain other than `palyra` and a conformance case are made of.

Compiling, slicing and evaluating are those of live decisions (`policy.judging`). What differs is where
schema and entities come from: they are given, not built.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import cedarpy

from kernel.canonical import LONG_INTEGERS, parse
from kernel.errors import MalformedError
from policy.compilation import Rule, SourceFile, read_rules, static_bodies
from policy.judging import Bodies, Verdict, compile_bodies, judge, slice_for
from policy.schema_cost import is_json, schema_cost
from policy.schema_reading import SchemaShape, read_schema
from policy.set_files import policy_files
from policy.slicing import Closure, ScopeIndex, Slices, Uid, closures_of, uid_of
from policy.types import NO_SET, Finding, PolicySetRef

MAX_ENTITIES = 5_000
MAX_ENTITY_KEYS = 200_000
MAX_SCHEMA_BYTES = 256 * 1024

Entity = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Facts:
    """Entities as Cedar has them, with the actions of the schema, and the ancestors of each."""

    handle: cedarpy.Entities
    closures: Mapping[Uid, Closure]

    def closure(self, uid: Uid) -> Closure:
        """Return an entity with its ancestors; one that is not known has none."""
        return self.closures.get(uid) or Closure(uid)


@dataclass(frozen=True, slots=True)
class CedarRequest:
    """One request by the full names of schema and entities."""

    principal: Uid
    action: Uid
    resource: Uid
    context: Mapping[str, object]

    def wire(self) -> dict[str, object]:
        """Return the dict form, which no identifier can break out of."""
        parts = {"principal": self.principal, "action": self.action, "resource": self.resource}
        named = {part: {"type": kind, "id": name} for part, (kind, name) in parts.items()}
        return {**named, "context": dict(self.context)}


@dataclass(frozen=True, slots=True)
class Ground:
    """Rules and schema, ready to be asked about any facts."""

    bodies: Bodies
    schema: cedarpy.Schema

    @property
    def index(self) -> ScopeIndex:
        return self.bodies.index

    @property
    def slices(self) -> Slices:
        return self.bodies.slices

    def judge(self, request: CedarRequest, facts: Facts, *, sliced: bool = True) -> Verdict:
        """Return Cedar's answer from the rules whose scope can hold, or from all of them."""
        rules = self._slice(request, facts) if sliced else self.bodies.handle
        return judge(request.wire(), rules, facts.handle, self.schema)

    def _slice(self, request: CedarRequest, facts: Facts) -> cedarpy.PolicySet:
        around = (facts.closure(uid) for uid in (request.principal, request.action, request.resource))
        return slice_for(self, *around).handle


@dataclass(frozen=True, slots=True)
class CompiledDomain:
    """A set of another domain: its rules by id, what its schema declares, and its stored entities.

    `named` are the entities that the rules themselves name.
    """

    ref: PolicySetRef
    rules: Mapping[str, Rule]
    ground: Ground
    shape: SchemaShape
    facts: Facts
    entities: Mapping[Uid, Entity]
    named: frozenset[Uid]


def parse_schema(text: str) -> cedarpy.Schema:
    """Parse a schema in either of Cedar's forms; raises ValueError."""
    return cedarpy.Schema.from_json_str(text) if is_json(text) else cedarpy.Schema.from_str(text)


def bodies_by_id(text: str) -> dict[str, dict[str, Any]]:
    """Return the policies of a text by `@id`, and by position (`policy0`, …) where there is none.

    Raises ValueError for text that does not parse and for an id that names two policies, and
    TemplateError for templates.
    """
    found: dict[str, dict[str, Any]] = {}
    for position, body in static_bodies(text).items():
        name = (body.get("annotations") or {}).get("id") or position
        if name in found:
            raise ValueError(f"two policies are called {name!r}")
        found[name] = body
    return found


def facts_from(entities: Sequence[Entity], schema: cedarpy.Schema) -> Facts:
    """Parse entities against a schema; raises ValueError when they break it or name one twice."""
    handle = cedarpy.Entities.from_json_str(json.dumps(list(entities)), schema=schema)
    return Facts(handle, closures_of(json.loads(str(handle))))


def ground_from(bodies: Mapping[str, Mapping[str, Any]], schema: cedarpy.Schema) -> Ground:
    """Parse rules by the ids Cedar is to report; raises ValueError."""
    return Ground(compile_bodies(bodies), schema)


def references(value: object) -> Iterator[Uid]:
    """Yield everything within a JSON value that may name an entity."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, Mapping):
            if isinstance(item.get("type"), str) and isinstance(item.get("id"), str):
                yield (item["type"], item["id"])
            waiting.extend(item.values())
        elif isinstance(item, list | tuple):
            waiting.extend(item)


def validate_domain(files: Sequence[SourceFile], schema_text: str, entities_json: str) -> tuple[Finding, ...]:
    """Return everything wrong with a set of another domain; it may be put into force without an error."""
    compiled = _compile(files, schema_text, entities_json, NO_SET)
    return compiled if isinstance(compiled, tuple) else _warnings(files)


def compile_domain(
    files: Sequence[SourceFile], schema_text: str, entities_json: str, *, ref: PolicySetRef = NO_SET
) -> CompiledDomain | tuple[Finding, ...]:
    """Return the compiled domain, or every error found."""
    return _compile(files, schema_text, entities_json, ref)


def read_entities(entities_json: str) -> list[Entity]:
    """Return stored entities, or raise ValueError; an empty text is none."""
    if not entities_json.strip():
        return []
    try:
        found = parse(entities_json.encode(), max_keys=MAX_ENTITY_KEYS, integers=LONG_INTEGERS)
    except MalformedError as error:
        raise ValueError(error.detail) from error
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise ValueError("Entities are a JSON array of objects.")
    if len(found) > MAX_ENTITIES:
        raise ValueError(f"There are more than {MAX_ENTITIES} entities.")
    return found


def _compile(
    files: Sequence[SourceFile], schema_text: str, entities_json: str, ref: PolicySetRef
) -> CompiledDomain | tuple[Finding, ...]:
    rules, findings = _rules(files)
    if findings:
        return findings
    try:
        _require_affordable(schema_text, len(rules))
        schema = parse_schema(schema_text)
        shape = read_schema(schema)
    except ValueError as error:
        return (_error("schema_invalid", str(error)),)
    findings = tuple(_type_errors(files, schema))
    if findings:
        return findings
    try:
        entities = read_entities(entities_json)
        facts = facts_from(entities, schema)
        stored = {uid_of(entity["uid"]): entity for entity in entities}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return (_error("entities_invalid", str(error)),)
    in_force = {rule.id: rule for rule in rules if rule.in_force}
    ground = ground_from({name: rule.body for name, rule in in_force.items()}, schema)
    named = frozenset(uid for rule in in_force.values() for uid in references(rule.body))
    return CompiledDomain(ref, in_force, ground, shape, facts, stored, named)


def _rules(files: Sequence[SourceFile]) -> tuple[tuple[Rule, ...], tuple[Finding, ...]]:
    """Read the rules; one without an `@id` gets its position among all of the set as its name."""
    rules, findings = read_rules(policy_files(files))
    named = tuple(
        rule if rule.id else replace(rule, id=f"policy{position}") for position, rule in enumerate(rules)
    )
    errors = [one for one in findings if one.severity == "error" and one.code != "missing_id"]
    taken = {rule.id for rule in rules if rule.id}
    errors.extend(
        Finding("error", "duplicate_id", rule.file, rule.id, "The @id is the position of another policy.")
        for rule, before in zip(named, rules, strict=True)
        if not before.id and rule.id in taken
    )
    return named, tuple(errors)


def _warnings(files: Sequence[SourceFile]) -> tuple[Finding, ...]:
    return tuple(one for one in read_rules(policy_files(files))[1] if one.severity != "error")


def _require_affordable(schema_text: str, policies: int) -> None:
    if not schema_text.strip():
        raise ValueError("A domain needs a schema.")
    if len(schema_text.encode()) > MAX_SCHEMA_BYTES:
        raise ValueError(f"The schema is larger than {MAX_SCHEMA_BYTES // 1024} KiB.")
    if not schema_cost(schema_text).allows(policies):
        raise ValueError("Checking the policies against this schema would take too long.")


def _type_errors(files: Sequence[SourceFile], schema: cedarpy.Schema) -> Iterator[Finding]:
    for file in policy_files(files):
        result = cedarpy.validate_policies(file.text, schema)
        named = result.id_annotations_by_policy_id
        for error in result.errors:
            yield Finding("error", "type_error", file.name, named.get(error.policy_id, ""), error.error)
        if not result.validation_passed and not result.errors:
            yield Finding("error", "type_error", file.name, "", "The file does not validate.")


def _error(code: str, message: str) -> Finding:
    return Finding("error", code, "", "", message)
