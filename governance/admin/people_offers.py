"""What may be done with a person, by this visitor, now: the verb forms of their page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from governance.admin.access import Visit
from governance.admin.people_rows import RoleRow
from governance.admin.verbs import Answered, Offer, VerbForm, form_of, offer
from identity.memberships import GRANTABLE
from identity.models import User, Workspace
from identity.roles import Permission, WorkspaceRole
from identity.selectors import INSTANCE

MEMBERSHIPS = Permission.WORKSPACE_MEMBERSHIPS_MANAGE
OWN = "Nobody changes their own roles; another administrator has to."


@dataclass(frozen=True, slots=True)
class PersonForms:
    """The forms of a person's page, and what their selects offer."""

    grant: VerbForm
    remove: VerbForm
    change: VerbForm
    reset: VerbForm
    disable: VerbForm
    enable: VerbForm
    places: tuple[tuple[str, str], ...]
    roles: tuple[tuple[str, str], ...]
    removable: tuple[tuple[str, str], ...]


def forms_of(visit: Visit, user: User, held: Sequence[RoleRow], answered: Answered | None) -> PersonForms:
    """Return every verb of a person's page; what is not offered carries the reason."""
    is_self = user.pk == visit.user.pk
    places = manageable_places(visit)
    removable = tuple(row for row in held if row.membership.user_id == user.pk)

    def form(name: str, offered: Offer) -> VerbForm:
        return form_of(visit, name, offered, answered)

    return PersonForms(
        grant=form("grant", _to_grant(visit, user, is_self=is_self)),
        remove=form("remove", _to_remove(visit, removable, is_self=is_self)),
        change=form("change", offer(visit, Permission.USERS_MANAGE)),
        reset=form("reset", offer(visit, Permission.USERS_MANAGE, blocked=_no_reset(user))),
        disable=form("disable", offer(visit, Permission.USERS_MANAGE, blocked=_no_disabling(user, is_self))),
        enable=form("enable", offer(visit, Permission.USERS_MANAGE)),
        places=tuple((place.pk, place.name) for place in places),
        roles=grantable_roles(visit),
        removable=tuple((row.membership.pk, f"{row.membership.role} in {row.place}") for row in removable),
    )


def manageable_places(visit: Visit) -> list[Workspace]:
    """Return where this visitor may give roles: the present workspace, and all of them by `instance`."""
    if not visit.principal.instance_roles:
        return [visit.workspace] if offer(visit, MEMBERSHIPS).allowed else []
    instance = Workspace.objects.filter(slug=INSTANCE)
    return [
        place
        for place in (*visit.places, *instance)
        if offer(visit, MEMBERSHIPS, workspace_id=place.pk).allowed
    ]


def grantable_roles(visit: Visit) -> tuple[tuple[str, str], ...]:
    """Return the roles this visitor outranks, as options, the weakest first."""
    own = visit.principal.roles | visit.principal.instance_roles
    within = frozenset[WorkspaceRole]().union(*(GRANTABLE.get(role, frozenset()) for role in own))
    return tuple((role.value, role.value.capitalize()) for role in reversed(WorkspaceRole) if role in within)


def _to_grant(visit: Visit, user: User, *, is_self: bool) -> Offer:
    blocked = OWN if is_self else "" if user.is_active else "This person is disabled; enable them first."
    return offer(visit, MEMBERSHIPS, blocked=blocked)


def _to_remove(visit: Visit, removable: Sequence[RoleRow], *, is_self: bool) -> Offer:
    blocked = "" if removable else "There is no role to take away here; those of a team end in the team."
    return offer(visit, None if is_self else MEMBERSHIPS, blocked=blocked, fresh=True)


def _no_reset(user: User) -> str:
    if not user.is_active:
        return "This person is disabled; enable them first."
    return ""


def _no_disabling(user: User, is_self: bool) -> str:
    return "Nobody disables themselves." if is_self else ""
