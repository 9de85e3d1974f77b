"""Columns of the door: sign-ins through a provider under way, and forged headers seen. All short-lived."""

from __future__ import annotations

from django.db import models

from identity.lifecycle import OidcState


class OidcAttempt(models.Model):
    """One sign-in through the provider: of one browser, once, within ten minutes.

    `state` and the browser's cookie are stored as SHA-256; nonce and PKCE verifier are sealed, and gone
    once the code was sent for exchange. `provider` is what discovery said when the attempt began.
    """

    id = models.CharField(primary_key=True, max_length=40)
    state = models.CharField(max_length=12, choices=[(one, one) for one in OidcState])
    state_digest = models.BinaryField(max_length=32, unique=True)
    browser_digest = models.BinaryField(max_length=32, unique=True)
    secrets_sealed = models.BinaryField(max_length=512, null=True)
    provider = models.JSONField()
    network = models.CharField(max_length=50)
    user = models.ForeignKey("identity.User", models.CASCADE, null=True, related_name="+")
    multi_factor = models.BooleanField(default=False)
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return f"{self.pk} is {self.state}"


class SpoofSighting(models.Model):
    """A network sent a header that only a proxy may send, in this minute; one event stands for all of it."""

    network = models.CharField(max_length=50)
    minute = models.DateTimeField(db_index=True)

    class Meta:
        constraints = (models.UniqueConstraint(fields=("network", "minute"), name="spoof_sighting_unique"),)

    def __str__(self) -> str:
        return f"{self.network} at {self.minute:%H:%M}"
