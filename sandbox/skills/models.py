"""Columns and constraints of skills. `services.py` writes, `selectors.py` reads."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q

from sandbox.skills.lifecycle import QUARANTINE_CODES, SkillStatus

ID = 40
DIGEST = 71


def _choices(*values: str) -> list[tuple[str, str]]:
    return [(value, value) for value in values]


class SkillPublisher(models.Model):
    """Whose skills this server runs."""

    id = models.CharField(primary_key=True, max_length=ID)
    name = models.CharField(max_length=40, unique=True)
    state = models.CharField(max_length=8, choices=_choices("trusted", "pinned", "revoked"))
    rotation_sequence = models.PositiveIntegerField(default=0)
    note = models.CharField(max_length=500, blank=True)
    added_by = models.CharField(max_length=ID)
    added_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.name


class Skill(models.Model):
    """A skill belongs to one publisher for ever."""

    id = models.BigAutoField(primary_key=True)
    skill_id = models.CharField(max_length=100, unique=True)
    publisher = models.ForeignKey(SkillPublisher, on_delete=models.PROTECT, related_name="skills")
    highest_release = models.PositiveIntegerField(default=0)
    first_seen_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.skill_id


class SkillBlob(models.Model):
    """Bytes of an artifact, in the database so that every worker host has them."""

    artifact_digest = models.CharField(primary_key=True, max_length=DIGEST)
    bytes = models.BinaryField()

    def __str__(self) -> str:
        return self.artifact_digest


class SkillVersion(models.Model):
    """One artifact known to this server. A row is never deleted or used again for other bytes."""

    id = models.CharField(primary_key=True, max_length=ID)
    skill = models.ForeignKey(Skill, on_delete=models.PROTECT, related_name="versions")
    version = models.CharField(max_length=24)
    release = models.PositiveIntegerField()
    artifact_digest = models.CharField(max_length=DIGEST)
    payload_digest = models.CharField(max_length=DIGEST, unique=True)
    manifest = models.JSONField()
    capability_digest = models.CharField(max_length=DIGEST)
    trust = models.CharField(max_length=12, choices=_choices("allowlisted", "tofu_pinned"))
    source = models.CharField(max_length=80)
    signed_at = models.DateTimeField(null=True)
    status = models.CharField(max_length=12, choices=_choices(*SkillStatus), default=SkillStatus.STAGED)
    status_code = models.CharField(max_length=32, blank=True)
    status_reason = models.CharField(max_length=500, blank=True)
    status_by = models.CharField(max_length=ID)
    status_at = models.DateTimeField()
    quarantined_from = models.CharField(max_length=12, blank=True)
    revision = models.PositiveIntegerField(default=1)
    installed_by = models.CharField(max_length=ID)
    installed_at = models.DateTimeField()

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["skill", "version"], name="skill_version_once"),
            models.UniqueConstraint(fields=["skill", "release"], name="skill_release_once"),
            models.UniqueConstraint(
                fields=["skill"], condition=Q(status=SkillStatus.ACTIVE), name="skill_one_active"
            ),
            models.CheckConstraint(
                condition=Q(status=SkillStatus.QUARANTINED, status_code__in=sorted(QUARANTINE_CODES))
                | (~Q(status=SkillStatus.QUARANTINED) & ~Q(status_code__in=sorted(QUARANTINE_CODES))),
                name="skill_quarantine_code",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.skill_id} {self.version}"


class SkillGrant(models.Model):
    """What an operator gave a version. One current row per version."""

    version = models.OneToOneField(SkillVersion, on_delete=models.PROTECT, related_name="grant")
    atoms = models.JSONField(default=list)
    bindings = models.JSONField(default=dict)
    granted_by = models.CharField(max_length=ID)
    granted_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"grant of {self.version_id}"
