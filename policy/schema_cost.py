"""How much work a schema is, measured before Cedar sees it.

Cedar writes every common type out wherever it is named, and checks each policy for every pair of
principal and resource types of each action. Either can be exponential or quadratic in a short text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from kernel.canonical import parse
from kernel.errors import MalformedError
from policy.schema_reading import MAX_NESTING, Named, Reader, Written, WrittenAction

MAX_EXPANDED = 100_000
MAX_ENVIRONMENTS = 20_000
MAX_CHECKS = 2_000_000


@dataclass(frozen=True, slots=True)
class SchemaCost:
    """`expanded` counts types when all names are written out; `environments` what a policy is checked for."""

    expanded: int
    environments: int

    def allows(self, policies: int) -> bool:
        """Tell whether so many policies can be checked against this schema within the limits."""
        return (
            self.expanded <= MAX_EXPANDED
            and self.environments <= MAX_ENVIRONMENTS
            and self.environments * policies <= MAX_CHECKS
        )


def is_json(schema_text: str) -> bool:
    """Tell whether a schema is in Cedar's JSON form; no schema in its own syntax begins with a brace."""
    return schema_text.lstrip().startswith("{")


def schema_cost(schema_text: str) -> SchemaCost:
    """Measure a schema in either form; raises ValueError for one that cannot be read or never ends."""
    try:
        return _cost(_json(schema_text) if is_json(schema_text) else Reader(schema_text))
    except (MalformedError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise ValueError("the schema cannot be read") from error


class _JsonSchema:
    """The declarations of a schema in JSON form, as `Reader` has them for the other form."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.commons: dict[str, Written] = {}
        self.entities: dict[str, Written] = {}
        self.actions: dict[tuple[str, str], WrittenAction] = {}
        for namespace, part in document.items():
            self._take(namespace, part)

    def common_named(self, name: Named) -> str | None:
        for full in (f"{name.namespace}::{name.path}", name.path):
            if full in self.commons:
                return full
        return None

    def _take(self, namespace: str, part: Mapping[str, Any]) -> None:
        def full(name: str) -> str:
            return f"{namespace}::{name}" if namespace else name

        for name, written in part.get("commonTypes", {}).items():
            self.commons[full(name)] = _json_type(written, namespace)
        for name, entity in part.get("entityTypes", {}).items():
            self.entities[full(name)] = _json_type(entity.get("shape", {}), namespace)
        for name, action in part.get("actions", {}).items():
            applies = action.get("appliesTo") or {}
            self.actions[full("Action"), name] = WrittenAction(
                namespace,
                list(applies.get("principalTypes", ())),
                list(applies.get("resourceTypes", ())),
                _json_type(applies.get("context", {}), namespace),
            )


def _json(schema_text: str) -> _JsonSchema:
    document = parse(schema_text.encode(), max_depth=3 * MAX_NESTING, max_keys=MAX_EXPANDED)
    if not isinstance(document, dict):
        raise TypeError("no object")
    return _JsonSchema(document)


Declared: TypeAlias = Reader | _JsonSchema


def _json_type(written: Mapping[str, Any], namespace: str) -> Written:
    if "attributes" in written:
        return {name: _json_type(inner, namespace) for name, inner in written["attributes"].items()}
    if "element" in written:
        return [_json_type(written["element"], namespace)]
    return Named(str(written.get("name", written.get("type", ""))), namespace)


def _cost(declared: Declared) -> SchemaCost:
    known: dict[str, int] = {}
    entities = sum(_size(shape, declared, known, ()) for shape in declared.entities.values())
    expanded = environments = 0
    for action in declared.actions.values():
        pairs = len(action.principals) * len(action.resources)
        environments += pairs
        expanded += _size(action.context, declared, known, ())
    commons = sum(_size(shape, declared, known, ()) for shape in declared.commons.values())
    return SchemaCost(entities + expanded + commons, environments)


def _size(written: Written, declared: Declared, known: dict[str, int], within: tuple[str, ...]) -> int:
    if isinstance(written, dict):
        return 1 + sum(_size(inner, declared, known, within) for inner in written.values())
    if isinstance(written, list):
        return 1 + _size(written[0], declared, known, within)
    name = declared.common_named(written)
    if name is None:
        return 1
    if name in within:
        raise ValueError(f"the type {name} holds itself")
    if name not in known:
        known[name] = _size(declared.commons[name], declared, known, (*within, name))
    return known[name]
