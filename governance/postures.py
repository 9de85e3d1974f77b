"""Postures as one principal may see them: places in reach, locks of hosts, and recommendations."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from django.db.models import QuerySet

from governance.friction import friction, last_calls
from governance.models import Session
from identity.authorization import strength_of
from identity.models import Agent
from identity.reach import reaches, reaches_all
from identity.types import AuthStrength, Principal
from kernel.errors import NotFoundError
from kernel.ids import is_id
from policy import posture_selectors
from policy.models import PostureEvent, PostureOverride
from policy.posture import GLOBAL, Place
from policy.postures import place_of
from policy.recommendations import FrictionFacts, PutOff, Recommendation, StoredOverride, recommend
from policy.selectors import list_tools
from policy.types import PostureState, ScopeKind, ToolFacts
from sandbox import selectors as sandbox_selectors
from sandbox.types import Executor, Tier

NO_HOST = "No host that was seen lately can run this tool."


def place_for(principal: Principal, kind: str, scope_id: str) -> Place:
    """Return a place that exists for this principal.

    InvalidError for what is no scope; NotFoundError for what does not exist or lies in a workspace out of
    reach, which answer alike.
    """
    if kind == ScopeKind.SESSION:
        return _session_place(principal, scope_id)
    place = place_of(kind, scope_id)
    if place is not GLOBAL and not reaches(principal, place.workspace_id):
        raise NotFoundError("not_found", f"There is no such {kind}.")
    return place


def home_of(principal: Principal) -> Place:
    """Return the workspace the principal is in."""
    return Place(ScopeKind.WORKSPACE, principal.workspace_id, principal.workspace_id)


def place_of_event(principal: Principal, event: PostureEvent) -> Place:
    """Return where an act of the history took place, as `place_for`."""
    return place_for(principal, event.scope_kind, event.scope_id)


def visible_events(principal: Principal) -> QuerySet[PostureEvent]:
    """Return the history in reach: of the principal's workspace and of the whole instance."""
    return posture_selectors.events_in(None if reaches_all(principal) else principal.workspace_id)


def require_event(principal: Principal, event_id: str) -> PostureEvent:
    """Return an act of the history in reach, or raise NotFoundError."""
    event = visible_events(principal).filter(pk=event_id).first()
    if event is None:
        raise NotFoundError("not_found", "There is no such act.")
    return event


def code_at(principal: Principal, now: datetime) -> datetime | None:
    """Return when the one-time code was proved that still counts as fresh, or None."""
    fresh = strength_of(principal, now) is AuthStrength.FRESH_MFA
    return principal.authenticated_at if fresh else None


def host_locks(now: datetime) -> dict[str, str]:
    """Return by name the tools that no live host can run, and why."""
    executors = {
        executor
        for host in sandbox_selectors.live_probes(now)
        for executor in sandbox_selectors.as_probe(host).executors
    }
    return {tool.name: NO_HOST for tool in list_tools("") if _executor(tool) not in executors}


def recommendations(
    workspace_id: str, now: datetime, *, answers: tuple[PutOff, ...] | None = None
) -> tuple[Recommendation, ...]:
    """Return what the last weeks recommend for a workspace, without what was put off.

    `answers` replaces what was put off: an empty tuple shows everything.
    """
    chains = _places_within(workspace_id)
    overrides = posture_selectors.overrides_within(workspace_id, chains, now)
    hidden = posture_selectors.put_off(workspace_id, now) if answers is None else answers
    return recommend(
        facts=[*friction(workspace_id, now), *_global_use(overrides, now)],
        overrides=overrides,
        tools=posture_selectors.unlocked_tools(workspace_id, host_locks(now)),
        answers=tuple(hidden),
        now=now,
    )


def _session_place(principal: Principal, session_id: str) -> Place:
    session = Session.objects.filter(pk=session_id).first() if "\0" not in session_id else None
    if session is None or not reaches(principal, session.workspace_id):
        raise NotFoundError("not_found", "There is no such session.")
    return _within_session(session)


def _places_within(workspace_id: str) -> Mapping[str, Place]:
    """Return the agents and sessions of a workspace that have an override of their own, by id."""
    stored = PostureOverride.objects.filter(scope_kind__in=(ScopeKind.AGENT, ScopeKind.SESSION))
    ids = set(stored.values_list("scope_id", flat=True).distinct())
    agents = Agent.objects.filter(pk__in=ids, workspace_id=workspace_id).values_list("pk", flat=True)
    sessions = Session.objects.filter(pk__in=ids, workspace_id=workspace_id)
    return {
        **{agent: Place(ScopeKind.AGENT, agent, workspace_id, agent) for agent in agents},
        **{one.pk: _within_session(one) for one in sessions},
    }


def _within_session(session: Session) -> Place:
    """A session lies at its agent; one of a person lies in the workspace itself."""
    agent = session.principal_id if is_id("agt", session.principal_id) else None
    return Place(ScopeKind.SESSION, session.pk, session.workspace_id, agent)


def _global_use(overrides: list[StoredOverride], now: datetime) -> list[FrictionFacts]:
    """A row of the whole instance is judged by the calls of all workspaces."""
    tools = {
        one.tool
        for one in overrides
        if one.row.scope_kind == ScopeKind.GLOBAL and one.row.state == PostureState.ALWAYS_ALLOW
    }
    return last_calls(tools, now) if tools else []


def _executor(tool: ToolFacts) -> Executor | None:
    if tool.tier == Tier.C:
        return Executor.TIER_C_LINUX
    return Executor(tool.executor) if tool.executor in set(Executor) else None
