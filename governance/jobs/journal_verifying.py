"""The job that verifies the journal."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from governance.jobs.lifecycle import JobState
from governance.journal.findings import Report
from governance.journal.verify import Options, Verification
from governance.models import Job
from identity.roles import Permission
from kernel.errors import ConflictError
from kernel.record import Actor, Record

if TYPE_CHECKING:
    from governance.jobs.kinds import Clock, Progress

log = logging.getLogger(__name__)

VERIFY = "journal_verify"
STEPS_A_WRITE = 16
"""Chunks of the log between two writes of the progress: the reading holds nobody up."""

_WORDS = ("quick", "cross_check")


@dataclass(frozen=True, slots=True)
class VerifyWish:
    """What somebody wants verified: everything by default. `last` is inclusive."""

    first: int = 0
    last: int | None = None
    quick: bool = False
    cross_check: bool = False

    def as_subject(self) -> str:
        """Return it as a job keeps it."""
        span = f"{self.first}-{'' if self.last is None else self.last}"
        return " ".join([span, *(word for word in _WORDS if getattr(self, word))])

    @classmethod
    def of(cls, job: Job) -> VerifyWish:
        span, *words = job.subject.split(" ")
        first, _, last = span.partition("-")
        return cls(int(first), int(last) if last else None, **{word: word in words for word in _WORDS})

    def options(self) -> Options:
        return Options(first=self.first, last=self.last, quick=self.quick, cross_check=self.cross_check)


DAILY = VerifyWish(cross_check=True)
"""What a server verifies by itself."""


class Verifying:
    """Reads the journal and says what does not hold. A job with findings did its work and succeeds."""

    permission = Permission.JOURNAL_VERIFY

    def run(self, job: Job, progress: Progress, clock: Clock) -> None:
        verification = Verification(VerifyWish.of(job).options(), clock())
        for number, step in enumerate(verification.steps()):
            if number % STEPS_A_WRITE == 0:
                progress.step(step.done, partial(_note_total, job, step.total))
        report = verification.report
        if not report.is_clean:
            log.critical("the journal does not hold: %s", dict(report.counts))
        progress.step(report.events, partial(_note_report, job, report))

    def conclude(self, job: Job, actor: Actor, now: datetime, record: Record) -> dict[str, object]:
        result: dict[str, Any] | None = Job.objects.values_list("result", flat=True).get(pk=job.pk)
        if result is None:
            raise ConflictError("state_changed", "The report of this job is gone.")
        data = {name: result[name] for name in _TOLD} | {"keys": sorted(result["keys"])}
        record(event="journal.verified", actor=actor, subject=job.pk, now=now, data=data)
        return result

    def abandon(self, job: Job, state: JobState, error_code: str, now: datetime) -> None:
        """Nothing was written."""


_TOLD = (
    "first_seq", "end_seq", "tree_size", "events", "checkpoints", "attestations", "anchors", "erased",
    "archived", "findings_total", "counts", "skipped",
)  # fmt: skip


def _note_total(job: Job, total: int) -> None:
    Job.objects.filter(pk=job.pk).update(total=total)


def _note_report(job: Job, report: Report) -> None:
    Job.objects.filter(pk=job.pk).update(result=report.to_json(), total=report.events)
