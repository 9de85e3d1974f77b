"""Reads of executions and workspace roots."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta

from sandbox.lifecycle import ExecutionState, lost_before, overdue_before
from sandbox.models import Execution, SandboxProbe, WorkspaceRoot
from sandbox.selection import Finding, Probe, select
from sandbox.spec import SandboxSpec
from sandbox.types import ErrorKind, Executor, SandboxRefusal

PRESENCE_TIMEOUT = timedelta(seconds=90)


def execution_of_call(call_id: str) -> Execution | None:
    """Return the one execution of a call, or None when it never got that far."""
    return Execution.objects.filter(call_id=call_id).first()


def queued_ids(limit: int, *, besides: Collection[str] = ()) -> tuple[str, ...]:
    """Return what waits for a worker besides what is named, oldest first."""
    rows = Execution.objects.filter(state=ExecutionState.QUEUED).exclude(id__in=besides)
    return tuple(rows.order_by("queued_at", "id").values_list("id", flat=True)[:limit])


def lost_ids(now: datetime) -> tuple[str, ...]:
    """Return running rows whose heartbeat is older than 15 s, oldest first."""
    rows = Execution.objects.filter(state=ExecutionState.RUNNING, heartbeat_at__lt=lost_before(now))
    return tuple(rows.order_by("heartbeat_at").values_list("id", flat=True))


def overdue_queue(now: datetime) -> tuple[str, ...]:
    """Return rows that have been queued for more than 15 minutes, oldest first."""
    rows = Execution.objects.filter(state=ExecutionState.QUEUED, queued_at__lt=overdue_before(now))
    return tuple(rows.order_by("queued_at").values_list("id", flat=True))


def cancel_requested(execution_id: str) -> bool:
    """Tell a worker whether somebody asked to stop this run. A row that is gone counts as asked."""
    row = Execution.objects.filter(pk=execution_id).only("cancel_requested_at").first()
    return row is None or row.cancel_requested_at is not None


def cancel_reason(execution_id: str) -> str:
    """Return why a run was asked to stop, as whoever asked first said; empty when nobody did."""
    row = Execution.objects.filter(pk=execution_id).only("cancel_reason").first()
    return row.cancel_reason if row else ""


def root_for_agent(agent_id: str) -> WorkspaceRoot | None:
    """Return the agent's workspace root; None means an empty scratch directory."""
    return WorkspaceRoot.objects.filter(agents__agent_id=agent_id).first()


def orphaned_ids(*, host: str, boot_id: str) -> tuple[str, ...]:
    """Return running rows of this host's workers from another boot; nobody can finish them."""
    rows = Execution.objects.filter(state=ExecutionState.RUNNING, worker_id__startswith=f"{host}:")
    return tuple(rows.exclude(boot_id=boot_id).values_list("id", flat=True))


def live_probes(now: datetime) -> tuple[SandboxProbe, ...]:
    """Return the hosts seen within the time a queued call waits at most, newest first."""
    return tuple(SandboxProbe.objects.filter(seen_at__gte=overdue_before(now)).order_by("-seen_at"))


def worker_seen(now: datetime) -> bool:
    """Tell whether any worker host gave a sign of life lately."""
    return SandboxProbe.objects.filter(seen_at__gte=now - PRESENCE_TIMEOUT).exists()


def backend_refusal(spec: SandboxSpec, *, now: datetime) -> SandboxRefusal | None:
    """Return why no live worker host can enforce the whole spec, or None when one can."""
    hosts = live_probes(now)
    if not hosts:
        return SandboxRefusal(
            ErrorKind.BACKEND_UNAVAILABLE,
            "sandbox.backend_unavailable",
            "No worker has been seen; start one.",
        )
    answers = [select(spec, as_probe(host)) for host in hosts]
    refusals = [answer for answer in answers if isinstance(answer, SandboxRefusal)]
    return refusals[0] if len(refusals) == len(answers) else None


def as_probe(row: SandboxProbe) -> Probe:
    """Return a stored probe as the plain value that `select` reads; unknown executors count for nothing."""
    known = {executor.value for executor in Executor}
    return Probe(
        executors=frozenset(Executor(name) for name in row.executors if name in known),
        findings=tuple(Finding(**finding) for finding in row.findings),
        degraded=tuple(row.degraded),
        bwrap_version=row.bwrap_version or None,
        bwrap_sha256=row.bwrap_sha256 or None,
        kernel=row.kernel,
        cgroup=row.cgroup,
        landlock_abi=row.landlock_abi,
    )
