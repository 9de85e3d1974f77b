"""Columns of what stops agents: a row that gate 2 and every claim read."""

from __future__ import annotations

from django.db import models
from django.db.models import Q


class Freeze(models.Model):
    """Nothing of this scope starts while the row is active. `scope_id` is empty for `global`."""

    SCOPES = ("global", "agent", "tool", "skill", "device", "run")
    STATES = ("active", "lifted")

    id = models.CharField(primary_key=True, max_length=40)
    state = models.CharField(max_length=8, choices=[(s, s) for s in STATES], default="active")
    scope = models.CharField(max_length=8, choices=[(s, s) for s in SCOPES])
    scope_id = models.CharField(max_length=160, blank=True)
    workspace_id = models.CharField(max_length=40)
    reason = models.CharField(max_length=1000)
    kill_running = models.BooleanField(default=False)
    set_by = models.CharField(max_length=40)
    set_at = models.DateTimeField()
    lifted_by = models.CharField(max_length=40, blank=True)
    lifted_at = models.DateTimeField(null=True)
    lift_reason = models.CharField(max_length=1000, blank=True)
    single_operator = models.BooleanField(default=False)
    version = models.PositiveIntegerField(default=1)

    class Meta:
        constraints = (
            models.UniqueConstraint(
                fields=("scope", "scope_id", "workspace_id"),
                condition=Q(state="active"),
                name="freeze_one_active",
            ),
            models.CheckConstraint(
                condition=Q(state="active", lifted_at__isnull=True)
                | (Q(state="lifted") & Q(lifted_at__isnull=False)),
                name="freeze_lifted_iff_time",
            ),
            models.CheckConstraint(
                condition=Q(scope="global", scope_id="") | (~Q(scope="global") & ~Q(scope_id="")),
                name="freeze_scope_named",
            ),
        )

    def __str__(self) -> str:
        return f"{self.scope} {self.scope_id}".strip()
