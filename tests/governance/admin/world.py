"""An installation with people around it, made by the product's own services."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.test import Client
from django_otp.oath import TOTP

from governance import pipeline
from governance.models import Run
from governance.operations import installation, runs, sessions
from governance.proposals import Proposal
from governance.selectors import CallView
from identity.models import Agent, ConsoleSession, TotpFactor, User, Workspace
from identity.roles import WorkspaceRole
from identity.selectors import principal_of_agent
from identity.session_store import digest_of
from identity.sessions import Browser
from identity.types import Principal
from kernel.clock import utc_now
from sandbox.selection import Probe
from sandbox.types import Executor
from tests.cast import SEED, enrol, make_agent, make_user

HOST, BOOT = "host-1", "boot-1"


@dataclass(frozen=True, slots=True)
class World:
    """The installation's owner and demo agent; `keeper` may approve and owns the agent `kept`."""

    workspace: Workspace
    owner: User
    admin: User
    approver: User
    second_approver: User
    keeper: User
    operator: User
    auditor: User
    viewer: User
    stranger: User
    agent: Agent
    kept: Agent

    @property
    def people(self) -> dict[str, User]:
        names = ("owner", "admin", "approver", "operator", "auditor", "viewer", "stranger")
        return {name: getattr(self, name) for name in names}


def make_world() -> World:
    """Found the installation, announce a worker, and add a person for each role."""
    now = utc_now()
    installation.bootstrap(now=now)
    executors = frozenset(Executor)
    installation.announce_worker(host=HOST, boot=BOOT, probe=Probe(executors=executors), now=now)
    workspace = Workspace.objects.get(slug="default")
    owner = User.objects.get(username="owner")
    roles = {
        "admin": WorkspaceRole.ADMIN,
        "approver": WorkspaceRole.APPROVER,
        "second-approver": WorkspaceRole.APPROVER,
        "operator": WorkspaceRole.OPERATOR,
        "auditor": WorkspaceRole.AUDITOR,
        "viewer": WorkspaceRole.VIEWER,
    }
    made = {
        name.replace("-", "_"): make_user(name, role, workspace=workspace) for name, role in roles.items()
    }
    stranger = make_user("stranger", workspace=workspace)
    keeper = make_user("keeper", WorkspaceRole.APPROVER, WorkspaceRole.OPERATOR, workspace=workspace)
    for person in (owner, stranger, keeper, *made.values()):
        enrol(person)
    return World(
        workspace=workspace,
        owner=owner,
        stranger=stranger,
        agent=Agent.objects.get(name="demo-agent"),
        keeper=keeper,
        kept=make_agent(keeper, workspace, "kept-agent"),
        **made,
    )


def sign_in(
    person: User,
    *,
    code_age: timedelta | None = timedelta(hours=1),
    verified: bool = True,
    **options: Any,
) -> Client:
    """Return a client whose session has passed both factors; `code_age` says how long ago.

    Unverified, it has passed the password alone.
    """
    client, now = Client(**options), utc_now()
    key = sessions.open_for(
        user=person,
        factor=TotpFactor.objects.get(user=person) if verified else None,
        code_entered=verified and code_age is not None,
        browser=Browser(ip="127.0.0.1", user_agent="Test"),
        now=now,
    )
    if code_age is not None:
        ConsoleSession.objects.filter(pk=digest_of(key)).update(mfa_at=now - code_age)
    client.cookies[settings.SESSION_COOKIE_NAME] = key
    return client


def code_now() -> str:
    """Return the one-time code that is right at this moment."""
    totp = TOTP(SEED)
    totp.time = utc_now().timestamp()
    return f"{totp.token():06d}"


def principal_of(agent: Agent) -> Principal:
    return principal_of_agent(agent=agent, token=None, client_ip="", request_id="", now=utc_now())


def propose(agent: Agent, tool: str, values: dict[str, object], *, purpose: str = "a test") -> CallView:
    """Propose one call in a run of its own."""
    actor = principal_of(agent)
    run: Run = runs.open_run(principal=actor, wishes={"purpose": purpose}, now=utc_now())
    return pipeline.submit(
        proposal=Proposal(run_id=run.id, tool=tool, input=values), principal=actor, now=utc_now()
    )


def write_file(agent: Agent, path: str = "notes/a.md", content: str = "hello") -> CallView:
    """Propose a call of high risk that waits for a person."""
    return propose(agent, "fs.write", {"path": path, "content": content})


def count_words(agent: Agent) -> CallView:
    """Propose a call of medium risk that waits for a person."""
    return propose(agent, "demo.wc", {"path": "notes/ideas.txt"})
