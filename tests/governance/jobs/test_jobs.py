"""A job is taken once, says how far it is, and ends once, whatever becomes of its worker."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import transaction

from governance import tasks, wakeup
from governance.jobs import runner, services
from governance.jobs.kinds import KINDS, Clock, Progress
from governance.jobs.lifecycle import ALLOWED, WORKER_PATIENCE, JobState
from governance.journal.ledger import record
from governance.journal.models import JournalEvent
from governance.journal.reading import open_data
from governance.models import Job
from governance.operations import jobs, simulations, sweeping
from governance.stopping import Drain
from identity.roles import Permission
from kernel.clock import utc_now
from kernel.errors import ConflictError, InvalidError, NotFoundError, RefusedError
from kernel.record import Actor, Record, system_actor
from policy import simulation
from policy.lifecycle import RunState
from policy.models import PolicySet, SimulationRun
from policy.simulation import Wishes
from tests.governance.pipeline.world import World
from tests.policy.recording import FORBID_ALL, draft_with

SHELL = system_actor("shell")
WORKER = "host:1"


class Counting:
    """A kind of job that counts to three, or does what a test puts in."""

    permission = Permission.POLICY_SIMULATE

    def __init__(self) -> None:
        self.before_step: Callable[[int, Job], None] = lambda number, job: None
        self.ends: list[tuple[str, str]] = []
        self.written: list[int] = []

    def run(self, job: Job, progress: Progress, clock: Clock) -> None:
        for number in (1, 2, 3):
            self.before_step(number, job)
            progress.step(number, lambda number=number: self.written.append(number))  # type: ignore[misc]  # bound now

    def conclude(self, job: Job, actor: Actor, now: datetime, record: Record) -> dict[str, object]:
        return {"counted": 3}

    def abandon(self, job: Job, state: JobState, error_code: str, now: datetime) -> None:
        self.ends.append((state.value, error_code))


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> Counting:
    kind = Counting()
    monkeypatch.setitem(KINDS, "counting", kind)
    return kind


def queue(world: World, kind: str = "counting") -> Job:
    with transaction.atomic():
        return services.queue_job(
            kind=kind, subject="it", workspace_id=world.workspace.pk, total=3, actor=SHELL, now=utc_now()
        )


def events(job: Job) -> list[str]:
    return list(JournalEvent.objects.filter(subject=job.id).order_by("id").values_list("type", flat=True))


def end_of(job: Job) -> Job:
    return Job.objects.get(pk=job.pk)


def test_a_worker_takes_what_waits_oldest_first_and_leaves_a_result(world: World, counting: Counting) -> None:
    first, second = queue(world), queue(world)
    assert runner.work(WORKER, utc_now) == 2
    for job in (first, second):
        done = end_of(job)
        assert (done.state, done.done, done.result, done.error_code) == ("succeeded", 3, {"counted": 3}, "")
        assert done.worker_id == WORKER
        assert done.finished_at is not None
        assert events(job) == ["job.started", "job.finished"]
    assert counting.written == [1, 2, 3, 1, 2, 3]
    assert runner.work(WORKER, utc_now) == 0
    started = open_data(JournalEvent.objects.get(subject=first.id, type="job.started"))
    assert (started["by"], started["worker"]) == (SHELL.id, WORKER)


def test_a_job_is_taken_once(world: World, counting: Counting) -> None:
    job = queue(world)
    jobs.claim(job_id=job.id, worker_id="other:1", now=utc_now())
    with pytest.raises(ConflictError):
        jobs.claim(job_id=job.id, worker_id=WORKER, now=utc_now())
    assert runner.run_one(job.id, WORKER, utc_now) is False
    assert counting.written == []


def test_cancelling_one_that_waits_ends_it_and_one_that_runs_stops_it_at_its_next_step(
    world: World, counting: Counting
) -> None:
    owner = world.person(world.owner)
    waiting = jobs.cancel(principal=owner, job_id=queue(world).id, now=utc_now())
    assert (waiting.state, waiting.error_code, events(waiting)) == (
        "cancelled",
        "job.cancelled",
        ["job.cancelled"],
    )

    def stop(number: int, job: Job) -> None:
        if number == 2:
            assert jobs.cancel(principal=owner, job_id=job.id, now=utc_now()).state == "running"

    counting.before_step = stop
    job = queue(world)
    runner.work(WORKER, utc_now)
    assert (end_of(job).state, end_of(job).done, counting.written) == ("cancelled", 1, [1])
    assert counting.ends == [("cancelled", "job.cancelled")] * 2
    with pytest.raises(ConflictError):
        jobs.cancel(principal=owner, job_id=job.id, now=utc_now())


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InvalidError("policy_invalid", "It does not compile."), "policy_invalid"),
        (RuntimeError("secret"), "job.failed"),
    ],
)
def test_a_failure_ends_the_job_with_a_code_and_without_its_inside(
    world: World, counting: Counting, error: Exception, code: str
) -> None:
    def fail(number: int, job: Job) -> None:
        if number == 2:
            raise error

    counting.before_step = fail
    job = queue(world)
    assert runner.work(WORKER, utc_now) == 1
    done = end_of(job)
    assert (done.state, done.error_code) == ("failed", code)
    assert "secret" not in done.message
    data = open_data(JournalEvent.objects.get(subject=job.id, type="job.finished"))
    assert (data["state"], data["error_code"]) == ("failed", code)


def test_a_job_of_a_kind_that_this_version_does_not_know_fails(world: World) -> None:
    job = queue(world, kind="telepathy")
    runner.work(WORKER, utc_now)
    assert (end_of(job).state, end_of(job).error_code) == ("failed", "job.failed")


def test_a_stopping_worker_ends_its_job_and_takes_no_other(
    world: World, counting: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    drain = Drain()
    monkeypatch.setattr(runner, "drain", drain)
    counting.before_step = lambda number, job: drain.begin() if number == 3 else None
    job, other = queue(world), queue(world)
    assert runner.work(WORKER, utc_now) == 1
    assert (end_of(job).state, end_of(job).error_code) == ("failed", "job.worker_stopping")
    assert end_of(other).state == "queued"


def test_a_job_without_a_heartbeat_for_a_minute_is_failed_by_the_sweeper(
    world: World, counting: Counting
) -> None:
    job = queue(world)
    started = utc_now()
    jobs.claim(job_id=job.id, worker_id=WORKER, now=started)
    sweeping.sweep(started + WORKER_PATIENCE)
    assert end_of(job).state == "running"
    assert sweeping.sweep(started + WORKER_PATIENCE + timedelta(seconds=1))["jobs_lost"] == 1
    assert (end_of(job).state, end_of(job).error_code) == ("failed", "job.worker_lost")
    assert events(job) == ["job.started", "job.worker_lost"]
    assert counting.ends == [("failed", "job.worker_lost")]


def test_a_heartbeat_keeps_a_job_and_comes_too_late_for_a_lost_one(world: World, counting: Counting) -> None:
    job = queue(world)
    started = utc_now()
    claimed = jobs.claim(job_id=job.id, worker_id=WORKER, now=started)
    assert jobs.beat(job=claimed, now=started + timedelta(seconds=50))
    assert sweeping.sweep(started + timedelta(seconds=70))["jobs_lost"] == 0
    with pytest.raises(ConflictError):
        jobs.lose(job_id=job.id, now=started + timedelta(seconds=70))
    jobs.lose(job_id=job.id, now=started + timedelta(seconds=200))
    assert jobs.beat(job=claimed, now=started + timedelta(seconds=201)) is False


def test_a_worker_that_was_given_up_writes_nothing_more(world: World, counting: Counting) -> None:
    def give_up(number: int, job: Job) -> None:
        if number == 3:
            jobs.lose(job_id=job.id, now=utc_now() + timedelta(minutes=5))

    counting.before_step = give_up
    job = queue(world)
    runner.work(WORKER, utc_now)
    assert counting.written == [1, 2]
    assert (end_of(job).state, end_of(job).error_code, end_of(job).result) == (
        "failed",
        "job.worker_lost",
        None,
    )
    assert events(job) == ["job.started", "job.worker_lost"]


def test_what_a_step_wrote_is_undone_with_it(world: World, counting: Counting) -> None:
    job = queue(world)
    claimed = jobs.claim(job_id=job.id, worker_id=WORKER, now=utc_now())

    def write() -> None:
        Job.objects.filter(pk=job.id).update(message="half")
        raise ConflictError("state_changed", "no")

    with pytest.raises(ConflictError):
        jobs.advance(job=claimed, done=2, write=write, now=utc_now())
    assert (end_of(job).message, end_of(job).done) == ("", 0)


@pytest.mark.parametrize("state", ["succeeded", "failed", "cancelled"])
def test_an_end_is_final(world: World, counting: Counting, state: str) -> None:
    job = queue(world)
    jobs.claim(job_id=job.id, worker_id=WORKER, now=utc_now())
    Job.objects.filter(pk=job.id).update(state=state, finished_at=utc_now())
    claimed = end_of(job)
    for act in (
        lambda: jobs.conclude(job=claimed, now=utc_now()),
        lambda: jobs.lose(job_id=job.id, now=utc_now() + timedelta(minutes=5)),
        lambda: jobs.claim(job_id=job.id, worker_id=WORKER, now=utc_now()),
    ):
        with pytest.raises(ConflictError):
            act()
    assert end_of(job).state == state
    assert state not in ALLOWED


def test_a_job_is_seen_and_stopped_with_the_permission_of_its_kind(world: World, counting: Counting) -> None:
    job = queue(world)
    with pytest.raises(NotFoundError):  # who may start jobs of another kind sees those alone
        jobs.cancel(principal=world.person(world.auditor), job_id=job.id, now=utc_now())
    for person in (world.approver, world.stranger):
        with pytest.raises(RefusedError):
            jobs.cancel(principal=world.person(person), job_id=job.id, now=utc_now())
    with pytest.raises(RefusedError):
        jobs.cancel(principal=world.agent, job_id=job.id, now=utc_now())
    assert end_of(job).state == "queued"
    operator = world.person(world.agent_owner)
    assert jobs.cancel(principal=operator, job_id=job.id, now=utc_now()).state == "cancelled"


def test_a_job_of_the_instance_is_out_of_sight_for_somebody_of_one_workspace(
    world: World, counting: Counting
) -> None:
    job = queue(world)
    Job.objects.filter(pk=job.id).update(workspace_id="wsp_other")
    with pytest.raises(NotFoundError):
        jobs.cancel(principal=world.person(world.agent_owner), job_id=job.id, now=utc_now())
    assert jobs.cancel(principal=world.person(world.owner), job_id=job.id, now=utc_now()).state == "cancelled"


def test_the_sweeper_rings_for_jobs_that_wait(
    world: World, counting: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    rung: list[str] = []
    monkeypatch.setattr(wakeup, "_send", rung.append)
    sweeping.sweep(utc_now())
    assert rung == []
    queue(world)
    sweeping.sweep(utc_now())
    assert rung == ["palyra.jobs"]


def test_the_task_takes_everything_that_waits(world: World, counting: Counting) -> None:
    job = queue(world)
    tasks.jobs.run()
    assert end_of(job).state == "succeeded"


def simulated_by_job(world: World) -> tuple[PolicySet, SimulationRun, Job]:
    """Ask for more records than are replayed at once."""
    for text in ("a", "b", "c"):
        world.propose("echo", {"text": text})
    draft = draft_with(FORBID_ALL, now=utc_now())
    made = simulations.simulate(
        principal=world.person(world.owner), set_id=draft.pk, wishes=Wishes(records=2_001), now=utc_now()
    )
    assert made.job is not None
    return draft, made.run, made.job


def test_a_large_simulation_is_done_by_a_job_and_gives_what_a_small_one_gives(world: World) -> None:
    draft, run, job = simulated_by_job(world)
    assert (run.state, run.number, job.kind, job.subject) == ("queued", 1, "simulation", draft.pk)
    assert runner.work(WORKER, utc_now) == 1
    run.refresh_from_db()
    small = simulations.simulate(
        principal=world.person(world.owner), set_id=draft.pk, wishes=Wishes(records=2_000), now=utc_now()
    ).run
    for name in (
        "state",
        "total",
        "tightened",
        "loosened",
        "unchanged",
        "matrix",
        "draft_hash",
        "against_hash",
    ):
        assert getattr(run, name) == getattr(small, name), name
    assert run.total >= 3
    assert set(run.flips.values_list("record_id", flat=True)) == set(
        small.flips.values_list("record_id", flat=True)
    )
    done = end_of(job)
    assert (done.state, done.done, done.total) == ("succeeded", run.total, run.total)
    assert done.result is not None
    assert (done.result["number"], done.result["tightened"]) == (1, run.tightened)
    assert JournalEvent.objects.filter(subject=draft.pk, type="policy.simulated").count() == 2


def test_a_simulation_shares_the_end_of_its_job(world: World) -> None:
    _, run, job = simulated_by_job(world)
    jobs.cancel(principal=world.person(world.owner), job_id=job.id, now=utc_now())
    run.refresh_from_db()
    assert (run.state, run.error_code) == (RunState.CANCELLED, "job.cancelled")
    _, lost, gone = simulated_by_job(world)
    jobs.claim(job_id=gone.id, worker_id=WORKER, now=utc_now())
    jobs.lose(job_id=gone.id, now=utc_now() + timedelta(minutes=5))
    lost.refresh_from_db()
    assert (lost.state, lost.error_code) == ("failed", "job.worker_lost")


def test_a_draft_that_stops_compiling_before_its_job_begins_fails_it(world: World) -> None:
    draft, run, job = simulated_by_job(world)
    draft.files.filter(name="added_0.cedar").update(text="permit(")
    runner.work(WORKER, utc_now)
    run.refresh_from_db()
    assert (end_of(job).state, end_of(job).error_code) == ("failed", "policy_invalid")
    assert (run.state, run.error_code) == ("failed", "policy_invalid")


def test_cancelled_between_two_batches_it_leaves_no_number_that_counts(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, run, job = simulated_by_job(world)
    monkeypatch.setattr("policy.simulation.BATCH", 1)
    original = simulation.add_batch

    def stop(**given: Any) -> None:
        original(**given)
        Job.objects.filter(pk=job.id).update(cancel_asked=True)

    monkeypatch.setattr(simulation, "add_batch", stop)
    runner.work(WORKER, utc_now)
    run.refresh_from_db()
    assert (run.state, end_of(job).state, run.done) == ("cancelled", "cancelled", 1)


def test_no_event_no_job_end(world: World, counting: Counting, monkeypatch: pytest.MonkeyPatch) -> None:
    job = queue(world)
    claimed = jobs.claim(job_id=job.id, worker_id=WORKER, now=utc_now())

    def fail(**given: object) -> str:
        raise RuntimeError("the journal is down")

    monkeypatch.setattr(jobs, "record", fail)
    with pytest.raises(RuntimeError):
        jobs.conclude(job=claimed, now=utc_now())
    assert end_of(job).state == "running"
    monkeypatch.setattr(jobs, "record", record)
    assert jobs.conclude(job=claimed, now=utc_now()).state == "succeeded"
