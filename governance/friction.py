"""How often tools asked and what people answered: the facts that recommendations and the console read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median

from django.db.models import Count, Max, QuerySet

from approvals.models import ApprovalRequest
from approvals.types import RequestStatus
from governance.models import ToolCall
from governance.subjects import OF_TOOLS
from identity.types import PrincipalKind
from policy.posture import Place, Scope, scope_chain
from policy.recommendations import UNUSED, WINDOW, FrictionFacts
from policy.types import ScopeKind

MOST_TIMED = 1000
_LABEL = "tool:"
_Leaf = tuple[str, tuple[Scope, ...]]


@dataclass(frozen=True, slots=True)
class Numbers:
    """What one tool asked for in one scope within `WINDOW`. `median_wait` is over answers of people."""

    asked: int
    allowed: int
    denied: int
    median_wait: timedelta | None


def friction(workspace_id: str, now: datetime) -> list[FrictionFacts]:
    """Return the facts of every tool that asked or ran in a workspace, one for each agent and session.

    Requests count within `WINDOW`, calls within `UNUSED`. A person's own runs have no agent: they count
    for the workspace, or for their session.
    """
    counts = _requests(workspace_id, now - WINDOW)
    last = _calls(workspace_id, now - UNUSED)
    return [
        FrictionFacts(
            tool=tool,
            scope=scope,
            requested=sum(found.values()),
            approved=found.get(RequestStatus.ALLOWED, 0),
            denied=found.get(RequestStatus.DENIED, 0),
            expired=found.get(RequestStatus.EXPIRED, 0),
            pending=found.get(RequestStatus.PENDING, 0),
            sessions=1 if found else 0,
            last_at=last.get((tool, scope)),
        )
        for tool, scope in sorted({*counts, *last})
        for found in (counts.get((tool, scope), {}),)
    ]


def last_calls(tools: Iterable[str], now: datetime) -> list[FrictionFacts]:
    """Return when each of these tools was last called anywhere, within `UNUSED`."""
    rows = ToolCall.objects.filter(tool_name__in=tuple(tools), created_at__gte=now - UNUSED)
    found = rows.values_list("tool_name").annotate(last=Max("created_at")).order_by("tool_name")
    return [FrictionFacts(tool, ((ScopeKind.GLOBAL, ""),), last_at=last) for tool, last in found]


def numbers(tool: str, place: Place, reach: str | None, now: datetime) -> Numbers:
    """Return what one tool asked for in one place. `reach` is the one workspace to look into, None: all."""
    rows = _asked(now - WINDOW).filter(subject_label=f"{_LABEL}{tool}")
    if reach is not None:
        rows = rows.filter(workspace_id=reach)
    if place.kind == ScopeKind.WORKSPACE:
        rows = rows.filter(workspace_id=place.id)
    elif place.kind == ScopeKind.AGENT:
        rows = rows.filter(requester_id=place.id)
    elif place.kind == ScopeKind.SESSION:
        rows = rows.filter(session_id=place.id)
    found = dict(rows.values_list("status").annotate(count=Count("pk")).order_by("status"))
    answered = rows.filter(status__in=(RequestStatus.ALLOWED, RequestStatus.DENIED)).order_by("-requested_at")
    waits = [
        (end - start).total_seconds()
        for start, end in answered.values_list("requested_at", "resolved_at")[:MOST_TIMED]
        if end is not None
    ]
    return Numbers(
        asked=sum(found.values()),
        allowed=found.get(RequestStatus.ALLOWED, 0),
        denied=found.get(RequestStatus.DENIED, 0),
        median_wait=timedelta(seconds=median(waits)) if waits else None,
    )


def _requests(workspace_id: str, since: datetime) -> dict[_Leaf, dict[str, int]]:
    fields = ("subject_label", "requester_kind", "requester_id", "session_id", "status")
    rows = _asked(since).filter(workspace_id=workspace_id).values_list(*fields)
    found: dict[_Leaf, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for label, kind, principal, session, status, count in rows.annotate(count=Count("pk")).order_by(*fields):
        leaf = (label.removeprefix(_LABEL), _chain(workspace_id, kind, principal, session))
        found[leaf][status] += count
    return found


def _calls(workspace_id: str, since: datetime) -> dict[_Leaf, datetime]:
    fields = ("tool_name", "principal_kind", "principal_id", "run__session_id")
    rows = ToolCall.objects.filter(workspace_id=workspace_id, created_at__gte=since).values_list(*fields)
    found: dict[_Leaf, datetime] = {}
    for tool, kind, principal, session, last in rows.annotate(last=Max("created_at")).order_by(*fields):
        leaf = (tool, _chain(workspace_id, kind, principal, session))
        found[leaf] = max(last, found.get(leaf, last))
    return found


def _asked(since: datetime) -> QuerySet[ApprovalRequest]:
    return ApprovalRequest.objects.filter(subject_type__in=OF_TOOLS, requested_at__gte=since)


def _chain(workspace_id: str, kind: str, principal: str, session: str | None) -> tuple[Scope, ...]:
    agent = principal if kind == PrincipalKind.AGENT else None
    return scope_chain(workspace_id=workspace_id, agent_id=agent, session_id=session or None)
