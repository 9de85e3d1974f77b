"""Replaying recorded decisions against two sets, and counting how the second differs from the first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from policy.engine import case_of, most_favourable, refuse
from policy.models import DecisionRecord, EntitySnapshot
from policy.replaying import Direction, RecordError, Snapshot, compare, read_snapshot, replay, unpack
from policy.requests import RequestError
from policy.runtime import Engine
from policy.types import Asked, Code, PolicyDecision

BATCH = 500
SNAPSHOTS = 2_048
_Question = tuple[str, object, str | None, str | None]


@dataclass(frozen=True, slots=True)
class Replayed:
    """One record with both answers. `old` and `new` are None when the record cannot be read."""

    record: DecisionRecord
    old: PolicyDecision | None
    new: PolicyDecision | None
    direction: Direction = Direction.UNCHANGED


@dataclass(slots=True)
class Tally:
    """How many decisions differ. `matrix` counts by old effect, then by new effect."""

    total: int = 0
    done: int = 0
    unchanged: int = 0
    loosened: int = 0
    tightened: int = 0
    reason_only: int = 0
    inexact: int = 0
    failed: int = 0
    matrix: dict[str, dict[str, int]] = field(default_factory=dict)

    def add(self, one: Replayed) -> None:
        """Count one record; one that cannot be read counts as failed and as nothing else."""
        self.done += 1
        if one.old is None or one.new is None:
            self.failed += 1
            return
        self.total += 1
        self.inexact += not one.record.exact
        setattr(self, one.direction.value, getattr(self, one.direction.value) + 1)
        row = self.matrix.setdefault(one.old.effect.value, {})
        row[one.new.effect.value] = row.get(one.new.effect.value, 0) + 1


class Snapshots:
    """Worlds and configurations by digest, parsed once each."""

    def __init__(self) -> None:
        self._known: dict[str, Snapshot | None] = {}

    def load(self, records: Iterable[DecisionRecord]) -> None:
        """Read what these records need in one query."""
        missing = {record.entities_id for record in records} - self._known.keys()
        if len(self._known) + len(missing) > SNAPSHOTS:
            self._known.clear()
            missing = {record.entities_id for record in records}
        for row in EntitySnapshot.objects.filter(pk__in=missing):
            self._known[row.pk] = _parsed(row.entities)

    def asked(self, record: DecisionRecord) -> Asked | None:
        """Return what a record asked, or None when it cannot be read."""
        snapshot = self._known.get(record.entities_id)
        try:
            return None if snapshot is None else unpack(record.request, snapshot)
        except RecordError:
            return None


class Comparison:
    """Two sets, asked the same questions. `old` is None while no set is in force: then everything denies.

    Where both sets have the very same rules for a question, its answer is the same and is computed once.
    """

    def __init__(self, old: Engine | None, new: Engine) -> None:
        self._old, self._new = old, new
        self._snapshots = Snapshots()
        self._alike: dict[_Question, bool] = {}
        self._comparable = old is not None and _same_ground(old, new)

    def replay(self, records: Sequence[DecisionRecord]) -> Iterator[Replayed]:
        """Ask every record of a batch again."""
        self._snapshots.load(records)
        if len(self._alike) > SNAPSHOTS:
            self._alike.clear()
        for record in records:
            asked = self._snapshots.asked(record)
            yield Replayed(record, None, None) if asked is None else self._ask(record, asked)

    def _ask(self, record: DecisionRecord, asked: Asked) -> Replayed:
        old = answer_of(self._old, asked)
        if self._is_alike(record, asked):
            return Replayed(record, old, old)
        new = answer_of(self._new, asked)
        return Replayed(record, old, new, compare(old, new))

    def _is_alike(self, record: DecisionRecord, asked: Asked) -> bool:
        """Tell whether the rules that can hold for the question are the same in both sets.

        Which rules those are depends on the entities and the action alone, so it is asked once for each.
        """
        if not self._comparable or self._old is None:
            return False
        context = asked.context
        question = (record.entities_id, asked.request, context.channel, context.session_id)
        known = self._alike.get(question)
        if known is None:
            known = self._alike[question] = _have_same_rules(self._old, self._new, asked)
        return known


def answer_of(engine: Engine | None, asked: Asked) -> PolicyDecision:
    """Return what a set answers; without a set everything is denied."""
    if engine is None:
        return refuse(Code.NO_ACTIVE_SET, "No policy set is in force, so nothing is permitted.")
    return replay(asked, engine.compiled, engine.handles)


def _parsed(text: str) -> Snapshot | None:
    try:
        return read_snapshot(text)
    except RecordError:
        return None


def _same_ground(old: Engine, new: Engine) -> bool:
    """Tell whether schema and the best possible approval are the same, which every answer rests on."""
    one, other = old.compiled, new.compiled
    return (
        one.catalog_digest == other.catalog_digest
        and one.inputs == other.inputs
        and one.actions == other.actions
        and most_favourable(one) == most_favourable(other)
    )


def _have_same_rules(old: Engine, new: Engine, asked: Asked) -> bool:
    try:
        one = case_of(asked, old.compiled, old.handles).candidates
        other = case_of(asked, new.compiled, new.handles).candidates
    except (RequestError, ValueError):
        return False
    if one != other:
        return False
    was, becomes = old.compiled.rules, new.compiled.rules
    return all(was[name].body == becomes[name].body for name in one)
