"""The pool that a worker process runs its jobs through."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from kernel.clock import utc_now
from sandbox.runners.base import CancelToken, NoSink, OutputSink, Runner
from sandbox.runners.builtin import BuiltinRunner
from sandbox.runners.files import FilesRunner
from sandbox.runners.link import Launcher, RunnerOptions
from sandbox.runners.probe import probe
from sandbox.runners.process import BubblewrapRunner
from sandbox.runners.seccomp import load_filters
from sandbox.runners.wasm import WasmJob, WasmRunner
from sandbox.selection import Backend, Probe, select
from sandbox.types import ErrorKind, Executor, Outcome, SandboxJob, SandboxRefusal, Status


class RunnerPool:
    """Runs jobs of every tier. One per worker process; safe for threads and after a fork.

    Launchers are started when a job needs one, kept for the next, and never shared between two jobs at
    a time. They are created on one thread that lives as long as the pool, because the kernel kills a
    child with the thread that made it.
    """

    def __init__(self, options: RunnerOptions | None = None) -> None:
        self.options = options or RunnerOptions()
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._idle: list[Launcher] = []
        self._probe: Probe | None = None
        self._spawner = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sandbox-spawner")

    def start(self) -> Probe:
        """Probe the host and leave a launcher waiting. Idempotent."""
        return self.probe()

    def probe(self) -> Probe:
        """Return what this host can enforce; measured once per process."""
        self._after_fork()
        with self._lock:
            known = self._probe
        if known is None:
            known = probe(self.options, self._borrow)
            with self._lock:
                self._probe = known
        return known

    def run(
        self,
        job: SandboxJob | WasmJob,
        *,
        deadline_ms: int,
        cancel: CancelToken,
        sink: OutputSink | None = None,
    ) -> Outcome:
        """Run one job and return how it ended; a refusal before the start is a failed outcome too.

        `deadline_ms` counts from now and may only shorten the job's own wall timeout.
        """
        self._after_fork()
        started_at = utc_now()
        deadline = time.monotonic() + deadline_ms / 1000
        try:
            if isinstance(job, WasmJob):
                return WasmRunner(sandbox_uid=self.options.uid).run(job, deadline=deadline, cancel=cancel)
            backend = select(job.spec, self.probe())
            if isinstance(backend, SandboxRefusal):
                raise backend
            runner = self._runner(backend)
            return runner.run(job, deadline=deadline, cancel=cancel, sink=sink or NoSink())
        except SandboxRefusal as refusal:
            executor = Executor.TIER_A if isinstance(job, WasmJob) else job.spec.executor
            return Outcome(
                status=Status.FAILED,
                executor=executor,
                started_at=started_at,
                finished_at=utc_now(),
                error_kind=refusal.kind,
                error_code=refusal.code,
                message=refusal.message,
                detail=refusal.detail,
            )

    def close(self) -> None:
        """Kill the launchers, and with them whatever still runs."""
        if self._pid != os.getpid():
            return
        with self._lock:
            idle, self._idle = self._idle, []
        for launcher in idle:
            launcher.close()
        self._spawner.shutdown()

    def _runner(self, backend: Backend) -> Runner:
        if backend.executor is Executor.BUILTIN:
            return BuiltinRunner()
        if backend.executor is Executor.BUILTIN_FS:
            return FilesRunner(self._borrow)
        filters = load_filters()
        if backend.executor is not Executor.TIER_C_LINUX or filters is None:
            raise SandboxRefusal(
                ErrorKind.BACKEND_UNAVAILABLE, "sandbox.backend_unavailable", "No backend runs this job."
            )
        return BubblewrapRunner(self.options, self._borrow, filters, self.probe())

    @contextmanager
    def _borrow(self) -> Iterator[Launcher]:
        launcher = self._take()
        finished = False
        try:
            yield launcher
            finished = True
        finally:
            # After an exception the launcher may still be in the middle of a job: never reuse it.
            if finished and launcher.usable():
                with self._lock:
                    self._idle.append(launcher)
            else:
                launcher.close()

    def _take(self) -> Launcher:
        with self._lock:
            while self._idle:
                launcher = self._idle.pop()
                if launcher.usable():
                    return launcher
                launcher.close()
        return self._spawner.submit(Launcher, self.options).result()

    def _after_fork(self) -> None:
        # A forked worker must not talk to its parent's launchers, which would die with the parent.
        if self._pid != os.getpid():
            self._reset()
