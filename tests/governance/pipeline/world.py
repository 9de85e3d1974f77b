"""One installation with its cast, and the verbs of a call as agent, people, worker and sweeper use them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.apps import apps
from django.db import connection, transaction

from approvals.services import ReviewOutcome
from approvals.types import ReviewInput
from governance import pipeline, recheck
from governance.journal.attestations import attestation_keys
from governance.journal.ledger import record
from governance.journal.models import Attestation, JournalEvent
from governance.journal.reading import open_data
from governance.models import Run, ToolCall
from governance.operations import installation, runs
from governance.proposals import Claim, Proposal
from governance.runner import Worker, boot_id
from governance.selectors import CallView, view_of
from identity import agents, memberships, minting, people
from identity.authentication import principal_of
from identity.models import Agent, User, Workspace
from identity.roles import WorkspaceRole
from identity.selectors import principal_of_user
from identity.tokens import TokenKind
from identity.types import AuthStrength, Principal
from kernel.clock import utc_now
from kernel.record import Actor, system_actor
from policy import services as policy
from policy.postures import OverrideInput
from policy.types import AllowlistKind, ToolDefinition
from sandbox.attestation import Statement, verify_envelope
from sandbox.runners.worker import RunnerPool
from sandbox.selection import Probe
from sandbox.types import Executor

SHELL = system_actor("shell")
SWEEPER = system_actor("sweeper")
PASSWORD = "correct horse battery staple"
SCOPES = (
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

ECHO = "echo"
ASKED = "asked.note"
LAUNCH = "asked.launch"
SLEEP = "sleep"
NOTE: dict[str, object] = {"text": "hello"}
INPUTS: Mapping[str, object] = {ECHO: NOTE, ASKED: NOTE, LAUNCH: NOTE, SLEEP: {"duration_ms": 0}}
"""Inputs that fit. `echo` just runs; `sleep` asks by its posture, `asked.note` by policy."""

_TEXT: dict[str, object] = {
    "type": "object",
    "properties": {"text": {"type": "string"}},
    "required": ["text"],
    "additionalProperties": False,
}


@dataclass(frozen=True, slots=True)
class World:
    """The cast. `agent_owner` owns both agents and is no reviewer; `worker` runs built-in tools."""

    workspace: Workspace
    worker: Worker
    owner: User
    agent_owner: User
    approver: User
    second_approver: User
    auditor: User
    stranger: User
    agent_row: Agent
    agent_token: str
    other_agent_row: Agent
    other_agent_token: str

    @property
    def agent(self) -> Principal:
        return authenticated(self.agent_token)

    @property
    def other_agent(self) -> Principal:
        return authenticated(self.other_agent_token)

    def person(self, user: User, *, now: datetime | None = None) -> Principal:
        """Return a person after a login with a one-time code."""
        return as_principal(user, self.workspace, now or utc_now())

    def open_run(self, principal: Principal | None = None, **wishes: Any) -> Run:
        return runs.open_run(principal=principal or self.agent, wishes=wishes, now=utc_now())

    def propose(
        self,
        tool: str = ECHO,
        arguments: object = None,
        *,
        run: Run | None = None,
        principal: Principal | None = None,
        now: datetime | None = None,
        **more: Any,
    ) -> CallView:
        """Propose one call, with an input that fits when none is given."""
        who = principal or self.agent
        given = run or self.open_run(who)
        content = INPUTS.get(tool, NOTE) if arguments is None else arguments
        proposal = Proposal(run_id=given.id, tool=tool, input=content)
        return pipeline.submit(proposal=proposal, principal=who, now=now or utc_now(), **more)

    def ask(self, tool: str = SLEEP, *, run: Run | None = None, now: datetime | None = None) -> CallView:
        """Propose a call that waits for a person."""
        view = self.propose(tool, run=run, now=now)
        assert view.state == "awaiting_approval", view.call.gates
        return view

    def answer(
        self,
        view: CallView,
        verdict: str = "allow",
        *,
        by: User | None = None,
        principal: Principal | None = None,
        now: datetime | None = None,
        **more: Any,
    ) -> ReviewOutcome:
        """Answer the request of a call with a fresh one-time code and a comment."""
        moment = now or utc_now()
        review: dict[str, Any] = {
            "scope": "once" if verdict == "allow" else None,
            "comment": "looked at it",
            "otp_verified_at": moment,
        }
        return pipeline.review(
            request_id=view.call.approval_id or "",
            principal=principal or self.person(by or self.approver, now=moment),
            answer=ReviewInput(verdict=verdict, **(review | more)),
            now=moment,
        )

    def allowed(self, view: CallView, *, now: datetime | None = None) -> CallView:
        """Have a person allow the call; return it queued."""
        assert self.answer(view, now=now).kind == "allowed"
        return again(view)

    def run(self, view: CallView, *, now: datetime | None = None, worker: Worker | None = None) -> CallView:
        """Have the worker take the call; return it as it is afterwards."""
        pipeline.run(
            execution_id=again(view).call.execution_id or "",
            worker=worker or self.worker,
            clock=(lambda: now) if now else utc_now,
        )
        return again(view)


def again(view: CallView) -> CallView:
    """Return the call as it stands now."""
    return view_of(ToolCall.objects.select_related("run").get(id=view.call.id))


def events_of(view: CallView) -> list[str]:
    """Return the names of the call's events in the order of its run."""
    rows = JournalEvent.objects.filter(call_id=view.call.id).order_by("run_seq")
    return list(rows.values_list("type", flat=True))


