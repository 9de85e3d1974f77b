"""A whole installation with its cast, and callers who talk to it over HTTP."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

from django.db import transaction
from django.test import Client
from django_otp.oath import TOTP

from governance.journal.ledger import record
from governance.operations import installation
from identity import agents, factors, memberships, minting, people
from identity.models import Agent, User, Workspace
from identity.roles import WorkspaceRole
from identity.selectors import principal_of_user
from identity.tokens import TokenKind
from identity.types import AuthStrength, Principal
from kernel.clock import utc_now
from kernel.record import system_actor
from policy import services as policy
from policy.types import AllowlistKind, ToolDefinition
from sandbox.selection import Probe
from sandbox.types import Executor

SHELL = system_actor("shell")
PASSWORD = "correct horse battery staple"
AGENT_SCOPES = (
    "runs.create",
    "runs.read",
    "runs.cancel",
    "tools.propose",
    "tools.read",
    "calls.read",
    "approvals.read",
)
HOST = Probe(executors=frozenset(Executor))
"""What a worker host with everything installed reports."""

_EMPTY: dict[str, object] = {"type": "object", "properties": {}, "additionalProperties": False}


class Answer(Protocol):
    """What these tests read of Django's test response."""

    status_code: int
    content: bytes

    @property
    def headers(self) -> Mapping[str, str]: ...

    def json(self) -> Any: ...


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody with a token, or nobody with an empty one."""

    token: str = field(repr=False)
    id: str = ""
    seed: bytes = field(default=b"", repr=False)

    def get(self, path: str, **headers: str) -> Answer:
        return self.send("GET", path, None, **headers)

    def post(self, path: str, body: object = None, **headers: str) -> Answer:
        data = b"{}" if body is None else json.dumps(body).encode()
        return self.send("POST", path, data, **headers)

    def send(
        self, method: str, path: str, data: bytes | None, *, kind: str = "application/json", **headers: str
    ) -> Answer:
        """Send exactly these bytes. Header names are written with underscores."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.token:
            sent.setdefault("Authorization", f"Bearer {self.token}")
        address = path if path.startswith("/") else f"/api/v1/{path}"
        answer: Answer = Client().generic(method, address, data or b"", content_type=kind, headers=sent)
        return answer

    def code(self, *, steps: int = 0) -> str:
        """Return this person's one-time code, `steps` of 30 s away from now."""
        clock = TOTP(self.seed, step=30)
        clock.time = utc_now().timestamp() + 30 * steps
        return f"{clock.token():06d}"

    def open_run(self, **wishes: object) -> str:
        """Open a run and return its id."""
        answer = self.post("runs", wishes)
        assert answer.status_code == 201, answer.content
        return str(answer.json()["id"])

    def propose(self, tool: str, arguments: object, *, run: str | None = None) -> dict[str, Any]:
        """Propose one call and return the object."""
        body = {"run_id": run or self.open_run(), "tool": tool, "input": arguments}
        answer = self.post("tool-calls", body)
        assert answer.status_code in (201, 202), answer.content
        made: dict[str, Any] = answer.json()
        return made


@dataclass(frozen=True, slots=True)
class World:
    """The cast of one installation. `agent_owner` owns both agents and is no reviewer."""

    workspace: Workspace
    owner: Caller
    agent: Caller
    other_agent: Caller
    agent_owner: Caller
    approver: Caller
    second_approver: Caller
    auditor: Caller
    stranger: Caller
    nobody: Caller

    def ask(self, tool: str = "demo.wc") -> dict[str, Any]:
        """Have the agent propose a call that waits for a person, and return it."""
        arguments = {
            "demo.wc": {"path": "README.txt"},
            "fs.write": {"path": "a.txt", "content": "x"},
            "demo.launch": {},
        }[tool]
        call = self.agent.propose(tool, arguments)
        assert call["state"] == "awaiting_approval", call["decision"]
        return call


def found_world(now: datetime) -> World:
    """Found an installation as `make run` does and add people to it by the real services."""
    founded = installation.bootstrap(now=now)
    assert founded is not None
    installation.announce_worker(host="test", boot="test", probe=HOST, now=now)
    with transaction.atomic():
        workspace = Workspace.objects.get(slug="default")
        owner_row = User.objects.get(username="owner")
        owner = _as_principal(owner_row, workspace, now)
        agent_owner = add_person("agent-owner", workspace, owner, WorkspaceRole.OPERATOR, now=now)
        _register_launch(workspace, owner, now)
        seed = base64.b32decode(founded.totp_uri.split("secret=")[1].split("&")[0])
        people = {
            name: add_person(name, workspace, owner, *roles, now=now)
            for name, roles in (
                ("approver", (WorkspaceRole.APPROVER,)),
                ("second-approver", (WorkspaceRole.APPROVER,)),
                ("auditor", (WorkspaceRole.AUDITOR,)),
                ("stranger", ()),
            )
        }
        other = add_agent("other-agent", agent_owner.id, workspace, owner, now=now)
    return World(
        workspace=workspace,
        owner=Caller(founded.owner_token, owner.id, seed),
        agent=Caller(founded.agent_token, founded.agent_id),
        other_agent=other,
        agent_owner=agent_owner,
        approver=people["approver"],
        second_approver=people["second-approver"],
        auditor=people["auditor"],
        stranger=people["stranger"],
        nobody=Caller(""),
    )


