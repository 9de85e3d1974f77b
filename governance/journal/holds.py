"""Legal holds: what stands against erasing and archiving away."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from django.db import connection
from django.db.models import Q, QuerySet

from governance.journal.models import JournalEvent, JournalLeaf, LegalHold
from governance.models import Run, ToolCall
from identity.models import Agent, User
from kernel.clock import wire_time
from kernel.errors import ConflictError, Detail, InvalidError, NotFoundError
from kernel.ids import new_id
from kernel.record import Actor, Record

Period = tuple[datetime, datetime]
"""The first and the last moment of what is asked about, both included."""

_LOCK = 7_203_609
"""The key of the advisory lock in this database."""
_KINDS = {"agt": Agent, "usr": User, "run": Run, "call": ToolCall}
STANDS = Q(lifted_at__isnull=True)


def standing(subject: str, runs: Collection[str] = (), period: Period | None = None) -> LegalHold | None:
    """Return a hold that has not been lifted on this subject, one of its runs or a part of this period.

    A run is held with its agent, its owner or one of its calls, and with whoever an event tells of that only
    the keys of these open: somebody who answered in it, say. A hold that names a subject and a period
    holds that subject within that period alone. Until the caller's transaction ends no other hold is set.
    """
    _hold_off(alone=False)
    held = [subject, *runs]
    concerned = Run.objects.filter(pk__in=held)
    named = (
        Q(subject__in=held)
        | Q(subject__in=concerned.values("principal_id"))
        | Q(subject__in=concerned.values("owner_id"))
        | Q(subject__in=ToolCall.objects.filter(run_id__in=held).values("pk"))
    )
    everybody = Q(subject="")
    if period is None:
        everybody = Q(pk__in=())
    else:
        since, until = period
        within = (Q(since__isnull=True) | Q(since__lte=until)) & (Q(until__isnull=True) | Q(until__gte=since))
        named, everybody = named & within, everybody & within
    found = LegalHold.objects.filter(STANDS & (named | everybody)).order_by("pk").first()
    return found or _on_what_they_open(held)


def over(first_seq: int, end_seq: int) -> LegalHold | None:
    """Return a hold on one of the stored events from leaf `first_seq` to before `end_seq`, or None.

    Until the caller's transaction ends no other hold is set.
    """
    _hold_off(alone=False)
    for hold in LegalHold.objects.filter(STANDS).order_by("pk"):
        leaves = JournalLeaf.objects.filter(seq__gte=first_seq, seq__lt=end_seq)
        if events_under(hold).filter(pk__in=leaves.values("event_id")).exists():
            return hold
    return None


def events_under(hold: LegalHold) -> QuerySet[JournalEvent]:
    """Return the stored events that a hold keeps: of its subject, by it, of its runs, within its period."""
    events = JournalEvent.objects.all()
    if hold.since is not None:
        events = events.filter(time__gte=hold.since)
    if hold.until is not None:
        events = events.filter(time__lte=hold.until)
    name = hold.subject
    if not name:
        return events
    runs = Run.objects.filter(Q(principal_id=name) | Q(owner_id=name)).values("pk")
    about = Q(subject=name) | Q(actor=name) | Q(run_id=name) | Q(call_id=name) | Q(run_id__in=runs)
    return events.filter(about | Q(payload__key__subject=name))


def set_hold(
    *,
    subject: str,
    since: datetime | None,
    until: datetime | None,
    reason: str,
    actor: Actor,
    now: datetime,
    record: Record,
) -> LegalHold:
    """Keep what is in the journal about a subject (`agt_ usr_ run_ call_`), a period, or both at once.

    Whatever erases or archives away right now ends first. InvalidError for a subject that does not exist,
    for nothing named and for a period that ends before it begins.
    """
    if not subject and since is None and until is None:
        raise _invalid("/subject", "Name a subject, a period or both.")
    if since is not None and until is not None and until < since:
        raise _invalid("/until", "The period ends before it begins.")
    kind = _KINDS.get(subject.partition("_")[0])
    if subject and (kind is None or not kind._default_manager.filter(pk=subject).exists()):
        raise _invalid("/subject", "There is no such agent, person, run or call.")
    _hold_off(alone=True)
    hold = LegalHold.objects.create(
        id=new_id("hld", now),
        subject=subject,
        since=since,
        until=until,
        reason=reason,
        set_by=actor.id,
        set_at=now,
    )
    data = {
        "subject": subject or None,
        "since": wire_time(since),
        "until": wire_time(until),
        "reason": reason,
    }
    record(event="journal.hold_set", actor=actor, subject=hold.pk, now=now, data=data)
    return hold


def lift_hold(*, hold_id: str, actor: Actor, now: datetime, record: Record) -> LegalHold:
    """Let a hold end; NotFoundError for an unknown one, ConflictError `state_changed` for a lifted one."""
    rows = LegalHold.objects.filter(pk=hold_id)
    if not rows.exists():
        raise NotFoundError("not_found", "There is no such hold.")
    if rows.filter(STANDS).update(lifted_by=actor.id, lifted_at=now) != 1:
        raise ConflictError("state_changed", "The hold was lifted already.")
    hold = rows.get()
    data = {"subject": hold.subject or None, "set_by": hold.set_by}
    record(event="journal.hold_lifted", actor=actor, subject=hold.pk, now=now, data=data)
    return hold


def _on_what_they_open(subjects: Collection[str]) -> LegalHold | None:
    """Return a hold on a subject whose events would be lost with the keys of these."""
    for hold in LegalHold.objects.filter(STANDS).exclude(subject="").order_by("pk"):
        if events_under(hold).filter(payload__key__subject__in=subjects).exists():
            return hold
    return None


def _hold_off(*, alone: bool) -> None:
    """SQLite has one writer at a time, so there the transaction itself is the lock."""
    if connection.vendor == "postgresql":
        function = "pg_advisory_xact_lock" if alone else "pg_advisory_xact_lock_shared"
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT {function}(%s)", [_LOCK])


def _invalid(pointer: str, detail: str) -> InvalidError:
    return InvalidError("invalid", detail, errors=(Detail(pointer, "invalid", detail),))
