"""What is allowed in a policy set and yet probably not meant."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from policy.positions import name_offset
from policy.reading import FileReading, PlacedRule, Reading, Rule, entities_in
from policy.schema import NAMESPACE, CedarSchema
from policy.slicing import ANY, Closure, Key, ScopeIndex, uid_of
from policy.types import Finding

ENGINE_GROUPS = frozenset(
    {"tool_execute_principals", "workspace_members", "allowlisted", "tool_execute_channels"}
)
"""Groups that exist in every instance: the engine places entities in them."""

_ROLE = "role:"
_GROUPS = frozenset({"Group", "ToolGroup", "SkillGroup", "ChannelGroup"})
_UNBOUND = ("approval", "allow_sensitive_tools")


@dataclass(frozen=True, slots=True)
class KnownNames:
    """What exists in the instance beside the schema: tools, groups, roles, and the ids of shipped rules."""

    tools: frozenset[str]
    groups: frozenset[str]
    roles: frozenset[str]
    baseline_ids: frozenset[str] = frozenset()


def warnings_about(reading: Reading, schema: CedarSchema, known: KnownNames) -> Iterator[Finding]:
    """Yield the warnings about a set, the gravest first; what could not be read is not judged."""
    present = {rule.id for rule in reading.rules if rule.in_force}
    present |= {identifier for file in reading.files for identifier in file.broken}
    for identifier in sorted(known.baseline_ids - present):
        message = f"The shipped policy {identifier} is not in force in this set."
        yield Finding("warning", "policy_removed_baseline", "", identifier, message)
    shadows = _Shadows(reading, schema)
    for file in reading.files:
        for placed in file.placed:
            rule, start = placed.rule, placed.statement.start
            for code, message in _about_rule(rule, shadows):
                yield file.finding(code, message, start, policy_id=rule.id, severity="warning")
            yield from _strangers(file, placed, known)


def _about_rule(rule: Rule, shadows: _Shadows) -> Iterator[tuple[str, str]]:
    scope = [rule.body[part]["op"] for part in ("principal", "action", "resource")]
    if scope == ["All", "All", "All"]:
        yield "unscoped_policy", "The scope names nothing, so every decision evaluates this policy."
    if rule.effect == "forbid" and not rule.needs_approval and _reads_approval(rule.body["conditions"]):
        yield (
            "approval_read_without_obligation",
            'The forbid asks for an approval that it never requests; add @obligation("approval").',
        )
    by = shadows.over(rule)
    if by:
        yield "shadowed_by_forbid", f"The unconditional forbid {by} covers this scope: it never decides."


def _reads_approval(value: object) -> bool:
    """Tell whether a condition reads, or asks for, an approval or `allow_sensitive_tools` of the context."""
    waiting: list[object] = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, list):
            waiting.extend(one)
        elif isinstance(one, Mapping):
            waiting.extend(one.values())
            if one.get("left") == {"Var": "context"} and one.get("attr") in _UNBOUND:
                return True
    return False


def _strangers(file: FileReading, placed: PlacedRule, known: KnownNames) -> Iterator[Finding]:
    """Yield the tools, groups and roles that a rule names and nobody is or ever will be in."""
    for kind, identifier in sorted(entities_in(placed.rule.body)):
        what = _stranger(kind.removeprefix(f"{NAMESPACE}::"), identifier, known)
        if what:
            written = f'{kind}::"{identifier}"'
            offset = name_offset(file.file.text, placed.statement, written)
            yield file.finding(
                "never_matches_entity",
                f"There is no {what} {identifier!r}.",
                placed.statement.start if offset is None else offset,
                policy_id=placed.rule.id,
                severity="warning",
            )


def _stranger(kind: str, identifier: str, known: KnownNames) -> str:
    if kind == "Tool" and identifier not in known.tools:
        return "tool"
    if kind == "Group" and identifier.startswith(_ROLE):
        return "" if identifier.removeprefix(_ROLE) in known.roles else "role"
    return "group" if kind in _GROUPS and identifier not in known.groups | ENGINE_GROUPS else ""


class _Shadows:
    """The unconditional forbids of a set, found by the scopes they cover."""

    def __init__(self, reading: Reading, schema: CedarSchema) -> None:
        self._groups = {name: action.groups for name, action in schema.actions.items()}
        self._index = ScopeIndex(
            {
                rule.id: rule.body
                for rule in reading.rules
                if rule.effect == "forbid" and rule.in_force and not rule.body["conditions"]
            }
        )

    def over(self, rule: Rule) -> str:
        """Return the id of an unconditional forbid whose scope contains that of another rule, or nothing."""
        (principals,), (resources,) = self._keys(rule.body["principal"]), self._keys(rule.body["resource"])
        covering = [
            set(self._index.matching(principals, actions, resources))
            for actions in self._keys(rule.body["action"])
        ]
        return min(set.intersection(*covering) - {rule.id}, default="")

    def _keys(self, constraint: Mapping[str, Any]) -> list[tuple[Key, ...]]:
        """Return, for each entity a constraint lists, the constraints that contain it."""
        match constraint:
            case {"op": "==", "entity": entity}:
                kind, name = uid_of(entity)
                parents = frozenset((kind, group) for group in self._groups.get(name, ()))
                return [Closure((kind, name), parents if kind.endswith("Action") else frozenset()).keys()]
            case {"op": "in", "entities": entities}:
                return [(ANY, ("in", *uid_of(entity))) for entity in entities] or [(ANY,)]
            case {"op": "in", "entity": entity}:
                return [(ANY, ("in", *uid_of(entity)))]
            case {"op": "is", "entity_type": str(kind), "in": {"entity": entity}}:
                uid = uid_of(entity)
                return [(ANY, ("is", kind, ""), ("in", *uid), (f"is {kind} in", *uid))]
            case {"op": "is", "entity_type": str(kind)}:
                return [(ANY, ("is", kind, ""))]
        return [(ANY,)]
