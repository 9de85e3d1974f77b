"""Columns of the path of a call. The journal's tables are in `governance.journal.models`."""

from __future__ import annotations

from django.db import models
from django.db.models import F, Q

from governance.fields import CanonicalJSONField
from governance.freeze_models import Freeze as Freeze
from governance.job_models import Job as Job, Session as Session
from governance.journal.models import (
    Attestation as Attestation,
    Instance as Instance,
    JournalArchive as JournalArchive,
    JournalCheckpoint as JournalCheckpoint,
    JournalCosignature as JournalCosignature,
    JournalEvent as JournalEvent,
    JournalKey as JournalKey,
    JournalLeaf as JournalLeaf,
    JournalPayload as JournalPayload,
    JournalPending as JournalPending,
    JournalSubjectKey as JournalSubjectKey,
    JournalTile as JournalTile,
    LegalHold as LegalHold,
)
from governance.notifications.models import (
    MailDelivery as MailDelivery,
    NotificationSubscription as NotificationSubscription,
    OutboxEvent as OutboxEvent,
    WebhookDelivery as WebhookDelivery,
    WebhookEndpoint as WebhookEndpoint,
)


class Run(models.Model):
    """One piece of work of one principal; every call belongs to a run."""

    STATES = ("open", "completed", "failed", "cancelled", "expired")

    id = models.CharField(primary_key=True, max_length=40)
    state = models.CharField(max_length=16, choices=[(s, s) for s in STATES], default="open")
    workspace_id = models.CharField(max_length=40)
    principal_kind = models.CharField(max_length=16)
    principal_id = models.CharField(max_length=40)
    owner_id = models.CharField(max_length=40)
    session_id = models.CharField(max_length=40, null=True)
    purpose = models.CharField(max_length=500, blank=True)
    labels = CanonicalJSONField(default=dict)
    device_id = models.CharField(max_length=40, blank=True)
    channel = models.CharField(max_length=80, blank=True)
    origin = models.CharField(max_length=16, default="manual")
    origin_run_id = models.CharField(max_length=40, blank=True)
    approval_channel = models.CharField(max_length=16, default="interactive")
    max_calls = models.PositiveIntegerField()
    calls_used = models.PositiveIntegerField(default=0)
    event_seq = models.BigIntegerField(default=0)
    opened_at = models.DateTimeField()
    deadline_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True)
    close_code = models.CharField(max_length=40, blank=True)
    version = models.PositiveIntegerField(default=1)

    class Meta:
        constraints = (
            models.CheckConstraint(
                condition=Q(calls_used__lte=F("max_calls")), name="run_calls_within_limit"
            ),
            models.CheckConstraint(
                condition=Q(state="open", closed_at__isnull=True)
                | (~Q(state="open") & Q(closed_at__isnull=False)),
                name="run_closed_iff_time",
            ),
        )
        indexes = (
            models.Index(fields=("principal_id", "-id"), name="run_by_principal"),
            models.Index(fields=("state", "deadline_at"), name="run_by_deadline"),
        )

    def __str__(self) -> str:
        return self.id


