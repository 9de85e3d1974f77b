"""Columns and constraints of identity. `services.py` writes, `selectors.py` reads."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from django.contrib.auth import get_backends
from django.contrib.auth.models import AbstractBaseUser, BaseUserManager
from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower
from django.utils import timezone
from django_otp.models import Device, ThrottlingMixin, TimestampMixin

from identity import totp
from identity.lifecycle import AgentState
from identity.roles import WorkspaceRole
from identity.sealing import open_field
from identity.tokens import TokenKind


def _choices(values: tuple[str, ...]) -> list[tuple[str, str]]:
    return [(value, value) for value in values]


class UserManager(BaseUserManager["User"]):
    """Lookup by name; people are made by `identity.services.create_user` only."""

    def get_by_natural_key(self, username: str | None) -> User:
        return self.get(username=(username or "").lower())


class User(AbstractBaseUser):  # type: ignore[django-manager-missing]  # django-otp is untyped
    """A person. Never a superuser: one matrix rules and nothing bypasses it."""

    id = models.CharField(primary_key=True, max_length=40)
    username = models.CharField(max_length=150, unique=True)
    email = models.EmailField(blank=True)
    display_name = models.CharField(max_length=120, blank=True)
    is_active = models.BooleanField(default=True)
    can_log_in = models.BooleanField(default=True)
    must_change_password = models.BooleanField(default=False)
    password_changed_at = models.DateTimeField(null=True)
    authority_epoch = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField()

    objects: ClassVar[UserManager] = UserManager()
    is_superuser = False
    USERNAME_FIELD = "username"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    class Meta:
        constraints = (models.UniqueConstraint(Lower("username"), name="user_username_ci"),)

    def __str__(self) -> str:
        return self.display_name or self.username

    @property
    def is_staff(self) -> bool:
        """True while any live membership exists; the console asks for permissions besides."""
        live = Q(expires_at__isnull=True) | Q(expires_at__gt=timezone.now())
        return self.is_active and self.can_log_in and self.memberships.filter(live).exists()

    def has_perm(self, perm: str, obj: object = None) -> bool:
        """Django's own checks, answered by the matrix through the authentication backend."""
        return any(
            backend.has_perm(self, perm, obj)  # type: ignore[arg-type]  # stubs want the stock user
            for backend in get_backends()
            if hasattr(backend, "has_perm")
        )

    def has_module_perms(self, app_label: str) -> bool:
        return self.is_staff


class Workspace(models.Model):
    """A boundary between objects. `instance` carries instance-wide permissions."""

    id = models.CharField(primary_key=True, max_length=40)
    slug = models.SlugField(max_length=64, unique=True)
    name = models.CharField(max_length=120)
    created_at = models.DateTimeField()
    archived_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return self.name


class Membership(models.Model):
    """One role of one person in one workspace; several add up."""

    id = models.CharField(primary_key=True, max_length=40)
    workspace = models.ForeignKey(Workspace, models.PROTECT, related_name="memberships")
    user = models.ForeignKey(User, models.PROTECT, related_name="memberships")
    role = models.CharField(max_length=16)
    granted_by = models.CharField(max_length=40)
    granted_at = models.DateTimeField()
    expires_at = models.DateTimeField(null=True)

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("workspace", "user", "role"), name="membership_unique"),
            models.CheckConstraint(
                condition=Q(role__in=[role.value for role in WorkspaceRole]), name="membership_role_known"
            ),
        )

    def __str__(self) -> str:
        return f"{self.user_id} is {self.role} in {self.workspace_id}"


class Agent(models.Model):
    """A program that acts for a human owner."""

    id = models.CharField(primary_key=True, max_length=40)
    owner = models.ForeignKey(User, models.PROTECT, related_name="agents")
    workspace = models.ForeignKey(Workspace, models.PROTECT, related_name="agents")
    name = models.CharField(max_length=80)
    purpose = models.CharField(max_length=500, blank=True)
    state = models.CharField(max_length=16, choices=_choices(tuple(AgentState)), default=AgentState.ACTIVE)
    composition_digest = models.CharField(max_length=71, null=True)
    authority_epoch = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField()

    class Meta:
        constraints = (
            models.UniqueConstraint(
                fields=("workspace", "name"), condition=~Q(state="archived"), name="agent_name_unique"
            ),
        )

    def __str__(self) -> str:
        return self.name


class ApiToken(models.Model):
    """A bearer credential, stored as the SHA-256 of its text and a public lookup part."""

    id = models.CharField(primary_key=True, max_length=40)
    kind = models.CharField(max_length=3, choices=_choices(tuple(TokenKind)))
    lookup = models.CharField(max_length=12, unique=True)
    digest = models.BinaryField(max_length=32)
    label = models.CharField(max_length=80)
    principal_user = models.ForeignKey(User, models.PROTECT, null=True, related_name="tokens")
    principal_agent = models.ForeignKey(Agent, models.PROTECT, null=True, related_name="tokens")
    workspace = models.ForeignKey(Workspace, models.PROTECT, related_name="+")
    scopes = models.JSONField()
    minted_by = models.CharField(max_length=40)
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True)
    revoked_reason = models.CharField(max_length=200, blank=True)

    class Meta:
        constraints = (
            models.CheckConstraint(
                condition=Q(principal_user__isnull=True) ^ Q(principal_agent__isnull=True),
                name="token_one_principal",
            ),
        )

    def __str__(self) -> str:
        return f"{self.label} ({self.kind})"


class TotpFactor(TimestampMixin, ThrottlingMixin, Device):
    """A time-based one-time password (RFC 6238). The seed is sealed, unlike in the stock device."""

    throttling_failure_timestamp: datetime | None
    seed_sealed = models.BinaryField(max_length=128)
    last_t = models.BigIntegerField(default=-1)

    class Meta:
        constraints = (
            models.UniqueConstraint(
                fields=("user",), condition=Q(confirmed=True), name="totp_one_confirmed_per_user"
            ),
        )

    def __str__(self) -> str:
        return f"authenticator of {self.user_id}"

    def get_throttle_factor(self) -> int:
        """One second; the growth is `totp.wait_seconds`."""
        return 1

    def verify_token(self, token: str) -> bool:
        """Django-otp's entry. Lock the row first (`identity.services.verify_totp` does)."""
        return self.accept_code(token, timezone.now())

    def accept_code(self, code: str, now: datetime) -> bool:
        """Accept each time step once, within one step of `now`, and write the outcome to this row.

        Refuses without looking at the code while a wait after failures runs, and for a seed that does
        not open.
        """
        if not totp.may_try(self.throttling_failure_count, self.throttling_failure_timestamp, now):
            return False
        seed = open_field("TotpFactor", str(self.pk), "seed", bytes(self.seed_sealed))
        step = totp.matching_step(seed, code, now=now, after=self.last_t)
        if step is None:
            self.throttling_failure_count += 1
            self.throttling_failure_timestamp = now
        else:
            self.last_t, self.last_used_at = step, now
            self.throttle_reset(commit=False)
        self.save()
        return step is not None
