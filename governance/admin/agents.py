"""Pages of agents: the list, and one agent with its authority, tokens and open work."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import Q
from django.http import HttpResponse

from governance.admin.access import Visit
from governance.admin.layout import show
from governance.admin.pages import page
from governance.admin.paging import choice_filter, list_page, text_filter
from governance.admin.rights import live_tokens, rights_of_agent
from governance.admin.tokens import rows_of
from governance.admin.verbs import Answered, Offer, VerbForm, form_of, offer
from governance.selectors import visible_runs
from identity.lifecycle import AGENT_ALLOWED, AgentState
from identity.models import Agent, User
from identity.place_selectors import live_memberships
from identity.reach import require_agent, visible_agents
from identity.roles import Permission
from identity.selectors import INSTANCE
from identity.token_selectors import is_usable, visible_tokens

STATES = tuple(state.value for state in AgentState)
MANAGE = Permission.AGENTS_MANAGE
MOST_SHOWN = 20
MOST_OWNERS = 200
_NOT_FROM = {
    AgentState.ACTIVE: "Only a suspended agent can be resumed.",
    AgentState.SUSPENDED: "Only an active agent can be suspended.",
    AgentState.ARCHIVED: "It is archived already.",
}


@dataclass(frozen=True, slots=True)
class AgentForms:
    """The forms of an agent's page."""

    change: VerbForm
    suspend: VerbForm
    resume: VerbForm
    archive: VerbForm


@page(Permission.AGENTS_READ)
def agents(visit: Visit) -> HttpResponse:
    """List the agents within reach, newest first."""
    filters = {
        "name": text_filter(visit, "name"),
        "state": choice_filter(visit, "state", frozenset(STATES)),
    }
    rows = visible_agents(visit.principal)
    if filters["name"]:
        named = Q(owner__username__icontains=filters["name"]) | Q(name__icontains=filters["name"])
        rows = rows.filter(named)
    if filters["state"]:
        rows = rows.filter(state=filters["state"])
    found = list_page(visit, rows, prefix="agt", filters=filters)
    context = {
        "title": "Agents",
        "found": found,
        "filters": filters,
        "states": STATES,
        "register": offer(visit, MANAGE),
    }
    return show(visit, "console/agents.html", context)


@page(Permission.AGENTS_READ)
def agent_page(visit: Visit, agent_id: str) -> HttpResponse:
    """Show one agent."""
    return shown(visit, agent_id)


def shown(visit: Visit, agent_id: str, answered: Answered | None = None) -> HttpResponse:
    """Return the page of an agent, with a verb that came back open."""
    agent = require_agent(visit.principal, agent_id)
    tokens = live_tokens(agent, visit.now)
    seen = visible_tokens(visit.principal).filter(principal_agent=agent).order_by("-pk")[:MOST_SHOWN]
    runs = visible_runs(visit.principal).filter(principal_id=agent.pk, state="open").order_by("-pk")
    return show(
        visit,
        "console/agent.html",
        {
            "title": agent.name,
            "agent": agent,
            "rights": rights_of_agent(agent, tokens, visit.now),
            "usable": sum(is_usable(token, visit.now) for token in tokens),
            "sees_tokens": visit.holds(Permission.TOKENS_READ),
            "tokens": rows_of(list(seen), visit.now),
            "mint": offer(visit, Permission.TOKENS_MINT, workspace_id=agent.workspace_id),
            "sees_runs": visit.holds(Permission.RUNS_READ),
            "runs": list(runs[:MOST_SHOWN]),
            "forms": _forms(visit, agent, answered),
            "owners": owner_options(visit, agent.workspace_id, agent.owner),
        },
        status=answered.told.status if answered else 200,
    )


def _forms(visit: Visit, agent: Agent, answered: Answered | None) -> AgentForms:
    def form(name: str, blocked: str) -> VerbForm:
        offered: Offer = offer(visit, MANAGE, workspace_id=agent.workspace_id, blocked=blocked)
        return form_of(visit, name, offered, answered)

    def barred(target: AgentState) -> str:
        return "" if target in AGENT_ALLOWED[agent.state] else _NOT_FROM[target]

    archived = "An archived agent stays as it is." if agent.state == AgentState.ARCHIVED else ""
    return AgentForms(
        change=form("change", archived),
        suspend=form("suspend", archived or barred(AgentState.SUSPENDED)),
        resume=form("resume", archived or barred(AgentState.ACTIVE)),
        archive=form("archive", barred(AgentState.ARCHIVED)),
    )


def owner_options(visit: Visit, workspace_id: str, present: User | None) -> list[tuple[str, str]]:
    """Return who can answer for an agent there: active people with a live role, by name."""
    given = live_memberships(visit.now).filter(Q(workspace_id=workspace_id) | Q(workspace__slug=INSTANCE))
    people = User.objects.filter(is_active=True).filter(
        Q(memberships__in=given) | Q(team_places__team__memberships__in=given)
    )
    found = {row.pk: row for row in people.distinct().order_by("username")[:MOST_OWNERS]}
    if present is not None:
        found.setdefault(present.pk, present)
    return [(row.pk, f"{row} ({row.username})") for row in found.values()]
