"""Simulations: what recorded decisions would have been under a set that is not in force (policy §3.6).

The replay reads only, and outside any transaction; the writes around it are short. Services take the
caller's transaction, as everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Max, QuerySet

from kernel.errors import ConflictError
from kernel.record import Actor, Record
from kernel.state import transition
from policy.candidates import Candidate, read_candidate
from policy.comparing import BATCH, Comparison, Replayed, Tally
from policy.compilation import DOMAIN
from policy.lifecycle import RUN_ALLOWED, RunState, SetState
from policy.models import DecisionRecord, PolicyEpoch, PolicySet, SimulationFlip, SimulationRun
from policy.replaying import Direction, determining_ids
from policy.runtime import EpochMissingError, Runtime, current
from policy.set_checking import check_text, invalid
from policy.set_selectors import active_set, set_text
from policy.types import NO_SET, PolicySetRef

DEFAULT_RECORDS = 1_000
MAX_RECORDS = 50_000
LARGEST_SYNCHRONOUS = 2_000
MAX_ERROR_CODE = 64
SIMULATED = frozenset({SetState.DRAFT.value, SetState.VALIDATED.value})


@dataclass(frozen=True, slots=True)
class Wishes:
    """Which records are replayed: the newest `records` of those that match.

    `workspace` bounds what somebody may replay who has no role in the instance; None is everything.
    """

    records: int = DEFAULT_RECORDS
    since: datetime | None = None
    agent: str | None = None
    tool: str | None = None
    workspace: str | None = None

    def as_json(self) -> dict[str, object]:
        return {
            "n": self.records,
            "since": self.since.isoformat() if self.since else None,
            "agent": self.agent,
            "tool": self.tool,
            "workspace": self.workspace,
        }

    @classmethod
    def from_json(cls, asked: Mapping[str, object]) -> Wishes:
        since = asked.get("since")
        return cls(
            records=int(str(asked["n"])),
            since=datetime.fromisoformat(since) if isinstance(since, str) else None,
            agent=_text(asked.get("agent")),
            tool=_text(asked.get("tool")),
            workspace=_text(asked.get("workspace")),
        )


@dataclass(frozen=True, slots=True)
class Unasked:
    """A set of another domain: no recorded decision was ever put to its rules."""

    hash: str


@dataclass(frozen=True, slots=True)
class Ground:
    """What a simulation stands on, as it was when it began: both sets, and the records there were.

    `planned` is how many records will be replayed, `available` how many there are without any filter.
    """

    candidate: Candidate | Unasked
    runtime: Runtime
    against: PolicySetRef
    epoch: int
    records: QuerySet[DecisionRecord]
    planned: int
    available: int


def ground_of(policy_set: PolicySet, wishes: Wishes) -> Ground:
    """Read and compile what the simulation needs. Writes nothing; takes seconds for thousands of policies.

    Raises ConflictError `state_changed` for a set that is neither draft nor validated, InvalidError
    `policy_invalid` with the findings for one that does not compile.
    """
    require_simulable(policy_set)
    runtime = _runtime()
    candidate = _candidate(policy_set, runtime)
    there = _records_of(policy_set)
    matching = _matching(there, wishes)
    planned = matching.values("pk")[: wishes.records].count()
    row = PolicyEpoch.objects.filter(pk=1).values_list("epoch", flat=True).first()
    return Ground(
        candidate, runtime, _against(policy_set, runtime), row or 0, matching, planned, there.count()
    )


def require_simulable(policy_set: PolicySet) -> None:
    """Raise ConflictError `state_changed` unless the set can be simulated."""
    if policy_set.state not in SIMULATED:
        raise ConflictError("state_changed", "Only a draft or a validated set is simulated.")


def replayed(ground: Ground, wishes: Wishes) -> Iterator[list[Replayed]]:
    """Replay the newest records, newest first, a batch at a time."""
    if isinstance(ground.candidate, Unasked):
        return
    comparison = Comparison(ground.runtime.engine, ground.candidate.engine)
    left, before = wishes.records, None
    while left > 0:
        rows = ground.records if before is None else ground.records.filter(pk__lt=before)
        batch = list(rows.order_by("-pk")[: min(BATCH, left)])
        if not batch:
            return
        yield list(comparison.replay(batch))
        left, before = left - len(batch), batch[-1].pk


def open_run(
    *,
    policy_set: PolicySet,
    wishes: Wishes,
    state: RunState,
    actor: Actor,
    now: datetime,
    ground: Ground | None = None,
    job_id: str | None = None,
) -> SimulationRun:
    """Add the next simulation of a set, queued for a job or running on this ground."""
    held = PolicySet.objects.select_for_update().get(pk=policy_set.pk)
    last = SimulationRun.objects.filter(policy_set=held).aggregate(last=Max("number"))["last"] or 0
    run = SimulationRun.objects.create(
        policy_set=held,
        number=last + 1,
        state=state.value,
        draft_hash="",
        epoch=0,
        asked=wishes.as_json(),
        started_by=actor.id,
        job_id=job_id,
        created_at=now,
    )
    if ground is not None:
        _stand_on(run, ground)
    return run


def start_run(*, run_id: int, ground: Ground) -> SimulationRun:
    """Begin a queued simulation on the ground that was just read; ConflictError when it is not queued."""
    rows = SimulationRun.objects.filter(pk=run_id)
    transition(rows, RUN_ALLOWED, source=RunState.QUEUED, target=RunState.RUNNING)
    run = rows.get()
    _stand_on(run, ground)
    return run


def add_batch(*, run: SimulationRun, batch: Sequence[Replayed], tally: Tally) -> None:
    """Write what a batch changed, and the counts so far."""
    flips = [_flip(run, one) for one in batch if one.direction is not Direction.UNCHANGED]
    SimulationFlip.objects.bulk_create(flips, batch_size=BATCH)
    SimulationRun.objects.filter(pk=run.pk, state=RunState.RUNNING).update(**_counts(tally))


def finish_run(*, run: SimulationRun, actor: Actor, now: datetime, record: Record) -> SimulationRun:
    """End a simulation that has replayed everything, and record `policy.simulated`."""
    rows = SimulationRun.objects.select_related("policy_set").filter(pk=run.pk)
    transition(rows, RUN_ALLOWED, source=RunState.RUNNING, target=RunState.SUCCEEDED, finished_at=now)
    done = rows.get()
    record(
        event="policy.simulated",
        actor=actor,
        subject=done.policy_set_id,
        now=now,
        data={
            "version": done.policy_set.version,
            "number": done.number,
            "draft_hash": done.draft_hash,
            "against_hash": done.against_hash,
            "records": done.total,
            "loosened": done.loosened,
            "tightened": done.tightened,
            "reason_only": done.reason_only,
        },
    )
    return done


def end_run(*, job_id: str, state: RunState, error_code: str, now: datetime) -> None:
    """End the simulation of a job that failed or was cancelled; its numbers allow no activation."""
    run = SimulationRun.objects.filter(job_id=job_id).first()
    if run is None or run.state not in RUN_ALLOWED:
        return
    rows = SimulationRun.objects.filter(pk=run.pk)
    code = error_code[:MAX_ERROR_CODE]
    transition(rows, RUN_ALLOWED, source=run.state, target=state, finished_at=now, error_code=code)


def _runtime() -> Runtime:
    try:
        return current()
    except EpochMissingError as error:
        raise ConflictError("state_changed", "The installation has no policy yet.") from error


def _candidate(policy_set: PolicySet, runtime: Runtime) -> Candidate | Unasked:
    if policy_set.domain == DOMAIN:
        return read_candidate(policy_set, runtime.tools)
    checked = check_text(set_text(policy_set), runtime.tools)
    if checked.errors:
        raise invalid(checked.errors)
    return Unasked(checked.hash)


def _records_of(policy_set: PolicySet) -> QuerySet[DecisionRecord]:
    """Return the records there are now. Answers of other domains' decision points leave none."""
    if policy_set.domain != DOMAIN:
        return DecisionRecord.objects.none()
    newest = DecisionRecord.objects.aggregate(newest=Max("pk"))["newest"] or ""
    return DecisionRecord.objects.filter(pk__lte=newest)


