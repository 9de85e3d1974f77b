"""The first contents of an installation: people, rules, and a small demonstration to look at."""

from __future__ import annotations

import base64
import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from urllib.parse import quote

from governance.journal.ledger import record
from identity import agents, factors, memberships, minting, people, rollout, workspaces
from identity.models import Agent, User, Workspace
from identity.roles import Permission, WorkspaceRole
from identity.selectors import principal_of_user
from identity.tokens import TokenKind
from identity.types import AuthStrength, Principal, Surface
from kernel.record import Actor, system_actor
from policy import services as policy
from policy.postures import OverrideInput
from policy.types import AllowlistKind, PostureState, ToolDefinition
from sandbox import services as sandbox
from sandbox.runners.places import create_workspace
from sandbox.skills.builtin.echo import ECHO, echo_module
from sandbox.skills.services import install_builtin_skill

OWNER = "owner"
DEMO_OWNER = "demo-owner"
DEMO_AGENT = "demo-agent"
OWNER_TOKEN_LIFE = timedelta(days=30)
AGENT_TOKEN_LIFE = timedelta(days=90)
DEMO_POSTURE_LIFE = timedelta(days=30)
BOOTSTRAP_RATE = 600
DEMO_FEATURES = ("api_tokens", "compat_api")
AGENT_SCOPES = (
    Permission.RUNS_CREATE,
    Permission.RUNS_READ,
    Permission.RUNS_CANCEL,
    Permission.TOOLS_PROPOSE,
    Permission.TOOLS_READ,
    Permission.CALLS_READ,
    Permission.APPROVALS_READ,
)
DEMO_FILES = {
    "README.txt": b"Files in this directory are what the demo agent's tools can see.\n",
    "notes/ideas.txt": b"one idea\nanother idea\na third one\n",
    "data/numbers.csv": b"name,value\nalpha,1\nbeta,2\n",
}

_FILE_INPUT: dict[str, object] = {
    "type": "object",
    "properties": {
        "path": {
            "type": "string",
            "minLength": 1,
            "maxLength": 256,
            "description": "A file of the workspace.",
        }
    },
    "required": ["path"],
    "additionalProperties": False,
}
_NO_INPUT: dict[str, object] = {"type": "object", "properties": {}, "additionalProperties": False}

DEMO_LS = ToolDefinition(
    name="demo.ls",
    description="Lists the agent's workspace with ls -la.",
    input_schema=_NO_INPUT,
    argv_template=("/usr/bin/ls", "-la"),
    capabilities=frozenset({"process_exec"}),
    risk="medium",
)
DEMO_WC = ToolDefinition(
    name="demo.wc",
    description="Counts lines, words and bytes of one workspace file with wc.",
    input_schema=_FILE_INPUT,
    argv_template=("/usr/bin/wc", "--", "{path}"),
    capabilities=frozenset({"process_exec"}),
    risk="medium",
    resource_template="file:{path}",
)


@dataclass(frozen=True, slots=True)
class Founded:
    """What the first start made. The secrets are here and nowhere else in clear."""

    username: str
    agent_id: str
    password: str = field(repr=False)
    totp_uri: str = field(repr=False)
    owner_token: str = field(repr=False)
    agent_token: str = field(repr=False)


def found(now: datetime) -> Founded:
    """Create the workspaces, the owner, the rules and the demo inside the caller's transaction."""
    shell = system_actor("shell")
    instance, workspace = workspaces.create_workspaces(actor=shell, now=now, record=record)
    _features(shell, now)
    policy.install_baseline(actor=shell, now=now, record=record)
    password, seed = secrets.token_urlsafe(24), secrets.token_bytes(20)
    owner = people.create_user(
        username=OWNER, password=password, display_name="Owner", actor=shell, now=now, record=record
    )
    for place in (instance, workspace):
        memberships.grant_membership(
            user=owner, workspace=place, role=WorkspaceRole.OWNER, actor=shell, now=now, record=record
        )
    factors.set_totp_factor(user=owner, seed=seed, actor=shell, now=now, record=record, from_bootstrap=True)
    principal = _as_principal(owner, workspace, now)
    agent = _demo_agent(workspace, shell, now)
    _demo_tools(agent, workspace, principal, now)
    tokens = _tokens(owner, agent, workspace, principal, now)
    record(
        event="system.bootstrapped",
        actor=shell,
        subject="system",
        now=now,
        data={"owner": owner.pk, "agent": agent.pk, "workspace": workspace.pk},
    )
    return Founded(
        username=OWNER,
        agent_id=agent.pk,
        password=password,
        totp_uri=totp_uri(OWNER, seed),
        owner_token=tokens[0],
        agent_token=tokens[1],
    )


