"""Columns of long work that somebody waits for."""

from __future__ import annotations

from django.db import models
from django.db.models import Q


class Job(models.Model):
    """Long work with progress. `total` is null while unknown; `subject` is what it works on.

    A running job whose heartbeat stops for a minute becomes failed with `job.worker_lost`.
    """

    STATES = ("queued", "running", "succeeded", "failed", "cancelled")

    id = models.CharField(primary_key=True, max_length=40)
    kind = models.CharField(max_length=24)
    state = models.CharField(max_length=16, choices=[(s, s) for s in STATES], default="queued")
    workspace_id = models.CharField(max_length=40)
    subject = models.CharField(max_length=80, blank=True)
    done = models.PositiveBigIntegerField(default=0)
    total = models.PositiveBigIntegerField(null=True)
    message = models.CharField(max_length=500, blank=True)
    result = models.JSONField(null=True)
    error_code = models.CharField(max_length=64, blank=True)
    started_by = models.CharField(max_length=40)
    worker_id = models.CharField(max_length=64, blank=True)
    cancel_asked = models.BooleanField(default=False)
    heartbeat_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        constraints = (
            models.CheckConstraint(
                condition=Q(state__in=("queued", "running"), finished_at__isnull=True)
                | (~Q(state__in=("queued", "running")) & Q(finished_at__isnull=False)),
                name="job_finished_iff_time",
            ),
        )
        indexes = (models.Index(fields=("state", "id"), name="job_by_state"),)

    def __str__(self) -> str:
        return f"{self.kind} ({self.state})"


class Session(models.Model):
    """A conversation of one principal in one workspace, under a key of its own.

    Labels and postures hang on it.
    """

    id = models.CharField(primary_key=True, max_length=40)
    workspace_id = models.CharField(max_length=40)
    principal_id = models.CharField(max_length=40)
    key = models.CharField(max_length=128)
    created_at = models.DateTimeField()

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("workspace_id", "principal_id", "key"), name="session_key_once"),
        )

    def __str__(self) -> str:
        return self.id