def run_events(run: Run) -> list[str]:
    rows = JournalEvent.objects.filter(run_id=run.id).order_by("run_seq")
    return list(rows.values_list("type", flat=True))


def final_decisions(view: CallView) -> list[dict[str, Any]]:
    """Return the data of the decisions of a call that say `final`."""
    rows = JournalEvent.objects.filter(call_id=view.call.id, type="tool_call.decided").order_by("run_seq")
    return [data for data in map(open_data, rows) if data["final"]]


def attested(view: CallView) -> Statement:
    """Return the one statement of a call, checked against the stored public keys and its row."""
    row = Attestation.objects.get(call_id=view.call.id)
    statement = verify_envelope(row.envelope, attestation_keys())
    assert statement.execution_sha256 == row.execution_sha256
    assert statement.predicate["call_id"] == view.call.id
    return statement


def gate_row(view: CallView, gate: str) -> dict[str, Any]:
    row: dict[str, Any] = next(row for row in view.call.gates if row["gate"] == gate)
    return row


def calls_used(view: CallView) -> int:
    return Run.objects.get(id=view.call.run_id).calls_used


def claim(world: World, view: CallView) -> Claim:
    """Start the call as a worker that does nothing further."""
    with transaction.atomic(durable=True):
        found = recheck.claim(view.call.execution_id or "", world.worker, utc_now())
    assert found is not None
    return found


def snapshot() -> dict[str, list[str]]:
    """Return every row of every table, as the database has it."""
    found = {}
    with connection.cursor() as cursor:
        for model in apps.get_models():
            cursor.execute(f'SELECT * FROM "{model._meta.db_table}"')  # noqa: S608  # a name of ours
            found[model._meta.label] = sorted(map(_as_text, cursor.fetchall()))
    return found


def _as_text(row: tuple[object, ...]) -> str:
    return repr([bytes(value) if isinstance(value, memoryview) else value for value in row])


def set_posture(world: World, tool: str, state: str, *, life: timedelta | None = None) -> None:
    """Have the owner set the posture of a tool for the workspace."""
    now = utc_now()
    override = OverrideInput(
        tool=tool,
        scope_kind="workspace",
        scope_id=world.workspace.pk,
        state=state,
        reason="a test",
        expires_at=now + life if life else None,
        otp_verified_at=now,
    )
    with transaction.atomic():
        policy.set_posture(override=override, actor=owner_actor(world), now=now, record=record)


def redefine(world: World, tool: str = ASKED, **changes: Any) -> None:
    """Have the owner register another definition under a known name."""
    with transaction.atomic():
        policy.register_tool(
            definition=definition(tool, **changes), actor=owner_actor(world), now=utc_now(), record=record
        )


def take_off_the_allowlist(world: World, tool: str) -> None:
    with transaction.atomic():
        policy.remove_from_allowlist(
            workspace_id=world.workspace.pk,
            kind=AllowlistKind.TOOL,
            value=tool,
            actor=owner_actor(world),
            now=utc_now(),
            record=record,
        )


