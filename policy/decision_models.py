"""Columns of what was decided and replayed: decision records, simulations, shadow results."""

from __future__ import annotations

from django.db import models
from django.db.models import Q


class EntitySnapshot(models.Model):
    """The world and the configuration of decisions, as canonical JSON kept once per content."""

    digest = models.CharField(primary_key=True, max_length=71)
    entities = models.TextField()

    def __str__(self) -> str:
        return self.digest


class DecisionRecord(models.Model):
    """One decision as it can be asked again. The key is the id of its `tool_call.decided` event.

    `request` is canonical JSON; `exact` is False when a value in it was redacted.
    """

    id = models.CharField(primary_key=True, max_length=40)
    call_id = models.CharField(max_length=40, null=True)
    workspace_id = models.CharField(max_length=40)
    principal_id = models.CharField(max_length=40)
    resource_id = models.CharField(max_length=512)
    request = models.TextField()
    entities = models.ForeignKey(EntitySnapshot, models.PROTECT, related_name="+")
    effect = models.CharField(max_length=20)
    reason_code = models.CharField(max_length=64)
    policy_set = models.ForeignKey("policy.PolicySet", models.PROTECT, null=True, related_name="+")
    catalog_digest = models.CharField(max_length=71)
    exact = models.BooleanField(default=True)
    decided_at = models.DateTimeField()

    class Meta:
        indexes = (
            models.Index(fields=("decided_at",), name="decision_by_time"),
            models.Index(fields=("policy_set", "decided_at"), name="decision_by_set"),
            models.Index(fields=("call_id",), name="decision_by_call"),
        )

    def __str__(self) -> str:
        return f"{self.effect} ({self.id})"


class SimulationRun(models.Model):
    """One replay of recorded decisions against a set, numbered 1… within it.

    States are those of a job. `against_hash` and `epoch` are what was in force when it began.
    """

    STATES = ("queued", "running", "succeeded", "failed", "cancelled")

    policy_set = models.ForeignKey("policy.PolicySet", models.PROTECT, related_name="simulations")
    number = models.PositiveIntegerField()
    state = models.CharField(max_length=16, choices=[(s, s) for s in STATES], default="queued")
    draft_hash = models.CharField(max_length=71)
    against_set = models.ForeignKey("policy.PolicySet", models.PROTECT, null=True, related_name="+")
    against_hash = models.CharField(max_length=71, blank=True)
    epoch = models.BigIntegerField()
    asked = models.JSONField(default=dict)
    available = models.PositiveIntegerField(default=0)
    total = models.PositiveIntegerField(default=0)
    done = models.PositiveIntegerField(default=0)
    unchanged = models.PositiveIntegerField(default=0)
    loosened = models.PositiveIntegerField(default=0)
    tightened = models.PositiveIntegerField(default=0)
    reason_only = models.PositiveIntegerField(default=0)
    inexact = models.PositiveIntegerField(default=0)
    failed = models.PositiveIntegerField(default=0)
    matrix = models.JSONField(default=dict)
    started_by = models.CharField(max_length=40)
    job_id = models.CharField(max_length=40, null=True)
    error_code = models.CharField(max_length=64, blank=True)
    created_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True)

    class Meta:
        constraints = (models.UniqueConstraint(fields=("policy_set", "number"), name="simulation_number"),)

    def __str__(self) -> str:
        return f"simulation {self.number} of {self.policy_set_id}"


class SimulationFlip(models.Model):
    """A recorded decision that the set would have made otherwise."""

    DIRECTIONS = ("loosened", "tightened", "reason_only")

    run = models.ForeignKey(SimulationRun, models.CASCADE, related_name="flips")
    record_id = models.CharField(max_length=40)
    call_id = models.CharField(max_length=40, null=True)
    workspace_id = models.CharField(max_length=40)
    principal_id = models.CharField(max_length=40)
    resource_id = models.CharField(max_length=512)
    old_effect = models.CharField(max_length=20)
    new_effect = models.CharField(max_length=20)
    old_policies = models.JSONField(default=list)
    new_policies = models.JSONField(default=list)
    direction = models.CharField(max_length=16, choices=[(d, d) for d in DIRECTIONS])
    exact = models.BooleanField()
    decided_at = models.DateTimeField()

    class Meta:
        constraints = (models.UniqueConstraint(fields=("run", "record_id"), name="flip_once"),)
        indexes = (models.Index(fields=("run", "direction", "id"), name="flip_by_direction"),)

    def __str__(self) -> str:
        return f"{self.old_effect} to {self.new_effect}"


class ShadowResult(models.Model):
    """How often in one hour a set in shadow would have answered this where the set in force said that."""

    policy_set = models.ForeignKey("policy.PolicySet", models.CASCADE, related_name="shadow_results")
    hour = models.DateTimeField()
    old_effect = models.CharField(max_length=20)
    new_effect = models.CharField(max_length=20)
    count = models.PositiveIntegerField(default=0)
    errors = models.PositiveIntegerField(default=0)
    examples = models.JSONField(default=list)

    class Meta:
        constraints = (
            models.UniqueConstraint(
                fields=("policy_set", "hour", "old_effect", "new_effect"), name="shadow_result_once"
            ),
            models.CheckConstraint(condition=Q(errors__lte=models.F("count")), name="shadow_errors_counted"),
        )

    def __str__(self) -> str:
        return f"{self.old_effect} to {self.new_effect}: {self.count}"
