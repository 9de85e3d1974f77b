"""The worker's side of a run: the job, the heartbeat beside it, and what comes back."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Protocol

from django.db import DatabaseError, close_old_connections, connection

from governance.freeze_scopes import FROZEN
from governance.placement import argv_of, fitting_module
from governance.proposals import Claim
from governance.stopping import REASON as STOPPING, drain
from kernel.record import Actor
from policy.selectors import tool_call_config
from sandbox import selectors as sandbox_selectors, services as sandbox
from sandbox.runners.base import CancelToken
from sandbox.runners.places import runner_options
from sandbox.runners.wasm import WasmJob
from sandbox.runners.worker import RunnerPool
from sandbox.selection import Probe
from sandbox.skills.selectors import SkillChangedError
from sandbox.skills.types import SkillTool
from sandbox.types import ErrorKind, Outcome, SandboxJob, SandboxRefusal, Status, Tier

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 2.0
CANCEL_POLL_SECONDS = 0.25
TABLES = 4
"""Tables that a module may have; they share the workspace's allowance of elements."""

Clock = Callable[[], datetime]


class Pool(Protocol):
    """What runs jobs; `sandbox.runners.worker.RunnerPool` is the real one."""

    def run(self, job: SandboxJob | WasmJob, *, deadline_ms: int, cancel: CancelToken) -> Outcome: ...

    def probe(self) -> Probe: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Worker:
    """One worker process: its name, the boot it belongs to, and its runners."""

    worker_id: str
    boot_id: str
    pool: Pool = field(repr=False)

    def actor(self) -> Actor:
        return Actor(kind="system", id="worker", auth="none", surface="worker")

    def probe(self) -> Probe:
        return self.pool.probe()


def execute(claim: Claim, worker: Worker, clock: Clock) -> Outcome | None:
    """Run the claimed job to its end. None: the row is no longer ours, so nothing may be written.

    No database connection is held meanwhile: one that idles for minutes may be dead when the outcome
    has to be written.
    """
    lost = threading.Event()
    cancel = CancelToken()
    try:
        job = job_of(claim)
        close_old_connections()
        with _heartbeat(claim, cancel, lost, clock):
            outcome = worker.pool.run(job, deadline_ms=claim.spec.wall_timeout_ms, cancel=cancel)
    except SandboxRefusal as refusal:
        outcome = refused_outcome(claim, refusal, clock())
    if lost.is_set():
        return None
    return frozen_outcome(stopped_outcome(outcome) if cancel.reason == STOPPING else outcome, cancel.reason)


def frozen_outcome(outcome: Outcome, reason: str) -> Outcome:
    """Name the freeze as the reason of a tool that it killed."""
    if outcome.status is not Status.CANCELLED or reason != FROZEN:
        return outcome
    return replace(outcome, error_code=FROZEN, message="A freeze stopped the run.")


def stopped_outcome(outcome: Outcome) -> Outcome:
    """Tell a tool that the worker's stop killed from one that its caller cancelled (sandbox part, §3.12)."""
    if outcome.status is not Status.CANCELLED:
        return outcome
    return replace(
        outcome,
        status=Status.FAILED,
        error_kind=ErrorKind.CANCELLED,
        error_code="sandbox.worker_stopping",
        message="The worker was stopped; the tool was killed after its time to finish.",
    )


def job_of(claim: Claim) -> SandboxJob | WasmJob:
    """Return the job of a claim. A skill's bytes are compared with their digest once more here."""
    target = claim.target
    if target.skill is not None:
        return _skill_job(claim, target.skill)
    root = sandbox_selectors.root_for_agent(claim.call.principal_id)
    job = SandboxJob(
        execution_id=claim.claimed.execution_id,
        kind=_kind(claim),
        spec=claim.spec,
        tool_name=target.name,
        input=target.input,
        argv=argv_of(target),
    )
    if root is None:
        return job
    return replace(job, workspace=root.path, quota_bytes=root.quota_bytes, quota_files=root.quota_files)


def _skill_job(claim: Claim, skill: SkillTool) -> WasmJob:
    try:
        config = tool_call_config(claim.call.workspace_id)
        module = fitting_module(skill, claim.target.definition_digest, config)
    except SkillChangedError as error:
        raise SandboxRefusal(ErrorKind.INVALID_INPUT, error.code, error.detail) from error
    return WasmJob(
        execution_id=claim.claimed.execution_id,
        module=module.module,
        entrypoint=module.entrypoint,
        input=claim.target.input,
        output_schema=module.output_schema,
        fuel=module.limits.fuel,
        memory_bytes=module.limits.memory_bytes,
        wall_ms=min(module.limits.wall_ms, claim.spec.wall_timeout_ms),
        output_bytes=module.limits.output_bytes,
        table_elements=config.wasm_table_elements // TABLES,
    )


def refused_outcome(claim: Claim, refusal: SandboxRefusal, now: datetime) -> Outcome:
    """Return the outcome of a run that the runner refused before anything started."""
    return Outcome(
        status=Status.FAILED,
        executor=claim.spec.executor,
        started_at=now,
        finished_at=now,
        error_kind=refusal.kind,
        error_code=refusal.code,
        message=refusal.message,
        detail=refusal.detail,
    )


def _kind(claim: Claim) -> str:
    if claim.spec.tier is Tier.C:
        return "process"
    return "fs" if claim.target.name.startswith("fs.") else "builtin"


@contextmanager
def _heartbeat(claim: Claim, cancel: CancelToken, lost: threading.Event, clock: Clock) -> Iterator[None]:
    stop = threading.Event()
    thread = threading.Thread(
        target=_beat, args=(claim, cancel, lost, stop, clock), name="heartbeat", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _beat(
    claim: Claim, cancel: CancelToken, lost: threading.Event, stop: threading.Event, clock: Clock
) -> None:
    """Prove life every 2 s and look for a cancellation every 250 ms, until told to stop.

    A database that does not answer is asked again; the sweeper declares the run lost meanwhile, and
    then the fence has moved.
    """
    execution_id, fence = claim.claimed.execution_id, claim.claimed.fence
    next_beat = time.monotonic() + HEARTBEAT_SECONDS
    try:
        while not stop.wait(CANCEL_POLL_SECONDS):
            try:
                if sandbox_selectors.cancel_requested(execution_id):
                    cancel.cancel(sandbox_selectors.cancel_reason(execution_id) or "caller")
                if drain.over:
                    cancel.cancel(STOPPING)
                if time.monotonic() < next_beat:
                    continue
                next_beat = time.monotonic() + HEARTBEAT_SECONDS
                if not sandbox.heartbeat(execution_id=execution_id, fence=fence, now=clock()):
                    lost.set()
                    cancel.cancel("lost")
            except DatabaseError:
                log.exception("heartbeat of %s", execution_id)
                close_old_connections()
    finally:
        connection.close()


@lru_cache(maxsize=1)
def boot_id() -> str:
    """Return the kernel's id of this boot, so that rows of an earlier one are known to be orphans."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def worker_name() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


def host_name() -> str:
    return socket.gethostname()


_current: list[Worker] = []


def start() -> None:
    """Start this process's runners. Called from its main thread: the launcher dies with that thread."""
    pool = RunnerPool(runner_options())
    pool.start()
    _current.append(Worker(worker_name(), boot_id(), pool))


def stop() -> None:
    """End this process's runners and everything they run."""
    while _current:
        _current.pop().pool.close()


def current_worker() -> Worker:
    """Return this process's worker; RuntimeError outside a worker process."""
    if not _current:
        raise RuntimeError("runs happen in worker processes only")
    return _current[0]
