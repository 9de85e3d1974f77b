"""A founded installation on which an agent asks and its one person answers, for benchmarks of approvals.

Import it only inside `founded()`: it reads models. The owner is alone and decides by the rule for that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.db import connection
from django.db.models import Model
from django.test import Client

from approvals.models import Grant
from approvals.services import ReviewOutcome
from approvals.types import ReviewInput
from benchmarks.installation import Ready
from governance import pipeline
from governance.models import Run
from governance.operations import installation, runs, sessions
from governance.proposals import Proposal
from governance.selectors import CallView
from identity.agent_limits import NAMES
from identity.authentication import principal_of
from identity.models import Agent, TotpFactor, User
from identity.selectors import principal_of_user
from identity.sessions import Browser
from identity.types import AuthStrength, Principal
from kernel.clock import utc_now
from palyra_site import broker
from sandbox.selection import Probe
from sandbox.types import Executor

ASKED, ALWAYS = "demo.wc", "demo.ls"
"""The demonstration's tools: one asks each time, one is always allowed. Same tier, risk and powers."""
INPUT = {"path": "README.txt"}
ADDRESS = "127.0.0.1"
MOST_ASKS = 1_000


@dataclass(slots=True)
class Scene:
    """The verbs of the agent and of the person, on the real path."""

    agent: Principal
    owner: User

    def open_run(self) -> Run:
        return runs.open_run(principal=self.agent, wishes={}, now=utc_now())

    def propose(self, tool: str = ASKED, given: Mapping[str, object] | None = None, *, run: Run) -> CallView:
        proposal = Proposal(run_id=run.id, tool=tool, input=dict(INPUT if given is None else given))
        return pipeline.submit(proposal=proposal, principal=self.agent, now=utc_now())

    def ask(self, *, run: Run | None = None) -> CallView:
        """Propose a call that waits for the person."""
        view = self.propose(run=run or self.open_run())
        if view.state != "awaiting_approval":
            raise SystemExit(f"the call does not wait: {view.state}, {view.call.reason_code}")
        return view

    def allow(self, view: CallView, scope: str = "once", *, ttl: timedelta | None = None) -> ReviewOutcome:
        """Allow a call as its person after a one-time code."""
        now = utc_now()
        answer = ReviewInput(
            verdict="allow",
            scope=scope,
            ttl_ms=ttl // timedelta(milliseconds=1) if ttl else None,
            comment="looked at it",
            otp_verified_at=now,
        )
        return pipeline.review(
            request_id=view.call.approval_id or "", principal=self.person(), answer=answer, now=now
        )

    def granted(self) -> tuple[CallView, Grant]:
        """Have a call allowed for an hour; return it and the grant that covers all like it."""
        view = self.ask()
        grant = self.allow(view, "temporary", ttl=timedelta(hours=1)).grant
        if grant is None:
            raise SystemExit("the answer left no grant")
        return view, grant

    def person(self) -> Principal:
        now = utc_now()
        return principal_of_user(
            user=self.owner,
            workspace_id=self.agent.workspace_id,
            strength=AuthStrength.FRESH_MFA,
            client_ip=ADDRESS,
            request_id="r",
            authenticated_at=now,
            now=now,
            session_digest="sha256:" + "0" * 64,
        )

    def browser(self) -> Client:
        """Return a browser in which the person has just signed in with both factors."""
        client = Client(SERVER_NAME=ADDRESS)
        client.cookies[settings.SESSION_COOKIE_NAME] = sessions.open_for(
            user=self.owner,
            factor=TotpFactor.objects.get(user=self.owner),
            code_entered=True,
            browser=Browser(ip=ADDRESS, user_agent="Benchmark"),
            now=utc_now(),
        )
        return client


def scene(ready: Ready) -> Scene:
    """Return the cast, after a worker host was seen and the agent may ask as often as a benchmark does."""
    now = utc_now()
    broker.make_folders()
    installation.announce_worker(
        host="benchmark", boot="1", probe=Probe(executors=frozenset(Executor)), now=now
    )
    header = (f"Bearer {ready.agent_token}",)
    agent = principal_of(authorization=header, client_ip=ADDRESS, request_id="r", now=now)
    Agent.objects.filter(pk=agent.id).update(limits=dict.fromkeys(NAMES, MOST_ASKS))
    return Scene(agent, User.objects.get(username="owner"))


def copy_rows(pattern: Model, count: int, **own: str) -> None:
    """Copy a row so many times on SQLite, with `own` columns from expressions over `n`, 1 upwards."""
    table = pattern._meta.db_table
    columns = [str(field.column) for field in pattern._meta.concrete_fields]
    names = ", ".join(f'"{name}"' for name in columns)
    values = ", ".join(own.get(name, f't."{name}"') for name in columns)
    with connection.cursor() as cursor:
        cursor.execute(
            "WITH RECURSIVE number(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < %s) "  # noqa: S608
            f'INSERT INTO "{table}" ({names}) SELECT {values} FROM number, "{table}" t WHERE t.id = %s',
            [count, pattern.pk],
        )
