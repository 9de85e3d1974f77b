"""The fields of the events about webhooks, subscriptions and reminders.

An address is kept without its query, in which some services want a key.
"""

from __future__ import annotations

from governance.journal.event_names import EventName as E
from governance.journal.event_register import event


@event(E.APPROVAL_REMINDED)
class ApprovalReminded:
    """Half of the time is over and nobody who may answer has opened the request."""

    risk: str
    expires_at: str


@event(E.WEBHOOK_CREATED, E.WEBHOOK_CHANGED)
class WebhookKept:
    url: str
    event_types: list[str]
    enabled: bool


@event(E.WEBHOOK_ROTATED)
class WebhookRotated:
    previous_until: str


@event(E.WEBHOOK_DISABLED)
class WebhookDisabled:
    reason: str


@event(E.WEBHOOK_DELETED)
class WebhookDeleted:
    url: str


@event(E.WEBHOOK_TESTED)
class WebhookTested:
    delivery: str


@event(E.WEBHOOK_REDELIVERED)
class WebhookRedelivered:
    webhook: str
    of: str
    type: str


@event(E.WEBHOOK_DIED)
class WebhookDied:
    """A delivery was given up after its last attempt."""

    webhook: str
    of: str
    type: str
    attempts: int
    status_code: int | None
    error: str


@event(E.SUBSCRIPTION_CHANGED)
class SubscriptionChanged:
    workspace: str
    enabled: bool
    minimum_risk: str
    subject_types: list[str]
    quiet_from: int | None
    quiet_to: int | None
    time_zone: str
