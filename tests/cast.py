"""The fixed cast of the tests, made by the real services of identity."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.db import transaction

from identity.agents import register_agent
from identity.factors import set_totp_factor
from identity.memberships import grant_membership
from identity.minting import MintedToken, mint_token
from identity.models import Agent, User, Workspace
from identity.people import create_user
from identity.roles import WorkspaceRole
from identity.selectors import principal_of_user
from identity.tokens import TokenKind
from identity.types import AuthStrength, Principal
from identity.workspaces import create_workspaces
from kernel.record import system_actor
from tests.builders import RecordedEvents

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
PASSWORD = "correct horse battery staple"
SEED = b"12345678901234567890"
SYSTEM = system_actor("shell")
AGENT_SCOPES = ("runs.create", "runs.read", "runs.cancel", "tools.propose", "tools.read", "calls.read")


@dataclass(frozen=True, slots=True)
class Cast:
    """Who plays: an owner of the instance, an agent with its own owner, reviewers and bystanders."""

    instance: Workspace
    default: Workspace
    owner: User
    agent_owner: User
    agent: Agent
    approver: User
    second_approver: User
    auditor: User
    stranger: User


def make_user(
    name: str, *roles: WorkspaceRole, workspace: Workspace, password: str | None = PASSWORD
) -> User:
    """Create a person with these roles in `workspace`."""
    record = RecordedEvents()
    with transaction.atomic():
        user = create_user(username=name, password=password, actor=SYSTEM, now=NOW, record=record)
        for role in roles:
            grant_membership(user=user, workspace=workspace, role=role, actor=SYSTEM, now=NOW, record=record)
    return user


def make_workspaces() -> tuple[Workspace, Workspace]:
    """Create `instance` and `default`."""
    with transaction.atomic():
        return create_workspaces(actor=SYSTEM, now=NOW, record=RecordedEvents())


def make_agent(owner: User, workspace: Workspace, name: str = "agent") -> Agent:
    """Register an agent of this owner."""
    with transaction.atomic():
        return register_agent(
            owner=owner, workspace=workspace, name=name, actor=SYSTEM, now=NOW, record=RecordedEvents()
        )


def make_cast() -> Cast:
    """Create everybody. `agent_owner` is an operator and so no reviewer."""
    instance, default = make_workspaces()
    agent_owner = make_user("agent-owner", WorkspaceRole.OPERATOR, workspace=default)
    return Cast(
        instance=instance,
        default=default,
        owner=make_user("owner", WorkspaceRole.OWNER, workspace=instance),
        agent_owner=agent_owner,
        agent=make_agent(agent_owner, default),
        approver=make_user("approver", WorkspaceRole.APPROVER, workspace=default),
        second_approver=make_user("second-approver", WorkspaceRole.APPROVER, workspace=default),
        auditor=make_user("auditor", WorkspaceRole.AUDITOR, workspace=default),
        stranger=make_user("stranger", workspace=default),
    )


def enrol(user: User, seed: bytes = SEED) -> None:
    """Give a person a confirmed authenticator."""
    with transaction.atomic():
        set_totp_factor(user=user, seed=seed, actor=SYSTEM, now=NOW, record=RecordedEvents())


def principal(
    user: User,
    workspace: Workspace,
    *,
    strength: AuthStrength = AuthStrength.FRESH_MFA,
    now: datetime = NOW,
) -> Principal:
    """Return a person as the console knows them after a login at `now`."""
    return principal_of_user(
        user=user,
        workspace_id=workspace.pk,
        strength=strength,
        client_ip="127.0.0.1",
        request_id="req_test",
        authenticated_at=now,
        now=now,
        session_digest="sha256:" + "0" * 64,
    )


def mint_for_agent(cast: Cast, *scopes: str, life: timedelta = timedelta(days=30)) -> MintedToken:
    """Mint a token for the agent, as the owner of the instance would."""
    with transaction.atomic():
        return mint_token(
            kind=TokenKind.AGENT,
            label="test",
            scopes=scopes or AGENT_SCOPES,
            expires_at=NOW + life,
            workspace=cast.default,
            agent=cast.agent,
            minter=principal(cast.owner, cast.default),
            now=NOW,
            record=RecordedEvents(),
        )
