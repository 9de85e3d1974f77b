"""Decision points by domain, and the pages of a search."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from governance.authority import require_feature, require_permission
from governance.authzen.live import LivePoint
from governance.authzen.questions import MAX_RESULTS, BadItem, Batch, Search, Searched, Semantic
from identity.roles import Permission
from identity.types import Principal
from kernel.errors import NotFoundError
from policy.compilation import DOMAIN
from policy.domain_requests import (
    DomainRequest,
    decide_in,
    judged_actions,
    judged_resources,
    judged_subjects,
)
from policy.domain_runtime import domain_in_force
from policy.domains import CompiledDomain
from policy.engine import refuse
from policy.runtime import EpochMissingError
from policy.types import Code, Effect, PolicyDecision

FEATURE = "authzen_api"
_NAME = re.compile(r"[a-z][a-z0-9-]{0,63}")
MAX_LOOKED_AT = 200
"""How many entities of the live domain one page of a search asks about; the next page goes on behind."""


class Point(Protocol):
    """What answers questions about one domain. Deciding never raises for what a question says."""

    def decide(self, request: DomainRequest) -> PolicyDecision: ...

    def judged_subjects(self, request: DomainRequest, after: str) -> Iterator[tuple[str, bool]]: ...

    def judged_resources(self, request: DomainRequest, after: str) -> Iterator[tuple[str, bool]]: ...

    def judged_actions(self, request: DomainRequest, after: str) -> Iterator[tuple[str, bool]]: ...


@dataclass(frozen=True, slots=True)
class DomainPoint:
    """A domain with rules of its own. Without usable rules everything is denied and nothing found."""

    compiled: CompiledDomain | None

    def decide(self, request: DomainRequest) -> PolicyDecision:
        if self.compiled is None:
            return refuse(Code.NO_ACTIVE_SET, "No policy set is in force, so nothing is permitted.")
        return decide_in(self.compiled, request)

    def judged_subjects(self, request: DomainRequest, after: str) -> Iterator[tuple[str, bool]]:
        return iter(()) if self.compiled is None else judged_subjects(self.compiled, request, after)

    def judged_resources(self, request: DomainRequest, after: str) -> Iterator[tuple[str, bool]]:
        return iter(()) if self.compiled is None else judged_resources(self.compiled, request, after)

    def judged_actions(self, request: DomainRequest, after: str) -> Iterator[tuple[str, bool]]:
        return iter(()) if self.compiled is None else judged_actions(self.compiled, request, after)


@dataclass(frozen=True, slots=True)
class Found:
    """One page: names in order, and behind which to go on, None at the end."""

    names: tuple[str, ...]
    next_after: str | None


def point_for(domain: str, principal: Principal, now: datetime) -> Point:
    """Return the decision point of a domain for a principal with `policy.read` in their workspace.

    Raises RefusedError `feature_disabled` while `authzen_api` is off there, NotFoundError for a domain
    without a set in force.
    """
    require_permission(principal, Permission.POLICY_READ, principal.workspace_id, now)
    require_feature(principal, FEATURE, principal.workspace_id)
    if domain == DOMAIN:
        return LivePoint(principal.workspace_id, now)
    return DomainPoint(require_domain(domain))


def require_domain(domain: str) -> CompiledDomain | None:
    """Return the rules of a domain with a set in force, None when they cannot be used; NotFoundError."""
    try:
        loaded = domain_in_force(domain) if _NAME.fullmatch(domain) else None
    except EpochMissingError:
        loaded = None
    if loaded is None:
        raise NotFoundError("not_found", "There is no such decision point.")
    return loaded.compiled


def run_batch(point: Point, batch: Batch) -> Iterator[PolicyDecision | BadItem]:
    """Yield the answers in the order of the questions, as many as the semantic lets be asked."""
    for item in batch.items:
        answer = item if isinstance(item, BadItem) else point.decide(item)
        yield answer
        permitted = isinstance(answer, PolicyDecision) and answer.effect is Effect.ALLOW
        if permitted and batch.semantic is Semantic.PERMIT_ON_FIRST_PERMIT:
            return
        if not permitted and batch.semantic is Semantic.DENY_ON_FIRST_DENY:
            return


def search(point: Point, searched: Searched, *, after: str, limit: int) -> Found:
    """Return the permitted names beyond `after`, at most `limit` and never more than 1,000.

    A page ends early where enough was looked at; then there is more behind it, permitted or not.
    """
    most = min(limit, MAX_RESULTS)
    looked_at = 0
    names: list[str] = []
    for name, permitted in _judged(point, searched, after):
        if len(names) >= most or looked_at >= _patience(point):
            return Found(tuple(names), after)
        looked_at, after = looked_at + 1, name
        if permitted:
            names.append(name)
    return Found(tuple(names), None)


def _judged(point: Point, searched: Searched, after: str) -> Iterator[tuple[str, bool]]:
    if searched.kind is Search.SUBJECT:
        return point.judged_subjects(searched.request, after)
    if searched.kind is Search.RESOURCE:
        return point.judged_resources(searched.request, after)
    return point.judged_actions(searched.request, after)


def _patience(point: Point) -> int:
    return MAX_LOOKED_AT if isinstance(point, LivePoint) else MAX_RESULTS
