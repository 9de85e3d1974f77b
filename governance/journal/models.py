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


class JournalLeaf(models.Model):
    """A sealed event's place: its leaf in the tree and its link in the chain. Append-only.

    `event_id` is no foreign key: the leaf stays when the event was archived.
    """

    seq = models.BigIntegerField(primary_key=True)
    event_id = models.CharField(max_length=40, unique=True)
    leaf_hash = models.BinaryField(max_length=32)
    chain_hash = models.BinaryField(max_length=32)
    checkpoint = models.BigIntegerField()

    def __str__(self) -> str:
        return f"leaf {self.seq}"


class JournalTile(models.Model):
    """256 neighbouring hashes of one level (C2SP tlog-tiles), and the root over them. Append-only.

    Level L holds the hashes of perfect subtrees of 256^L leaves. Only full tiles are stored: the right
    edge of level 0 is read from leaves, that of a higher level from the roots of the level below.
    """

    level = models.PositiveSmallIntegerField()
    index = models.BigIntegerField()
    hashes = models.BinaryField(max_length=8192)
    root = models.BinaryField(max_length=32)

    class Meta:
        constraints = (models.UniqueConstraint(fields=("level", "index"), name="journal_tile_place"),)

    def __str__(self) -> str:
        return f"tile {self.level}/{self.index}"


class JournalCheckpoint(models.Model):
    """A signed size and root, with what is needed to go on from there. Append-only."""

    tree_size = models.BigIntegerField(primary_key=True)
    root = models.BinaryField(max_length=32)
    chain_head = models.BinaryField(max_length=32)
    note = models.TextField()
    key = models.ForeignKey(JournalKey, models.PROTECT, related_name="+")
    sealed_at = models.DateTimeField()
    frontier = models.BinaryField(max_length=64 * 32)

    def __str__(self) -> str:
        return f"checkpoint {self.tree_size}"


class JournalCosignature(models.Model):
    """A witness's line under a checkpoint. Append-only."""

    checkpoint = models.ForeignKey(JournalCheckpoint, models.PROTECT, related_name="cosignatures")
    witness = models.CharField(max_length=200)
    line = models.TextField()

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("checkpoint", "witness"), name="journal_cosignature_once"),
        )

    def __str__(self) -> str:
        return f"{self.witness} on {self.checkpoint_id}"


class JournalArchive(models.Model):
    """A file that holds the events and payloads of a range of leaves. `verified_at`: it was read back."""

    first_seq = models.BigIntegerField(primary_key=True)
    end_seq = models.BigIntegerField()
    uri = models.CharField(max_length=1024)
    sha256 = models.CharField(max_length=64)
    bytes = models.BigIntegerField()
    verified_at = models.DateTimeField(null=True)
    removed_at = models.DateTimeField(null=True)
    restored_at = models.DateTimeField(null=True)
    event = models.CharField(max_length=40)

    class Meta:
        constraints = (
            models.CheckConstraint(
                condition=Q(end_seq__gt=models.F("first_seq")), name="journal_archive_range"
            ),
        )

    def __str__(self) -> str:
        return f"archive of {self.first_seq} to {self.end_seq}"


class LegalHold(models.Model):
    """While it stands, nothing of its subject or its period is archived away or erased."""

    id = models.CharField(primary_key=True, max_length=40)
    subject = models.CharField(max_length=160, blank=True)
    since = models.DateTimeField(null=True)
    until = models.DateTimeField(null=True)
    reason = models.TextField()
    set_by = models.CharField(max_length=40)
    set_at = models.DateTimeField()
    lifted_by = models.CharField(max_length=40, blank=True)
    lifted_at = models.DateTimeField(null=True)

    class Meta:
        constraints = (
            models.CheckConstraint(
                condition=~Q(subject="") | Q(since__isnull=False) | Q(until__isnull=False),
                name="legal_hold_names_something",
            ),
        )

    def __str__(self) -> str:
        return f"hold {self.id}"
