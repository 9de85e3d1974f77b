"""The stream of an approver: how the questions stand that they could answer."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from django.db.models import QuerySet

from approvals import selectors
from approvals.models import ApprovalRequest
from governance.journal.models import JournalEvent
from governance.journal.reading import open_all
from governance.streams.frames import Frame
from governance.streams.names import APPROVAL_TYPES, StreamName, stream_name
from governance.streams.runs import frame_of
from governance.streams.shown import Party, Reader
from governance.streams.sources import Batch
from identity.types import Principal, PrincipalKind
from kernel.errors import GoneError, MalformedError
from kernel.ids import is_id, new_id

TOPIC = "approvals"
BATCH = 64
OVERLAP = timedelta(seconds=60)
"""Longer than a transaction takes: an event may become visible that much later than its id says."""
_UNDECIDED = frozenset({"", "conflict", "step_up_required"})
"""What does not keep a person from being an approver: having answered already, or an old code."""
_TIME_PART = len("evt_") + 10


class ApprovalSource:
    """Events about questions that `principal` could answer.

    Without `after` it begins with the questions that wait now. Ids are no order of commits, so the last
    minute is always read again: one connection never gets an event twice, a new one may.
    """

    def __init__(
        self,
        *,
        principal: Principal,
        after: str | None,
        wanted: frozenset[StreamName],
        clock: Callable[[], datetime],
        ask: Callable[[], Principal],
    ) -> None:
        self.topic = TOPIC
        self.key = f"{principal.token_id} {TOPIC}"
        self.position = 0
        self._principal = principal
        self._wanted = wanted
        self._clock = clock
        self._ask = ask
        self._seen: set[str] = set() if after is None else {after}
        self._floor = _floor_before(clock() if after is None else _time_of(after))
        self._begun = after is not None

    def ask(self) -> Principal:
        return self._ask()

    def admit(self, standing: Principal) -> None:
        self._principal = standing

    def read(self) -> Batch:
        if not self._begun:
            self._begun = True
            return Batch(self._waiting_now(), more=True)
        rows = list(recent(self._floor).exclude(pk__in=self._seen)[:BATCH])
        frames = self._frames(rows)
        self._move_on(rows)
        return Batch(frames, more=len(rows) == BATCH)

    def _waiting_now(self) -> tuple[Frame, ...]:
        """The questions that wait, each as it was asked. What is in the journal already is not news."""
        self._seen.update(recent(self._floor).values_list("pk", flat=True))
        pending = selectors.pending_for(self._principal, self._clock())
        rows = JournalEvent.objects.filter(type="approval.requested", subject__in=pending.values("pk"))
        asked = list(rows.order_by("pk"))
        self._seen.update(row.pk for row in asked)
        return self._frames(asked)

    def _move_on(self, rows: list[JournalEvent]) -> None:
        self._seen.update(row.pk for row in rows)
        self.position += len(rows)
        newest = rows[-1].pk if len(rows) == BATCH else None
        floor = _floor_before(self._clock())
        self._floor = max(self._floor, floor if newest is None else min(floor, newest))
        self._seen = {one for one in self._seen if one > self._floor}

    def _frames(self, rows: list[JournalEvent]) -> tuple[Frame, ...]:
        asked = ApprovalRequest.objects.in_bulk([row.subject for row in rows])
        told = [
            row
            for row in rows
            if stream_name(row.type) in self._wanted and self._concerns(asked.get(row.subject))
        ]
        person = self._principal.kind is PrincipalKind.USER
        reader = Reader(self._principal.id, is_person=person, reveals=False)
        opened = zip(told, open_all(told), strict=True)
        return tuple(
            frame_of(row, data, _party(asked[row.subject]), reader, key=row.pk) for row, data in opened
        )

    def _concerns(self, request: ApprovalRequest | None) -> bool:
        return request is not None and could_answer(self._principal, request, self._clock())


def could_answer(principal: Principal, request: ApprovalRequest, now: datetime) -> bool:
    """Tell whether this is, or was, a question for the principal."""
    if not selectors.may_see(principal, request, now):
        return False
    found = selectors.eligibility_of(request=request, principal=principal, now=now)
    return found.ok or found.code in _UNDECIDED


def recent(floor: str) -> QuerySet[JournalEvent]:
    """Return the events about questions whose id is above `floor`, in the order of ids."""
    return JournalEvent.objects.filter(type__in=APPROVAL_TYPES, pk__gt=floor).order_by("pk")


def newest_mark(now: datetime) -> frozenset[str]:
    """Return a value that differs once another event about a question became visible."""
    return frozenset(recent(_floor_before(now)).values_list("pk", flat=True))


def after_here(principal: Principal, given: str, now: datetime) -> str:
    """Return the id of the event that a reader has seen last; GoneError when there is none for them."""
    if not is_id("evt", given):
        raise MalformedError("invalid_parameter", "This stream goes on after an evt_… id.")
    row = JournalEvent.objects.filter(pk=given, type__in=APPROVAL_TYPES).first()
    request = ApprovalRequest.objects.filter(pk=row.subject).first() if row is not None else None
    if request is None or not could_answer(principal, request, now):
        raise GoneError("event_gone", "There is no such event here.")
    return given


def _party(request: ApprovalRequest) -> Party:
    return Party(request.requester_id, request.requester_owner_id)


def _floor_before(moment: datetime) -> str:
    """Return the lowest id that an event of `OVERLAP` before this moment can have."""
    return new_id("evt", moment - OVERLAP)[:_TIME_PART].ljust(_TIME_PART + 16, "0")


def _time_of(event_id: str) -> datetime:
    return JournalEvent.objects.values_list("time", flat=True).get(pk=event_id)
