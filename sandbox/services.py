"""Writes of executions and workspace roots. The caller owns the transaction."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path

from django.conf import settings
from django.db.models import F, QuerySet

from kernel.canonical import digest
from kernel.errors import ConflictError, NotFoundError
from kernel.ids import new_id
from kernel.record import Actor, Record
from kernel.state import transition
from sandbox.lifecycle import ALLOWED, ExecutionState, lost_before
from sandbox.models import Execution, SandboxProbe, WorkspaceRoot, WorkspaceRootAgent
from sandbox.selection import Probe
from sandbox.types import Outcome
from sandbox.workspaces import require_root


@dataclass(frozen=True, slots=True)
class Claimed:
    """What the one winner of a claim got. Every later write must show `fence`."""

    execution_id: str
    call_id: str
    run_id: str
    fence: int
    tier: str
    executor: str
    spec: Mapping[str, object]
    spec_digest: str
    action_digest: str
    deadline_at: datetime | None


def queue_execution(
    *,
    call_id: str,
    spec: Mapping[str, object],
    action_digest: str,
    tier: str,
    executor: str,
    run: str,
    actor: Actor,
    now: datetime,
    record: Record,
) -> Execution:
    """Create the row that is the job. A second one for the same call violates the unique `call_id`."""
    execution = Execution.objects.create(
        id=new_id("exe", now),
        call_id=call_id,
        run_id=run,
        tier=tier,
        spec=dict(spec),
        spec_digest=digest(dict(spec)),
        action_digest=action_digest,
        backend=executor,
        queued_at=now,
    )
    _announce(
        record,
        "execution.queued",
        execution,
        actor=actor,
        now=now,
        data={"tier": tier, "executor": executor, "spec_digest": execution.spec_digest},
    )
    return execution


def claim_execution(
    *, execution_id: str, worker_id: str, boot_id: str, actor: Actor, now: datetime, record: Record
) -> Claimed:
    """Move queued → running for exactly one caller; every other one gets ConflictError."""
    row = _require(execution_id)
    deadline = _deadline(row.spec, now)
    transition(
        Execution.objects.filter(pk=execution_id, fence=row.fence),
        ALLOWED,
        source=ExecutionState.QUEUED,
        target=ExecutionState.RUNNING,
        fence=F("fence") + 1,
        worker_id=worker_id,
        boot_id=boot_id,
        claimed_at=now,
        started_at=now,
        heartbeat_at=now,
        deadline_at=deadline,
    )
    fence = row.fence + 1
    data = {"tier": row.tier, "executor": row.backend, "worker_id": worker_id, "fence": fence}
    _announce(record, "execution.started", row, actor=actor, now=now, data=data)
    return Claimed(
        execution_id=row.id,
        call_id=row.call_id,
        run_id=row.run_id,
        fence=fence,
        tier=row.tier,
        executor=row.backend,
        spec=row.spec,
        spec_digest=row.spec_digest,
        action_digest=row.action_digest,
        deadline_at=deadline,
    )


def heartbeat(*, execution_id: str, fence: int, now: datetime) -> bool:
    """Prove life of the run. False: the row is no longer this worker's; kill the run, report nothing."""
    rows = _owned(execution_id, fence).filter(state=ExecutionState.RUNNING)
    return rows.update(heartbeat_at=now) == 1


def finish_execution(
    *,
    execution_id: str,
    fence: int,
    outcome: Outcome,
    output_digest: str | None,
    actor: Actor,
    now: datetime,
    record: Record,
) -> Execution:
    """Write the end of a run by its holder; ConflictError when the fence or the state is stale."""
    target = ExecutionState(outcome.status)
    transition(
        _owned(execution_id, fence),
        ALLOWED,
        source=ExecutionState.RUNNING,
        target=target,
        finished_at=now,
        error_kind=outcome.error_kind or "",
        error_code=outcome.error_code or "",
        exit_code=outcome.exit_code,
        signal=outcome.signal,
        usage=outcome.usage,
        enforcement=outcome.enforcement,
        output_digest=output_digest,
    )
    row = _require(execution_id)
    if target is ExecutionState.CANCELLED:
        _announce(
            record, "execution.cancelled", row, actor=actor, now=now, data={"reason": row.cancel_reason}
        )
        return row
    data = {
        "state": row.state,
        "error_kind": row.error_kind,
        "error_code": row.error_code,
        "exit_code": row.exit_code,
        "signal": row.signal,
        "output_digest": row.output_digest,
    }
    _announce(record, "execution.finished", row, actor=actor, now=now, data=data)
    return row


def refuse_execution(
    *, execution_id: str, kind: str, code: str, actor: Actor, now: datetime, record: Record
) -> Execution:
    """End a queued row that may not run: a re-check failed at claim, or it waited too long."""
    transition(
        Execution.objects.filter(pk=execution_id),
        ALLOWED,
        source=ExecutionState.QUEUED,
        target=ExecutionState.REFUSED,
        finished_at=now,
        error_kind=kind,
        error_code=code,
    )
    row = _require(execution_id)
    _announce(record, "execution.refused", row, actor=actor, now=now, data={"error_kind": kind, "code": code})
    return row


