"""Finding events: who may see which, the filters of a list, and what sealing made of each.

An event names no workspace. It belongs to the one of its run or call; an event without either belongs to
the installation and is for those who read the journal everywhere, and for whom it is about.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db.models import Exists, OuterRef, Q, QuerySet

from governance.journal import envelope
from governance.journal.event_names import EventName
from governance.journal.models import (
    JournalArchive,
    JournalCheckpoint,
    JournalEvent,
    JournalLeaf,
    JournalPayload,
)
from governance.journal.reading import open_all, open_data
from governance.models import Run, ToolCall
from identity.authorization import authorize
from identity.roles import Permission
from identity.types import Principal, PrincipalKind
from kernel.errors import NotFoundError
from kernel.ids import new_id
from vault.envelope import IntegrityError

ARCHIVED = "archived"
ANOTHER = "another_person"
FEW = 1_000
"""Up to so many events that fit a filter are named to the database one by one."""

_SLACK = timedelta(seconds=1)
_FIRST, _LAST = datetime(1971, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)
_TIME_PART, _WHOLE = len("evt_") + 10, len("evt_") + 26


@dataclass(frozen=True, slots=True)
class EventFilter:
    """What a list of events is narrowed to. An empty tuple and None narrow nothing; `until` is exclusive."""

    types: tuple[str, ...] = ()
    actors: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()
    calls: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None

    def narrows(self) -> bool:
        """Tell whether any event is left out."""
        return self != EventFilter()

    def narrow(self, rows: QuerySet[JournalEvent]) -> QuerySet[JournalEvent]:
        """Return the rows that fit, all in SQL."""
        chosen = {
            "type__in": self.types,
            "actor__in": self.actors,
            "subject__in": self.subjects,
            "run_id__in": self.runs,
            "call_id__in": self.calls,
        }
        rows = rows.filter(**{column: values for column, values in chosen.items() if values})
        return _until(_since(rows, self.since), self.until)


@dataclass(frozen=True, slots=True)
class Sealed:
    """The place of a sealed event, and the first checkpoint that covers it."""

    seq: int
    leaf_hash: bytes
    tree_size: int
    root: bytes


@dataclass(frozen=True, slots=True)
class Found:
    """One event as it may be shown.

    `event` is None for a leaf whose event lies in an archive. `data` is None when it is withheld, and
    `withheld` says why: a reason of `authorize`, `archived` or `vault.integrity_failed`.
    """

    event: JournalEvent | None
    event_id: str
    sealed: Sealed | None
    data: Mapping[str, Any] | None
    withheld: str | None
    erased: bool


def types_named(text: str) -> tuple[str, ...]:
    """Return the names of events that a filter means: one, or the family of `tool_call.*`. () is unknown."""
    family = text.removesuffix("*")
    if family != text and family.endswith("."):
        return tuple(name.value for name in EventName if name.value.startswith(family))
    return (text,) if text in set(EventName) else ()


def sees_all(principal: Principal, now: datetime) -> bool:
    """Tell whether this principal reads the journal of the whole installation."""
    return (
        principal.kind is PrincipalKind.USER
        and bool(principal.instance_roles)
        and _holds(principal, Permission.JOURNAL_READ, "", now)
    )


def visible_events(principal: Principal, now: datetime) -> QuerySet[JournalEvent]:
    """Return the events this principal may know of; the rest do not exist for it.

    Whoever acts in runs sees those of its own runs. People see those of the runs and calls of a workspace
    in which they hold `journal.read`, those about the workspace, and those about and by themselves.
    """
    rows = JournalEvent.objects.all()
    if principal.kind is not PrincipalKind.USER:
        return rows.filter(run_id__in=Run.objects.filter(principal_id=principal.id).values("pk"))
    if sees_all(principal, now):
        return rows
    place = principal.workspace_id
    if not _holds(principal, Permission.JOURNAL_READ, place, now):
        return rows.none()
    # Asked of each row, so that the rows are still read in the order of an index and only as far as needed.
    return rows.filter(
        Exists(Run.objects.filter(pk=OuterRef("run_id"), workspace_id=place))
        | Exists(ToolCall.objects.filter(pk=OuterRef("call_id"), workspace_id=place))
        | Q(subject__in=(place, principal.id))
        | Q(actor=principal.id)
    )


def require_event(principal: Principal, event_id: str, now: datetime) -> JournalEvent:
    """Return a visible event. NotFoundError `archived` for one that is away and could be seen, else plain."""
    event = visible_events(principal, now).filter(pk=event_id).first()
    if event is not None:
        return event
    gone = sees_all(principal, now) and not JournalEvent.objects.filter(pk=event_id).exists()
    leaf = JournalLeaf.objects.filter(event_id=event_id).first() if gone else None
    if leaf is not None and is_archived(leaf.seq):
        raise NotFoundError(ARCHIVED, f"Event {leaf.seq} lies in an archive. Restore it to read it.")
    raise NotFoundError("not_found", "There is no such event.")


def is_archived(seq: int) -> bool:
    """Tell whether a verified archive holds the event at this place."""
    return JournalArchive.objects.filter(
        first_seq__lte=seq, end_seq__gt=seq, verified_at__isnull=False
    ).exists()


def sealed_facts(event_ids: Sequence[str]) -> dict[str, Sealed]:
    """Return by event id what sealing made of these events, in two queries; what waits is not in it."""
    leaves = list(JournalLeaf.objects.filter(event_id__in=event_ids))
    roots = dict(
        JournalCheckpoint.objects.filter(pk__in={leaf.checkpoint for leaf in leaves}).values_list(
            "pk", "root"
        )
    )
    return {
        leaf.event_id: Sealed(
            leaf.seq, bytes(leaf.leaf_hash), leaf.checkpoint, bytes(roots.get(leaf.checkpoint, b""))
        )
        for leaf in leaves
    }


def reveal_reason(principal: Principal, now: datetime) -> str | None:
    """Return why payloads are withheld from this principal, or None when they may be opened."""
    place = "" if sees_all(principal, now) else principal.workspace_id
    verdict = authorize(
        principal, Permission.JOURNAL_REVEAL, workspace_id=place, flags=principal.flags, now=now
    )
    return None if verdict.allowed else verdict.reason


def found_events(events: Sequence[JournalEvent], *, withheld: str | None) -> list[Found]:
    """Return visible events with their places; payloads are opened unless there is a reason not to.

    The caller has recorded the view before it asks for payloads.
    """
    sealed = sealed_facts([event.pk for event in events])
    erased = erased_of(events)
    # What is erased tells nobody anything but when; that much is shown to all.
    opened = list(events) if withheld is None else [event for event in events if event.pk in erased]
    data = dict(zip([event.pk for event in opened], _opened(opened), strict=True))
    return [
        Found(
            event=event,
            event_id=event.pk,
            sealed=sealed.get(event.pk),
            data=data.get(event.pk),
            withheld=_why(event.pk, data, withheld),
            erased=event.pk in erased,
        )
        for event in events
    ]


def found_leaves(leaves: Sequence[JournalLeaf], *, withheld: str | None) -> list[Found]:
    """As `found_events`, by leaves in their order; an event that lies in an archive has only its leaf."""
    events = JournalEvent.objects.in_bulk([leaf.event_id for leaf in leaves])
    there = {one.event_id: one for one in found_events(list(events.values()), withheld=withheld)}
    away = sealed_facts([leaf.event_id for leaf in leaves if leaf.event_id not in there])
    return [
        there.get(leaf.event_id)
        or Found(None, leaf.event_id, away.get(leaf.event_id), None, ARCHIVED, erased=False)
        for leaf in leaves
    ]


def sealed_size() -> int:
    """Return how many events are sealed."""
    newest = JournalCheckpoint.objects.order_by("-tree_size").values_list("tree_size", flat=True).first()
    return newest or 0


def leaves_of(principal: Principal, chosen: EventFilter, now: datetime) -> QuerySet[JournalLeaf]:
    """Return the places of the sealed events that this principal may see, for reading in their order.

    What fits a filter is looked up by its index as long as it is little, else the log is walked.
    """
    size = sealed_size()  # first: what is sealed up to here, the filter below cannot overlook
    leaves = JournalLeaf.objects.filter(seq__lt=size)
    if chosen.narrows():
        fitting = chosen.narrow(visible_events(principal, now)).values_list("pk", flat=True)
        few = list(fitting[: FEW + 1])
        if len(few) <= FEW:
            return leaves.filter(event_id__in=few)
    return _walked(leaves, principal, chosen, now)


def leaves_between(
    principal: Principal, chosen: EventFilter, *, first: int, end: int, now: datetime
) -> QuerySet[JournalLeaf]:
    """As `leaves_of`, for a range of places that is walked whatever the filter."""
    return _walked(JournalLeaf.objects.filter(seq__gte=first, seq__lt=end), principal, chosen, now)


def _walked(
    leaves: QuerySet[JournalLeaf], principal: Principal, chosen: EventFilter, now: datetime
) -> QuerySet[JournalLeaf]:
    if sees_all(principal, now) and not chosen.narrows():
        return leaves
    return leaves.filter(
        Exists(chosen.narrow(visible_events(principal, now)).filter(pk=OuterRef("event_id")))
    )


def shown_envelope(event: JournalEvent, principal: Principal) -> dict[str, Any] | None:
    """Return the fields of an envelope, or None when the stored bytes are none.

    Whoever acts in a run reads of other people only that there was one.
    """
    try:
        fields: dict[str, Any] = envelope.parse(bytes(event.envelope))
    except ValueError:
        return None
    if principal.kind is not PrincipalKind.USER:
        fields["actor"] = {**fields["actor"], "id": masked(fields["actor"]["id"], principal)}
        fields["subject"] = masked(fields["subject"], principal)
    return fields


def masked(party: str, principal: Principal) -> str:
    """Return an id as this principal may read it."""
    is_person = party.startswith("usr_") and principal.kind is not PrincipalKind.USER
    return ANOTHER if is_person else party


def _holds(principal: Principal, permission: Permission, workspace_id: str, now: datetime) -> bool:
    return authorize(principal, permission, workspace_id=workspace_id, flags=principal.flags, now=now).allowed


def erased_of(events: Sequence[JournalEvent]) -> frozenset[str]:
    """Return the ids of those whose key is gone. Without the key itself nothing can be opened by mistake."""
    rows = JournalPayload.objects.filter(
        event__in=[event.pk for event in events], key__wrapped_key__isnull=True
    )
    return frozenset(rows.values_list("pk", flat=True))


def _opened(events: Sequence[JournalEvent]) -> list[dict[str, Any] | None]:
    """Open payloads; one that does not open is None and hides no other."""
    try:
        return [*open_all(events)]
    except IntegrityError:
        return [_opened_alone(event) for event in events]


def _opened_alone(event: JournalEvent) -> dict[str, Any] | None:
    try:
        return open_data(event)
    except IntegrityError:
        return None


def _why(event_id: str, data: Mapping[str, object], withheld: str | None) -> str | None:
    if event_id not in data:
        return withheld
    return "vault.integrity_failed" if data[event_id] is None else None


def _since(rows: QuerySet[JournalEvent], moment: datetime | None) -> QuerySet[JournalEvent]:
    """An id holds its event's time: it lets the index find the beginning, the column decides."""
    if moment is None:
        return rows
    rows = rows.filter(time__gte=moment)
    return rows.filter(pk__gte=_lowest_id(moment - _SLACK)) if _FIRST < moment < _LAST else rows


def _until(rows: QuerySet[JournalEvent], moment: datetime | None) -> QuerySet[JournalEvent]:
    if moment is None:
        return rows
    rows = rows.filter(time__lt=moment)
    return rows.filter(pk__lt=_lowest_id(moment + _SLACK)) if _FIRST < moment < _LAST else rows


def _lowest_id(moment: datetime) -> str:
    return new_id("evt", moment)[:_TIME_PART].ljust(_WHOLE, "0")
