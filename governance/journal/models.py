"""Rows of the journal. Byte columns hold exact bytes; the append-only ones are kept so by triggers."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from vault.types import KeyPurpose


class Instance(models.Model):
    """The one row that names this installation in every envelope."""

    id = models.CharField(primary_key=True, max_length=40)
    only = models.BooleanField(default=True, unique=True, editable=False)
    created_at = models.DateTimeField()

    class Meta:
        constraints = (models.CheckConstraint(condition=Q(only=True), name="instance_only_one"),)

    def __str__(self) -> str:
        return self.id


class JournalEvent(models.Model):
    """One fact. `envelope` is what counts; the other columns are copies of it for queries. Append-only."""

    id = models.CharField(primary_key=True, max_length=40)
    envelope = models.BinaryField(max_length=4096)
    type = models.CharField(max_length=64)
    time = models.DateTimeField()
    actor = models.CharField(max_length=160)
    subject = models.CharField(max_length=160)
    run_id = models.CharField(max_length=40, null=True)
    run_seq = models.BigIntegerField(null=True)
    call_id = models.CharField(max_length=40, null=True)

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("run_id", "run_seq"), name="journal_event_run_seq"),
            models.CheckConstraint(
                condition=Q(run_id__isnull=True, run_seq__isnull=True)
                | Q(run_id__isnull=False, run_seq__isnull=False),
                name="journal_event_run_numbered",
            ),
        )
        indexes = (
            models.Index(fields=("call_id",), name="journal_event_by_call"),
            models.Index(fields=("subject", "-id"), name="journal_event_by_subject"),
            models.Index(fields=("type", "-id"), name="journal_event_by_type"),
            models.Index(fields=("actor", "-id"), name="journal_event_by_actor"),
        )

    def __str__(self) -> str:
        return f"{self.type} {self.id}"


class JournalSubjectKey(models.Model):
    """The data key of one subject's payloads. Destroying it erases them and leaves every digest valid."""

    id = models.CharField(primary_key=True, max_length=40)
    subject = models.CharField(max_length=40)
    wrapped_key = models.BinaryField(max_length=128, null=True)
    kek = models.ForeignKey("vault.Kek", models.PROTECT, related_name="+")
    created_at = models.DateTimeField()
    destroyed_at = models.DateTimeField(null=True)
    destroyed_event = models.CharField(max_length=40, null=True)

    class Meta:
        constraints = (
            models.UniqueConstraint(
                fields=("subject",), condition=Q(destroyed_at__isnull=True), name="journal_subject_key_active"
            ),
            models.CheckConstraint(
                condition=Q(destroyed_at__isnull=True, wrapped_key__isnull=False)
                | Q(destroyed_at__isnull=False, wrapped_key__isnull=True),
                name="journal_subject_key_destroyed_iff_null",
            ),
        )

    def __str__(self) -> str:
        return f"key of {self.subject}"


class JournalPayload(models.Model):
    """The encrypted data of one event: `{"salt", "data"}` under the subject's key. Append-only."""

    event = models.OneToOneField(JournalEvent, models.PROTECT, primary_key=True, related_name="payload")
    key = models.ForeignKey(JournalSubjectKey, models.PROTECT, related_name="+")
    nonce = models.BinaryField(max_length=12)
    ciphertext = models.BinaryField(max_length=96 * 1024)

    def __str__(self) -> str:
        return f"payload of {self.event_id}"


class JournalPending(models.Model):
    """An event that waits to be sealed, in the order of arrival."""

    n = models.BigAutoField(primary_key=True)
    event = models.OneToOneField(JournalEvent, models.PROTECT, related_name="+")

    def __str__(self) -> str:
        return f"{self.n} {self.event_id}"


class JournalKey(models.Model):
    """The public half of a signing key, with the time in which its signatures count."""

    key_id = models.CharField(primary_key=True, max_length=71)
    purpose = models.CharField(max_length=24)
    public_key = models.BinaryField(max_length=32)
    vault_ref = models.CharField(max_length=120)
    not_before = models.DateTimeField()
    retired_at = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)
    rotation_event = models.CharField(max_length=40)

    class Meta:
        constraints = (
            models.CheckConstraint(
                condition=Q(purpose__in=[purpose.value for purpose in KeyPurpose]),
                name="journal_key_purpose_known",
            ),
            models.UniqueConstraint(
                fields=("purpose",), condition=Q(retired_at__isnull=True), name="journal_key_one_active"
            ),
        )

    def __str__(self) -> str:
        return f"{self.purpose} key {self.key_id}"


class Attestation(models.Model):
    """The signed statement about one call, run or not. Append-only; columns copy the envelope."""

    id = models.CharField(primary_key=True, max_length=40)
    call_id = models.CharField(max_length=40, unique=True)
    execution_id = models.CharField(max_length=40, null=True)
    execution_sha256 = models.CharField(max_length=64)
    executor = models.CharField(max_length=64)
    sandbox_enforcement = models.CharField(max_length=24)
    timed_out = models.BooleanField()
    executed_at = models.DateTimeField(null=True)
    outcome = models.CharField(max_length=24)
    envelope = models.TextField()
    envelope_sha256 = models.CharField(max_length=64)
    key = models.ForeignKey(JournalKey, models.PROTECT, related_name="+")

    def __str__(self) -> str:
        return f"attestation of {self.call_id}"
