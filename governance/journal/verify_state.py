"""Whether the state of the product is what the events tell, and the events what the state is.

A change and its event are committed together, so each question is one statement: whatever it sees, it
sees both or neither, however busy the server is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any

from django.db.models import Count, Exists, F, IntegerField, Model, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce

from approvals.models import ApprovalRequest, Grant, GrantUse
from approvals.types import GrantStatus, RequestStatus
from governance.journal.findings import Code, Finding, Report
from governance.journal.models import (
    Attestation,
    JournalArchive,
    JournalCheckpoint,
    JournalEvent,
    JournalLeaf,
)
from governance.journal.verify_whole import MOST_NAMED
from governance.models import Reservation, ToolCall
from policy.lifecycle import SetState
from policy.models import PolicySet
from sandbox.lifecycle import FINISHED, ExecutionState
from sandbox.models import Execution

_ACTIVATED = ("policy.activated", "policy.rolled_back", "policy.baseline_restored")


class _Way(Enum):
    """Which way a fact is asked: from the rows to events, from the events to rows, or both."""

    BOTH = "both"
    ROWS = "rows"
    EVENTS = "events"


@dataclass(frozen=True, slots=True)
class _Fact:
    """Rows of `model` that fulfil `rows` have an event of one of these types about them, and the reverse.

    `born` is the column with the time of a row.
    """

    model: type[Model]
    rows: Q
    events: tuple[str, ...]
    born: str
    way: _Way = _Way.BOTH


def _in(*states: str) -> Q:
    return Q(state__in=states)


_ALL = Q()
_DENIED = Q(effect="deny")
_RAN = (ExecutionState.SUCCEEDED, ExecutionState.FAILED, ExecutionState.TIMED_OUT)
_LOST = _in(ExecutionState.AMBIGUOUS)
_ANSWERED = Q(status__in=(RequestStatus.ALLOWED, RequestStatus.DENIED))
_IN_FORCE = _in(SetState.ACTIVE, SetState.SUPERSEDED)
_FACTS = (
    _Fact(ToolCall, _ALL, ("tool_call.proposed",), "created_at"),
    _Fact(ToolCall, _ALL, ("tool_call.decided",), "created_at"),
    _Fact(ToolCall, _DENIED, ("tool_call.closed", "tool_call.superseded"), "created_at", _Way.ROWS),
    _Fact(ToolCall, _DENIED, ("tool_call.closed",), "created_at", _Way.EVENTS),
    _Fact(Execution, _ALL, ("execution.queued",), "queued_at"),
    _Fact(Execution, Q(started_at__isnull=False), ("execution.started",), "queued_at"),
    _Fact(Execution, _in(*_RAN), ("execution.finished",), "queued_at", _Way.ROWS),
    _Fact(Execution, _in(*FINISHED), ("execution.finished",), "queued_at", _Way.EVENTS),
    _Fact(Execution, _in(ExecutionState.CANCELLED), ("execution.cancelled",), "queued_at"),
    _Fact(Execution, _in(ExecutionState.REFUSED), ("execution.refused",), "queued_at"),
    _Fact(Execution, _LOST, ("execution.lost", "execution.finished"), "queued_at", _Way.ROWS),
    _Fact(Execution, _LOST, ("execution.lost",), "queued_at", _Way.EVENTS),
    _Fact(ApprovalRequest, _ALL, ("approval.requested",), "requested_at"),
    _Fact(ApprovalRequest, _ANSWERED, ("approval.decided",), "requested_at"),
    _Fact(ApprovalRequest, Q(status=RequestStatus.EXPIRED), ("approval.expired",), "requested_at"),
    _Fact(
        ApprovalRequest,
        Q(status=RequestStatus.CANCELLED),
        ("approval.cancelled", "approval.failed"),
        "requested_at",
    ),
    _Fact(Grant, _ALL, ("grant.created",), "created_at"),
    _Fact(Grant, Q(status=GrantStatus.CONSUMED), ("grant.consumed",), "created_at"),
    _Fact(Grant, Q(status=GrantStatus.EXPIRED), ("grant.expired",), "created_at"),
    _Fact(Grant, Q(status=GrantStatus.REVOKED), ("grant.revoked",), "created_at"),
    _Fact(Reservation, _ALL, ("reservation.held",), "held_at"),
    _Fact(Reservation, _in("settled"), ("reservation.settled",), "held_at"),
    _Fact(Reservation, _in("released"), ("reservation.released",), "held_at"),
    _Fact(PolicySet, _IN_FORCE, _ACTIVATED, "created_at", _Way.ROWS),
    _Fact(PolicySet, _IN_FORCE, ("policy.activated",), "created_at", _Way.EVENTS),
)
"""What a row is, and which events tell so. The subject of each is the row's id."""


def divergences(report: Report) -> Iterator[list[Finding]]:
    """Compare state and events; one list for each question.

    Rows older than what was archived away have no events here any more. They are left out, and the report
    says so.
    """
    since = _archived_until()
    if since is not None:
        report.skipped.append(
            f"state from before {since.isoformat()} was not compared: its events were archived"
        )
    for fact in _FACTS:
        if fact.way is not _Way.EVENTS:
            yield list(_untold(fact, since))
        if fact.way is not _Way.ROWS:
            yield list(_unheard(fact))
    yield list(_unattested())
    yield list(_attested_too_early())
    yield list(_attested_otherwise())
    yield list(_miscounted(since))
    yield list(_uses_without_event(since))


