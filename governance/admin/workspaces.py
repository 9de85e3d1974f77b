"""Pages of workspaces: the list, one workspace, and what anybody may do in it and why."""

from __future__ import annotations

from collections.abc import Iterable

from django.db.models import Q, QuerySet
from django.http import HttpResponse

from governance.admin.access import Visit
from governance.admin.layout import show
from governance.admin.names import names_of
from governance.admin.pages import page
from governance.admin.paging import list_page
from governance.admin.people_rows import require_person
from governance.admin.rights import live_tokens, rights_of, rights_of_agent
from governance.admin.verbs import Answered, form_of, offer
from governance.admin.workspace_forms import Holdings, forms_of
from identity.invitations import state_of
from identity.models import Agent, Membership, User, Workspace
from identity.place_selectors import memberships_of, places_of
from identity.reach import (
    invitations_to,
    memberships_in,
    require_workspace,
    shares_about,
    team_mode_is_on,
    teams_in,
)
from identity.roles import Permission, WorkspaceRole
from identity.selectors import INSTANCE
from kernel.errors import NotFoundError

READ = Permission.WORKSPACE_READ
MOST_MEMBERS, MOST_SHOWN = 200, 50
_RANK = {role.value: rank for rank, role in enumerate(WorkspaceRole)}


@page(READ)
def workspaces(visit: Visit) -> HttpResponse:
    """List the workspaces one works in, or all of them for a member of `instance`."""
    found = list_page(visit, _listed(visit), prefix="wsp", filters={})
    held: dict[str, list[str]] = {}
    for row in memberships_of([visit.user.pk]):
        if row.expires_at is None or row.expires_at > visit.now:
            held.setdefault(row.workspace_id, []).append(row.role)
    within = {place.pk for place in visit.places}
    rows = [
        (row, ", ".join(sorted(set(held.get(row.pk, [])))), _opens(visit, row), row.pk in within)
        for row in found.rows
    ]
    on = team_mode_is_on(visit.principal, visit.workspace.pk)
    context = {
        "title": "Workspaces",
        "found": found,
        "rows": rows,
        "team_mode": on,
        "sees_flags": visit.holds(Permission.SETTINGS_READ),
        "create": offer(visit, Permission.WORKSPACE_MANAGE),
    }
    return show(visit, "console/workspaces.html", context)


def _listed(visit: Visit) -> QuerySet[Workspace]:
    if visit.reach is None:
        return Workspace.objects.all()
    return Workspace.objects.filter(pk__in=places_of(visit.user.pk, visit.now).order_by().values("pk"))


def _opens(visit: Visit, workspace: Workspace) -> bool:
    return workspace.archived_at is None and visit.reach in (None, workspace.pk)


@page(READ)
def workspace_page(visit: Visit, workspace_id: str) -> HttpResponse:
    """Show one workspace."""
    return shown(visit, workspace_id)


def shown(visit: Visit, workspace_id: str, answered: Answered | None = None) -> HttpResponse:
    """Return the page of a workspace, with a verb that came back open."""
    workspace = require_workspace(visit.principal, workspace_id)
    held = _holdings(workspace)
    named = [row.granted_by for row in held.memberships] + [row.invited_by for row in held.invitations]
    return show(
        visit,
        "console/workspace.html",
        {
            "title": workspace.name,
            "workspace": workspace,
            "is_here": workspace.pk == visit.workspace.pk,
            "may_switch": workspace.pk in {place.pk for place in visit.places},
            "team_mode": team_mode_is_on(visit.principal, workspace.pk),
            "sees_flags": visit.holds(Permission.SETTINGS_READ),
            "groups": _by_role(held.memberships, visit),
            "teams": held.teams,
            "invitations": [(row, state_of(row, visit.now)) for row in held.invitations],
            "shares": held.shares,
            "others": _names_of_places(held),
            "names": names_of(named),
            "forms": forms_of(visit, workspace, held, answered),
        },
        status=answered.told.status if answered else 200,
    )


def _holdings(workspace: Workspace) -> Holdings:
    rows = list(memberships_in(workspace.pk).order_by("-pk")[:MOST_MEMBERS])
    teams = teams_in(workspace.pk).prefetch_related("members__user").order_by("name")
    return Holdings(
        memberships=sorted(rows, key=lambda row: _RANK.get(row.role, len(_RANK))),
        teams=list(teams[:MOST_SHOWN]),
        invitations=list(invitations_to(workspace.pk).order_by("-pk")[:MOST_SHOWN]),
        shares=list(shares_about(workspace.pk).order_by("-pk")[:MOST_SHOWN]),
    )


def _by_role(rows: Iterable[Membership], visit: Visit) -> list[tuple[str, list[tuple[Membership, bool]]]]:
    """The members under each role, the strongest first, each with whether the role has ended."""
    groups: dict[str, list[tuple[Membership, bool]]] = {}
    for row in rows:
        ended = row.expires_at is not None and row.expires_at <= visit.now
        groups.setdefault(row.role, []).append((row, ended))
    return list(groups.items())


def _names_of_places(held: Holdings) -> dict[str, str]:
    ids = {one for row in held.shares for one in (row.home_id, row.workspace_id)}
    return dict(Workspace.objects.filter(pk__in=ids).values_list("pk", "name")) if ids else {}


def new(visit: Visit, answered: Answered | None) -> HttpResponse:
    """Return the form of a new workspace, empty or as it came back."""
    form = form_of(visit, "create", offer(visit, Permission.WORKSPACE_MANAGE), answered)
    status = answered.told.status if answered else 200
    return show(visit, "console/workspace_new.html", {"title": "New workspace", "form": form}, status=status)


@page(READ)
def permissions(visit: Visit, workspace_id: str) -> HttpResponse:
    """Explain what one person, or one agent, may do in this workspace."""
    workspace = require_workspace(visit.principal, workspace_id)
    wanted = visit.request.GET.get("principal", visit.user.pk)
    agents = Agent.objects.filter(workspace=workspace).select_related("owner", "workspace")
    people = _members(workspace)
    context = {
        "title": f"Permissions in {workspace.name}",
        "workspace": workspace,
        "wanted": wanted,
        "people": list(people[:MOST_MEMBERS]),
        "agents": list(agents.order_by("name")[:MOST_MEMBERS]),
    }
    if wanted.startswith("agt_"):
        agent = agents.filter(pk=wanted).first()
        if agent is None:
            raise NotFoundError("not_found", "There is no such agent.")
        tokens = live_tokens(agent, visit.now)
        explained = {"who": agent, "agent_rights": rights_of_agent(agent, tokens, visit.now)}
    else:
        person = require_person(visit, wanted.replace("\0", ""))
        explained = {"who": person, "rights": rights_of(person, workspace, visit.now)}
    return show(visit, "console/permissions.html", context | explained)


def _members(workspace: Workspace) -> QuerySet[User]:
    given = Membership.objects.filter(Q(workspace=workspace) | Q(workspace__slug=INSTANCE))
    named = Q(memberships__in=given) | Q(team_places__team__memberships__in=given)
    return User.objects.filter(named).distinct().order_by("username")