def allow_principal(world: World, agent_id: str) -> None:
    with transaction.atomic():
        policy.allowlist(
            workspace_id=world.workspace.pk,
            kind=AllowlistKind.PRINCIPAL,
            value=agent_id,
            actor=owner_actor(world),
            now=utc_now(),
            record=record,
        )


def announce(probe: Probe, *, now: datetime | None = None) -> None:
    installation.announce_worker(host="test", boot="test", probe=probe, now=now or utc_now())


def owner_actor(world: World) -> Actor:
    return world.person(world.owner).actor()


def found_world(now: datetime) -> World:
    """Found an installation as `make run` does and add people, agents and tools by the real services."""
    founded = installation.bootstrap(now=now)
    assert founded is not None
    announce(HOST, now=now)
    with transaction.atomic():
        workspace = Workspace.objects.get(slug="default")
        owner = User.objects.get(username="owner")
        agent_owner = add_person("agent-owner", workspace, now, WorkspaceRole.OPERATOR)
        people = {
            "approver": add_person("approver", workspace, now, WorkspaceRole.APPROVER),
            "second_approver": add_person("second-approver", workspace, now, WorkspaceRole.APPROVER),
            "auditor": add_person("auditor", workspace, now, WorkspaceRole.AUDITOR),
            "stranger": add_person("stranger", workspace, now),
        }
        minter = as_principal(owner, workspace, now)
        for name in (ASKED, LAUNCH):
            add_tool(definition(name), workspace, minter.actor(), now)
        agent, token = add_agent("agent", agent_owner, workspace, minter, now)
        other, other_token = add_agent("other-agent", agent_owner, workspace, minter, now)
    world = World(
        workspace=workspace,
        worker=Worker("test:1", boot_id(), BuiltinPool()),
        owner=owner,
        agent_owner=agent_owner,
        agent_row=agent,
        agent_token=token,
        other_agent_row=other,
        other_agent_token=other_token,
        **people,
    )
    set_posture(world, SLEEP, "ask_each_time")
    return world


class BuiltinPool(RunnerPool):
    """The real pool on a host whose probe passed everywhere; only built-in tools are run on it."""

    def probe(self) -> Probe:
        return HOST


def definition(name: str, **changes: Any) -> ToolDefinition:
    """Return a custom tool that prints its text: `asked.note` is of medium risk, `asked.launch` critical."""
    values: Mapping[str, Any] = {
        "name": name,
        "description": "Prints a text.",
        "input_schema": _TEXT,
        "argv_template": ("/usr/bin/printf", "%s", "{text}"),
        "capabilities": frozenset({"process_exec"}),
        "risk": "critical" if name == LAUNCH else "medium",
    }
    return ToolDefinition(**{**values, **changes})


def add_tool(tool: ToolDefinition, workspace: Workspace, actor: Actor, now: datetime) -> None:
    policy.register_tool(definition=tool, actor=actor, now=now, record=record)
    policy.allowlist(
        workspace_id=workspace.pk,
        kind=AllowlistKind.TOOL,
        value=tool.name,
        actor=actor,
        now=now,
        record=record,
    )


def add_person(name: str, workspace: Workspace, now: datetime, *roles: WorkspaceRole) -> User:
    user = people.create_user(username=name, password=PASSWORD, actor=SHELL, now=now, record=record)
    for role in roles:
        memberships.grant_membership(
            user=user, workspace=workspace, role=role, actor=SHELL, now=now, record=record
        )
    return user


def add_agent(
    name: str, owner: User, workspace: Workspace, minter: Principal, now: datetime
) -> tuple[Agent, str]:
    """Register an agent and mint its token."""
    agent = agents.register_agent(
        owner=owner, workspace=workspace, name=name, actor=SHELL, now=now, record=record
    )
    minted = minting.mint_token(
        kind=TokenKind.AGENT,
        label="test",
        scopes=SCOPES,
        expires_at=now + timedelta(days=30),
        workspace=workspace,
        agent=agent,
        minter=minter,
        now=now,
        record=record,
    )
    return agent, minted.text


def authenticated(token: str) -> Principal:
    """Return who holds the token, as the API finds out."""
    return principal_of(
        authorization=(f"Bearer {token}",), client_ip="127.0.0.1", request_id="req_test", now=utc_now()
    )


def as_principal(user: User, workspace: Workspace, now: datetime) -> Principal:
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