def _features(shell: Actor, now: datetime) -> None:
    """Switch on what the demonstration uses; every other flag stands at its default."""
    for key in DEMO_FEATURES:
        rollout.change_flag(
            key=key,
            wishes=rollout.FlagWishes(reason="The demonstration uses it.", enabled=True),
            seen_version=0,
            actor=shell,
            now=now,
            record=record,
        )


def totp_uri(username: str, seed: bytes) -> str:
    """Return the `otpauth://` key URI that authenticator programs read (SHA-1, 6 digits, 30 s)."""
    secret = base64.b32encode(seed).decode().rstrip("=")
    label = quote(f"Palyra:{username}")
    return f"otpauth://totp/{label}?secret={secret}&issuer=Palyra&algorithm=SHA1&digits=6&period=30"


def _as_principal(owner: User, workspace: Workspace, now: datetime) -> Principal:
    return principal_of_user(
        user=owner,
        workspace_id=workspace.pk,
        strength=AuthStrength.FRESH_MFA,
        client_ip="",
        request_id="",
        authenticated_at=now,
        now=now,
        surface=Surface.SHELL,
    )


def _demo_agent(workspace: Workspace, shell: Actor, now: datetime) -> Agent:
    """The demo agent belongs to somebody who cannot log in, so that the owner may decide its requests."""
    keeper = people.create_user(
        username=DEMO_OWNER, password=None, display_name="Demo owner", actor=shell, now=now, record=record
    )
    memberships.grant_membership(
        user=keeper,
        workspace=workspace,
        role=WorkspaceRole.OPERATOR,
        actor=shell,
        now=now,
        record=record,
    )
    return agents.register_agent(
        owner=keeper,
        workspace=workspace,
        name=DEMO_AGENT,
        purpose="Shows what a governed call looks like.",
        actor=shell,
        now=now,
        record=record,
    )


def _demo_tools(agent: Agent, workspace: Workspace, owner: Principal, now: datetime) -> None:
    """Register the demo tools as an administrator would, and the directory they may see."""
    actor = owner.actor()
    root = create_workspace("demo", DEMO_FILES)
    sandbox.register_workspace_root(
        name="demo", path=root, agents=(agent.pk,), mode_max="bind_rw", actor=actor, now=now, record=record
    )
    for definition in (DEMO_LS, DEMO_WC):
        policy.register_tool(definition=definition, actor=actor, now=now, record=record)
        policy.allowlist(
            workspace_id=workspace.pk,
            kind=AllowlistKind.TOOL,
            value=definition.name,
            actor=actor,
            now=now,
            record=record,
        )
    override = OverrideInput(
        tool=DEMO_LS.name,
        scope_kind="workspace",
        scope_id=workspace.pk,
        state=PostureState.ALWAYS_ALLOW,
        reason="The demonstration lists its own directory without asking.",
        expires_at=now + DEMO_POSTURE_LIFE,
        otp_verified_at=now,
    )
    policy.set_posture(override=override, actor=actor, now=now, record=record)
    skill = install_builtin_skill(skill=ECHO, module=echo_module(), actor=actor, now=now, record=record)
    policy.allowlist(
        workspace_id=workspace.pk,
        kind=AllowlistKind.SKILL,
        value=skill.pk,
        actor=actor,
        now=now,
        record=record,
    )


def _tokens(
    owner: User, agent: Agent, workspace: Workspace, principal: Principal, now: datetime
) -> tuple[str, str]:
    own = minting.mint_token(
        kind=TokenKind.USER,
        label="bootstrap owner",
        scopes=sorted(principal.permissions),
        expires_at=now + OWNER_TOKEN_LIFE,
        workspace=workspace,
        user=owner,
        from_bootstrap=True,
        rate_per_minute=BOOTSTRAP_RATE,
        minter=principal,
        now=now,
        record=record,
    )
    theirs = minting.mint_token(
        kind=TokenKind.AGENT,
        label="bootstrap demo agent",
        scopes=AGENT_SCOPES,
        expires_at=now + AGENT_TOKEN_LIFE,
        workspace=workspace,
        agent=agent,
        from_bootstrap=True,
        rate_per_minute=BOOTSTRAP_RATE,
        minter=principal,
        now=now,
        record=record,
    )
    return own.text, theirs.text
