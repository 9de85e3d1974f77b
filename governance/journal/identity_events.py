"""The fields of the events about people, agents, credentials and feature flags."""

from __future__ import annotations

from typing import Any

from governance.journal.event_names import EventName as E
from governance.journal.event_register import event


@event(E.USER_CREATED)
class UserCreated:
    username: str
    can_log_in: bool


@event(E.MEMBERSHIP_GRANTED, E.MEMBERSHIP_REMOVED)
class MembershipChanged:
    user: str | None
    team: str | None
    workspace: str
    role: str


@event(E.TEAM_CHANGED)
class TeamChanged:
    """`change` is created, member_added or member_removed."""

    change: str
    name: str
    workspace: str
    user: str | None


@event(E.WORKSPACE_CHANGED)
class WorkspaceChanged:
    change: str
    slug: str


@event(E.FACTOR_ENROLLED)
class FactorEnrolled:
    kind: str


@event(E.LOGIN_SUCCEEDED)
class LoginSucceeded:
    factor: str


@event(E.LOGIN_FAILED, E.TOKEN_REJECTED)
class CredentialsRefused:
    """Refusals of one minute from one network, summed."""

    network: str
    reason: str
    count: int


@event(E.STEP_UP_SUCCEEDED, E.STEP_UP_FAILED)
class CredentialChecked:
    """Who and where is in the envelope; what was typed is nowhere."""


@event(E.TOKEN_MINTED)
class TokenMinted:
    kind: str
    principal: str
    scopes: list[str]
    expires_at: str


@event(E.TOKEN_REVOKED)
class TokenRevoked:
    reason: str


@event(E.AGENT_REGISTERED)
class AgentRegistered:
    name: str
    owner: str
    workspace: str


@event(E.AGENT_SUSPENDED, E.AGENT_RESUMED, E.AGENT_ARCHIVED)
class AgentMoved:
    reason: str


@event(E.USER_CHANGED, E.AGENT_CHANGED)
class FieldsChanged:
    changes: list[str]


@event(E.USER_DISABLED, E.USER_ENABLED, E.FACTOR_RESET)
class PersonMoved:
    reason: str


@event(E.LOGIN_SESSION_ENDED)
class SessionsEnded:
    reason: str
    count: int


@event(E.INVITATION_CREATED)
class InvitationCreated:
    workspace: str
    role: str
    expires_at: str


@event(E.INVITATION_ACCEPTED)
class InvitationAccepted:
    user: str
    workspace: str
    role: str


@event(E.INVITATION_REVOKED)
class InvitationRevoked:
    workspace: str


@event(E.SHARE_CHANGED)
class ShareChanged:
    kind: str
    resource: str
    workspace: str
    access: str
    present: bool


@event(E.TOKEN_EXPOSED)
class TokenExposed:
    """`place` is query or body."""

    place: str
    network: str


@event(E.TOKEN_ROTATED)
class TokenRotated:
    successor: str
    overlap_ends_at: str


@event(E.FLAG_CHANGED)
class FlagChanged:
    before: dict[str, Any] | None
    after: dict[str, Any]
    reason: str


@event(E.ACCESS_BACKFILLED)
class AccessBackfilled:
    """What was missing or out of range, by key or id."""

    missing_flags: list[str]
    clamped_flags: list[str]
    clamped_rates: list[str]


@event(E.IDENTITY_RESEALED)
class IdentityResealed:
    """How many sealed values were rewritten under the present key file, and how many open under none."""

    rewritten: int
    lost: int


@event(E.AUTH_SPOOF_ATTEMPT)
class SpoofAttempt:
    header: str
    network: str