def add_person(
    name: str,
    workspace: Workspace,
    owner: Principal,
    *roles: WorkspaceRole,
    now: datetime,
    scopes: tuple[str, ...] | None = None,
) -> Caller:
    """Create a person with an authenticator and a personal token of everything they hold."""
    user = people.create_user(username=name, password=PASSWORD, actor=SHELL, now=now, record=record)
    for role in roles:
        memberships.grant_membership(
            user=user, workspace=workspace, role=role, actor=SHELL, now=now, record=record
        )
    seed = name.encode().ljust(20, b"-")[:20]
    factors.set_totp_factor(user=user, seed=seed, actor=SHELL, now=now, record=record)
    token = mint_for_person(user, workspace, now=now, scopes=scopes)
    return Caller(token, user.pk, seed)


def mint_for_person(
    user: User, workspace: Workspace, *, now: datetime, scopes: tuple[str, ...] | None = None
) -> str:
    """Mint a personal token; somebody without any role gets one that was minted while they had one."""
    minter = _as_principal(user, workspace, now)
    wanted = scopes or tuple(sorted(minter.permissions))
    if not wanted:
        return _token_of_a_former_viewer(user, workspace, now)
    return minting.mint_token(
        kind=TokenKind.USER,
        label="test",
        scopes=wanted,
        expires_at=now + timedelta(days=30),
        workspace=workspace,
        user=user,
        minter=minter,
        now=now,
        record=record,
    ).text


def _token_of_a_former_viewer(user: User, workspace: Workspace, now: datetime) -> str:
    membership = memberships.grant_membership(
        user=user, workspace=workspace, role=WorkspaceRole.OPERATOR, actor=SHELL, now=now, record=record
    )
    text = mint_for_person(user, workspace, now=now)
    membership.delete()
    return text


def add_agent(
    name: str,
    owner_id: str,
    workspace: Workspace,
    minter: Principal,
    *,
    now: datetime,
    scopes: tuple[str, ...] = AGENT_SCOPES,
) -> Caller:
    """Register an agent and mint a token for it."""
    agent = agents.register_agent(
        owner=User.objects.get(pk=owner_id),
        workspace=workspace,
        name=name,
        actor=SHELL,
        now=now,
        record=record,
    )
    return mint_for_agent(agent, workspace, minter, now=now, scopes=scopes)


def mint_for_agent(
    agent: Agent,
    workspace: Workspace,
    minter: Principal,
    *,
    now: datetime,
    scopes: tuple[str, ...] = AGENT_SCOPES,
    life: timedelta = timedelta(days=30),
) -> Caller:
    """Mint a token for an agent as the owner of the instance would."""
    minted = minting.mint_token(
        kind=TokenKind.AGENT,
        label="test",
        scopes=scopes,
        expires_at=now + life,
        workspace=workspace,
        agent=agent,
        minter=minter,
        now=now,
        record=record,
    )
    return Caller(minted.text, agent.pk)


def owner_principal(world: World, now: datetime) -> Principal:
    """Return the owner of the instance as the console knows them after a login at `now`."""
    return _as_principal(User.objects.get(pk=world.owner.id), world.workspace, now)


def _as_principal(user: User, workspace: Workspace, now: datetime) -> Principal:
    return principal_of_user(
        user=user,
        workspace_id=workspace.pk,
        strength=AuthStrength.FRESH_MFA,
        client_ip="127.0.0.1",
        request_id="req_test",
        authenticated_at=now,
        now=now,
        session_digest="sha256:" + "0" * 64,
    )


def _register_launch(workspace: Workspace, owner: Principal, now: datetime) -> None:
    """A tool of critical risk: it needs two people, a comment and a code."""
    launch = ToolDefinition(
        name="demo.launch",
        description="Starts what cannot be stopped.",
        input_schema=_EMPTY,
        argv_template=("/usr/bin/true",),
        capabilities=frozenset({"process_exec"}),
        risk="critical",
    )
    policy.register_tool(definition=launch, actor=owner.actor(), now=now, record=record)
    policy.allowlist(
        workspace_id=workspace.pk,
        kind=AllowlistKind.TOOL,
        value=launch.name,
        actor=owner.actor(),
        now=now,
        record=record,
    )
