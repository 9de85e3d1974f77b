"""Rows of the vault. Key material stands here only wrapped."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from vault.types import KekState, KeyPurpose


class Kek(models.Model):
    """One key-encryption key. `locator` says where its provider finds it."""

    id = models.CharField(primary_key=True, max_length=40)
    number = models.PositiveIntegerField(unique=True)
    provider = models.CharField(max_length=24)
    locator = models.CharField(max_length=255)
    check_value = models.BinaryField(max_length=16)
    state = models.CharField(max_length=16, default=KekState.ACTIVE)
    created_at = models.DateTimeField()

    class Meta:
        constraints = (
            models.CheckConstraint(
                condition=Q(state__in=[state.value for state in KekState]), name="kek_state_known"
            ),
            models.UniqueConstraint(
                fields=("state",), condition=Q(state=KekState.ACTIVE.value), name="kek_one_active"
            ),
        )

    def __str__(self) -> str:
        return f"KEK {self.number} ({self.state})"


class SystemKey(models.Model):
    """A private key of the instance, wrapped under a KEK; one that is not retired per purpose."""

    purpose = models.CharField(max_length=24)
    key_id = models.CharField(max_length=71, unique=True)
    public_key = models.BinaryField(max_length=32)
    wrapped = models.BinaryField(max_length=128)
    kek = models.ForeignKey(Kek, models.PROTECT, related_name="+")
    created_at = models.DateTimeField()
    retired_at = models.DateTimeField(null=True)

    class Meta:
        constraints = (
            models.CheckConstraint(
                condition=Q(purpose__in=[purpose.value for purpose in KeyPurpose]),
                name="system_key_purpose_known",
            ),
            models.UniqueConstraint(
                fields=("purpose",), condition=Q(retired_at__isnull=True), name="system_key_one_active"
            ),
        )

    def __str__(self) -> str:
        return f"{self.purpose} key {self.key_id}"
