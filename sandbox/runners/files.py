"""`fs.*` through the launcher: a pinned root in, one bounded JSON answer out."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import datetime
from typing import Any

from kernel.clock import utc_now
from sandbox.runners.base import CancelToken, NoSink, OutputSink
from sandbox.runners.link import Launcher, LauncherDiedError
from sandbox.runners.process import PATIENCE_SECONDS, Borrow, pin_workspace
from sandbox.runners.pump import Capture
from sandbox.runners.supervise import Streams, Supervision
from sandbox.types import ErrorKind, Executor, Outcome, SandboxJob, Status

MAX_ANSWER = 16 * 1024 * 1024


class FilesRunner:
    """Executor `builtin_fs`. What a child of the launcher did comes back as data, never as a file."""

    executor = Executor.BUILTIN_FS

    def __init__(self, borrow: Borrow) -> None:
        self._borrow = borrow

    def run(self, job: SandboxJob, *, deadline: float, cancel: CancelToken, sink: OutputSink) -> Outcome:
        """Perform one file operation beneath the workspace; raises SandboxRefusal without a workspace."""
        started_at, started = utc_now(), time.monotonic()
        wall_ms = max(1, min(job.spec.wall_timeout_ms, int((deadline - started) * 1000)))
        with ExitStack() as stack:
            root = pin_workspace(job.workspace)
            stack.callback(os.close, root)
            answer, answer_write = os.pipe2(os.O_CLOEXEC)
            stack.callback(os.close, answer)
            sources = stack.enter_context(ExitStack())
            sources.callback(os.close, answer_write)
            request = _memory_file(_request(job))
            sources.callback(os.close, request)
            launcher = stack.enter_context(self._borrow())
            capture = Capture(MAX_ANSWER)
            watch = Supervision(
                launcher,
                Streams(answer),
                capture,
                cap=MAX_ANSWER,
                give_up=started + wall_ms / 1000 + PATIENCE_SECONDS,
                cancel=cancel,
                sink=NoSink(),
            )
            done = _perform(launcher, wall_ms, (root, request, answer_write), sources, watch)
        wall = int((time.monotonic() - started) * 1000)
        return _outcome(job, done, capture.kept("stdout").text, started_at, wall)


def _perform(
    launcher: Launcher, wall_ms: int, fds: tuple[int, int, int], sources: ExitStack, watch: Supervision
) -> dict[str, Any] | None:
    try:
        launcher.send({"op": "files", "wall_ms": wall_ms}, fds)
        sources.close()
        return watch.run().done
    except LauncherDiedError:
        launcher.close()
        return None


def _memory_file(content: bytes) -> int:
    fd = os.memfd_create("palyra", os.MFD_CLOEXEC)
    os.write(fd, content)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def _request(job: SandboxJob) -> bytes:
    return json.dumps(
        {
            "tool": job.tool_name,
            "input": dict(job.input),
            "writable": job.spec.workspace_mode == "bind_rw",
            "max_bytes": job.spec.max_output_bytes,
            "max_file_bytes": job.spec.max_file_bytes,
        }
    ).encode()


def _outcome(
    job: SandboxJob, done: Mapping[str, Any] | None, text: str, started_at: datetime, wall_ms: int
) -> Outcome:
    answer: dict[str, Any] = json.loads(text) if done and text and done["reason"] is None else {}
    status, kind, code, message = _verdict(job, done, answer)
    usage = done["usage"] if done else {}
    effective = {
        "tier": "none",
        "executor": str(Executor.BUILTIN_FS),
        "network": None,
        "landlock": answer.get("landlock"),
    }
    return Outcome(
        status=status,
        executor=Executor.BUILTIN_FS,
        started_at=started_at,
        finished_at=utc_now(),
        error_kind=kind,
        error_code=code,
        message=message,
        output=answer.get("ok"),
        usage={
            "cpu_ms": usage.get("cpu_ms", 0),
            "wall_ms": wall_ms,
            "max_rss": usage.get("max_rss", 0),
            "output_bytes": len(text),
        },
        enforcement={
            "requested": {"tier": "none", "limits": job.spec.to_json()},
            "effective": effective,
            "degraded": [],
        },
    )


def _verdict(
    job: SandboxJob, done: Mapping[str, Any] | None, answer: Mapping[str, Any]
) -> tuple[Status, ErrorKind | None, str | None, str]:
    if "ok" in answer:
        return Status.SUCCEEDED, None, None, ""
    if "error" in answer:
        error = answer["error"]
        return Status.FAILED, ErrorKind(error["kind"]), error["code"], error["message"]
    if job.tool_name == "fs.write":
        # Killed in the middle, it may or may not have renamed the file into place.
        text = "The write was interrupted; nobody knows whether it happened."
        return Status.AMBIGUOUS, ErrorKind.AMBIGUOUS, "sandbox.interrupted", text
    if done is not None and done["reason"] == "cancel":
        return Status.CANCELLED, ErrorKind.CANCELLED, "sandbox.cancelled", "The run was cancelled and ended."
    if done is not None and done["reason"] == "timeout":
        return Status.TIMED_OUT, ErrorKind.TIMED_OUT, "sandbox.timed_out", "The operation took too long."
    return Status.FAILED, ErrorKind.RUNTIME_FAILURE, "sandbox.no_answer", "The operation gave no answer."
