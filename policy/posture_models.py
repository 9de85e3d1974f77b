"""Columns of the history of postures and of the answers to recommendations."""

from __future__ import annotations

from django.db import models


class PostureEvent(models.Model):
    """One change of overrides by one act. Append-only by triggers. The key is its journal event's id.

    `changes` lists `{tool, scope_kind, scope_id, before, after}`; `before` and `after` are the whole row
    as JSON or null, so that the act can be undone.
    """

    ACTIONS = (
        "override_set", "override_cleared", "override_expired", "scope_reset", "preset_applied", "undone",
        "recommendation_accepted", "recommendation_dismissed", "recommendation_deferred",
    )  # fmt: skip

    id = models.CharField(primary_key=True, max_length=40)
    action = models.CharField(max_length=32, choices=[(a, a) for a in ACTIONS])
    tool = models.CharField(max_length=64, blank=True)
    scope_kind = models.CharField(max_length=16)
    scope_id = models.CharField(max_length=128, blank=True)
    workspace_id = models.CharField(max_length=40, blank=True)
    previous_state = models.CharField(max_length=16, blank=True)
    new_state = models.CharField(max_length=16, blank=True)
    changes = models.JSONField(default=list)
    source = models.CharField(max_length=160)
    actor = models.CharField(max_length=40)
    reason = models.CharField(max_length=500, blank=True)
    undoes = models.CharField(max_length=40, null=True, unique=True)
    at = models.DateTimeField()

    class Meta:
        indexes = (
            models.Index(fields=("tool", "-id"), name="posture_event_by_tool"),
            models.Index(fields=("workspace_id", "-id"), name="posture_event_by_place"),
        )

    def __str__(self) -> str:
        return f"{self.action} {self.tool}"


class RecommendationAnswer(models.Model):
    """What a person said to a recommendation; it stays hidden until `until`."""

    ANSWERS = ("accept", "dismiss", "defer")

    recommendation_id = models.CharField(max_length=320)
    workspace_id = models.CharField(max_length=40)
    answer = models.CharField(max_length=16, choices=[(a, a) for a in ANSWERS])
    actor = models.CharField(max_length=40)
    at = models.DateTimeField()
    until = models.DateTimeField()

    class Meta:
        indexes = (models.Index(fields=("recommendation_id", "-at"), name="recommendation_answers"),)

    def __str__(self) -> str:
        return f"{self.answer} {self.recommendation_id}"