def cancel_queued(
    *, execution_id: str, reason: str, actor: Actor, now: datetime, record: Record
) -> Execution:
    """End a row that has not started; ConflictError when it has."""
    transition(
        Execution.objects.filter(pk=execution_id),
        ALLOWED,
        source=ExecutionState.QUEUED,
        target=ExecutionState.CANCELLED,
        finished_at=now,
        cancel_requested_at=now,
        cancel_reason=reason,
        error_kind="Cancelled",
    )
    row = _require(execution_id)
    _announce(record, "execution.cancelled", row, actor=actor, now=now, data={"reason": reason})
    return row


def request_cancel(
    *, execution_id: str, reason: str, actor: Actor, now: datetime, record: Record
) -> ExecutionState:
    """Cancel at once what is queued, ask the worker to stop what runs; the answer says which.

    Asking again while it runs keeps the first request. ConflictError once it has ended.
    """
    _require(execution_id)
    try:
        cancel_queued(execution_id=execution_id, reason=reason, actor=actor, now=now, record=record)
    except ConflictError:
        _ask_to_stop(execution_id, reason, now)
        return ExecutionState.RUNNING
    return ExecutionState.CANCELLED


def mark_lost(
    *, execution_id: str, proven_dead: bool = False, actor: Actor, now: datetime, record: Record
) -> Execution:
    """Declare a run ambiguous whose heartbeat stopped; ConflictError when it is alive or ended.

    `proven_dead` says that its worker cannot be alive (another boot), so no heartbeat is waited for.
    The fence moves, so that a worker that wakes up later can write nothing.
    """
    rows = Execution.objects.filter(pk=execution_id)
    transition(
        rows if proven_dead else rows.filter(heartbeat_at__lt=lost_before(now)),
        ALLOWED,
        source=ExecutionState.RUNNING,
        target=ExecutionState.AMBIGUOUS,
        finished_at=now,
        fence=F("fence") + 1,
        error_kind="Ambiguous",
        error_code="sandbox.worker_lost",
    )
    row = _require(execution_id)
    _announce(record, "execution.lost", row, actor=actor, now=now, data={"worker_id": row.worker_id})
    return row


def store_probe(*, host: str, boot_id: str, probe: Probe, now: datetime) -> None:
    """Write or renew what a worker host can enforce; it is a measurement, not a decision."""
    SandboxProbe.objects.update_or_create(
        host=host,
        boot_id=boot_id,
        defaults={
            "executors": sorted(probe.executors),
            "findings": [asdict(finding) for finding in probe.findings],
            "degraded": list(probe.degraded),
            "bwrap_version": probe.bwrap_version or "",
            "bwrap_sha256": probe.bwrap_sha256 or "",
            "kernel": probe.kernel,
            "cgroup": probe.cgroup,
            "landlock_abi": probe.landlock_abi,
            "seen_at": now,
        },
    )


def register_workspace_root(
    *,
    name: str,
    path: Path,
    agents: tuple[str, ...],
    mode_max: str,
    actor: Actor,
    now: datetime,
    record: Record,
) -> WorkspaceRoot:
    """Register a directory for the tools of `agents`; InvalidError says why a path is refused."""
    require_root(path, base=workspaces_dir(), home=settings.PALYRA_HOME)
    root = WorkspaceRoot.objects.create(
        id=new_id("wsr", now), name=name, path=str(path), mode_max=mode_max, created_at=now
    )
    WorkspaceRootAgent.objects.bulk_create(
        WorkspaceRootAgent(root=root, agent_id=agent_id) for agent_id in agents
    )
    data = {"name": name, "path": str(path), "mode_max": mode_max, "agents": sorted(agents)}
    record(event="workspace_root.changed", actor=actor, subject=root.id, now=now, data=data)
    return root


def workspaces_dir() -> Path:
    """Return PALYRA_WORKSPACES_DIR, or its default: outside the home when the server is root.

    The sandbox uid of a root server must be able to search every parent directory.
    """
    configured = settings.PALYRA_WORKSPACES_DIR
    if configured:
        return Path(configured)
    if os.geteuid() == 0:
        return Path("/var/lib/palyra") / settings.PALYRA_INSTANCE / "workspaces"
    return Path(settings.PALYRA_HOME) / "workspaces"


def _ask_to_stop(execution_id: str, reason: str, now: datetime) -> None:
    running = Execution.objects.filter(pk=execution_id, state=ExecutionState.RUNNING)
    if running.filter(cancel_requested_at__isnull=True).update(cancel_requested_at=now, cancel_reason=reason):
        return
    if not running.exists():
        raise ConflictError("state_changed", "The execution has already ended.")


def _owned(execution_id: str, fence: int) -> QuerySet[Execution]:
    return Execution.objects.filter(pk=execution_id, fence=fence)


def _require(execution_id: str) -> Execution:
    row = Execution.objects.filter(pk=execution_id).first()
    if row is None:
        raise NotFoundError("not_found", "There is no such execution.")
    return row


def _deadline(spec: Mapping[str, object], now: datetime) -> datetime | None:
    wall_ms = spec.get("wall_timeout_ms")
    return now + timedelta(milliseconds=wall_ms) if isinstance(wall_ms, int) else None


def _announce(
    record: Record,
    event: str,
    execution: Execution,
    *,
    actor: Actor,
    now: datetime,
    data: Mapping[str, object],
) -> None:
    record(
        event=event,
        actor=actor,
        subject=execution.id,
        now=now,
        data=data,
        run=execution.run_id,
        call=execution.call_id,
    )
