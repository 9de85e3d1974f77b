"""What nobody is waiting for: expiries, lost workers, overdue queues. Each item in its own transaction."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import partial

from django.conf import settings
from django.db import transaction

from approvals import grant_selectors, selectors as approval_selectors, services as approvals
from approvals.models import ApprovalCall, ApprovalRequest
from governance import closing, ending, idempotency, stepped_clock, wakeup, withdrawals
from governance.authority import needs
from governance.gates import Gate, GateRow, Verdict
from governance.jobs import services as jobs
from governance.journal.ledger import record
from governance.models import Run, ToolCall
from governance.notifications import reminders, worker as notifier
from governance.operations import (
    deliveries,
    erasing,
    freezes,
    jobs as job_verbs,
    journal_keeping,
    journal_verifying,
    simulations,
)
from governance.runs.turns import hold_run, hold_run_of_execution, hold_run_of_grant, hold_run_of_request
from identity import login_attempts, oidc_attempts, rate_limit, rejections, sessions, sightings
from kernel.errors import ConflictError
from kernel.record import Actor, system_actor
from policy import services as policy
from policy.decision_records import sweep_records
from sandbox import selectors as sandbox_selectors

log = logging.getLogger(__name__)

SWEEP_LIMIT = 500
DECISIONS_A_SWEEP = 2_000
QUESTIONS_A_SWEEP = 50
QUEUE_TIMEOUT = "sandbox.queue_timeout"


@needs(None)
def abandon_orphans(*, host: str, boot: str, now: datetime) -> int:
    """Declare runs of this host's earlier boots ambiguous at once; their workers cannot be alive."""
    return _each(sandbox_selectors.orphaned_ids(host=host, boot_id=boot), _abandon_one, now)


@needs(None)
def sweep(now: datetime) -> dict[str, int]:
    """Do everything that nobody is waiting for; each item in its own transaction.

    A part that fails is logged and keeps no other waiting.
    """
    done = {name: _guarded(name, partial(part, now)) for name, part in _PARTS.items()}
    _guarded("wake-ups", lambda: _ring(now))
    done["shadows_watched"] = _guarded("shadows", lambda: simulations.watch_shadows(now))
    return done


def _ring(now: datetime) -> int:
    """Ring for what is left behind, in case a wake-up was lost."""
    waiting = {
        wakeup.ring: bool(sandbox_selectors.queued_ids(1)),
        wakeup.ring_jobs: bool(jobs.queued_ids(1)),
        wakeup.ring_notifications: notifier.waits(now),
    }
    for ring in (ring for ring, waits in waiting.items() if waits):
        ring()
    return sum(waiting.values())


def _jobs_lost(now: datetime) -> int:
    def lose(job_id: str) -> int:
        job_verbs.lose(job_id=job_id, now=now)
        return 1

    return sum(_guarded(one, partial(lose, one)) for one in jobs.lost_ids(now, SWEEP_LIMIT))


def _forget_decisions(now: datetime) -> int:
    """Records are kept for a time or in a number, whichever is more; events of the journal stay."""
    term = timedelta(days=settings.PALYRA_DECISION_DAYS)
    with transaction.atomic(durable=True):
        return sweep_records(
            older_than=now - term, keep=settings.PALYRA_DECISION_ROWS, limit=DECISIONS_A_SWEEP
        )


def _each(ids: tuple[str, ...], act: Callable[[str, Actor, datetime], None], now: datetime) -> int:
    actor = system_actor("sweeper")

    def sweep_one(one: str) -> int:
        with transaction.atomic(durable=True):
            act(one, actor, now)
        return 1

    return sum(_guarded(one, partial(sweep_one, one)) for one in ids)


def _guarded(name: str, work: Callable[[], int]) -> int:
    """Do one part of the sweep and return how much it did; one that fails keeps no other waiting."""
    try:
        return work()
    except ConflictError:
        return 0
    except Exception:
        log.exception("the sweep of %s failed", name)
        return 0


def _expire_questions(now: datetime) -> int:
    """Expiry counts by the journal's time where the clock was set back behind it."""
    if _guarded("clock", lambda: _note_step(now)):
        log.warning("the clock stands behind the newest time in the journal")
    due = approval_selectors.due_for_expiry(stepped_clock.no_earlier_than(now), SWEEP_LIMIT)
    return _each(due, _expire_one, now)


def _note_step(now: datetime) -> int:
    with transaction.atomic(durable=True):
        return int(stepped_clock.note_step(now))


def _look_at_questions(now: datetime) -> int:
    """Nobody is asked in vain: a few are looked at in each sweep, since policy is asked about each."""
    return _each(withdrawals.worth_a_look(QUESTIONS_A_SWEEP), withdrawals.look_at, now)


def _expire_one(request_id: str, actor: Actor, now: datetime) -> None:
    hold_run_of_request(request_id)
    judged = stepped_clock.no_earlier_than(now)
    approvals.expire_request(request_id=request_id, no_earlier_than=judged, now=now, record=record)
    closing.close_waiting(request_id, actor, now)


def _remind_one(request_id: str, actor: Actor, now: datetime) -> None:
    hold_run_of_request(request_id)
    reminders.remind(request_id=request_id, actor=actor, now=now, record=record)


