"""Where a person may work, and by which memberships."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from django.db.models import Case, Exists, IntegerField, Q, QuerySet, Value, When
from django.db.models.functions import Coalesce

from identity.models import Membership, Workspace
from identity.selectors import DEFAULT, INSTANCE


def live_memberships(now: datetime) -> QuerySet[Membership]:
    """Return the memberships that have not ended, in workspaces in use."""
    lasting = Q(expires_at__isnull=True) | Q(expires_at__gt=now)
    return Membership.objects.filter(lasting, workspace__archived_at__isnull=True)


def memberships_of(user_ids: Iterable[str]) -> QuerySet[Membership]:
    """Return every membership of these people, a team's once for each member, with its `holder`."""
    wanted = frozenset(user_ids)
    return (
        Membership.objects.filter(Q(user_id__in=wanted) | Q(team__members__user_id__in=wanted))
        .annotate(holder=Coalesce("user_id", "team__members__user_id"))
        .filter(holder__in=wanted)
        .select_related("workspace", "team")
    )


def places_of(user_id: str, now: datetime, *, chosen: str = "") -> QuerySet[Workspace]:
    """Return the workspaces a person works in: `chosen` first if it is one, then `default`, then by name.

    Those are where they hold a live role, and every workspace for a member of `instance`. `instance`
    itself holds rights and no work, so it is none.
    """
    mine = live_memberships(now).filter(Q(user_id=user_id) | Q(team__members__user_id=user_id))
    everywhere = Exists(mine.filter(workspace__slug=INSTANCE))
    rank = Case(
        When(pk=chosen, then=Value(0)),
        When(slug=DEFAULT, then=Value(1)),
        default=Value(2),
        output_field=IntegerField(),
    )
    rows = Workspace.objects.filter(archived_at__isnull=True).exclude(slug=INSTANCE)
    return rows.filter(Q(pk__in=mine.values("workspace_id")) | everywhere).order_by(rank, "slug")
