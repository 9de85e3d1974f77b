"""What the pages of people read: who is within reach, with which roles, in which state."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from django.db.models import Exists, OuterRef, Q, QuerySet

from governance.admin.access import Visit
from identity.models import Membership, SetupLink, TeamMember, TotpFactor, User
from identity.place_selectors import memberships_of
from identity.selectors import INSTANCE
from kernel.errors import NotFoundError


@dataclass(frozen=True, slots=True)
class RoleRow:
    """One role of a person: where, through which team, and whether it has ended."""

    membership: Membership
    place: str
    through: str
    is_past: bool


@dataclass(frozen=True, slots=True)
class PersonRow:
    """One person as listed; `state` is what the chip says."""

    user: User
    state: str
    has_factor: bool
    roles: tuple[RoleRow, ...]


def people_in_reach(visit: Visit) -> QuerySet[User]:
    """Return who has, or had, a role in the visitor's workspace or in the instance; for them everybody.

    The visitor is always among them. Each row knows `has_factor` and `has_link` (a setup link waits).
    """
    rows = User.objects.annotate(
        has_factor=Exists(TotpFactor.objects.filter(user_id=OuterRef("pk"), confirmed=True)),
        has_link=Exists(SetupLink.objects.filter(user_id=OuterRef("pk"), expires_at__gt=visit.now)),
    )
    if visit.reach is None:
        return rows
    given = Membership.objects.filter(Q(workspace_id=visit.reach) | Q(workspace__slug=INSTANCE))
    in_teams = TeamMember.objects.filter(team__memberships__in=given)
    mine = Q(pk__in=given.filter(user__isnull=False).values("user_id")) | Q(pk=visit.user.pk)
    return rows.filter(mine | Q(pk__in=in_teams.values("user_id")))


def require_person(visit: Visit, user_id: str) -> User:
    """Return a person within reach, or raise NotFoundError."""
    found = people_in_reach(visit).filter(pk=user_id).first()
    if found is None:
        raise NotFoundError("not_found", "There is no such person.")
    return found


def roles_by_person(visit: Visit, user_ids: Iterable[str]) -> dict[str, list[RoleRow]]:
    """Return the roles of these people that the visitor may know of, in one query."""
    rows = memberships_of(user_ids).order_by("workspace__slug", "pk")
    if visit.reach is not None:
        rows = rows.filter(Q(workspace_id=visit.reach) | Q(workspace__slug=INSTANCE))
    found: dict[str, list[RoleRow]] = {}
    for row in rows:
        past = row.workspace.archived_at is not None or (
            row.expires_at is not None and row.expires_at <= visit.now
        )
        role = RoleRow(row, row.workspace.name, row.team.name if row.team else "", past)
        found.setdefault(row.holder, []).append(role)  # type: ignore[attr-defined]  # annotated
    return found


def state_of(user: User) -> str:
    """Return the word of the chip: a person whose password is not set yet waits for their setup link."""
    if not user.is_active:
        return "disabled"
    if user.can_log_in:
        return "active"
    return "setup" if getattr(user, "has_link", False) else "no_login"
