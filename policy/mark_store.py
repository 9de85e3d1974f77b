"""Storing the marks of a holder, and asking which arguments of a call they taint."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import cache

from django.db.models import QuerySet

from identity.sealing import keyed_digests
from policy.label_models import LabelHolder, SessionValueMark
from policy.labels import LIFE_WITHOUT_SESSION, Holder, hold, is_full
from policy.marks import (
    MARK_BYTES,
    MAX_MARKS,
    Seen,
    TooManyValuesError,
    arguments_of,
    tainted_arguments,
    values_in,
)

_BATCH = 500


def add_marks(*, holder: Holder, data: object, origin: str, now: datetime, unless: str | None = None) -> None:
    """Mark the values of a text or JSON value as seen by the holder; not those marked as `unless` before.

    A holder with more than MAX_MARKS of them is full, which taints every argument. Marks of a holder
    that is no session last as long as its labels.
    """
    row = hold(holder, now)
    if row.marks_full:
        return
    if not holder.lasts:
        row.marks.filter(added_at__lte=now - LIFE_WITHOUT_SESSION).delete()
    try:
        values = values_in(data)
    except TooManyValuesError:
        _fill(row)
        return
    if unless is not None:
        values = _without(values, _live(holder, now), unless)
    marks = (
        SessionValueMark(holder_id=holder.id, mark=digests(value)[0], origin=origin, added_at=now)
        for value in sorted(values)
    )
    SessionValueMark.objects.bulk_create(
        marks,
        batch_size=_BATCH,
        update_conflicts=True,
        update_fields=["added_at"],
        unique_fields=["holder", "mark", "origin"],
    )
    if SessionValueMark.objects.filter(holder_id=holder.id).count() > MAX_MARKS:
        _fill(row)


def tainted_by(*, holder: Holder, tool_input: Mapping[str, object], now: datetime) -> frozenset[str]:
    """Return the dotted paths of the arguments that the holder's marks taint. The holder's row is held."""
    row = LabelHolder.objects.filter(pk=holder.id).first()
    if row is None:
        return frozenset()
    if is_full(row, holder, now):
        return tainted_arguments(tool_input, Seen(full=True), digests)
    live = _live(holder, now)
    if not live.filter(origin="untrusted").exists():
        return frozenset()
    known = cache(digests)
    wanted = {mark for value in _values(tool_input) for mark in known(value)}
    found = _origins(live, wanted)
    return tainted_arguments(tool_input, Seen(untrusted=found["untrusted"], task=found["task"]), known)


def digests(value: str) -> tuple[bytes, ...]:
    """Return a value's marks, under the present key of the instance and under older ones."""
    return tuple(digest[:MARK_BYTES] for digest in keyed_digests("policy/value-mark", value))


def _values(tool_input: Mapping[str, object]) -> Iterable[str]:
    for texts in arguments_of(tool_input).values():
        try:
            yield from values_in(texts)
        except TooManyValuesError:
            continue  # such an argument is tainted whatever is stored


def _without(values: frozenset[str], live: QuerySet[SessionValueMark], origin: str) -> frozenset[str]:
    """Return the values that carry no mark of this origin, under any key."""
    known = {value: digests(value) for value in values}
    marked = _origins(live, {mark for marks in known.values() for mark in marks})[origin]
    return frozenset(value for value, marks in known.items() if marked.isdisjoint(marks))


def _origins(live: QuerySet[SessionValueMark], wanted: set[bytes]) -> dict[str, set[bytes]]:
    found: dict[str, set[bytes]] = {"task": set(), "untrusted": set()}
    ordered = sorted(wanted)
    for start in range(0, len(ordered), _BATCH):
        rows = live.filter(mark__in=ordered[start : start + _BATCH], origin__in=tuple(found))
        for mark, origin in rows.values_list("mark", "origin"):
            found[origin].add(bytes(mark))
    return found


def _live(holder: Holder, now: datetime) -> QuerySet[SessionValueMark]:
    rows = SessionValueMark.objects.filter(holder_id=holder.id)
    return rows if holder.lasts else rows.filter(added_at__gt=now - LIFE_WITHOUT_SESSION)


def _fill(row: LabelHolder) -> None:
    """Every argument is tainted from now on, so the marks themselves say nothing any more."""
    row.marks_full = True
    row.save(update_fields=["marks_full"])
    SessionValueMark.objects.filter(holder_id=row.pk).delete()
