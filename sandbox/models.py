"""Columns and constraints of the sandbox stage. Skills have their own module beside them."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q

from sandbox.lifecycle import OPEN, ExecutionState
from sandbox.skills.models import (
    Skill as Skill,
    SkillBlob as SkillBlob,
    SkillGrant as SkillGrant,
    SkillPublisher as SkillPublisher,
    SkillVersion as SkillVersion,
)

ID = 40
DIGEST = 71
_STATES = [(state.value, state.value) for state in ExecutionState]


class Execution(models.Model):
    """One run of one call. The queued row is the job; the broker carries only a wake-up."""

    id = models.CharField(primary_key=True, max_length=ID)
    call_id = models.CharField(max_length=ID, unique=True)
    run_id = models.CharField(max_length=ID)
    state = models.CharField(max_length=16, choices=_STATES, default=ExecutionState.QUEUED)
    tier = models.CharField(max_length=4)
    spec = models.JSONField()
    spec_digest = models.CharField(max_length=DIGEST)
    action_digest = models.CharField(max_length=DIGEST)
    backend = models.CharField(max_length=48)
    attempt = models.PositiveSmallIntegerField(default=1)
    worker_id = models.CharField(max_length=120, blank=True)
    boot_id = models.CharField(max_length=64, blank=True)
    fence = models.BigIntegerField(default=0)
    queued_at = models.DateTimeField()
    claimed_at = models.DateTimeField(null=True)
    started_at = models.DateTimeField(null=True)
    heartbeat_at = models.DateTimeField(null=True)
    deadline_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    cancel_requested_at = models.DateTimeField(null=True)
    cancel_reason = models.CharField(max_length=64, blank=True)
    error_kind = models.CharField(max_length=32, blank=True)
    error_code = models.CharField(max_length=64, blank=True)
    exit_code = models.IntegerField(null=True)
    signal = models.IntegerField(null=True)
    usage = models.JSONField(null=True)
    enforcement = models.JSONField(null=True)
    output_digest = models.CharField(max_length=DIGEST, null=True)

    class Meta:
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["state", "queued_at"], name="execution_queue"),
            models.Index(fields=["state", "heartbeat_at"], name="execution_heartbeat"),
            models.Index(fields=["worker_id", "state"], name="execution_worker"),
        ]
        constraints = (
            models.CheckConstraint(
                condition=Q(state__in=sorted(OPEN), finished_at__isnull=True)
                | (~Q(state__in=sorted(OPEN)) & Q(finished_at__isnull=False)),
                name="execution_finished_at",
            ),
            models.CheckConstraint(
                condition=Q(exit_code__isnull=True) | Q(signal__isnull=True),
                name="execution_one_exit",
            ),
            models.CheckConstraint(condition=Q(state__in=sorted(ExecutionState)), name="execution_state"),
            models.CheckConstraint(condition=Q(attempt=1), name="execution_once"),
        )

    def __str__(self) -> str:
        return self.id


class WorkspaceRoot(models.Model):
    """A directory that tools of the listed agents may see."""

    id = models.CharField(primary_key=True, max_length=ID)
    name = models.CharField(max_length=64, unique=True)
    path = models.CharField(max_length=1024, unique=True)
    mode_max = models.CharField(
        max_length=8, choices=[(mode, mode) for mode in ("scratch", "snapshot", "bind_ro", "bind_rw")]
    )
    quota_bytes = models.BigIntegerField(default=1024**3)
    quota_files = models.PositiveIntegerField(default=50_000)
    protected = models.JSONField(default=list)
    created_at = models.DateTimeField()

    class Meta:
        constraints = (
            models.CheckConstraint(
                condition=Q(quota_bytes__gt=0, quota_files__gt=0), name="workspace_root_quota"
            ),
        )

    def __str__(self) -> str:
        return self.name


class WorkspaceRootAgent(models.Model):
    """An agent's root. One root per agent, so that a relative path means one thing."""

    root = models.ForeignKey(WorkspaceRoot, on_delete=models.CASCADE, related_name="agents")
    agent_id = models.CharField(max_length=ID, unique=True)

    def __str__(self) -> str:
        return f"{self.agent_id} in {self.root_id}"


class SandboxProbe(models.Model):
    """What one worker host can enforce, and when it last said that it lives."""

    host = models.CharField(max_length=255)
    boot_id = models.CharField(max_length=64)
    executors = models.JSONField()
    findings = models.JSONField()
    degraded = models.JSONField()
    bwrap_version = models.CharField(max_length=32, blank=True)
    bwrap_sha256 = models.CharField(max_length=DIGEST, blank=True)
    kernel = models.CharField(max_length=120, blank=True)
    cgroup = models.BooleanField(default=False)
    landlock_abi = models.PositiveSmallIntegerField(default=0)
    seen_at = models.DateTimeField()

    class Meta:
        constraints = (models.UniqueConstraint(fields=("host", "boot_id"), name="sandbox_probe_host_boot"),)
        indexes: ClassVar[list[models.Index]] = [models.Index(fields=["-seen_at"], name="sandbox_probe_seen")]

    def __str__(self) -> str:
        return self.host
