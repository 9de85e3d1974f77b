"""Who wants mail about which requests, and who gets it: never anybody who may not act on it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from approvals.models import ApprovalRequest, Grant
from approvals.selectors import reviewers_of
from approvals.types import RequestStatus, Risk, SubjectType
from governance.notifications.models import NotificationSubscription, OutboxEvent
from identity.roles import Permission
from identity.selectors import holders, permissions_of_user
from kernel.errors import Detail, InvalidError
from kernel.record import Actor, Record

MINUTES_A_DAY = 24 * 60
_RANK = {risk: rank for rank, risk in enumerate(Risk)}


@dataclass(frozen=True, slots=True)
class Wishes:
    """What somebody wants mail about. No subject type means every one; quiet hours are in their zone."""

    enabled: bool = False
    minimum_risk: str = Risk.LOW
    subject_types: tuple[str, ...] = ()
    quiet_from: int | None = None
    quiet_to: int | None = None
    time_zone: str = "UTC"


def wishes_of(user_id: str, workspace_id: str) -> Wishes:
    """Return a person's wishes; whoever said nothing gets no mail."""
    row = NotificationSubscription.objects.filter(user_id=user_id, workspace_id=workspace_id).first()
    return Wishes() if row is None else _wishes(row)


def subscribe(
    *, user_id: str, workspace_id: str, wishes: Wishes, actor: Actor, now: datetime, record: Record
) -> Wishes:
    """Put a person's wishes in the place of the ones before. InvalidError for what cannot be meant."""
    _require_sound(wishes)
    values = {
        "enabled": wishes.enabled,
        "minimum_risk": wishes.minimum_risk,
        "subject_types": sorted(set(wishes.subject_types)),
        "quiet_from": wishes.quiet_from,
        "quiet_to": wishes.quiet_to,
        "time_zone": wishes.time_zone,
    }
    row, _ = NotificationSubscription.objects.update_or_create(
        user_id=user_id, workspace_id=workspace_id, defaults={**values, "updated_at": now}
    )
    record(
        event="subscription.changed",
        actor=actor,
        subject=user_id,
        now=now,
        data={"workspace": workspace_id, **values},
    )
    return _wishes(row)


def recipients(event: OutboxEvent, now: datetime) -> frozenset[str]:
    """Return who gets a mail about an event.

    Of a request: those who asked for it and may answer it now. Of a decision alone in an emergency:
    everybody who could have taken it. Of a grant that ends soon: the person behind its principal.
    """
    subject = str(event.body["data"]["id"])
    if event.type in ("approval.requested", "approval.reminded"):
        return _of_request(subject, now)
    if event.type == "approval.break_glass":
        return _of_emergency(event.workspace_id, now)
    if event.type == "grant.expiring":
        owners = Grant.objects.filter(pk=subject).values_list("request__requester_owner_id", flat=True)
        return frozenset(owners)
    return frozenset()


def still_matters(event: OutboxEvent, user_id: str, now: datetime) -> bool:
    """Tell whether a mail about an event is still worth sending to this person."""
    if event.type not in ("approval.requested", "approval.reminded"):
        return True
    request = ApprovalRequest.objects.filter(pk=event.body["data"]["id"]).first()
    waits = request is not None and request.status == RequestStatus.PENDING and now < request.expires_at
    return request is not None and waits and user_id in reviewers_of(request, now)


def is_quiet(wishes: Wishes, now: datetime) -> bool:
    """Tell whether `now` lies in somebody's quiet hours, which may pass midnight."""
    if wishes.quiet_from is None or wishes.quiet_to is None:
        return False
    local = now.astimezone(ZoneInfo(wishes.time_zone))
    minute = local.hour * 60 + local.minute
    if wishes.quiet_from < wishes.quiet_to:
        return wishes.quiet_from <= minute < wishes.quiet_to
    return minute >= wishes.quiet_from or minute < wishes.quiet_to


def wants(wishes: Wishes, *, risk: str, subject_type: str, now: datetime) -> bool:
    """Tell whether somebody wants mail about such a request now. A critical one passes quiet hours."""
    return (
        wishes.enabled
        and _RANK[Risk(risk)] >= _RANK[Risk(wishes.minimum_risk)]
        and (not wishes.subject_types or subject_type in wishes.subject_types)
        and (risk == Risk.CRITICAL or not is_quiet(wishes, now))
    )


def _of_request(request_id: str, now: datetime) -> frozenset[str]:
    request = ApprovalRequest.objects.filter(pk=request_id, status=RequestStatus.PENDING).first()
    if request is None:
        return frozenset()
    rows = NotificationSubscription.objects.filter(workspace_id=request.workspace_id, enabled=True)
    asked = {
        row.user_id
        for row in rows
        if wants(_wishes(row), risk=request.risk, subject_type=request.subject_type, now=now)
    }
    return frozenset(asked) & reviewers_of(request, now) if asked else frozenset()


def _of_emergency(workspace_id: str, now: datetime) -> frozenset[str]:
    asked = Permission.APPROVALS_BREAK_GLASS
    return frozenset(
        person
        for person in holders(asked, now)
        if asked in permissions_of_user(user_id=person, workspace_id=workspace_id, now=now)
    )


def _wishes(row: NotificationSubscription) -> Wishes:
    return Wishes(
        enabled=row.enabled,
        minimum_risk=row.minimum_risk,
        subject_types=tuple(row.subject_types),
        quiet_from=row.quiet_from,
        quiet_to=row.quiet_to,
        time_zone=row.time_zone,
    )


def _require_sound(wishes: Wishes) -> None:
    hours = (wishes.quiet_from, wishes.quiet_to)
    sound_hours = hours == (None, None) or (
        all(isinstance(minute, int) and 0 <= minute < MINUTES_A_DAY for minute in hours)
        and wishes.quiet_from != wishes.quiet_to
    )
    faults = (
        (wishes.minimum_risk in frozenset(Risk), "/minimum_risk"),
        (set(wishes.subject_types) <= frozenset(SubjectType), "/subject_types"),
        (sound_hours, "/quiet_from"),
        (_is_zone(wishes.time_zone), "/time_zone"),
    )
    details = tuple(Detail(place, "invalid", "No such value.") for sound, place in faults if not sound)
    if details:
        raise InvalidError("invalid", "The subscription cannot be meant.", errors=details)


def _is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # unknown, no key at all, or a directory of zones
        return False
    return True
