"""Columns and constraints of identity. Each noun has a module that writes it; `selectors.py` reads."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from django.contrib.auth import get_backends
from django.contrib.auth.models import AbstractBaseUser, BaseUserManager
from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower
from django.utils import timezone
from django_otp.models import Device, TimestampMixin

from identity import totp
from identity.access import Stage
from identity.door_models import OidcAttempt as OidcAttempt, SpoofSighting as SpoofSighting
from identity.lifecycle import AgentState
from identity.roles import WorkspaceRole
from identity.sealing import open_field
from identity.tokens import TokenKind


def _choices(values: tuple[str, ...]) -> list[tuple[str, str]]:
    return [(value, value) for value in values]


class UserManager(BaseUserManager["User"]):
    """Lookup by name; people are made by `identity.people.create_user` only."""

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
    version = models.PositiveIntegerField(default=1)
    oidc_issuer = models.CharField(max_length=255, null=True)
    oidc_subject = models.CharField(max_length=255, null=True)
    created_at = models.DateTimeField()

    objects: ClassVar[UserManager] = UserManager()
    is_superuser = False
    USERNAME_FIELD = "username"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    class Meta:
        constraints = (
            models.UniqueConstraint(Lower("username"), name="user_username_ci"),
            models.UniqueConstraint(fields=("oidc_issuer", "oidc_subject"), name="user_oidc_unique"),
            models.CheckConstraint(
                condition=Q(oidc_issuer__isnull=True, oidc_subject__isnull=True)
                | Q(oidc_issuer__isnull=False, oidc_subject__isnull=False),
                name="user_oidc_whole",
            ),
        )

    def __str__(self) -> str:
        return self.display_name or self.username

    @property
    def is_staff(self) -> bool:
        """True while any live membership exists; the console asks for permissions besides."""
        live = Q(expires_at__isnull=True) | Q(expires_at__gt=timezone.now())
        mine = Membership.objects.filter(live, Q(user=self) | Q(team__members__user=self))
        return self.is_active and self.can_log_in and mine.exists()

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

    class Meta:
        default_permissions = ()  # the matrix's permissions hang here, and no others (migration 0003)

    def __str__(self) -> str:
        return self.name


class Team(models.Model):
    """A named group of people in one workspace; a membership may be granted to it."""

    id = models.CharField(primary_key=True, max_length=40)
    workspace = models.ForeignKey(Workspace, models.PROTECT, related_name="teams")
    name = models.CharField(max_length=80)
    created_at = models.DateTimeField()

    class Meta:
        constraints = (models.UniqueConstraint(fields=("workspace", "name"), name="team_name_unique"),)

    def __str__(self) -> str:
        return self.name


class TeamMember(models.Model):
    """One person in one team."""

    team = models.ForeignKey(Team, models.CASCADE, related_name="members")
    user = models.ForeignKey(User, models.PROTECT, related_name="team_places")
    added_by = models.CharField(max_length=40)
    added_at = models.DateTimeField()

    class Meta:
        constraints = (models.UniqueConstraint(fields=("team", "user"), name="team_member_unique"),)

    def __str__(self) -> str:
        return f"{self.user_id} is in {self.team_id}"


class Membership(models.Model):
    """One role of one person, or of one team, in one workspace; several add up."""

    id = models.CharField(primary_key=True, max_length=40)
    workspace = models.ForeignKey(Workspace, models.PROTECT, related_name="memberships")
    user = models.ForeignKey(User, models.PROTECT, null=True, related_name="memberships")
    team = models.ForeignKey(Team, models.PROTECT, null=True, related_name="memberships")
    role = models.CharField(max_length=16)
    granted_by = models.CharField(max_length=40)
    granted_at = models.DateTimeField()
    expires_at = models.DateTimeField(null=True)

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("workspace", "user", "role"), name="membership_unique"),
            models.UniqueConstraint(fields=("workspace", "team", "role"), name="membership_team_unique"),
            models.CheckConstraint(
                condition=Q(user__isnull=True) ^ Q(team__isnull=True), name="membership_one_holder"
            ),
            models.CheckConstraint(
                condition=Q(role__in=[role.value for role in WorkspaceRole]), name="membership_role_known"
            ),
        )

    def __str__(self) -> str:
        return f"{self.user_id or self.team_id} is {self.role} in {self.workspace_id}"


class Invitation(models.Model):
    """An offer of one role to whoever holds the text; only its SHA-256 is stored."""

    id = models.CharField(primary_key=True, max_length=40)
    workspace = models.ForeignKey(Workspace, models.PROTECT, related_name="invitations")
    email = models.EmailField()
    role = models.CharField(max_length=16)
    digest = models.BinaryField(max_length=32, unique=True)
    invited_by = models.CharField(max_length=40)
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    accepted_at = models.DateTimeField(null=True)
    accepted_by = models.CharField(max_length=40, null=True)
    revoked_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"{self.email} as {self.role}"


class SetupLink(models.Model):
    """Lets one person set their first or next password, once; only the SHA-256 of the text is stored."""

    user = models.OneToOneField(User, models.CASCADE, primary_key=True, related_name="setup_link")
    digest = models.BinaryField(max_length=32, unique=True)
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"setup of {self.user_id}"


class ResourceShare(models.Model):
    """Opens one object of the workspace `home` to another workspace, to read or to use."""

    id = models.CharField(primary_key=True, max_length=40)
    resource_kind = models.CharField(max_length=8, choices=_choices(("agent", "tool", "skill")))
    resource_id = models.CharField(max_length=160)
    home = models.ForeignKey(Workspace, models.PROTECT, related_name="shares_given")
    workspace = models.ForeignKey(Workspace, models.PROTECT, related_name="shares")
    access = models.CharField(max_length=4, choices=_choices(("read", "use")))
    shared_by = models.CharField(max_length=40)
    created_at = models.DateTimeField()

    class Meta:
        constraints = (
            models.UniqueConstraint(
                fields=("resource_kind", "resource_id", "workspace"), name="share_unique"
            ),
        )

    def __str__(self) -> str:
        return f"{self.resource_kind} {self.resource_id} to {self.workspace_id}"


class FeatureFlag(models.Model):
    """How one flag is set; a flag without a row stands at its default (`identity.access.FEATURES`)."""

    key = models.CharField(primary_key=True, max_length=40)
    enabled = models.BooleanField()
    stage = models.CharField(max_length=12, choices=_choices(tuple(Stage)))
    percent = models.PositiveSmallIntegerField(default=100)
    workspaces = models.JSONField(default=list)
    version = models.PositiveIntegerField(default=1)
    changed_at = models.DateTimeField()

    class Meta:
        constraints = (
            models.CheckConstraint(condition=Q(percent__gte=0, percent__lte=100), name="flag_percent"),
        )

    def __str__(self) -> str:
        return f"{self.key}: {'on' if self.enabled else 'off'}"


class FeatureFlagChange(models.Model):
    """One change of one flag, never altered (`identity.guards`)."""

    id = models.BigAutoField(primary_key=True)
    key = models.CharField(max_length=40, db_index=True)
    before = models.JSONField(null=True)
    after = models.JSONField()
    actor = models.CharField(max_length=40)
    reason = models.CharField(max_length=200)
    at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.key} at {self.at:%Y-%m-%d %H:%M}"


class Agent(models.Model):
    """A program that acts for a human owner.

    `parties` names people beside the owner who had a hand in whose it is: id to `registrant` or
    `former_owner`. None of them answers its questions. `limits` holds what differs for it from the
    limits of asking, by name.
    """

    id = models.CharField(primary_key=True, max_length=40)
    owner = models.ForeignKey(User, models.PROTECT, related_name="agents")
    workspace = models.ForeignKey(Workspace, models.PROTECT, related_name="agents")
    name = models.CharField(max_length=80)
    purpose = models.CharField(max_length=500, blank=True)
    state = models.CharField(max_length=16, choices=_choices(tuple(AgentState)), default=AgentState.ACTIVE)
    composition_digest = models.CharField(max_length=71, null=True)
    authority_epoch = models.PositiveIntegerField(default=0)
    parties = models.JSONField(default=dict)
    limits = models.JSONField(default=dict)
    version = models.PositiveIntegerField(default=1)
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
    """A bearer credential, stored as the SHA-256 of its text and a public lookup part.

    `family` is the id of the first token of a line of rotations; limits are counted per family.
    """

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
    family = models.CharField(max_length=40, db_index=True)
    rotated_from = models.OneToOneField("self", models.PROTECT, null=True, related_name="successor")
    overlap_ends_at = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)
    revoked_reason = models.CharField(max_length=200, blank=True)
    last_used_at = models.DateTimeField(null=True)
    last_used_network = models.CharField(max_length=50, blank=True)
    exposed_at = models.DateTimeField(null=True)
    rate_per_minute = models.PositiveIntegerField(default=120)
    allowed_networks = models.JSONField(default=list)
    bound_device = models.CharField(max_length=40, null=True)
    from_bootstrap = models.BooleanField(default=False)

    class Meta:
        indexes = (models.Index("revoked_at", name="token_from_bootstrap", condition=Q(from_bootstrap=True)),)
        constraints = (
            models.CheckConstraint(
                condition=Q(principal_user__isnull=True) ^ Q(principal_agent__isnull=True),
                name="token_one_principal",
            ),
            models.CheckConstraint(
                condition=Q(rate_per_minute__gte=10, rate_per_minute__lte=10000), name="token_rate"
            ),
        )

    def __str__(self) -> str:
        return f"{self.label} ({self.kind})"


class TokenElevation(models.Model):
    """A one-time code entered for a personal token; it counts from one network and for five minutes."""

    token = models.OneToOneField(ApiToken, models.CASCADE, primary_key=True, related_name="elevation")
    network = models.CharField(max_length=50)
    authority_epoch = models.PositiveIntegerField()
    at = models.DateTimeField()
    expires_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"elevation of {self.token_id}"


class RateBucket(models.Model):
    """Counts of one limited key by second; used when no Redis is configured."""

    key = models.CharField(primary_key=True, max_length=80)
    buckets = models.JSONField(default=dict)
    updated_at = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return self.key


class ConsoleSession(models.Model):
    """A console login. The cookie's value is nowhere, only its SHA-256.

    The key changes with every step-up; `ref` names the session all its life and opens nothing.
    `mfa_at`, `mfa_network` and `mfa_epoch` say when, from where and under which authority the last
    one-time code was entered.
    """

    key_digest = models.CharField(primary_key=True, max_length=64)
    ref = models.CharField(max_length=16, unique=True)
    user = models.ForeignKey(User, models.CASCADE, related_name="console_sessions")
    data = models.TextField()
    created_at = models.DateTimeField()
    seen_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    absolute_expires_at = models.DateTimeField()
    ip = models.CharField(max_length=45)
    user_agent = models.CharField(max_length=200, blank=True)
    mfa_at = models.DateTimeField(null=True)
    mfa_network = models.CharField(max_length=50, blank=True)
    mfa_epoch = models.PositiveIntegerField(null=True)
    ended_at = models.DateTimeField(null=True)
    ended_reason = models.CharField(max_length=40, blank=True)

    class Meta:
        indexes = (models.Index(fields=("user", "ended_at"), name="console_session_live"),)

    def __str__(self) -> str:
        return f"session of {self.user_id}"


class LoginFailure(models.Model):
    """Failed logins of one account from one network; no row means none lately.

    A row without an account counts for the whole network, one without a network for the whole account;
    these two keep the moments of the failures (seconds since the epoch) that still bear on a limit.
    """

    account_key = models.CharField(max_length=64, blank=True)
    network = models.CharField(max_length=50, blank=True, db_index=True)
    count = models.PositiveIntegerField(default=0)
    recent = models.JSONField(default=list)
    last_at = models.DateTimeField(db_index=True)

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("account_key", "network"), name="login_failure_unique"),
        )

    def __str__(self) -> str:
        return f"{self.count} from {self.network or 'everywhere'}"


class LoginSuccess(models.Model):
    """The last right login of one account from one network; kept for 30 days."""

    account_key = models.CharField(max_length=64)
    network = models.CharField(max_length=50)
    last_at = models.DateTimeField(db_index=True)

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("account_key", "network"), name="login_success_unique"),
        )

    def __str__(self) -> str:
        return f"{self.account_key[:8]} from {self.network}"


class RejectionTally(models.Model):
    """Refused credentials of one minute, summed until the sweeper writes them to the journal."""

    kind = models.CharField(max_length=8, choices=_choices(("login", "token")))
    network = models.CharField(max_length=50)
    subject = models.CharField(max_length=40)
    reason = models.CharField(max_length=40)
    minute = models.DateTimeField(db_index=True)
    count = models.PositiveIntegerField(default=0)

    class Meta:
        constraints = (
            models.UniqueConstraint(
                fields=("kind", "network", "subject", "reason", "minute"), name="rejection_unique"
            ),
        )

    def __str__(self) -> str:
        return f"{self.count} of {self.reason}"


class TotpFactor(TimestampMixin, Device):
    """A time-based one-time password (RFC 6238). The seed is sealed, unlike in the stock device.

    It knows no wait: that would lock the account for everybody. `login_attempts` counts instead.
    """

    seed_sealed = models.BinaryField(max_length=128)
    last_t = models.BigIntegerField(default=-1)
    from_bootstrap = models.BooleanField(default=False)

    class Meta:
        constraints = (
            models.UniqueConstraint(
                fields=("user",), condition=Q(confirmed=True), name="totp_one_confirmed_per_user"
            ),
        )

    def __str__(self) -> str:
        return f"authenticator of {self.user_id}"

    def verify_token(self, token: str) -> bool:
        """Django-otp's entry. Lock the row first (`identity.factors.verify_totp` does)."""
        return self.accept_code(token, timezone.now())

    def accept_code(self, code: str, now: datetime) -> bool:
        """Accept each time step once, within one step of `now`, and write the use to this row.

        Raises InvalidError for a seed that does not open.
        """
        seed = open_field("TotpFactor", str(self.pk), "seed", bytes(self.seed_sealed))
        step = totp.matching_step(seed, code, now=now, after=self.last_t)
        if step is None:
            return False
        self.last_t, self.last_used_at = step, now
        self.save(update_fields=["last_t", "last_used_at"])
        return True


class RecoveryCode(TimestampMixin, Device):
    """One recovery code; only a keyed digest of it is stored. The row stays after use: a session needs it."""

    digest = models.BinaryField(max_length=32, unique=True)
    used_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"recovery code of {self.user_id}"

    def verify_token(self, token: str) -> bool:
        """Django-otp's entry is closed: a code is used up under a lock (`identity.factors`)."""
        return False
