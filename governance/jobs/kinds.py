"""What each kind of job does, and which permission asks for one, sees it and stops it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from governance.jobs.journal_keeping import ARCHIVE, RESTORE, Archiving, Restoring
from governance.jobs.journal_verifying import VERIFY, Verifying
from governance.jobs.lifecycle import JobState
from governance.models import Job
from identity.roles import Permission
from kernel.errors import ConflictError
from kernel.record import Actor, Record
from policy import simulation
from policy.comparing import Replayed, Tally
from policy.lifecycle import RunState
from policy.models import SimulationRun

Clock = Callable[[], datetime]
SIMULATION = "simulation"


class Progress(Protocol):
    """What a running job tells, and how it hears that it has to stop."""

    def step(self, done: int, write: Callable[[], None]) -> None:
        """Run `write` in one transaction with the new count.

        Raises when the job was cancelled, the worker is to stop, or the job is no longer this worker's;
        then nothing was written.
        """


class Kind(Protocol):
    """One kind of job. `conclude` and `abandon` run in the transaction that ends the job."""

    permission: Permission

    def run(self, job: Job, progress: Progress, clock: Clock) -> None: ...

    def conclude(self, job: Job, actor: Actor, now: datetime, record: Record) -> dict[str, object]: ...

    def abandon(self, job: Job, state: JobState, error_code: str, now: datetime) -> None: ...


class Simulation:
    """A replay of recorded decisions that is too large to wait for."""

    permission = Permission.POLICY_SIMULATE

    def run(self, job: Job, progress: Progress, clock: Clock) -> None:
        run = self._run_of(job)
        wishes = simulation.Wishes.from_json(run.asked)
        ground = simulation.ground_of(run.policy_set, wishes)
        tally = Tally()

        def begin() -> None:
            simulation.start_run(run_id=run.pk, ground=ground)
            Job.objects.filter(pk=job.pk).update(total=ground.planned)

        progress.step(0, begin)
        for batch in simulation.replayed(ground, wishes):
            for one in batch:
                tally.add(one)
            self._write(run, batch, tally, progress)

    def _write(self, run: SimulationRun, batch: list[Replayed], tally: Tally, progress: Progress) -> None:
        progress.step(tally.done, lambda: simulation.add_batch(run=run, batch=batch, tally=tally))

    def conclude(self, job: Job, actor: Actor, now: datetime, record: Record) -> dict[str, object]:
        done = simulation.finish_run(run=self._run_of(job), actor=actor, now=now, record=record)
        return {
            "policy_set": done.policy_set_id,
            "number": done.number,
            "total": done.total,
            "loosened": done.loosened,
            "tightened": done.tightened,
            "reason_only": done.reason_only,
            "unchanged": done.unchanged,
        }

    def abandon(self, job: Job, state: JobState, error_code: str, now: datetime) -> None:
        simulation.end_run(job_id=job.pk, state=RunState(state.value), error_code=error_code, now=now)

    def _run_of(self, job: Job) -> SimulationRun:
        run = SimulationRun.objects.select_related("policy_set").filter(job_id=job.pk).first()
        if run is None:
            raise ConflictError("state_changed", "The simulation of this job is gone.")
        return run


KINDS: dict[str, Kind] = {
    SIMULATION: Simulation(),
    ARCHIVE: Archiving(),
    RESTORE: Restoring(),
    VERIFY: Verifying(),
}
"""Every kind there is. A job of another kind, left by another version, fails when it is claimed."""