def _answered_requests() -> tuple[str, ...]:
    """Requests that are closed while a call still waits on them."""
    waiting = ToolCall.objects.filter(effect="require_approval").values("approval_id")
    closed = ApprovalRequest.objects.filter(id__in=waiting).exclude(status="pending")
    return tuple(closed.values_list("id", flat=True)[:SWEEP_LIMIT])


def _apply_answer(request_id: str, actor: Actor, now: datetime) -> None:
    """Queue what an allow covers, in case nobody did, and end what else waits on the closed request."""
    hold_run_of_request(request_id)
    allowed = ApprovalCall.objects.filter(
        request_id=request_id, request__status="allowed", grant__isnull=False
    )
    granted = dict(allowed.values_list("call_id", "grant_id"))
    for call in ToolCall.objects.filter(id__in=granted, effect="require_approval").order_by("id"):
        closing.resume_call(call, granted[call.id], actor, now)
    closing.close_waiting(request_id, actor, now)


def _expire_grant(grant_id: str, actor: Actor, now: datetime) -> None:
    hold_run_of_grant(grant_id)
    approvals.expire_grant(grant_id=grant_id, now=now, record=record)


def _announce_grant(grant_id: str, actor: Actor, now: datetime) -> None:
    approvals.remind_of_grant(grant_id=grant_id, now=now, record=record)


def _forget_denials(now: datetime) -> int:
    """Remembered denials whose term is over stopped counting by themselves."""
    with transaction.atomic(durable=True):
        return approvals.sweep_denials(now, SWEEP_LIMIT)


def _lose_one(execution_id: str, actor: Actor, now: datetime) -> None:
    closing.close_lost(execution_id, actor, now)


def _abandon_one(execution_id: str, actor: Actor, now: datetime) -> None:
    closing.close_lost(execution_id, actor, now, proven_dead=True)


def _refuse_overdue(execution_id: str, actor: Actor, now: datetime) -> None:
    hold_run_of_execution(execution_id)
    call = ToolCall.objects.get(execution_id=execution_id)
    reason = "No worker took the call in time."
    row = GateRow(Gate.BACKEND, Verdict.DENY, QUEUE_TIMEOUT, reason, None, 0.0)
    closing.close_refused(call, row, actor, now)


def _write_rejections(row_id: str, actor: Actor, now: datetime) -> None:
    """The sum of one minute becomes one event, and is forgotten with it."""
    found = rejections.take(row_id)
    record(
        event="login.failed" if found.kind == "login" else "token.rejected",
        actor=actor,
        subject=found.subject,
        now=now,
        data={"network": found.network, "reason": found.reason, "count": found.count},
    )


def _expire_postures(now: datetime) -> int:
    """Overrides whose end has come stopped counting by themselves; their rows go, with an event."""
    with transaction.atomic(durable=True):
        return policy.expire_postures(actor=system_actor("sweeper"), now=now, record=record)


def _overdue_runs(now: datetime) -> tuple[str, ...]:
    rows = Run.objects.filter(state="open", deadline_at__lte=now)
    return tuple(rows.values_list("id", flat=True)[:SWEEP_LIMIT])


def _expire_run(run_id: str, actor: Actor, now: datetime) -> None:
    ending.end_run(hold_run(run_id), "expired", "timeout", "run_closed", actor, now)


_PARTS: Mapping[str, Callable[[datetime], int]] = {
    "approvals_expired": _expire_questions,
    "questions_looked_at": _look_at_questions,
    "answers_applied": lambda now: _each(_answered_requests(), _apply_answer, now),
    "approvals_reminded": lambda now: _each(reminders.unopened_ids(now, SWEEP_LIMIT), _remind_one, now),
    "executions_lost": lambda now: _each(sandbox_selectors.lost_ids(now), _lose_one, now),
    "executions_overdue": lambda now: _each(sandbox_selectors.overdue_queue(now), _refuse_overdue, now),
    "freezes_enforced": freezes.enforce,
    "runs_expired": lambda now: _each(_overdue_runs(now), _expire_run, now),
    "grants_expired": lambda now: _each(
        grant_selectors.grants_to_expire(now, SWEEP_LIMIT), _expire_grant, now
    ),
    "grants_announced": lambda now: _each(
        grant_selectors.grants_to_remind_of(now, SWEEP_LIMIT), _announce_grant, now
    ),
    "denials_forgotten": _forget_denials,
    "postures_expired": _expire_postures,
    "keys_forgotten": idempotency.sweep,
    "rejections_written": lambda now: _each(
        rejections.closed_minutes(now, SWEEP_LIMIT), _write_rejections, now
    ),
    "limits_forgotten": rate_limit.sweep,
    "logins_forgotten": login_attempts.sweep,
    "sessions_forgotten": sessions.sweep,
    "sign_ins_forgotten": oidc_attempts.sweep,
    "sightings_forgotten": sightings.sweep,
    "jobs_lost": _jobs_lost,
    "notifications_forgotten": lambda now: deliveries.forget(now=now),
    "decisions_forgotten": _forget_decisions,
    "erasures_scrubbed": erasing.scrub,
    "archivings_started": journal_keeping.archive_when_due,
    "verifications_started": journal_verifying.verify_when_due,
}
"""What a sweep does, in this order."""
