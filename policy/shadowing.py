"""Shadows: sets and policies that are asked beside the one in force and never decide anything (§3.6).

Recorded decisions are replayed after they were made, by the sweeper. What comes out is counted, hour by
hour, and read by people: no label, budget or answer can depend on it.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from time import monotonic

from django.db.models import Max, QuerySet

from identity.authority import ANYWHERE
from identity.roles import Permission
from kernel.errors import ConflictError
from kernel.record import Actor, Record
from policy.authority import require_governance
from policy.candidates import Shadow, shadow_of
from policy.comparing import Snapshots, answer_of
from policy.compilation import DOMAIN
from policy.lifecycle import SetState
from policy.models import DecisionRecord, PolicySet, ShadowResult
from policy.runtime import current
from policy.types import Code, Effect, EntityRef

log = logging.getLogger(__name__)

MOST_SHADOWS = 3
EXAMPLES = 20
BATCH = 500
TURN_SECONDS = 2.0
"""How long one shadow is asked in one turn: the sweeper has more to do, however slow its rules are."""

SETTLED = timedelta(seconds=60)
"""A decision is looked at when it is so old: then none with an earlier id can still be committed."""

_Cell = tuple[datetime, str, str]


@dataclass(slots=True)
class Count:
    """How often one pair of effects came up in one hour; `examples` are record ids, newest last."""

    count: int = 0
    errors: int = 0
    examples: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Seen:
    """What one shadow made of a batch of records, up to and including `cursor`."""

    set_id: str
    before: str
    cursor: str
    cells: dict[_Cell, Count]
    records: int


def set_shadow(
    *, policy_set: PolicySet, enabled: bool, actor: Actor, now: datetime, record: Record
) -> PolicySet:
    """Put a validated set into shadow or take it out; asking for what is so already changes nothing.

    Only decisions from now on are replayed. ConflictError `state_changed` for a set that is not validated,
    `conflict` for a fourth one of its domain.
    """
    resource = EntityRef("PolicySet", policy_set.pk)
    require_governance(actor, Permission.POLICY_EDIT, resource, ANYWHERE, now)
    beside = PolicySet.objects.select_for_update().filter(domain=policy_set.domain, state=SetState.VALIDATED)
    held = {row.pk: row for row in beside.order_by("pk")}
    found = held.get(policy_set.pk)
    if found is None or found.domain != DOMAIN:
        raise ConflictError("state_changed", "Only a validated set of Palyra's own is put into shadow.")
    if (found.shadow_since is not None) == enabled:
        return found
    if enabled and sum(row.shadow_since is not None for row in held.values()) >= MOST_SHADOWS:
        raise ConflictError("conflict", f"At most {MOST_SHADOWS} sets can be in shadow at once.")
    found.shadow_since = now if enabled else None
    found.shadow_cursor = _newest() if enabled else found.shadow_cursor
    found.save(update_fields=["shadow_since", "shadow_cursor"])
    record(
        event="policy.shadow_changed",
        actor=actor,
        subject=found.pk,
        now=now,
        data={"version": found.version, "hash": found.hash or "", "enabled": enabled},
    )
    return found


def shadows() -> tuple[PolicySet, ...]:
    """Return the sets whose shadow is evaluated: those put into it, and the one in force."""
    own = PolicySet.objects.filter(domain=DOMAIN)
    put = own.filter(state=SetState.VALIDATED, shadow_since__isnull=False).order_by("pk")
    return (*put, *own.filter(state=SetState.ACTIVE))


def observe(policy_set: PolicySet, now: datetime) -> Seen | None:
    """Replay the next records against a shadow; None when there is nothing to do. Reads only.

    A shadow that cannot be compiled, or that fails at a record, would deny: that is counted as an error. A
    slow one gets no further than its time allows, and goes on from there.
    """
    shadow = shadow_of(policy_set, current().tools)
    if not shadow.differs:
        return None
    records = list(_waiting(policy_set, now).order_by("pk")[:BATCH])
    if not records:
        return None
    cells, last = _counted(records, shadow)
    count = sum(cell.count for cell in cells.values())
    return Seen(policy_set.pk, policy_set.shadow_cursor, last, cells, count)


def store_seen(seen: Seen) -> bool:
    """Add what was seen to the results of its hours; False when another sweeper was there before.

    The cursor moves by compare-and-set, so that every record counts once.
    """
    watched = PolicySet.objects.filter(pk=seen.set_id, shadow_cursor=seen.before)
    in_shadow = watched.filter(state=SetState.ACTIVE) | watched.filter(
        state=SetState.VALIDATED, shadow_since__isnull=False
    )
    if not in_shadow.update(shadow_cursor=seen.cursor):
        return False
    for (hour, old, new), counted in sorted(seen.cells.items()):
        row, _ = ShadowResult.objects.get_or_create(
            policy_set_id=seen.set_id, hour=hour, old_effect=old, new_effect=new
        )
        row.count += counted.count
        row.errors += counted.errors
        row.examples = [*row.examples, *counted.examples][-EXAMPLES:]
        row.save(update_fields=["count", "errors", "examples"])
    return True


def results_of(policy_set: PolicySet) -> QuerySet[ShadowResult]:
    """Return what the shadow of a set came to."""
    return ShadowResult.objects.filter(policy_set=policy_set)


def _waiting(policy_set: PolicySet, now: datetime) -> QuerySet[DecisionRecord]:
    """The records a shadow has not seen: all of them, or those the set in force decided itself."""
    settled = DecisionRecord.objects.filter(decided_at__lte=now - SETTLED, pk__gt=policy_set.shadow_cursor)
    return settled.filter(policy_set=policy_set) if policy_set.state == SetState.ACTIVE else settled


def _counted(records: Sequence[DecisionRecord], shadow: Shadow) -> tuple[dict[_Cell, Count], str]:
    """Return what came out and the last record asked about; at least one is, in time or not."""
    over = monotonic() + TURN_SECONDS
    snapshots = Snapshots()
    snapshots.load(records)
    cells: dict[_Cell, Count] = defaultdict(Count)
    for record in records:
        new, failed = _answer(record, shadow, snapshots)
        hour = record.decided_at.replace(minute=0, second=0, microsecond=0)
        cell = cells[(hour, record.effect, new)]
        cell.count += 1
        cell.errors += failed
        cell.examples = [*cell.examples, record.pk][-EXAMPLES:]
        if monotonic() >= over:
            break
    return dict(cells), record.pk


def _answer(record: DecisionRecord, shadow: Shadow, snapshots: Snapshots) -> tuple[str, bool]:
    try:
        asked = snapshots.asked(record)
        if asked is None or shadow.engine is None:
            return Effect.DENY.value, True
        decision = answer_of(shadow.engine, asked)
    except Exception:  # a shadow that crashes is counted and stops nothing
        log.exception("a shadow failed at %s", record.pk)
        return Effect.DENY.value, True
    return decision.effect.value, decision.reason_code == Code.EVALUATION_FAILED


def _newest() -> str:
    return DecisionRecord.objects.aggregate(newest=Max("pk"))["newest"] or ""
