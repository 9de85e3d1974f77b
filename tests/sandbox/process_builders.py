"""Jobs for the process side of the sandbox, and oracles that look from the host."""

from __future__ import annotations

import dataclasses
import os
import shutil
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sandbox.runners.base import CancelToken
from sandbox.runners.worker import RunnerPool
from sandbox.spec import BOOTSTRAP_POLICY, CallRequest, SandboxSpec, ToolLimits, resolve_spec
from sandbox.types import Executor, Outcome, SandboxJob, SandboxRefusal, Tier

PYTHON = "/usr/bin/python3"
OUTER_SECONDS = 30.0


def tier_c_spec(**changes: object) -> SandboxSpec:
    return _spec(ToolLimits(tier=Tier.C, executor=Executor.TIER_C_LINUX), changes)


def files_spec(**changes: object) -> SandboxSpec:
    return _spec(ToolLimits(tier=Tier.NONE, executor=Executor.BUILTIN_FS), changes)


def builtin_spec(**changes: object) -> SandboxSpec:
    return _spec(ToolLimits(tier=Tier.NONE, executor=Executor.BUILTIN), changes)


def _spec(tool: ToolLimits, changes: dict[str, object]) -> SandboxSpec:
    spec = resolve_spec(BOOTSTRAP_POLICY, tool, CallRequest())
    assert not isinstance(spec, SandboxRefusal)
    return dataclasses.replace(spec, **changes)  # type: ignore[arg-type]  # tests name fields of the spec


@contextmanager
def workspace_for(uid: int) -> Iterator[Path]:
    """A directory that the sandbox's uid owns and whose parents it may search."""
    top = Path(tempfile.mkdtemp(prefix="palyra-sandbox-"))
    try:
        top.chmod(0o711)
        root = top / "workspace"
        root.mkdir()
        os.chown(root, uid, -1)
        yield root.resolve()
    finally:
        shutil.rmtree(top)


class Sandbox:
    """Runs jobs in one workspace through one pool."""

    def __init__(self, pool: RunnerPool, workspace: Path) -> None:
        self.pool = pool
        self.workspace = workspace

    def run(
        self,
        command: str,
        *args: str,
        cancel: CancelToken | None = None,
        spec: SandboxSpec | None = None,
        **fields: object,
    ) -> Outcome:
        value = {"command": command, "args": list(args), **fields}
        job = self.job("process.run", value, spec or tier_c_spec(), "process")
        return self.submit(job, cancel)

    def python(self, script: str, *args: str, **options: object) -> Outcome:
        return self.run("python3", "-c", script, *args, **options)  # type: ignore[arg-type]  # passed through

    def shell(self, script: str, **options: object) -> Outcome:
        return self.run("bash", "-c", script, **options)  # type: ignore[arg-type]  # passed through

    def files(self, tool: str, spec: SandboxSpec | None = None, **value: object) -> Outcome:
        return self.submit(self.job(tool, value, spec or files_spec(), "fs"))

    def job(self, tool: str, value: dict[str, object], spec: SandboxSpec, kind: str) -> SandboxJob:
        return SandboxJob(f"exe_{uuid.uuid4().hex}", kind, spec, tool, value, workspace=str(self.workspace))

    def submit(self, job: SandboxJob, cancel: CancelToken | None = None) -> Outcome:
        deadline = int(OUTER_SECONDS * 1000)
        return self.pool.run(job, deadline_ms=deadline, cancel=cancel or CancelToken())

    @contextmanager
    def running(self, command: str, *args: str, **options: object) -> Iterator[list[Outcome]]:
        """Run in a thread; the list holds the outcome after the block."""
        outcomes: list[Outcome] = []
        thread = threading.Thread(
            target=lambda: outcomes.append(self.run(command, *args, **options))  # type: ignore[arg-type]
        )
        thread.start()
        try:
            yield outcomes
        finally:
            thread.join(OUTER_SECONDS)
            assert not thread.is_alive()


def marker() -> str:
    """A text that no other process on this machine has in its arguments."""
    return f"mark-{uuid.uuid4().hex}"


def sleep_seconds() -> str:
    """A long duration for `sleep` that doubles as a marker."""
    return f"300.{uuid.uuid4().int % 10**12:012d}"


def processes_with(text: str) -> list[int]:
    """Host pids whose command line holds the text: the kernel's list, not the tool's words."""
    found = []
    for name in os.listdir("/proc"):
        try:
            if name.isdigit() and text.encode() in Path(f"/proc/{name}/cmdline").read_bytes():
                found.append(int(name))
        except OSError:
            continue
    return found


def wait_until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    """Wait for a condition; failing to see it is an assertion error."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition never came true"
        time.sleep(0.01)
