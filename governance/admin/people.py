"""Pages of people: the list, and one person with roles, rights, tokens and agents."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from django.db.models import Q, QuerySet
from django.http import HttpResponse

from governance.admin.access import Visit
from governance.admin.layout import show
from governance.admin.names import names_of
from governance.admin.pages import page
from governance.admin.paging import choice_filter, list_page, text_filter
from governance.admin.people_offers import MEMBERSHIPS, forms_of
from governance.admin.people_rows import PersonRow, people_in_reach, require_person, roles_by_person, state_of
from governance.admin.rights import rights_of
from governance.admin.tokens import rows_of
from governance.admin.verbs import Answered, offer
from identity.models import Agent, ConsoleSession, Membership, TeamMember, User, Workspace
from identity.roles import Permission, WorkspaceRole
from identity.selectors import INSTANCE
from identity.token_selectors import visible_tokens

STATES = ("active", "disabled", "no_login")
ROLES = tuple(role.value for role in WorkspaceRole)
MOST_SHOWN = 20


@page(Permission.WORKSPACE_READ)
def people(visit: Visit) -> HttpResponse:
    """List people, newest first."""
    filters = {
        "name": text_filter(visit, "name"),
        "role": choice_filter(visit, "role", frozenset(ROLES)),
        "state": choice_filter(visit, "state", frozenset(STATES)),
    }
    found = list_page(visit, _filtered(visit, filters), prefix="usr", filters=filters)
    roles = roles_by_person(visit, [row.pk for row in found.rows])
    return show(
        visit,
        "console/people.html",
        {
            "title": "Users",
            "found": found,
            "rows": [
                PersonRow(row, state_of(row), row.has_factor, tuple(roles.get(row.pk, ())))  # type: ignore[attr-defined]  # annotated
                for row in found.rows
            ],
            "filters": filters,
            "roles": ROLES,
            "states": STATES,
            "create": offer(visit, Permission.USERS_MANAGE),
        },
    )


def _filtered(visit: Visit, filters: dict[str, str]) -> QuerySet[User]:
    rows = people_in_reach(visit)
    if filters["name"]:
        wanted = filters["name"]
        rows = rows.filter(Q(username__icontains=wanted) | Q(display_name__icontains=wanted))
    if filters["state"]:
        rows = rows.filter(is_active=filters["state"] != "disabled")
        if filters["state"] != "disabled":
            rows = rows.filter(can_log_in=filters["state"] == "active")
    if filters["role"]:
        given = Membership.objects.filter(role=filters["role"])
        if visit.reach is not None:
            given = given.filter(Q(workspace_id=visit.reach) | Q(workspace__slug=INSTANCE))
        in_teams = TeamMember.objects.filter(team__memberships__in=given)
        named = Q(pk__in=given.filter(user__isnull=False).values("user_id"))
        rows = rows.filter(named | Q(pk__in=in_teams.values("user_id")))
    return rows


@page(Permission.WORKSPACE_READ)
def person_page(visit: Visit, user_id: str) -> HttpResponse:
    """Show one person."""
    return shown(visit, user_id)


def shown(visit: Visit, user_id: str, answered: Answered | None = None) -> HttpResponse:
    """Return the page of a person, with a verb that came back open."""
    user = require_person(visit, user_id)
    roles = roles_by_person(visit, [user.pk]).get(user.pk, [])
    place = _place(visit)
    tokens = visible_tokens(visit.principal).filter(principal_user_id=user.pk).order_by("-pk")
    is_self = user.pk == visit.user.pk
    return show(
        visit,
        "console/person.html",
        {
            "title": str(user),
            "person": user,
            "state": state_of(user),
            "is_self": is_self,
            "roles": roles,
            "granters": names_of(row.membership.granted_by for row in roles),
            "place_shown": place,
            "rights": rights_of(user, place, visit.now),
            "sees_tokens": is_self or visit.holds(Permission.TOKENS_READ),
            "tokens": rows_of(list(tokens[:MOST_SHOWN]), visit.now),
            "agents": list(_agents(visit, user)[:MOST_SHOWN]),
            "sessions": _sessions(user, visit.now),
            "sees_email": is_self or _manages(visit),
            "forms": forms_of(visit, user, roles, answered),
        },
        status=answered.told.status if answered else 200,
    )


def _manages(visit: Visit) -> bool:
    return offer(visit, Permission.USERS_MANAGE).allowed or offer(visit, MEMBERSHIPS).allowed


def _place(visit: Visit) -> Workspace:
    """The workspace whose rights are explained: the one asked for among the visitor's own, else theirs."""
    wanted = visit.request.GET.get("in", "")
    return next((place for place in visit.places if place.pk == wanted), visit.workspace)


def _agents(visit: Visit, user: User) -> QuerySet[Agent]:
    rows = Agent.objects.filter(owner=user).select_related("workspace").order_by("-pk")
    return rows if visit.reach is None else rows.filter(workspace_id=visit.reach)


def _sessions(user: User, now: datetime) -> int:
    """How many console sessions are live; a person has at most a handful."""
    live = ConsoleSession.objects.filter(user=user, ended_at__isnull=True, expires_at__gt=now)
    keys: Sequence[str] = list(live.values_list("key_digest", flat=True)[:100])
    return len(keys)