class ToolCall(models.Model):
    """A proposed call and what was decided about it. It has no status column: see `selectors.call_state`.

    `grant_id` is the grant that an answer gave it or, without `approval_id`, an earlier grant that covers
    it. `finding` is what a person found out about an ambiguous call.
    """

    EFFECTS = ("allow", "deny", "require_approval")

    id = models.CharField(primary_key=True, max_length=40)
    run = models.ForeignKey(Run, models.PROTECT, related_name="calls")
    parent_call_id = models.CharField(max_length=40, null=True)
    workspace_id = models.CharField(max_length=40)
    principal_kind = models.CharField(max_length=16)
    principal_id = models.CharField(max_length=40)
    owner_id = models.CharField(max_length=40)
    token_id = models.CharField(max_length=40, null=True)
    tool_name = models.CharField(max_length=160)
    tool_version = models.CharField(max_length=24, null=True)
    definition_digest = models.CharField(max_length=71, null=True)
    operation = models.CharField(max_length=32)
    risk = models.CharField(max_length=16, null=True)
    spec = models.JSONField(null=True)
    tier = models.CharField(max_length=8, null=True)
    executor = models.CharField(max_length=64, null=True)
    skill = models.JSONField(null=True)
    input = CanonicalJSONField()
    input_bytes = models.PositiveIntegerField()
    resource = models.CharField(max_length=1100, null=True)
    salt = models.BinaryField(max_length=32)
    action_digest = models.CharField(max_length=71)
    effect = models.CharField(max_length=20, choices=[(e, e) for e in EFFECTS])
    reason_code = models.CharField(max_length=64)
    reason = models.CharField(max_length=1000)
    gates = models.JSONField()
    determining_policies = models.JSONField(default=list)
    obligations = models.JSONField(default=list)
    policy_set = models.JSONField(null=True)
    approval_id = models.CharField(max_length=40, null=True)
    grant_id = models.CharField(max_length=40, null=True)
    execution_id = models.CharField(max_length=40, null=True)
    edited_from_id = models.CharField(max_length=40, null=True)
    edited_by_id = models.CharField(max_length=40, null=True)
    superseded_by_id = models.CharField(max_length=40, null=True)
    finding = models.JSONField(null=True)
    result = CanonicalJSONField(null=True)
    error = CanonicalJSONField(null=True)
    idempotency_key = models.CharField(max_length=255, null=True)
    traceparent = models.CharField(max_length=55, null=True)
    decided_at = models.DateTimeField()
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField()

    class Meta:
        constraints = (
            models.CheckConstraint(
                condition=~Q(effect="deny") | Q(execution_id__isnull=True), name="call_denied_never_executes"
            ),
        )
        indexes = (
            models.Index(fields=("run", "-id"), name="call_by_run"),
            models.Index(fields=("principal_id", "-id"), name="call_by_principal"),
            models.Index(fields=("approval_id",), name="call_by_approval"),
            models.Index(fields=("execution_id",), name="call_by_execution"),
        )

    def __str__(self) -> str:
        return f"{self.tool_name} ({self.id})"


class Reservation(models.Model):
    """One call held against the run's allowance until it is settled or released."""

    STATES = ("held", "settled", "released", "expired")

    id = models.CharField(primary_key=True, max_length=40)
    run = models.ForeignKey(Run, models.PROTECT, related_name="reservations")
    call_id = models.CharField(max_length=40, unique=True)
    state = models.CharField(max_length=16, choices=[(s, s) for s in STATES], default="held")
    metric = models.CharField(max_length=16, default="calls")
    amount = models.PositiveIntegerField(default=1)
    held_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)

    class Meta:
        constraints = (
            models.CheckConstraint(
                condition=Q(state="held", ended_at__isnull=True)
                | (~Q(state="held") & Q(ended_at__isnull=False)),
                name="reservation_ended_iff_time",
            ),
        )

    def __str__(self) -> str:
        return self.id


class IdempotencyRecord(models.Model):
    """The stored answer of one POST, replayed for the same principal, route and key for a day."""

    principal_id = models.CharField(max_length=40)
    route = models.CharField(max_length=200)
    key = models.CharField(max_length=255)
    request_digest = models.CharField(max_length=71)
    state = models.CharField(max_length=8, default="running")
    status_code = models.PositiveSmallIntegerField(null=True)
    response_body = models.BinaryField(null=True)
    response_headers = models.JSONField(default=dict)
    object_id = models.CharField(max_length=40, null=True)
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("principal_id", "route", "key"), name="idempotency_key_unique"),
        )
        indexes = (models.Index(fields=("expires_at",), name="idempotency_by_expiry"),)

    def __str__(self) -> str:
        return f"{self.route} {self.key}"
