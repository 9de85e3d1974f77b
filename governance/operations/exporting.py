"""Taking records away: a read that leaves its own trace."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import QuerySet

from approvals.models import ApprovalRequest
from approvals.selectors import visible_to
from governance import authority
from governance.authority import needs
from governance.exporting import RELATED, records
from governance.journal.ledger import record
from governance.journal.models import JournalCheckpoint
from identity.authorization import authorize
from identity.roles import Permission
from identity.types import Principal
from kernel.canonical import canonical

MOST_RECORDS = 5_000
MOST_BYTES = 32 * 1024 * 1024
_CHUNK = 200


@dataclass(frozen=True, slots=True)
class Export:
    """Records in the order of their ids; `has_more` says that the limit of number or size was met.

    `checkpoint` covers every leaf that the records name; None when nothing was ever sealed.
    """

    records: tuple[dict[str, Any], ...]
    has_more: bool
    checkpoint: JournalCheckpoint | None = None


@needs(Permission.JOURNAL_EXPORT)
def export_approvals(
    *,
    principal: Principal,
    filters: Mapping[str, object],
    after: str | None,
    limit: int,
    now: datetime,
    narrow: Callable[[QuerySet[ApprovalRequest]], QuerySet[ApprovalRequest]],
) -> Export:
    """Return up to `limit` records behind the id `after`, oldest first, and note who took how many.

    `narrow` applies the caller's filters; `filters` is what the event says of them. Somebody whose role
    stands in one workspace exports that workspace.
    """
    with transaction.atomic(durable=True):
        _require(principal, now)
    # Outside of a transaction: on SQLite everybody who writes would wait as long as the reading takes.
    rows = narrow(visible_to(principal, now).filter(**_reach(principal, now))).order_by("id")
    taken = _taken(rows, after, min(limit, MOST_RECORDS))
    newest = JournalCheckpoint.objects.order_by("-tree_size").first()
    with transaction.atomic(durable=True):
        _require(principal, now)
        record(
            event="approvals.exported",
            actor=principal.actor(),
            subject=principal.workspace_id,
            now=now,
            data={"filters": dict(filters), "count": len(taken.records), "has_more": taken.has_more},
        )
    return replace(taken, checkpoint=newest)


def _require(principal: Principal, now: datetime) -> None:
    authority.require_verb(principal, Permission.JOURNAL_EXPORT, principal.workspace_id, now)
    authority.require_permission(principal, Permission.APPROVALS_READ, principal.workspace_id, now)


def _reach(principal: Principal, now: datetime) -> dict[str, str]:
    everywhere = authorize(
        principal, Permission.JOURNAL_EXPORT, workspace_id="", flags=principal.flags, now=now
    ).allowed
    return {} if principal.instance_roles and everywhere else {"workspace_id": principal.workspace_id}


def _taken(rows: QuerySet[ApprovalRequest], after: str | None, limit: int) -> Export:
    """Read in chunks until number or size is enough; at least one record fits whatever its size."""
    found: list[dict[str, Any]] = []
    size = 0
    while len(found) < limit:
        behind = rows.filter(id__gt=after) if after else rows
        chunk = list(behind.prefetch_related(*RELATED)[: min(_CHUNK, limit - len(found))])
        if not chunk:
            return Export(tuple(found), has_more=False)
        for one in records(chunk):
            size += len(canonical(one))
            if found and size > MOST_BYTES:
                return Export(tuple(found), has_more=True)
            found.append(one)
        after = chunk[-1].pk
    return Export(tuple(found), has_more=rows.filter(id__gt=after).exists())
