"""Asking a recorded decision again: what was asked as canonical JSON, and how two answers differ.

A record holds the request and its circumstances; a snapshot, kept once per content, holds the world and
the configuration they met. Both carry a version, and what does not read back exactly is not read at all.
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import cache
from typing import Any

from kernel.canonical import MAX_SAFE_INTEGER, canonical, digest_bytes
from policy.compilation import CompiledSet
from policy.engine import evaluate
from policy.placement import EntityHandles
from policy.types import (
    Asked,
    Effect,
    Obligation,
    PolicyDecision,
    PolicyEvaluationConfig,
    PolicyRequest,
    PolicyRequestContext,
    Risk,
    World,
)

VERSION = 1
Decoder = Callable[[Any], Any]


class RecordError(ValueError):
    """A stored text is no record of this version. The message names the place, never a value."""


@dataclass(frozen=True, slots=True)
class Packed:
    """One `Asked` as two canonical JSON texts; `digest` names the content of `entities`."""

    request: str
    entities: str
    digest: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The world and the configuration that many records share."""

    world: World
    config: PolicyEvaluationConfig


class Direction(StrEnum):
    UNCHANGED = "unchanged"
    LOOSENED = "loosened"
    TIGHTENED = "tightened"
    REASON_ONLY = "reason_only"


def pack(asked: Asked) -> Packed:
    """Return what was asked as text. `unpack` gives back an equal value.

    Raises InvalidError for an input without canonical JSON form; none of those passes the schema gate.
    """
    request = {"v": VERSION, "request": _encode(asked.request), "context": _encode(asked.context)}
    snapshot = {"v": VERSION, "world": _encode(asked.world), "config": _encode(asked.config)}
    entities = canonical(snapshot)
    return Packed(canonical(request).decode(), entities.decode(), digest_bytes(entities))


def unpack(request: str, snapshot: Snapshot) -> Asked:
    """Return what was asked, or raise RecordError."""
    found = _members(request, {"v", "request", "context"})
    return Asked(
        request=_decode(PolicyRequest, found["request"]),
        context=_decode(PolicyRequestContext, found["context"]),
        config=snapshot.config,
        world=snapshot.world,
    )


def read_snapshot(entities: str) -> Snapshot:
    """Return world and configuration of a snapshot's text, or raise RecordError."""
    found = _members(entities, {"v", "world", "config"})
    return Snapshot(_decode(World, found["world"]), _decode(PolicyEvaluationConfig, found["config"]))


def replay(asked: Asked, policies: CompiledSet, handles: EntityHandles) -> PolicyDecision:
    """Decide again by another set, with the function that decides live calls. Never raises."""
    return evaluate(
        request=asked.request,
        context=asked.context,
        config=asked.config,
        world=asked.world,
        policies=policies,
        handles=handles,
    )


def compare(old: PolicyDecision, new: PolicyDecision) -> Direction:
    """Return how `new` differs from `old`.

    Deny → require_approval → allow is loosened, and so is an equal effect with any weaker obligation:
    one that is gone, a lower quorum or risk, a role less, no step-up. Where something is weaker and
    something else stricter, it is loosened: a person has to look.
    """
    ranks = _RANK[old.effect], _RANK[new.effect]
    if ranks[0] != ranks[1]:
        return Direction.LOOSENED if ranks[1] > ranks[0] else Direction.TIGHTENED
    was, becomes = _by_kind(old.obligations), _by_kind(new.obligations)
    if _is_weaker(was, becomes):
        return Direction.LOOSENED
    if _is_weaker(becomes, was):
        return Direction.TIGHTENED
    same = old.reason_code == new.reason_code and determining_ids(old) == determining_ids(new)
    return Direction.UNCHANGED if same else Direction.REASON_ONLY


def determining_ids(decision: PolicyDecision) -> list[str]:
    """Return the ids of the rules that decided or obliged, sorted."""
    named = {policy.id for policy in decision.explanation.determining_policies}
    return sorted(named.union(*(obligation.policy_ids for obligation in decision.obligations)))


_RANK = {Effect.DENY: 0, Effect.REQUIRE_APPROVAL: 1, Effect.ALLOW: 2}


def _by_kind(obligations: tuple[Obligation, ...]) -> dict[str, Obligation]:
    return {obligation.kind: obligation for obligation in obligations}


