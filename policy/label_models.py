"""Columns of what a session has seen: labels, and marks of values by their origin.

A holder is a session, or the agent itself for runs without one.
"""

from __future__ import annotations

from django.db import models
from django.db.models import Q


class LabelHolder(models.Model):
    """The row that decisions about one holder take turns on. `marks_full`: every string is tainted."""

    id = models.CharField(primary_key=True, max_length=128)
    workspace_id = models.CharField(max_length=40)
    marks_full = models.BooleanField(default=False)
    created_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.id


class SessionLabel(models.Model):
    """One label of one holder and the first calls that added it. Declassified, it counts no more.

    `call_ids` holds at most `labels.MAX_CALLS` of them, the oldest first; what was added again after a
    declassification starts anew.
    """

    holder = models.ForeignKey(LabelHolder, models.PROTECT, related_name="labels")
    label = models.CharField(max_length=32)
    call_ids = models.JSONField(default=list)
    added_at = models.DateTimeField()
    expires_at = models.DateTimeField(null=True)
    declassified_by = models.CharField(max_length=40, blank=True)
    declassified_at = models.DateTimeField(null=True)
    declassified_reason = models.CharField(max_length=500, blank=True)

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("holder", "label"), name="session_label_once"),
            models.CheckConstraint(
                condition=Q(declassified_at__isnull=True, declassified_by="")
                | (Q(declassified_at__isnull=False) & ~Q(declassified_by="")),
                name="session_label_declassified_by_somebody",
            ),
        )

    def __str__(self) -> str:
        return f"{self.label} of {self.holder_id}"


class SessionValueMark(models.Model):
    """A keyed digest (16 bytes) of a value that a holder has seen, and where it came from."""

    ORIGINS = ("task", "untrusted", "private")

    holder = models.ForeignKey(LabelHolder, models.PROTECT, related_name="marks")
    mark = models.BinaryField(max_length=16)
    origin = models.CharField(max_length=16, choices=[(o, o) for o in ORIGINS])
    added_at = models.DateTimeField()

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("holder", "mark", "origin"), name="session_mark_once"),
        )

    def __str__(self) -> str:
        return f"{self.origin} mark of {self.holder_id}"
