"""Labels of what a session has read. Decisions about one session take turns on its holder's row.

A holder is a session, or for runs without one the agent itself, whose labels last a day. Labels only grow;
a person's declassification is the one way back. They change no rule, so the epoch stays: a decision reads
them under the holder's lock in its own transaction.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Q

from identity.roles import Permission
from kernel.errors import ConflictError, Detail, InvalidError, NotFoundError
from kernel.ids import is_id
from kernel.record import Actor, Record
from policy.authority import require_governance
from policy.label_models import LabelHolder, SessionLabel
from policy.types import EntityRef

LIFE_WITHOUT_SESSION = timedelta(hours=24)
MAX_CALLS = 16
"""How many of the calls that added a label its row names; two are enough to tell that there was another."""
SHORTEST_REASON, LONGEST_REASON = 10, 500
_LABEL = re.compile(r"[a-z_]{3,32}")


@dataclass(frozen=True, slots=True)
class Holder:
    """Whose labels: a session or an agent, in the workspace it lives in."""

    id: str
    workspace_id: str

    @property
    def lasts(self) -> bool:
        """Tell whether labels stay until a person takes them away."""
        return is_id("ses", self.id)


def hold(holder: Holder, now: datetime) -> LabelHolder:
    """Return the holder's row and keep others from deciding about it until the transaction ends.

    Two transactions that meet it for the first time make one row. Take the run's row before this one.
    Where labels end by themselves, a holder whose marks were too many starts anew with the last of them.
    """
    rows = LabelHolder.objects.select_for_update().filter(pk=holder.id)
    row = rows.first()
    if row is None:
        made = LabelHolder(pk=holder.id, workspace_id=holder.workspace_id, created_at=now)
        LabelHolder.objects.bulk_create([made], ignore_conflicts=True)
        row = rows.get()
    if row.workspace_id != holder.workspace_id:
        raise ConflictError("conflict", "The labels belong to another workspace.")
    if row.marks_full and not is_full(row, holder, now):
        row.marks_full = False
        row.save(update_fields=["marks_full"])
    return row


def is_full(row: LabelHolder, holder: Holder, now: datetime) -> bool:
    """Tell whether so much was marked that every argument counts as tainted."""
    return row.marks_full and (holder.lasts or row.labels.filter(expires_at__gt=now).exists())


def labels_of(holder_id: str, now: datetime) -> dict[str, list[str]]:
    """Return the labels that count now, each with the first calls that added it."""
    return {row.label: list(row.call_ids) for row in live(holder_id, now)}


def labels_beside(holder_id: str, call_id: str, now: datetime) -> frozenset[str]:
    """Return the labels that count for this call: all but those that nobody else has added.

    A call that is decided about once more does not stumble over what it brings in itself.
    """
    return frozenset(label for label, calls in labels_of(holder_id, now).items() if calls != [call_id])


def live(holder_id: str, now: datetime) -> Iterable[SessionLabel]:
    """Return the rows of the labels that count now, by name."""
    rows = SessionLabel.objects.filter(holder_id=holder_id, declassified_at__isnull=True)
    return rows.filter(Q(expires_at__isnull=True) | Q(expires_at__gt=now)).order_by("label")


def add_labels(
    *,
    holder: Holder,
    labels: frozenset[str],
    call_id: str,
    run_id: str | None,
    actor: Actor,
    now: datetime,
    record: Record,
) -> None:
    """Add what a call brings in, in the transaction that lets it run. Repeating it changes nothing.

    A label that was declassified or has expired counts again. Raises InvalidError for a name that no
    label may have.
    """
    if not labels:
        return
    _require_names(labels)
    hold(holder, now)
    known = {row.label: row for row in SessionLabel.objects.filter(holder_id=holder.id, label__in=labels)}
    expires_at = None if holder.lasts else now + LIFE_WITHOUT_SESSION
    for label in sorted(labels):
        row = known.get(label) or SessionLabel(holder_id=holder.id, label=label, added_at=now)
        was_live = row.pk is not None and _counts(row, now)
        _merge(row, was_live, call_id, expires_at, now)
        if not was_live:
            record(
                event="label.added",
                actor=actor,
                subject=holder.id,
                now=now,
                data={"holder": holder.id, "label": label},
                run=run_id,
                call=call_id,
            )


def declassify(
    *, holder_id: str, label: str, reason: str, actor: Actor, now: datetime, record: Record
) -> SessionLabel:
    """Take a label away from a holder, and return its row; what adds it later brings it back.

    Raises NotFoundError when the holder does not have it, RefusedError without `tools.manage`,
    InvalidError for a reason that is too short.
    """
    holder = LabelHolder.objects.select_for_update().filter(pk=holder_id).first()
    if holder is None:
        raise NotFoundError("not_found", "There is no such label.")
    resource = EntityRef("Session", holder_id)
    require_governance(actor, Permission.TOOLS_MANAGE, resource, holder.workspace_id, now)
    why = _reason(reason)
    row = SessionLabel.objects.filter(holder_id=holder_id, label=label).first()
    if row is None or (row.expires_at is not None and row.expires_at <= now):
        raise NotFoundError("not_found", "There is no such label.")
    if row.declassified_at is not None:
        raise ConflictError("state_changed", "The label was declassified already.")
    row.declassified_at, row.declassified_by, row.declassified_reason = now, actor.id, why
    row.save(update_fields=["declassified_at", "declassified_by", "declassified_reason"])
    record(
        event="label.declassified",
        actor=actor,
        subject=holder_id,
        now=now,
        data={"holder": holder_id, "label": label, "reason": why},
    )
    return row


def is_label(text: str) -> bool:
    """Tell whether a label may have this name."""
    return _LABEL.fullmatch(text) is not None


def _counts(row: SessionLabel, now: datetime) -> bool:
    return row.declassified_at is None and (row.expires_at is None or row.expires_at > now)


def _merge(
    row: SessionLabel, was_live: bool, call_id: str, expires_at: datetime | None, now: datetime
) -> None:
    calls = list(row.call_ids) if was_live else []
    if call_id not in calls and len(calls) < MAX_CALLS:
        calls.append(call_id)
    elif was_live and row.expires_at == expires_at:
        return
    row.call_ids, row.expires_at = calls, expires_at
    if not was_live:
        row.added_at = now
        row.declassified_at, row.declassified_by, row.declassified_reason = None, "", ""
    row.save()


def _require_names(labels: frozenset[str]) -> None:
    wrong = sorted(label for label in labels if not is_label(label))
    if wrong:
        raise InvalidError("invalid", "A label is 3 to 32 lower-case letters and underscores.")


def _reason(text: str) -> str:
    reason = text.strip()
    if not SHORTEST_REASON <= len(reason) <= LONGEST_REASON:
        sentence = f"Give a reason of {SHORTEST_REASON} to {LONGEST_REASON} characters."
        raise InvalidError("invalid", sentence, errors=(Detail("/reason", "length", sentence),))
    return reason