def _is_weaker(was: Mapping[str, Obligation], becomes: Mapping[str, Obligation]) -> bool:
    """Tell whether any obligation of `was` asks for less in `becomes`."""
    return any(kind not in becomes or _asks_less(one, becomes[kind]) for kind, one in was.items())


def _asks_less(one: Obligation, other: Obligation) -> bool:
    return (
        other.quorum < one.quorum
        or Risk(other.risk).rank < Risk(one.risk).rank
        or bool(set(one.approver_roles) - set(other.approver_roles))
        or (one.step_up and not other.step_up)
    )


def _encode(value: object) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, (int, float)):
        return value
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, frozenset):
        return sorted(str(item) for item in value)
    if isinstance(value, Mapping):
        return {str(name): _encode(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_encode(item) for item in value]
    return _encode_facts(value)


def _encode_facts(value: Any) -> dict[str, Any]:
    """A dataclass by its fields; where one of several may stand, its name goes first."""
    kind: Any = type(value)
    hints = _hints(kind)
    encoded = {}
    for name, hint in hints.items():
        item = getattr(value, name)
        inner = _encode(item)
        encoded[name] = {type(item).__name__: inner} if item is not None and _is_choice(hint) else inner
    return encoded


def _members(text: str, names: set[str]) -> dict[str, Any]:
    try:
        found = json.loads(text, parse_int=_number)
    except (ValueError, RecursionError) as error:
        raise RecordError("the text is no JSON") from error
    if not isinstance(found, dict) or set(found) != names:
        raise RecordError("the members are not those of a record")
    if found["v"] != VERSION or isinstance(found["v"], bool):
        raise RecordError("the version is not known")
    return found


def _number(text: str) -> float:
    """An integer beyond the safe range was a float when it was written: canonical JSON has no other."""
    number = int(text)
    return number if abs(number) <= MAX_SAFE_INTEGER else float(number)


def _decode(kind: Any, value: Any) -> Any:
    return _decoder(kind)(value)


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _choices(hint: Any) -> tuple[Any, ...]:
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        return typing.get_args(hint)
    return (hint,)


def _is_choice(hint: Any) -> bool:
    return sum(dataclasses.is_dataclass(one) for one in _choices(hint)) > 1


@cache
def _decoder(hint: Any) -> Decoder:
    """Return what reads a value of this type and refuses every other."""
    options = _choices(hint)
    if len(options) > 1:
        return _optional(tuple(one for one in options if one is not types.NoneType))
    if dataclasses.is_dataclass(hint):
        return _facts(hint)
    if hint is datetime:
        return _moment
    if typing.get_origin(hint) is frozenset:
        return _texts
    if typing.get_origin(hint) is Mapping:
        return _exactly(dict)
    return _exactly(hint)


def _optional(options: tuple[Any, ...]) -> Decoder:
    if len(options) == 1:
        inner = _decoder(options[0])
        return lambda value: None if value is None else inner(value)
    named = {one.__name__: _decoder(one) for one in options}

    def choose(value: Any) -> Any:
        if value is None:
            return None
        if not isinstance(value, dict) or len(value) != 1 or next(iter(value)) not in named:
            raise RecordError("one of several kinds is expected")
        ((name, inner),) = value.items()
        return named[name](inner)

    return choose


def _exactly(kind: type[Any]) -> Decoder:
    def check(value: Any) -> Any:
        if type(value) is not kind:
            raise RecordError(f"{kind.__name__} is expected")
        return value

    return check


def _moment(value: Any) -> datetime:
    try:
        return datetime.fromisoformat(value)
    except (TypeError, ValueError) as error:
        raise RecordError("a time is expected") from error


def _texts(value: Any) -> frozenset[str]:
    if type(value) is not list or not all(type(item) is str for item in value):
        raise RecordError("texts are expected")
    return frozenset(value)


def _facts(kind: Any) -> Decoder:
    """A field with a default may be missing: the record is older than the field."""
    plan = {name: _decoder(hint) for name, hint in _hints(kind).items()}

    def read(value: Any) -> Any:
        if type(value) is not dict or not value.keys() <= plan.keys():
            raise RecordError(f"{kind.__name__}: the members are others")
        try:
            return kind(**{name: plan[name](inner) for name, inner in value.items()})
        except TypeError as error:
            raise RecordError(f"{kind.__name__}: a member is missing") from error

    return read