def _archived_until() -> datetime | None:
    """Return when the newest leaf was sealed whose event was archived away.

    The table of archives alone explains nothing: whoever writes it could say that all of it was.
    """
    archived = JournalArchive.objects.filter(
        first_seq__lte=OuterRef("seq"), end_seq__gt=OuterRef("seq"), verified_at__isnull=False
    )
    if not JournalArchive.objects.exists():
        return None
    here = JournalEvent.objects.filter(pk=OuterRef("event_id"))
    gone = JournalLeaf.objects.filter(~Exists(here), Exists(archived)).order_by("-seq")
    last = gone.values_list("seq", flat=True).first()
    if last is None:
        return None
    covering = JournalCheckpoint.objects.filter(tree_size__gt=last).order_by("tree_size")
    return covering.values_list("sealed_at", flat=True).first()


def _younger(rows: QuerySet[Any], born: str, since: datetime | None) -> QuerySet[Any]:
    return rows if since is None else rows.filter(**{f"{born}__gt": since})


def _untold(fact: _Fact, since: datetime | None) -> Iterator[Finding]:
    told = JournalEvent.objects.filter(subject=OuterRef("pk"), type__in=fact.events)
    rows = fact.model._default_manager.filter(fact.rows).filter(~Exists(told)).order_by("pk")
    for pk in _younger(rows, fact.born, since).values_list("pk", flat=True)[:MOST_NAMED]:
        yield _diverges(None, None, f"{pk}: no event {' or '.join(fact.events)} tells of it")


def _unheard(fact: _Fact) -> Iterator[Finding]:
    there = fact.model._default_manager.filter(fact.rows, pk=OuterRef("subject"))
    rows = JournalEvent.objects.filter(~Exists(there), type__in=fact.events).order_by("pk")
    for event, kind, subject in rows.values_list("pk", "type", "subject")[:MOST_NAMED]:
        yield _diverges(_seq(event), event, f"{subject}: it is not what {kind} tells")


def _unattested() -> Iterator[Finding]:
    """Name calls that have ended and have no attestation."""
    attested = Attestation.objects.filter(call_id=OuterRef("pk"))
    rows = ToolCall.objects.filter(_ended(), ~Exists(attested)).order_by("pk")
    for pk in rows.values_list("pk", flat=True)[:MOST_NAMED]:
        yield _diverges(None, None, f"{pk}: it has ended and has no attestation")


def _attested_too_early() -> Iterator[Finding]:
    ended = ToolCall.objects.filter(_ended(), pk=OuterRef("call_id"))
    rows = Attestation.objects.filter(~Exists(ended)).order_by("pk")
    for pk, call in rows.values_list("pk", "call_id")[:MOST_NAMED]:
        yield _diverges(None, None, f"{pk}: the call {call} is not there or has not ended")


def _attested_otherwise() -> Iterator[Finding]:
    """Name executions whose state is not the outcome that was signed."""
    state = Execution.objects.filter(pk=OuterRef("execution_id")).values("state")
    rows = Attestation.objects.filter(execution_id__isnull=False).annotate(state=Subquery(state))
    found = rows.exclude(state=F("outcome")).order_by("pk")
    for execution, now, signed in found.values_list("execution_id", "state", "outcome")[:MOST_NAMED]:
        yield _diverges(None, None, f"{execution}: it is {now}, and {signed} was attested")


def _ended() -> Q:
    finished = Execution.objects.filter(pk=OuterRef("execution_id"), state__in=FINISHED)
    return Q(effect="deny") | Q(Exists(finished))


def _miscounted(since: datetime | None) -> Iterator[Finding]:
    """Name grants whose uses, rows of uses and events of uses are not as many."""
    used = GrantUse.objects.filter(grant=OuterRef("pk")).order_by().values("grant")
    told = JournalEvent.objects.filter(subject=OuterRef("pk"), type="grant.used").order_by().values("subject")
    rows = Grant.objects.annotate(
        rows=_counted(used.annotate(number=Count("pk"))), events=_counted(told.annotate(number=Count("pk")))
    )
    rows = rows.exclude(rows=F("uses"), events=F("uses")).order_by("pk")
    found = _younger(rows, "created_at", since).values_list("pk", "uses", "rows", "events")
    for pk, uses, of_rows, of_events in found[:MOST_NAMED]:
        detail = f"{pk}: it counts {uses} uses; there are {of_rows} rows and {of_events} events of them"
        yield _diverges(None, None, detail)


def _counted(rows: QuerySet[Any, Any]) -> Coalesce:
    return Coalesce(Subquery(rows.values("number"), output_field=IntegerField()), 0)


def _uses_without_event(since: datetime | None) -> Iterator[Finding]:
    told = JournalEvent.objects.filter(
        call_id=OuterRef("call_id"), type="grant.used", subject=OuterRef("grant_id")
    )
    rows = GrantUse.objects.filter(~Exists(told)).order_by("pk")
    for grant, call in _younger(rows, "used_at", since).values_list("grant_id", "call_id")[:MOST_NAMED]:
        yield _diverges(None, None, f"{grant}: no event tells that {call} used it")


def _diverges(seq: int | None, event: str | None, detail: str) -> Finding:
    return Finding(Code.STATE_DIVERGENCE, seq, event, detail)


def _seq(event: str) -> int | None:
    return JournalLeaf.objects.filter(event_id=event).values_list("seq", flat=True).first()
