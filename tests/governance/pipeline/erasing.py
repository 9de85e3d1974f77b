"""People, agents and traces for the tests of erasure."""

from __future__ import annotations

from pathlib import Path

from django.db import connection, transaction

from approvals.models import ApprovalRequest
from governance.journal.ledger import record
from governance.models import Run, ToolCall
from governance.operations.sealing import seal_pending
from identity import agents, people, rollout
from identity.models import Agent, User
from identity.rollout import FlagWishes
from kernel.clock import utc_now
from kernel.ids import new_id
from sandbox.models import Execution
from tests.governance.pipeline.world import (
    SHELL,
)

WORD = "Erika Mustermann"


def seal_all() -> None:
    while seal_pending(utc_now()):
        pass


def traces_in_file(traces: dict[str, list[bytes]]) -> dict[str, list[bytes]]:
    """Return those of these traces that stand anywhere in the database's files."""
    name = str(connection.settings_dict["NAME"])
    files = [Path(name), Path(f"{name}-wal"), Path(f"{name}-journal")]
    stored = b"".join(path.read_bytes() for path in files if path.exists())
    return {kind: [one for one in several if one in stored] for kind, several in traces.items()}


def disabled_person() -> User:
    now = utc_now()
    with transaction.atomic():
        gone = people.create_user(
            username=f"erika-{new_id('x', now)[-8:].lower()}", password=None, display_name=WORD,
            email="erika@example.org", actor=SHELL, now=now, record=record,
        )  # fmt: skip
        return people.disable_user(user_id=gone.pk, reason="left us", actor=SHELL, now=now, record=record)


def switch_on(key: str) -> None:
    with transaction.atomic():
        wishes = FlagWishes(reason="a test needs it", enabled=True, stage="general")
        rollout.change_flag(key=key, wishes=wishes, seen_version=0, actor=SHELL, now=utc_now(), record=record)


def suspend(agent: Agent) -> None:
    with transaction.atomic():
        agents.suspend_agent(
            agent_id=agent.pk, reason="to be erased", actor=SHELL, now=utc_now(), record=record
        )


def everything(run: str, call: str) -> str:
    rows: list[object] = [
        *ToolCall.objects.filter(run_id=run).values_list(),
        *Run.objects.filter(pk=run).values_list(),
        *Execution.objects.filter(run_id=run).values_list(),
        *ApprovalRequest.objects.filter(run_id=run).values_list(),
    ]
    return repr(rows)
