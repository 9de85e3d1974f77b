"""Slicing: only the rules whose scope can hold for a request are given to Cedar.

A scope is a constraint on principal, action and resource: any, `==`, `in`, `in [list]`, `is T`,
`is T in E`. Conditions are evaluated after scopes match, so decision, determining rules and errors
are those of the whole set. A constraint of a form this module does not know counts as `any`.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Any

import cedarpy

SLICES = 4096

Uid = tuple[str, str]
"""Full type name and id of an entity."""

Key = tuple[str, str, str]
"""One way a constraint can hold: its form, a type name and an id, empty where the form has none."""

ANY: Key = ("any", "", "")
"""The constraint that always holds."""

_Nested = dict[Key, dict[Key, dict[Key, list[int]]]]


@dataclass(frozen=True, slots=True)
class Closure:
    """An entity with all its ancestors."""

    uid: Uid
    ancestors: frozenset[Uid] = frozenset()

    def keys(self) -> tuple[Key, ...]:
        """Return every way in which a constraint can hold for this entity."""
        kind, name = self.uid
        around = (self.uid, *(self.ancestors - {self.uid}))
        inside = tuple(("in", *uid) for uid in around)
        typed = tuple((f"is {kind} in", *uid) for uid in around)
        return (ANY, ("==", kind, name), ("is", kind, ""), *inside, *typed)


class ScopeIndex:
    """The rules of one set by what their scopes ask for: action, then resource, then principal."""

    def __init__(self, bodies: Mapping[str, Mapping[str, Any]]) -> None:
        """Index Cedar's JSON form of each rule, by the id Cedar reports."""
        self._ids = tuple(bodies)
        self._left_out: frozenset[str] = frozenset()
        self._nested: _Nested = {}
        for position, body in enumerate(bodies.values()):
            self._add(position, body)

    def _add(self, position: int, body: Mapping[str, Any]) -> None:
        for action in _keys_of(body["action"]):
            by_resource = self._nested.setdefault(action, {})
            for resource in _keys_of(body["resource"]):
                by_principal = by_resource.setdefault(resource, {})
                for principal in _keys_of(body["principal"]):
                    by_principal.setdefault(principal, []).append(position)

    def candidates(self, principal: Closure, action: Closure, resource: Closure) -> tuple[str, ...]:
        """Return the ids of the rules whose three constraints can hold, in the order of the set."""
        return self.matching(principal.keys(), action.keys(), resource.keys())

    def matching(
        self, principals: tuple[Key, ...], actions: tuple[Key, ...], resources: tuple[Key, ...]
    ) -> tuple[str, ...]:
        """Return the ids of the rules that have one of these keys in each of their three constraints."""
        found: set[int] = set()
        for by_resource in _present(self._nested, actions):
            for by_principal in _present(by_resource, resources):
                for positions in _present(by_principal, principals):
                    found.update(positions)
        ids = (self._ids[position] for position in sorted(found))
        return tuple(one for one in ids if one not in self._left_out)

    def without(self, ids: frozenset[str]) -> ScopeIndex:
        """Return the index of the same set less these rules; both share what was built."""
        reduced = ScopeIndex({})
        reduced._ids, reduced._nested = self._ids, self._nested
        reduced._left_out = self._left_out | ids
        return reduced


class Slices:
    """Parsed policy sets of a few rules each, least recently used out first. One per set."""

    def __init__(self, bodies: Mapping[str, Mapping[str, Any]], size: int = SLICES) -> None:
        self._bodies = bodies
        self._size = size
        self._lock = Lock()
        self._handles: OrderedDict[tuple[str, ...], cedarpy.PolicySet] = OrderedDict()

    def apart(self) -> Slices:
        """Return the same rules with a cache of their own, for questions nobody asks twice."""
        return Slices(self._bodies, self._size)

    def get(self, ids: tuple[str, ...]) -> cedarpy.PolicySet:
        """Return the handle of these rules, by their own ids; raises ValueError from Cedar."""
        with self._lock:
            if ids in self._handles:
                self._handles.move_to_end(ids)
                return self._handles[ids]
        handle = policy_set({name: self._bodies[name] for name in ids})
        with self._lock:
            self._handles[ids] = handle
            while len(self._handles) > self._size:
                self._handles.popitem(last=False)
        return handle


def policy_set(bodies: Mapping[str, Mapping[str, Any]]) -> cedarpy.PolicySet:
    """Return Cedar's handle of these rules; raises ValueError when it refuses one."""
    document = {"staticPolicies": dict(bodies), "templates": {}, "templateLinks": []}
    return cedarpy.PolicySet.from_json_str(json.dumps(document))


def closures_of(entities: Iterable[Mapping[str, Any]]) -> dict[Uid, Closure]:
    """Return the closure of every entity in Cedar's JSON form; parents may be given in any order."""
    parents = {
        uid_of(entity["uid"]): tuple(uid_of(parent) for parent in entity.get("parents", ()))
        for entity in entities
    }
    return {uid: Closure(uid, _ancestors(uid, parents)) for uid in parents}


def uid_of(reference: Mapping[str, Any]) -> Uid:
    """Return a uid written as `{type, id}` or as `{__entity: {type, id}}`."""
    plain = reference.get("__entity", reference)
    return (str(plain["type"]), str(plain["id"]))


def _ancestors(uid: Uid, parents: Mapping[Uid, tuple[Uid, ...]]) -> frozenset[Uid]:
    found: set[Uid] = set()
    waiting = list(parents.get(uid, ()))
    while waiting:
        one = waiting.pop()
        if one not in found:
            found.add(one)
            waiting.extend(parents.get(one, ()))
    return frozenset(found)


def _present(nested: Mapping[Key, Any], keys: tuple[Key, ...]) -> Iterable[Any]:
    return (nested[key] for key in keys if key in nested)


def _keys_of(constraint: Mapping[str, Any]) -> tuple[Key, ...]:
    match constraint:
        case {"op": "==", "entity": entity}:
            return (("==", *uid_of(entity)),)
        case {"op": "in", "entity": entity}:
            return (("in", *uid_of(entity)),)
        case {"op": "in", "entities": entities}:
            return tuple(("in", *uid_of(entity)) for entity in entities)
        case {"op": "is", "entity_type": str(kind), "in": {"entity": entity}}:
            return ((f"is {kind} in", *uid_of(entity)),)
        case {"op": "is", "entity_type": str(kind)} if "in" not in constraint:
            return (("is", kind, ""),)
    return (ANY,)
