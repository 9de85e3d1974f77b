"""Replaying recorded decisions against two sets, and counting how the second differs from the first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from policy.engine import case_of, most_favourable, refuse
from policy.models import DecisionRecord, EntitySnapshot
from policy.repeats import Path, likeness, paths_read
from policy.replaying import Direction, RecordError, Snapshot, compare, read_snapshot, replay, unpack
from policy.requests import RequestError, prepare
from policy.runtime import Engine
from policy.types import ApprovalFacts, Asked, Code, PolicyDecision, PolicyRequest

BATCH = 500
SNAPSHOTS = 2_048
ANSWERS = 20_000
_Question = tuple[str, PolicyRequest, str | None]
_Answers = tuple[PolicyDecision, PolicyDecision, Direction]


@dataclass(frozen=True, slots=True)
class Replayed:
    """One record with both answers. `old` and `new` are None when the record cannot be read."""

    record: DecisionRecord
    old: PolicyDecision | None
    new: PolicyDecision | None
    direction: Direction = Direction.UNCHANGED


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of two sets that can hold for one question: are they the same, and what do they read?"""

    alike: bool
    paths: tuple[Path, ...]


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
        """Read what these records need and is not known yet, in one query."""
        needed = {record.entities_id for record in records}
        if len(self._known | dict.fromkeys(needed)) > SNAPSHOTS:
            self._known.clear()
        missing = needed - self._known.keys()
        if missing:
            self.keep(dict(EntitySnapshot.objects.filter(pk__in=missing).values_list("pk", "entities")))

    def keep(self, texts: Mapping[str, str]) -> None:
        """Parse these texts by digest; one that cannot be read stays unreadable."""
        self._known.update((digest, _parsed(text)) for digest, text in texts.items())

    def asked(self, record: DecisionRecord) -> Asked | None:
        """Return what a record asked, or None when it cannot be read."""
        snapshot = self._known.get(record.entities_id)
        try:
            return None if snapshot is None else unpack(record.request, snapshot)
        except RecordError:
            return None


class Comparison:
    """Two sets, asked the same questions. `old` is None while no set is in force: then everything denies.

    Where both sets have the very same rules for a question, one answer is both. Where the rules cannot
    tell two questions apart, one answer serves both (`policy.repeats`). Neither changes what comes out.
    """

    def __init__(self, old: Engine | None, new: Engine) -> None:
        self._old, self._new = old, new
        self.snapshots = Snapshots()
        self._rules: dict[_Question, Rules] = {}
        self._answers: dict[tuple[_Question, ApprovalFacts | None, str], _Answers] = {}
        self._comparable = old is not None and _same_ground(old, new)

    def replay(self, records: Sequence[DecisionRecord]) -> Iterator[Replayed]:
        """Ask every record of a batch again."""
        self.snapshots.load(records)
        for kept in (self._rules, self._answers):
            if len(kept) > ANSWERS:
                kept.clear()
        for record in records:
            asked = self.snapshots.asked(record)
            if asked is None:
                yield Replayed(record, None, None)
            else:
                yield Replayed(record, *self._answer(record.entities_id, asked))

    def _answer(self, digest: str, asked: Asked) -> _Answers:
        """Return both answers, from what is known where that is sure to be the same."""
        if self._old is None or not self._comparable:
            return self._asked(asked, alike=False)
        try:
            prepared = prepare(asked.request, asked.context, asked.config, asked.world, self._old.compiled)
            question = (digest, asked.request, asked.context.channel)
            rules = self._rules.get(question)
            if rules is None:
                rules = self._rules[question] = rules_for(self._old, self._new, asked)
            like = likeness(prepared.context, rules.paths)
        except (RequestError, ValueError, TypeError):  # what cannot be prepared is asked as it stands
            return self._asked(asked, alike=False)
        key = (question, asked.context.approval, like)
        known = self._answers.get(key)
        if known is None:
            known = self._answers[key] = self._asked(asked, alike=rules.alike)
        return known

    def _asked(self, asked: Asked, *, alike: bool) -> _Answers:
        old = answer_of(self._old, asked)
        if alike:
            return old, old, Direction.UNCHANGED
        new = answer_of(self._new, asked)
        return old, new, compare(old, new)


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


def rules_for(old: Engine, new: Engine, asked: Asked) -> Rules:
    """Return what the rules of both sets have in common that can hold for a question.

    Which rules those are depends on the entities and the action alone. Raises RequestError or ValueError
    for what cannot be put to them.
    """
    one = case_of(asked, old.compiled, old.handles).candidates
    other = case_of(asked, new.compiled, new.handles).candidates
    was = [old.compiled.rules[name].body for name in one]
    becomes = [new.compiled.rules[name].body for name in other]
    return Rules(alike=one == other and was == becomes, paths=paths_read((*was, *becomes)))
