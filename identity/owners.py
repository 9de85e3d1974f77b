"""The rule that a workspace never loses its last owner, and the locks that make it hold.

Whoever changes roles, people or teams holds the workspaces concerned first, then the rows of people,
each in the order of their ids: so nobody counts owners while another removes one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from django.db.models import F, Q
from django.db.models.functions import Coalesce

from identity.models import Membership, User, Workspace
from identity.roles import WorkspaceRole
from kernel.errors import ConflictError, NotFoundError


@dataclass(frozen=True, slots=True)
class Ownership:
    """One person who owns for good, by an own membership or by that of a team."""

    membership: str
    team: str | None
    user: str


def hold_workspace(workspace_id: str) -> Workspace:
    """Lock a workspace in use until the transaction ends, or raise NotFoundError."""
    rows = Workspace.objects.select_for_update(no_key=True)
    workspace = rows.filter(pk=workspace_id, archived_at__isnull=True).first()
    if workspace is None:
        raise NotFoundError("not_found", "There is no such workspace.")
    return workspace


def hold_every_workspace() -> tuple[str, ...]:
    """Lock all workspaces in use, for a change of a person who may be an owner anywhere."""
    rows = Workspace.objects.select_for_update(no_key=True).filter(archived_at__isnull=True)
    return tuple(rows.order_by("pk").values_list("pk", flat=True))


def hold_user(user_id: str) -> User:
    """Lock a person, or raise NotFoundError."""
    user = User.objects.select_for_update(no_key=True).filter(pk=user_id).first()
    if user is None:
        raise NotFoundError("not_found", "There is no such person.")
    return user


def raise_epochs(user_ids: Iterable[str]) -> None:
    """Mark that the authority of these people changed: elevations from before count no more."""
    rows = User.objects.select_for_update(no_key=True).filter(pk__in=frozenset(user_ids))
    held = list(rows.order_by("pk").values_list("pk", flat=True))
    User.objects.filter(pk__in=held).update(authority_epoch=F("authority_epoch") + 1)


def lasting_ownerships(workspace_id: str) -> tuple[Ownership, ...]:
    """Return who owns this workspace without an end, is active and can log in."""
    owning = Membership.objects.filter(
        workspace_id=workspace_id, role=WorkspaceRole.OWNER, expires_at__isnull=True
    )
    able = Q(user__is_active=True, user__can_log_in=True) | Q(
        team__members__user__is_active=True, team__members__user__can_log_in=True
    )
    named = owning.filter(able).annotate(holder=Coalesce("user_id", "team__members__user_id"))
    return tuple(Ownership(*row) for row in named.values_list("pk", "team_id", "holder"))


def require_owner_left(workspace_id: str, goes: Callable[[Ownership], bool]) -> None:
    """Raise ConflictError `last_owner` when all lasting ownerships are among those that go.

    A workspace that has none is left alone: there is nothing to lose. Hold the workspace before.
    """
    present = lasting_ownerships(workspace_id)
    if present and all(goes(one) for one in present):
        raise ConflictError("last_owner", "Somebody who can log in has to own the workspace for good.")


def is_live(membership: Membership, now: datetime) -> bool:
    """Tell whether a membership has not ended."""
    return membership.expires_at is None or membership.expires_at > now