def _against(policy_set: PolicySet, runtime: Runtime) -> PolicySetRef:
    """The set in force in the domain, also one that does not compile and so denies everything."""
    if policy_set.domain == DOMAIN and runtime.engine is not None:
        return runtime.engine.compiled.ref
    active = active_set(policy_set.domain)
    return NO_SET if active is None else PolicySetRef(active.pk, active.version, active.hash or "")


def _matching(records: QuerySet[DecisionRecord], wishes: Wishes) -> QuerySet[DecisionRecord]:
    given = {
        "decided_at__gte": wishes.since,
        "principal_id": wishes.agent,
        "resource_id": wishes.tool,
        "workspace_id": wishes.workspace,
    }
    return records.filter(**{name: value for name, value in given.items() if value is not None})


def _stand_on(run: SimulationRun, ground: Ground) -> None:
    run.draft_hash = ground.candidate.hash
    run.against_set_id = ground.against.id or None
    run.against_hash = ground.against.hash
    run.epoch = ground.epoch
    run.available = ground.available
    run.save(update_fields=["draft_hash", "against_set", "against_hash", "epoch", "available"])


def _counts(tally: Tally) -> dict[str, object]:
    return {
        "total": tally.total,
        "done": tally.done,
        "unchanged": tally.unchanged,
        "loosened": tally.loosened,
        "tightened": tally.tightened,
        "reason_only": tally.reason_only,
        "inexact": tally.inexact,
        "failed": tally.failed,
        "matrix": tally.matrix,
    }


def _flip(run: SimulationRun, one: Replayed) -> SimulationFlip:
    assert one.old is not None
    assert one.new is not None  # what cannot be read is never a flip
    return SimulationFlip(
        run=run,
        record_id=one.record.pk,
        call_id=one.record.call_id,
        workspace_id=one.record.workspace_id,
        principal_id=one.record.principal_id,
        resource_id=one.record.resource_id,
        old_effect=one.old.effect.value,
        new_effect=one.new.effect.value,
        old_policies=determining_ids(one.old),
        new_policies=determining_ids(one.new),
        direction=one.direction.value,
        exact=one.record.exact,
        decided_at=one.record.decided_at,
    )


def _text(value: object) -> str | None:
    return None if value is None else str(value)
