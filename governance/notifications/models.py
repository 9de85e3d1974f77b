"""Columns of what is told to the outside: an outbox, webhook endpoints, their deliveries, subscriptions."""

from __future__ import annotations

from django.db import models
from django.db.models import Q


class OutboxEvent(models.Model):
    """An event that somebody may want to be told of, written in the transaction of the event itself.

    `body` holds ids and codes only. `fanned_at` is when its deliveries and mails were made.
    """

    event_id = models.CharField(primary_key=True, max_length=40)
    type = models.CharField(max_length=64)
    workspace_id = models.CharField(max_length=40, blank=True)
    body = models.JSONField()
    occurred_at = models.DateTimeField()
    fanned_at = models.DateTimeField(null=True)

    class Meta:
        indexes = (models.Index(fields=("fanned_at", "event_id"), name="outbox_waiting"),)

    def __str__(self) -> str:
        return f"{self.type} ({self.event_id})"


class WebhookEndpoint(models.Model):
    """Where events of a workspace are posted. Secrets are sealed; the previous one signs until its end.

    A deleted endpoint keeps its row, because its deliveries tell what left.
    """

    id = models.CharField(primary_key=True, max_length=40)
    workspace_id = models.CharField(max_length=40)
    url = models.CharField(max_length=2000)
    description = models.CharField(max_length=500, blank=True)
    event_types = models.JSONField()
    enabled = models.BooleanField(default=True)
    secret_sealed = models.BinaryField()
    previous_sealed = models.BinaryField(null=True)
    previous_until = models.DateTimeField(null=True)
    created_by = models.CharField(max_length=40)
    created_at = models.DateTimeField()
    failing_since = models.DateTimeField(null=True)
    disabled_reason = models.CharField(max_length=64, blank=True)
    deleted_at = models.DateTimeField(null=True)
    version = models.PositiveIntegerField(default=1)

    class Meta:
        indexes = (models.Index(fields=("workspace_id", "-id"), name="webhook_by_workspace"),)

    def __str__(self) -> str:
        return self.id


class WebhookDelivery(models.Model):
    """One event on its way to one endpoint. `next_attempt_at` is null once the delivery has ended."""

    STATES = ("pending", "delivered", "failed", "abandoned")

    id = models.CharField(primary_key=True, max_length=40)
    endpoint = models.ForeignKey(WebhookEndpoint, models.PROTECT, related_name="deliveries")
    event_id = models.CharField(max_length=40)
    type = models.CharField(max_length=64)
    body = models.JSONField()
    occurred_at = models.DateTimeField()
    state = models.CharField(max_length=16, choices=[(s, s) for s in STATES], default="pending")
    attempt = models.PositiveSmallIntegerField(default=0)
    status_code = models.PositiveSmallIntegerField(null=True)
    duration_ms = models.PositiveIntegerField(null=True)
    response_excerpt = models.CharField(max_length=1024, blank=True)
    error = models.CharField(max_length=200, blank=True)
    next_attempt_at = models.DateTimeField(null=True)
    claimed_until = models.DateTimeField(null=True)
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField()

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("endpoint", "event_id"), name="webhook_delivery_once"),
            models.CheckConstraint(
                condition=Q(state="pending", next_attempt_at__isnull=False)
                | (~Q(state="pending") & Q(next_attempt_at__isnull=True)),
                name="webhook_delivery_next_iff_pending",
            ),
        )
        indexes = (models.Index(fields=("state", "next_attempt_at"), name="webhook_delivery_due"),)

    def __str__(self) -> str:
        return f"{self.type} ({self.state})"


class MailDelivery(models.Model):
    """One event on its way to one person by mail. The address is read when it is sent, not before."""

    event = models.ForeignKey(OutboxEvent, models.PROTECT, related_name="mails")
    user_id = models.CharField(max_length=40)
    state = models.CharField(
        max_length=16, choices=[(s, s) for s in WebhookDelivery.STATES], default="pending"
    )
    attempt = models.PositiveSmallIntegerField(default=0)
    error = models.CharField(max_length=200, blank=True)
    next_attempt_at = models.DateTimeField(null=True)
    claimed_until = models.DateTimeField(null=True)
    updated_at = models.DateTimeField()

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("event", "user_id"), name="mail_once_per_person"),
            models.CheckConstraint(
                condition=Q(state="pending", next_attempt_at__isnull=False)
                | (~Q(state="pending") & Q(next_attempt_at__isnull=True)),
                name="mail_next_iff_pending",
            ),
        )
        indexes = (models.Index(fields=("state", "next_attempt_at"), name="mail_due"),)

    def __str__(self) -> str:
        return f"{self.event_id} to {self.user_id} ({self.state})"


class NotificationSubscription(models.Model):
    """Which requests one person wants mail about. Quiet hours are minutes of the day in `time_zone`."""

    user_id = models.CharField(max_length=40)
    workspace_id = models.CharField(max_length=40)
    enabled = models.BooleanField(default=True)
    minimum_risk = models.CharField(max_length=16)
    subject_types = models.JSONField(default=list)
    quiet_from = models.PositiveSmallIntegerField(null=True)
    quiet_to = models.PositiveSmallIntegerField(null=True)
    time_zone = models.CharField(max_length=64, default="UTC")
    updated_at = models.DateTimeField()

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("user_id", "workspace_id"), name="subscription_one_per_place"),
        )

    def __str__(self) -> str:
        return f"{self.user_id} in {self.workspace_id}"
