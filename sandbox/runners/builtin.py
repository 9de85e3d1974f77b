"""`echo` and `sleep`: built-in tools that touch nothing and run inside the worker."""

from __future__ import annotations

import time
from datetime import datetime

from kernel.clock import utc_now
from sandbox.runners.base import CancelToken, OutputSink
from sandbox.types import ErrorKind, Executor, Outcome, SandboxJob, SandboxRefusal, Status

MAX_TEXT = 4_096
MAX_SLEEP_MS = 5_000


class BuiltinRunner:
    """Executor `builtin`."""

    executor = Executor.BUILTIN

    def run(self, job: SandboxJob, *, deadline: float, cancel: CancelToken, sink: OutputSink) -> Outcome:
        """Run `echo` or `sleep`; any other name or a misfit input is refused."""
        started_at, started = utc_now(), time.monotonic()
        deadline = min(deadline, started + job.spec.wall_timeout_ms / 1000)
        if job.tool_name == "echo":
            return _outcome(Status.SUCCEEDED, started_at, started, {"text": _echo_text(job)})
        if job.tool_name == "sleep":
            return _sleep(_duration(job), deadline, cancel, started_at, started)
        raise SandboxRefusal(
            ErrorKind.BACKEND_UNAVAILABLE, "sandbox.unknown_builtin", f"{job.tool_name} is not built in."
        )


def _echo_text(job: SandboxJob) -> str:
    text = job.input.get("text")
    if not isinstance(text, str) or len(text) > MAX_TEXT:
        raise SandboxRefusal(ErrorKind.INVALID_INPUT, "sandbox.input_invalid", "text must be a short string")
    return text


def _duration(job: SandboxJob) -> int:
    value = job.input.get("duration_ms")
    if type(value) is not int or not 0 <= value <= MAX_SLEEP_MS:
        raise SandboxRefusal(
            ErrorKind.INVALID_INPUT, "sandbox.input_invalid", f"duration_ms must be 0 to {MAX_SLEEP_MS}"
        )
    return value


def _sleep(
    duration_ms: int, deadline: float, cancel: CancelToken, started_at: datetime, started: float
) -> Outcome:
    until = started + duration_ms / 1000
    if cancel.wait(max(0.0, min(until, deadline) - time.monotonic())):
        return _outcome(
            Status.CANCELLED, started_at, started, kind=ErrorKind.CANCELLED, code="sandbox.cancelled"
        )
    if until > deadline:
        return _outcome(
            Status.TIMED_OUT, started_at, started, kind=ErrorKind.TIMED_OUT, code="sandbox.timed_out"
        )
    return _outcome(Status.SUCCEEDED, started_at, started, {"slept_ms": duration_ms})


def _outcome(
    status: Status,
    started_at: datetime,
    started: float,
    output: dict[str, object] | None = None,
    *,
    kind: ErrorKind | None = None,
    code: str | None = None,
) -> Outcome:
    return Outcome(
        status=status,
        executor=Executor.BUILTIN,
        started_at=started_at,
        finished_at=utc_now(),
        error_kind=kind,
        error_code=code,
        output=output,
        usage={"wall_ms": int((time.monotonic() - started) * 1000)},
    )
