"""Verifying the journal: because somebody asks for it, and once a day because nobody did."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Q

from governance import authority, idempotency, wakeup
from governance.authority import SERVER, needs
from governance.idempotency import Ticket
from governance.jobs import services as jobs
from governance.jobs.journal_verifying import DAILY, VERIFY, VerifyWish
from governance.jobs.lifecycle import OPEN, JobState
from governance.journal.models import JournalCheckpoint
from governance.journal.verify import Verification
from governance.models import Job
from identity.roles import Permission
from identity.selectors import INSTANCE, workspace_by_slug
from identity.types import Principal
from kernel.errors import ConflictError, RefusedError
from kernel.record import Actor, system_actor

DAY = timedelta(days=1)
AGAIN = timedelta(hours=1)
"""When a daily verification that could not be done is tried again."""


@needs(Permission.JOURNAL_VERIFY)
def start_verifying(
    *,
    principal: Principal,
    wish: VerifyWish,
    now: datetime,
    ticket: Ticket | None = None,
    render: Callable[[Job], object] | None = None,
) -> Job:
    """Start the job that verifies the journal, or a part of it.

    The journal is one: whoever stands in one workspace only learns nothing about it (RefusedError
    `role_required`). InvalidError `invalid_range`, ConflictError `conflict` while such a job waits or runs.
    """
    with transaction.atomic(durable=True):
        if not principal.instance_roles:
            raise RefusedError("role_required", "The whole journal needs a role in the whole installation.")
        authority.require_verb(
            principal, Permission.JOURNAL_VERIFY, principal.workspace_id, now, resource=SERVER
        )
        Verification(wish.options(), now)
        if Job.objects.filter(kind=VERIFY, state__in=OPEN).exists():
            raise ConflictError("conflict", "The journal is being verified already.")
        job = _queue(wish, principal.actor(), now)
        idempotency.store_rendered(ticket, render, job, status=202, object_id=job.pk)
    return job


@needs(None)
def verify_when_due(now: datetime) -> int:
    """Start a full verification when the last one is a day old; return how many were started.

    One that failed is tried again after an hour. The first is due a day after the first checkpoint.
    """
    first = JournalCheckpoint.objects.order_by("tree_size").values_list("sealed_at", flat=True).first()
    if first is None or first > now - DAY:
        return 0
    with transaction.atomic(durable=True):
        full = Job.objects.filter(kind=VERIFY, subject=DAILY.as_subject())
        recent = Q(state__in=OPEN) | Q(state=JobState.SUCCEEDED, created_at__gt=now - DAY)
        if full.filter(recent | Q(created_at__gt=now - AGAIN)).exists():
            return 0
        _queue(DAILY, system_actor("sweeper"), now)
    return 1


def _queue(wish: VerifyWish, actor: Actor, now: datetime) -> Job:
    job = jobs.queue_job(
        kind=VERIFY,
        subject=wish.as_subject(),
        workspace_id=workspace_by_slug(INSTANCE).pk,
        total=None,
        actor=actor,
        now=now,
    )
    transaction.on_commit(wakeup.ring_jobs, robust=True)
    return job
