"""From policies to Cedar's own answer: compile, choose the rules that can hold, evaluate them.

Live decisions, other domains and conformance all come through here, so what a conformance run shows
about these steps holds for every decision.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import cedarpy

from policy.slicing import Closure, ScopeIndex, Slices, policy_set


@dataclass(frozen=True, slots=True)
class Bodies:
    """Rules in Cedar's JSON form, parsed as a whole, indexed by scope, and ready to be sliced."""

    handle: cedarpy.PolicySet
    index: ScopeIndex
    slices: Slices


class Compiled(Protocol):
    """What a compiled set offers for judging, whatever schema it was compiled against."""

    @property
    def index(self) -> ScopeIndex: ...

    @property
    def slices(self) -> Slices: ...


@dataclass(frozen=True, slots=True)
class Slice:
    """The rules whose scope can hold for one request, parsed, and their ids in the order of the set."""

    handle: cedarpy.PolicySet
    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Cedar's answer. `decision` is NoDecision when the request itself was refused; then errors say why.

    `reasons` are the ids of the determining rules, sorted; `errors` name the rules that failed.
    """

    decision: cedarpy.Decision
    reasons: tuple[str, ...]
    errors: tuple[str, ...]

    @property
    def allowed(self) -> bool:
        """Tell whether this counts as an allow here: any error beside it denies."""
        return self.decision is cedarpy.Decision.Allow and not self.errors


def compile_bodies(bodies: Mapping[str, Mapping[str, Any]]) -> Bodies:
    """Parse and index rules by the ids Cedar is to report; raises ValueError from Cedar."""
    return Bodies(policy_set(bodies), ScopeIndex(bodies), Slices(bodies))


def slice_for(compiled: Compiled, principal: Closure, action: Closure, resource: Closure) -> Slice:
    """Return the rules of a set whose three scopes can hold; raises ValueError from Cedar."""
    ids = compiled.index.candidates(principal, action, resource)
    return Slice(compiled.slices.get(ids), ids)


def judge(
    request: Mapping[str, object],
    rules: cedarpy.PolicySet,
    entities: cedarpy.Entities,
    schema: cedarpy.Schema,
) -> Verdict:
    """Evaluate one request in Cedar's form, checked against the schema, which also knows action groups."""
    result = cedarpy.is_authorized(dict(request), rules, entities, schema=schema)
    diagnostics = result.diagnostics
    return Verdict(result.decision, tuple(sorted(diagnostics.reasons)), tuple(diagnostics.errors))
