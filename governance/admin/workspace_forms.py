"""What may be done in a workspace, by this visitor, now: the verb forms of its page and their options."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from governance.admin.access import Visit
from governance.admin.people_offers import grantable_roles
from governance.admin.people_rows import people_in_reach
from governance.admin.verbs import Answered, Offer, VerbForm, form_of, offer
from identity.invitations import state_of
from identity.models import Invitation, Membership, ResourceShare, Team, Workspace
from identity.roles import Permission
from identity.shares import ACCESSES, KINDS
from identity.workspaces import BUILT_IN

MEMBERSHIPS = Permission.WORKSPACE_MEMBERSHIPS_MANAGE
INVITATIONS = Permission.INVITATIONS_MANAGE
SHARING = Permission.WORKSPACE_SHARING_MANAGE
MOST_OPTIONS = 200
Options = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Holdings:
    """What a workspace holds, as far as its page shows it."""

    memberships: Sequence[Membership]
    teams: Sequence[Team]
    invitations: Sequence[Invitation]
    shares: Sequence[ResourceShare]


@dataclass(frozen=True, slots=True)
class WorkspaceForms:
    """The forms of a workspace's page, by verb, and what their selects offer, by field."""

    grant: VerbForm
    remove: VerbForm
    invite: VerbForm
    withdraw: VerbForm
    team: VerbForm
    join: VerbForm
    leave: VerbForm
    share: VerbForm
    unshare: VerbForm
    archive: VerbForm
    roles: Options
    holders: Options
    people: Options
    teams: Options
    members: Options
    memberships: Options
    invitations: Options
    shares: Options
    kinds: Options
    accesses: Options


def forms_of(visit: Visit, workspace: Workspace, held: Holdings, answered: Answered | None) -> WorkspaceForms:
    """Return every verb of a workspace's page; what is not offered carries the reason."""

    def form(name: str, permission: Permission, blocked: str = "") -> VerbForm:
        offered: Offer = offer(visit, permission, workspace_id=workspace.pk, blocked=blocked)
        return form_of(visit, name, offered, answered)

    people = _people(visit)
    open_offers = [row for row in held.invitations if state_of(row, visit.now) == "open"]
    built_in = "The built-in workspaces stay." if workspace.slug in BUILT_IN else ""
    no_team = "" if held.teams else "There is no team yet."
    return WorkspaceForms(
        grant=form("grant", MEMBERSHIPS),
        remove=form("remove", MEMBERSHIPS, "" if held.memberships else "Nobody holds a role here."),
        invite=form("invite", INVITATIONS),
        withdraw=form("withdraw", INVITATIONS, "" if open_offers else "No invitation is open."),
        team=form("team", MEMBERSHIPS),
        join=form("join", MEMBERSHIPS, no_team),
        leave=form("leave", MEMBERSHIPS, no_team),
        share=form("share", SHARING),
        unshare=form("unshare", SHARING, "" if held.shares else "Nothing is shared."),
        archive=form("archive", Permission.WORKSPACE_MANAGE, built_in),
        roles=grantable_roles(visit),
        holders=people + tuple((team.pk, f"team {team.name}") for team in held.teams),
        people=people,
        teams=tuple((team.pk, team.name) for team in held.teams),
        members=_members(held.teams),
        memberships=tuple((row.pk, f"{row.role} of {row.user or row.team}") for row in held.memberships),
        invitations=tuple((row.pk, f"{row.email} as {row.role}") for row in open_offers),
        shares=tuple((row.pk, f"{row.resource_kind} {row.resource_id}") for row in held.shares),
        kinds=tuple((kind, kind.capitalize()) for kind in KINDS),
        accesses=tuple((access, access.capitalize()) for access in ACCESSES),
    )


def _people(visit: Visit) -> Options:
    rows = people_in_reach(visit).filter(is_active=True).order_by("username")[:MOST_OPTIONS]
    return tuple((row.pk, f"{row} ({row.username})") for row in rows)


def _members(teams: Sequence[Team]) -> Options:
    return tuple(
        (f"{team.pk}:{one.user_id}", f"{one.user} in {team.name}")
        for team in teams
        for one in team.members.all()
    )
