"""Executions brought into a state through the real services."""

from __future__ import annotations

from datetime import UTC, datetime

from kernel.ids import new_id
from kernel.record import Actor, Record
from sandbox.models import Execution
from sandbox.services import Claimed, claim_execution, queue_execution
from sandbox.types import ErrorKind, Executor, Outcome, Status

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
AGENT = Actor(kind="agent", id="agt_test", auth="token", surface="api")
WORKER = Actor(kind="system", id="system", auth="none", surface="worker")
DIGEST = "sha256:" + "0" * 64


def queued(record: Record, now: datetime = NOW) -> Execution:
    return queue_execution(
        call_id=new_id("call", now),
        spec={"wall_timeout_ms": 10_000, "tier": "C"},
        action_digest=DIGEST,
        tier="C",
        executor=Executor.TIER_C_LINUX,
        run="run_test",
        actor=AGENT,
        now=now,
        record=record,
    )


def claimed(execution: Execution, record: Record, now: datetime = NOW) -> Claimed:
    return claim_execution(
        execution_id=execution.id, worker_id="host:1", boot_id="b1", actor=WORKER, now=now, record=record
    )


def outcome(status: Status = Status.SUCCEEDED, kind: ErrorKind | None = None) -> Outcome:
    return Outcome(
        status=status,
        executor=Executor.TIER_C_LINUX,
        started_at=NOW,
        finished_at=NOW,
        sandbox_enforcement="strict",
        error_kind=kind,
        error_code="sandbox.exit_nonzero" if kind else None,
        exit_code=0 if kind is None else 1,
        usage={"wall_ms": 5},
        enforcement={"effective": {"netns": True}},
    )
