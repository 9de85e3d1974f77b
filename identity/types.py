"""Plain values of identity: who acts, and how strongly that was proved."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum, StrEnum

from identity.access import ALL_OFF, NOBODY, Registry, Standing
from identity.roles import Permission, WorkspaceRole
from kernel.record import Actor


class PrincipalKind(StrEnum):
    USER = "user"
    AGENT = "agent"
    DEVICE = "device"
    SERVICE = "service"
    ANONYMOUS = "anonymous"


class AuthStrength(IntEnum):
    NONE = 0
    TOKEN = 10
    DEVICE = 20
    PASSWORD = 30
    MFA = 40
    FRESH_MFA = 50


class Surface(StrEnum):
    CONSOLE = "console"
    API = "api"
    CLI = "cli"
    WORKER = "worker"
    SWEEPER = "sweeper"
    SHELL = "shell"


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody who proved an identity for one request. Never cached beyond it.

    `owner_id` is the human answerable and equals `id` for a user. `permissions` are what is left
    after every intersection (role, token scope, kind). `roles` hold in `workspace_id`,
    `instance_roles` in every workspace. `authenticated_at` is the moment of the last proof; a
    `fresh_mfa` counts from there. `vouching` are the roles of the person, or of the token's minter as
    they stand now; features in a stage ask for them. `flags` are the feature flags as this request
    found them; without any, every feature is off.
    """

    kind: PrincipalKind
    id: str
    owner_id: str
    workspace_id: str
    roles: frozenset[WorkspaceRole]
    permissions: frozenset[Permission]
    auth_strength: AuthStrength
    client_ip: str
    request_id: str
    authenticated_at: datetime
    device_id: str | None = None
    token_id: str | None = None
    session_digest: str | None = None
    surface: Surface = Surface.API
    instance_roles: frozenset[WorkspaceRole] = frozenset()
    active: bool = True
    vouching: Standing = NOBODY
    flags: Registry = ALL_OFF

    def actor(self) -> Actor:
        """Return the ids the journal keeps of this principal, and where it comes from."""
        auth = "session" if self.session_digest else "token" if self.token_id else "none"
        return Actor(
            kind=self.kind,
            id=self.id,
            auth=auth,
            surface=self.surface,
            client_ip=self.client_ip,
            device_id=self.device_id or "",
        )


PRINCIPAL_NOT_LIVE = "identity.principal_not_live"
"""The reason a claim stores when the agent, its owner, its token or its rights are gone."""


@dataclass(frozen=True, slots=True)
class AuthzVerdict:
    """Answer of `authorize`. `reason` is a plain word; a stage stores it as `identity.<reason>`."""

    allowed: bool
    reason: str
    role: WorkspaceRole | None = None
