"""Jobs that archive the journal and bring archives back."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

from governance.jobs.lifecycle import JobState
from governance.journal import archiving, restoring
from governance.journal.archived_rows import Unit
from governance.journal.archiving import Clock, Step
from governance.journal.ledger import record as journal
from governance.journal.models import JournalArchive
from governance.models import Job
from identity.roles import Permission
from kernel.errors import ConflictError, PalyraError
from kernel.record import Actor, Record, system_actor

if TYPE_CHECKING:
    from governance.jobs.kinds import Progress

ARCHIVE, RESTORE = "journal_archive", "journal_restore"
_RESTORED_TOO = " restored"


@dataclass(frozen=True, slots=True)
class ArchiveWish:
    """Everything sealed before this moment, and what was restored too when that is asked for."""

    before: datetime
    restored: bool = False

    def as_subject(self) -> str:
        """Return it as a job keeps it."""
        return self.before.isoformat() + (_RESTORED_TOO if self.restored else "")

    @classmethod
    def of(cls, job: Job) -> ArchiveWish:
        moment = job.subject.removesuffix(_RESTORED_TOO)
        return cls(datetime.fromisoformat(moment), restored=job.subject.endswith(_RESTORED_TOO))


class RefusedStepError(Exception):
    """A step was refused and undone; the job itself is still the worker's."""

    def __init__(self, refusal: PalyraError) -> None:
        super().__init__(refusal.code)
        self.refusal = refusal


class Archiving:
    """Units of the journal go into files, one after the other; one that is held stays."""

    permission = Permission.TRUST_OPERATE

    def run(self, job: Job, progress: Progress, clock: Clock) -> None:
        """Archive what is due. A unit that cannot be fails the job after all others had their turn."""
        wish, failure = ArchiveWish.of(job), None
        units = list(archiving.due(before=wish.before, restored=wish.restored))
        progress.step(0, lambda: _note_total(job, len(units)))
        for done, unit in enumerate(units):
            try:
                self._archive(unit, done, progress, clock)
            except RefusedStepError:
                continue
            except PalyraError as error:
                failure = failure or error
        if failure is not None:
            raise failure

    def _archive(self, unit: Unit, done: int, progress: Progress, clock: Clock) -> None:
        for step in archiving.steps(unit, actor=system_actor("worker"), clock=clock, record=journal):
            progress.step(done, partial(_undisguised, step))

    def conclude(self, job: Job, actor: Actor, now: datetime, record: Record) -> dict[str, object]:
        wish = ArchiveWish.of(job)
        since = job.started_at or job.created_at
        return {
            "archived": JournalArchive.objects.filter(removed_at__gte=since).count(),
            "held": sum(1 for _ in archiving.due(before=wish.before, restored=wish.restored)),
        }

    def abandon(self, job: Job, state: JobState, error_code: str, now: datetime) -> None:
        """Nothing is left to undo: what was begun goes on with the next job."""


class Restoring:
    """The rows of one archive come back. `subject` is its first number."""

    permission = Permission.TRUST_OPERATE

    def run(self, job: Job, progress: Progress, clock: Clock) -> None:
        path = restoring.file_of(int(job.subject))
        actor = system_actor("worker")
        for done, step in enumerate(restoring.steps(path, actor=actor, now=clock(), record=journal)):
            try:
                progress.step(done, partial(_undisguised, step))
            except RefusedStepError as error:
                raise error.refusal from error

    def conclude(self, job: Job, actor: Actor, now: datetime, record: Record) -> dict[str, object]:
        row = restoring.archive_of(int(job.subject))
        return {"first_seq": row.first_seq, "end_seq": row.end_seq}

    def abandon(self, job: Job, state: JobState, error_code: str, now: datetime) -> None:
        """Nothing is left to undo: rows that came back stay, and the next restoring goes on from there."""


def _undisguised(step: Step) -> None:
    """Run a step. Its ConflictError must not look like that of a job which is somebody else's now."""
    try:
        step()
    except ConflictError as refusal:
        raise RefusedStepError(refusal) from refusal


def _note_total(job: Job, total: int) -> None:
    Job.objects.filter(pk=job.pk).update(total=total)
