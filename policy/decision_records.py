"""Keeping what was decided, so that it can be asked again: written inside the deciding transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from django.db import connection
from django.db.models import Exists, OuterRef, QuerySet

from policy.models import DecisionRecord, EntitySnapshot
from policy.replaying import Packed, pack
from policy.types import Asked, PolicyDecision

MAX_RESOURCE = 512
_HOLD = "SELECT 1 FROM policy_entitysnapshot WHERE digest = %s"
_TRIES = 5


@dataclass(frozen=True, slots=True)
class Redacted:
    """An input without secrets. `exact` is False when something was taken out of it."""

    value: Mapping[str, object]
    exact: bool


Redact = Callable[[Mapping[str, object]], Redacted]


def store_decision(
    *,
    record_id: str,
    call_id: str | None,
    workspace_id: str,
    decision: PolicyDecision,
    now: datetime,
    redact: Redact,
) -> None:
    """Keep one decision under the id of its journal event; raises what the database raises.

    The caller's transaction is the one that decides, so a decision that cannot be kept is not made. A
    decision without `asked` was never put to the rules: there is nothing to ask again.
    """
    if decision.asked is None:
        return
    cleaned = redact(decision.asked.context.tool_input)
    asked = _with_input(decision.asked, cleaned.value)
    packed = pack(asked)
    _keep_snapshot(packed)
    explanation = decision.explanation
    DecisionRecord.objects.create(
        id=record_id,
        call_id=call_id,
        workspace_id=workspace_id,
        principal_id=asked.request.principal.id,
        resource_id=asked.request.resource.id[:MAX_RESOURCE],
        request=packed.request,
        entities_id=packed.digest,
        effect=decision.effect.value,
        reason_code=str(decision.reason_code),
        policy_set_id=explanation.policy_set.id or None,
        catalog_digest=explanation.catalog_digest,
        exact=cleaned.exact,
        decided_at=now,
    )


def sweep_records(*, older_than: datetime, keep: int, limit: int) -> int:
    """Delete at most `limit` records that are older and not among the newest `keep`; return how many.

    A snapshot goes with the last record that needs it.
    """
    newest = DecisionRecord.objects.order_by("-decided_at").values_list("decided_at", flat=True)
    edge = newest[keep : keep + 1].first() if keep else older_than
    if edge is None:
        return 0
    due = DecisionRecord.objects.filter(decided_at__lt=min(older_than, edge))
    ids = list(due.order_by("decided_at").values_list("pk", flat=True)[:limit])
    forget(DecisionRecord.objects.filter(pk__in=ids))
    return len(ids)


def forget(records: QuerySet[DecisionRecord]) -> int:
    """Delete records, and each snapshot with the last one that needs it; return how many they were."""
    digests = set(records.values_list("entities_id", flat=True))
    deleted, _ = records.delete()
    _unused(digests).delete()
    return deleted


def _with_input(asked: Asked, value: Mapping[str, object]) -> Asked:
    return replace(asked, context=replace(asked.context, tool_input=value))


def _keep_snapshot(packed: Packed) -> None:
    """Make sure that the snapshot is there and stays until the record that needs it is committed."""
    for _ in range(_TRIES):
        if _hold_snapshot(packed.digest):
            return
        row = EntitySnapshot(digest=packed.digest, entities=packed.entities)
        EntitySnapshot.objects.bulk_create([row], ignore_conflicts=True)
    raise RuntimeError("the snapshot of a decision went away each time it was written")


def _hold_snapshot(digest: str) -> bool:
    """Tell whether the snapshot exists; on PostgreSQL keep the sweeper from deleting it meanwhile.

    Deciders share this lock, which Django's own row locks would not let them; SQLite has one writer.
    """
    lock = " FOR KEY SHARE" if connection.vendor == "postgresql" else ""
    with connection.cursor() as cursor:
        cursor.execute(_HOLD + lock, [digest])
        return cursor.fetchone() is not None


def _unused(digests: Iterable[str]) -> QuerySet[EntitySnapshot]:
    used = DecisionRecord.objects.filter(entities_id=OuterRef("pk"))
    return EntitySnapshot.objects.filter(~Exists(used), pk__in=list(digests))
