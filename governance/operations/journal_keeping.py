"""Verbs that keep the journal over the years: keys, witnesses, legal holds, archives."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeVar

from django.db import transaction
from django.db.models import Q

from governance import authority, idempotency, wakeup
from governance.authority import SERVER, needs
from governance.idempotency import Ticket
from governance.jobs import services as jobs
from governance.jobs.journal_keeping import ARCHIVE, RESTORE, ArchiveWish
from governance.jobs.lifecycle import OPEN
from governance.journal import archiving, holds, restoring, rotation, witnesses
from governance.journal.ledger import record
from governance.journal.models import JournalCosignature, JournalKey, LegalHold
from governance.models import Job
from governance.operations import refusals, sealing, signing_in
from identity.roles import Permission
from identity.selectors import INSTANCE, workspace_by_slug
from identity.types import AuthStrength, Principal, PrincipalKind
from kernel.errors import AuthenticationError, ConflictError, InvalidError, PalyraError
from kernel.record import Actor, system_actor
from vault.types import KeyPurpose

log = logging.getLogger(__name__)

Made = TypeVar("Made")
DAY = timedelta(days=1)
SHORTEST_REASON, LONGEST_REASON = 4, 500


@dataclass(frozen=True, slots=True)
class HoldWishes:
    """What a person wants kept: a subject, a period, or a subject within a period."""

    reason: str
    subject: str = ""
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class _Asked:
    """Who asks now, and the code they sent with it."""

    principal: Principal
    otp: str | None
    now: datetime


@dataclass(frozen=True, slots=True)
class _Answer:
    """How the answer is kept for a repetition."""

    ticket: Ticket | None
    render: Callable[[Job], object] | None


@needs(Permission.TRUST_OPERATE)
def rotate_key(
    *,
    principal: Principal,
    purpose: KeyPurpose = KeyPurpose.CHECKPOINT,
    otp: str | None = None,
    now: datetime,
    ticket: Ticket | None = None,
    render: Callable[[JournalKey], object] | None = None,
) -> JournalKey:
    """Replace the key that signs checkpoints or attestations, and return the new one.

    The checkpoint of a rotation is signed by both keys. `otp` is a code for this very wish; without one the
    principal needs a fresh one. Raises UnavailableError `journal_sealing_stalled` or `journal_inconsistent`
    where nothing can be sealed. A refusal leaves `request.refused`.
    """
    key = _kept(
        _Asked(principal, otp, now),
        Permission.TRUST_OPERATE,
        f"key:{purpose.value}",
        lambda actor: rotation.rotate(purpose=purpose, actor=actor, now=now, record=record),
        lambda made: _store_key(ticket, render, made),
    )
    if purpose is KeyPurpose.CHECKPOINT:
        _log_rotation(now)
    return key


@needs(Permission.TRUST_OPERATE)
def revoke_key(
    *,
    principal: Principal,
    key_id: str,
    since: datetime | None = None,
    otp: str | None = None,
    now: datetime,
    ticket: Ticket | None = None,
    render: Callable[[JournalKey], object] | None = None,
) -> JournalKey:
    """Let nothing count that a retired key signed from `since` on, now by default, and return the key.

    Raises as `rotation.revoke`. A refusal leaves `request.refused`.
    """
    return _kept(
        _Asked(principal, otp, now),
        Permission.TRUST_OPERATE,
        key_id,
        lambda actor: rotation.revoke(key_id=key_id, since=since, actor=actor, now=now, record=record),
        lambda made: _store_key(ticket, render, made),
    )


@needs(Permission.JOURNAL_VERIFY)
def add_cosignature(
    *,
    principal: Principal,
    size: int,
    line: str,
    now: datetime,
    ticket: Ticket | None = None,
    render: Callable[[JournalCosignature], object] | None = None,
) -> JournalCosignature:
    """Keep a witness's line under the checkpoint of this size. Its signature is what is believed.

    Raises as `witnesses.add`. It is part of a checkpoint as its signature is, so it has no event.
    """
    authority.require_verb(principal, Permission.JOURNAL_VERIFY, principal.workspace_id, now, resource=SERVER)
    with transaction.atomic(durable=True):
        kept = witnesses.add(size=size, line=line)
        idempotency.store_rendered(ticket, render, kept, status=200, object_id=str(kept.pk))
    return kept


@needs(Permission.JOURNAL_ERASE)
def set_hold(
    *,
    principal: Principal,
    wishes: HoldWishes,
    otp: str | None = None,
    now: datetime,
    ticket: Ticket | None = None,
    render: Callable[[LegalHold], object] | None = None,
) -> LegalHold:
    """Keep what is in the journal about a subject or a period from being erased and archived away.

    Only people of the workspace `instance` may. Raises as `holds.set_hold`, InvalidError for the reason.
    """
    return _kept(
        _Asked(principal, otp, now),
        Permission.JOURNAL_ERASE,
        wishes.subject or "journal",
        lambda actor: holds.set_hold(
            subject=wishes.subject,
            since=wishes.since,
            until=wishes.until,
            reason=_reason(wishes),
            actor=actor,
            now=now,
            record=record,
        ),
        lambda made: idempotency.store_rendered(ticket, render, made, status=201, object_id=made.pk),
    )


@needs(Permission.JOURNAL_ERASE)
def lift_hold(
    *,
    principal: Principal,
    hold_id: str,
    otp: str | None = None,
    now: datetime,
    ticket: Ticket | None = None,
    render: Callable[[LegalHold], object] | None = None,
) -> LegalHold:
    """Let a hold end. Only people of the workspace `instance` may. Raises as `holds.lift_hold`."""
    return _kept(
        _Asked(principal, otp, now),
        Permission.JOURNAL_ERASE,
        hold_id,
        lambda actor: holds.lift_hold(hold_id=hold_id, actor=actor, now=now, record=record),
        lambda made: idempotency.store_rendered(ticket, render, made, status=200, object_id=made.pk),
    )


@needs(Permission.TRUST_OPERATE)
def start_archiving(
    *,
    principal: Principal,
    before: datetime | None = None,
    restored: bool = False,
    otp: str | None = None,
    now: datetime,
    ticket: Ticket | None = None,
    render: Callable[[Job], object] | None = None,
) -> Job:
    """Start the job that archives what is old enough, or what was sealed `before` a time that is older still.

    ConflictError `conflict` where everything is kept for ever or such a job waits or runs, InvalidError for a
    time within the term.
    """

    def subject() -> str:
        term = archiving.retention()
        if term is None:
            raise ConflictError("conflict", "This installation keeps every event; nothing is archived.")
        if before is not None and before > now - term:
            raise InvalidError("invalid", f"Events stay for {term.days} days; ask for an earlier time.")
        return ArchiveWish(before or now - term, restored).as_subject()

    return _job(_Asked(principal, otp, now), ARCHIVE, subject, _Answer(ticket, render))


@needs(Permission.TRUST_OPERATE)
def start_restoring(
    *,
    principal: Principal,
    first_seq: int,
    otp: str | None = None,
    now: datetime,
    ticket: Ticket | None = None,
    render: Callable[[Job], object] | None = None,
) -> Job:
    """Start the job that brings the archive back which begins with this number; NotFoundError without one."""

    def subject() -> str:
        restoring.archive_of(first_seq)
        return str(first_seq)

    return _job(_Asked(principal, otp, now), RESTORE, subject, _Answer(ticket, render))


@needs(None)
def restore_file(*, path: Path, now: datetime) -> int:
    """Bring an archive back from this file, on the server's own machine; return how many events it holds.

    Raises as `restoring.steps`.
    """
    for step in restoring.steps(path, actor=system_actor("shell"), now=now, record=record):
        with transaction.atomic(durable=True):
            step()
    unit = restoring.range_of(path)
    return unit.end - unit.first


@needs(None)
def archive_when_due(now: datetime) -> int:
    """Start a job once a day while something is old enough; return how many were started."""
    term = archiving.retention()
    if term is None or next(archiving.due(before=now - term), None) is None:
        return 0
    with transaction.atomic(durable=True):
        recent = Q(state__in=OPEN) | Q(created_at__gt=now - DAY)
        if Job.objects.filter(recent, kind=ARCHIVE).exists():
            return 0
        _queue(ARCHIVE, ArchiveWish(now - term).as_subject(), system_actor("sweeper"), now)
    return 1


def _log_rotation(now: datetime) -> None:
    """The key is in use by now whatever happens here; the sealer makes it good, or stops and says so."""
    try:
        sealing.catch_up(now)
    except PalyraError:
        log.exception("the checkpoint of a rotation is not in the log yet")


def _store_key(
    ticket: Ticket | None, render: Callable[[JournalKey], object] | None, made: JournalKey
) -> None:
    """The id of a key is too long for the record of an answer: the event that announced it stands for it."""
    idempotency.store_rendered(ticket, render, made, status=200, object_id=made.rotation_event)


def _reason(wishes: HoldWishes) -> str:
    reason = wishes.reason.strip()
    if not SHORTEST_REASON <= len(reason) <= LONGEST_REASON:
        raise InvalidError("invalid", f"Say why, in {SHORTEST_REASON} to {LONGEST_REASON} characters.")
    return reason


def _job(asked: _Asked, kind: str, subject: Callable[[], str], answer: _Answer) -> Job:
    """Queue a job; `subject` checks and names what it is about, once it is known who asks."""

    def act(actor: Actor) -> Job:
        about = subject()
        if Job.objects.filter(kind=kind, state__in=OPEN).exists():
            raise ConflictError("conflict", "Such a job waits or runs already.")
        return _queue(kind, about, actor, asked.now)

    def store(made: Job) -> None:
        idempotency.store_rendered(answer.ticket, answer.render, made, status=202, object_id=made.pk)

    return _kept(asked, Permission.TRUST_OPERATE, "journal", act, store)


def _queue(kind: str, subject: str, actor: Actor, now: datetime) -> Job:
    job = jobs.queue_job(
        kind=kind,
        subject=subject,
        workspace_id=workspace_by_slug(INSTANCE).pk,
        total=None,
        actor=actor,
        now=now,
    )
    transaction.on_commit(wakeup.ring_jobs, robust=True)
    return job


def _kept(
    asked: _Asked,
    permission: Permission,
    subject: str,
    act: Callable[[Actor], Made],
    store: Callable[[Made], object],
) -> Made:
    """Do a verb of the whole installation under both locks and a fresh code; a refusal is recorded."""
    place = workspace_by_slug(INSTANCE).pk
    try:
        principal = _proved(asked, permission, place)
        with transaction.atomic(durable=True):
            authority.require_verb(principal, permission, place, asked.now, resource=SERVER)
            authority.require_fresh_code(principal, asked.now)
            made = act(principal.actor())
            store(made)
    except PalyraError as refusal:
        refusals.record_refusal(asked.principal, subject, refusal, asked.now)
        raise
    return made


def _proved(asked: _Asked, permission: Permission, place: str) -> Principal:
    """Return the principal as they stand after the code, which is used up only for who may at all."""
    try:
        authority.require_permission(asked.principal, permission, place, asked.now)
    except AuthenticationError:
        if not asked.otp:
            raise
    if not asked.otp or asked.principal.kind is not PrincipalKind.USER:
        return asked.principal
    at = signing_in.step_up(principal=asked.principal, code=asked.otp, now=asked.now)
    return replace(asked.principal, auth_strength=AuthStrength.FRESH_MFA, authenticated_at=at)
