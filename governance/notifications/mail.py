"""Mail to people: ids, codes and a link to the console, where one logs in to answer.

A mail never holds parameters or text of an agent, and no link in it decides anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core import mail
from django.core.mail import EmailMessage
from django.db.models import Q, QuerySet

from governance.notifications.lifecycle import ALLOWED, DeliveryState
from governance.notifications.models import MailDelivery, OutboxEvent
from governance.notifications.subscriptions import recipients, still_matters
from identity.models import User
from kernel.errors import ConflictError
from kernel.state import transition

CLAIM_LIFE = timedelta(seconds=60)
RETRY_SECONDS = (30, 120, 600, 3_600)
FILES = "django.core.mail.backends.filebased.EmailBackend"
_TITLES = {
    "approval.requested": "waits for an answer",
    "approval.reminded": "still waits, half of its time is over",
    "approval.break_glass": "was allowed by one person in an emergency",
    "grant.expiring": "ends soon",
}
_FACTS = (
    ("Request", "id"),
    ("About", "subject_type"),
    ("Tool", "tool"),
    ("Skill", "skill"),
    ("Risk", "risk"),
    ("Agent", "agent"),
    ("Scope", "scope"),
    ("Until", "expires_at"),
    ("Workspace", "workspace"),
)


@dataclass(frozen=True, slots=True)
class Posting:
    """One attempt to send one mail, which this worker alone may make."""

    mail_id: int
    attempt: int
    until: datetime
    message: EmailMessage


def make_mails(event: OutboxEvent, now: datetime) -> int:
    """Make the mails of an event, one for each of its recipients."""
    made = [
        MailDelivery(event=event, user_id=person, next_attempt_at=now, updated_at=now)
        for person in sorted(recipients(event, now))
    ]
    MailDelivery.objects.bulk_create(made, ignore_conflicts=True)
    return len(made)


def due_ids(now: datetime, limit: int) -> tuple[int, ...]:
    return tuple(_due(now).order_by("pk").values_list("pk", flat=True)[:limit])


def _due(now: datetime) -> QuerySet[MailDelivery]:
    free = Q(claimed_until__isnull=True) | Q(claimed_until__lte=now)
    return MailDelivery.objects.filter(free, state=DeliveryState.PENDING, next_attempt_at__lte=now)


def claim(*, mail_id: int, now: datetime) -> Posting | None:
    """Take a mail for one attempt, or end it when there is nobody or nothing to write to or of.

    ConflictError `state_changed` when another worker was faster.
    """
    row = MailDelivery.objects.select_related("event").get(pk=mail_id)
    until = now + CLAIM_LIFE
    taken = _due(now).filter(pk=mail_id, attempt=row.attempt)
    if not taken.update(attempt=row.attempt + 1, claimed_until=until, updated_at=now):
        raise ConflictError("state_changed", "Another worker has this mail.")
    row.refresh_from_db()
    person = User.objects.filter(pk=row.user_id, is_active=True).exclude(email="").first()
    if person is None:
        _end(row, DeliveryState.FAILED, now, error="no_address")
        return None
    if not still_matters(row.event, row.user_id, now):
        _end(row, DeliveryState.FAILED, now, error="outdated")
        return None
    if row.attempt > len(RETRY_SECONDS) + 1:
        _end(row, DeliveryState.ABANDONED, now, error="worker_lost")
        return None
    return Posting(row.pk, row.attempt, until, compose(row.event, person.email))


def settle(*, posting: Posting, error: str, now: datetime) -> None:
    """Write what came of an attempt; `error` is empty when the mail was handed over."""
    row = MailDelivery.objects.filter(
        pk=posting.mail_id, attempt=posting.attempt, claimed_until=posting.until
    ).first()
    if row is None:
        raise ConflictError("state_changed", "The attempt is no longer this worker's.")
    if not error:
        _end(row, DeliveryState.DELIVERED, now, error="")
    elif posting.attempt > len(RETRY_SECONDS):
        _end(row, DeliveryState.ABANDONED, now, error=error)
    else:
        later = now + timedelta(seconds=RETRY_SECONDS[posting.attempt - 1])
        MailDelivery.objects.filter(pk=row.pk).update(
            next_attempt_at=later, claimed_until=None, updated_at=now, error=error
        )


def _end(row: MailDelivery, target: DeliveryState, now: datetime, *, error: str) -> None:
    transition(
        MailDelivery.objects.filter(pk=row.pk),
        ALLOWED,
        source=DeliveryState.PENDING,
        target=target,
        next_attempt_at=None,
        claimed_until=None,
        updated_at=now,
        error=error,
    )


def send(message: EmailMessage) -> str:
    """Hand a mail over and return an error code, empty when it was taken. Raises nothing.

    An address or a subject with a line break in it is refused by Django and so never sent.
    """
    try:
        if settings.EMAIL_BACKEND == FILES:
            _make_private(Path(settings.EMAIL_FILE_PATH))
        with mail.get_connection() as connection:
            return "" if connection.send_messages([message]) == 1 else "not_sent"
    except Exception as error:
        return type(error).__name__[:200]


def compose(event: OutboxEvent, address: str) -> EmailMessage:
    """Return the mail about an event: the facts of its webhook body and a link."""
    data: Mapping[str, Any] = event.body["data"]
    lines = [f"{title}: {data[name]}" for title, name in _FACTS if data.get(name)]
    text = "\n".join((*lines, "", "Log in to the console to look at it:", str(data["console_url"]), ""))
    what = f"{data['risk']}: {data['object']} {data['id']} {_TITLES[event.type]}"
    return EmailMessage(
        subject=f"[Palyra] {what}",
        body=text,
        to=[address],
        headers={"X-Palyra-Event": event.event_id, "Auto-Submitted": "auto-generated"},
    )


def _make_private(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
