"""From what the launcher reported to the outcome: kinds, codes and their precedence (no effects)."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sandbox.runners.pump import Capture, Kept
from sandbox.spec import SandboxSpec
from sandbox.types import ErrorKind, Executor, Outcome, SandboxJob, Status

_QUOTA_TEXT = {
    "memory": "The tool used more memory than allowed.",
    "cpu": "The tool used more processor time than allowed.",
    "output": "The tool wrote more than eight times the output limit.",
    "workspace": "The workspace holds more than allowed.",
    "file_size": "The tool wrote a file larger than allowed.",
}
_NEARLY = 7 / 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Everything that a verdict depends on. `done` is None when the launcher died."""

    job: SandboxJob
    going: bool
    done: Mapping[str, Any] | None
    capture: Capture
    enforcement: Mapping[str, object]
    started_at: datetime
    finished_at: datetime
    wall_ms: int


@dataclass(frozen=True, slots=True)
class _Verdict:
    status: Status
    kind: ErrorKind | None = None
    code: str | None = None
    message: str = ""
    detail: Mapping[str, object] | None = None


def outcome_of(facts: Facts) -> Outcome:
    """Return the outcome. Precedence: ambiguous, cancelled, timed out, quota, then the tool's own failure."""
    exit_code, number = _exit(facts.done)
    verdict = _verdict(facts, exit_code, number)
    out, err = facts.capture.kept("stdout"), facts.capture.kept("stderr")
    ran = facts.going
    return Outcome(
        status=verdict.status,
        executor=Executor.TIER_C_LINUX,
        started_at=facts.started_at,
        finished_at=facts.finished_at,
        sandbox_enforcement="strict" if ran and verdict.kind is not ErrorKind.SPAWN_FAILED else "none",
        error_kind=verdict.kind,
        error_code=verdict.code,
        message=verdict.message,
        detail=verdict.detail or {},
        exit_code=exit_code,
        signal=number,
        stdout=out.text,
        stderr=err.text,
        stdout_truncated=out.dropped > 0,
        stderr_truncated=err.dropped > 0,
        dropped_bytes=out.dropped + err.dropped,
        stdout_sha256=f"sha256:{out.sha256}",
        stderr_sha256=f"sha256:{err.sha256}",
        output=_answer(facts, exit_code, number, out, err) if ran else None,
        usage=_usage(facts),
        enforcement=facts.enforcement,
    )


def _exit(done: Mapping[str, Any] | None) -> tuple[int | None, int | None]:
    """Bubblewrap reports death by signal n as 128 + n, as shells do; a tool that exits so reads the same."""
    code = done.get("exit_code") if done else None
    if code is None:
        return None, None
    if 128 < code <= 128 + signal.SIGRTMAX:
        return None, code - 128
    return code, None


def _verdict(facts: Facts, exit_code: int | None, number: int | None) -> _Verdict:
    done = facts.done
    if done is None:
        return _launcher_died(facts.going)
    forced = _forced(facts.job.spec, done)
    if forced is not None:
        return forced
    if done["failure"] is not None or done["reason"] == "enforcement_mismatch":
        return _setup_failed(facts, done)
    if exit_code is None and number is None and done["reason"] is None:
        return _never_executed(facts)
    return _own_end(facts.job.spec, done, exit_code, number)


def _forced(spec: SandboxSpec, done: Mapping[str, Any]) -> _Verdict | None:
    if done["survivor"]:
        return _Verdict(
            Status.AMBIGUOUS, ErrorKind.AMBIGUOUS, "sandbox.survivor", "A process outlived its sandbox."
        )
    if done["reason"] == "cancel":
        return _Verdict(
            Status.CANCELLED, ErrorKind.CANCELLED, "sandbox.cancelled", "The run was cancelled and ended."
        )
    if done["reason"] == "timeout":
        text = f"The run took longer than {spec.wall_timeout_ms} ms."
        return _Verdict(Status.TIMED_OUT, ErrorKind.TIMED_OUT, "sandbox.timed_out", text)
    return None


def _own_end(
    spec: SandboxSpec, done: Mapping[str, Any], exit_code: int | None, number: int | None
) -> _Verdict:
    quota = _quota(spec, done, exit_code, number)
    if quota is not None:
        code = f"sandbox.quota_{quota}"
        detail = {"resource": quota}
        return _Verdict(Status.FAILED, ErrorKind.QUOTA_EXCEEDED, code, _QUOTA_TEXT[quota], detail)
    if exit_code == 0:
        return _Verdict(Status.SUCCEEDED)
    end = f"signal {number}" if exit_code is None else f"exit code {exit_code}"
    return _Verdict(
        Status.FAILED, ErrorKind.RUNTIME_FAILURE, "sandbox.tool_failed", f"The tool ended with {end}."
    )


def _launcher_died(going: bool) -> _Verdict:
    if going:
        return _Verdict(
            Status.AMBIGUOUS,
            ErrorKind.AMBIGUOUS,
            "sandbox.launcher_died",
            "The launcher died while the tool ran; the tool was killed.",
        )
    return _Verdict(
        Status.FAILED,
        ErrorKind.SPAWN_FAILED,
        "sandbox.launcher_died",
        "The launcher died before the tool ran.",
    )


def _setup_failed(facts: Facts, done: Mapping[str, Any]) -> _Verdict:
    failure = done["failure"] or {"step": "enforcement_mismatch", "message": "the filters are not in force"}
    mismatch = failure["step"] == "enforcement_mismatch"
    code = "sandbox.enforcement_mismatch" if mismatch else "sandbox.setup_failed"
    said = facts.capture.kept("stderr").text.strip()[:500]
    detail = {"step": failure["step"], "reason": failure["message"], "bwrap": said}
    return _Verdict(
        Status.FAILED, ErrorKind.SPAWN_FAILED, code, f"The sandbox failed at {failure['step']}.", detail
    )


def _never_executed(facts: Facts) -> _Verdict:
    said = facts.capture.kept("stderr").text.strip()
    if said.startswith("bwrap: "):
        detail = {"step": "exec", "bwrap": said[:500]}
        return _Verdict(
            Status.FAILED,
            ErrorKind.SPAWN_FAILED,
            "sandbox.exec_failed",
            "The program could not be executed.",
            detail,
        )
    return _Verdict(
        Status.AMBIGUOUS,
        ErrorKind.AMBIGUOUS,
        "sandbox.no_exit_status",
        "The run ended without an exit status.",
    )


def _quota(
    spec: SandboxSpec, done: Mapping[str, Any], exit_code: int | None, number: int | None
) -> str | None:
    if done["reason"] in ("memory", "cpu", "output", "workspace"):
        return str(done["reason"])
    if number == signal.SIGXFSZ:
        return "file_size"
    if number == signal.SIGXCPU:
        return "cpu"
    if number == signal.SIGKILL and done["usage"]["cpu_ms"] >= spec.cpu_time_limit_ms:
        return "cpu"
    peak = max(done["usage"]["memory"], done["usage"]["max_rss"])
    if exit_code != 0 and peak >= spec.memory_limit_bytes * _NEARLY:
        return "memory"
    return None


def _usage(facts: Facts) -> dict[str, int]:
    seen = facts.done["usage"] if facts.done else {}
    return {
        "cpu_ms": seen.get("cpu_ms", 0),
        "wall_ms": facts.wall_ms,
        "max_rss": max(seen.get("max_rss", 0), seen.get("memory", 0)),
        "output_bytes": facts.capture.total,
        "processes": seen.get("processes", 0),
    }


def _answer(
    facts: Facts, exit_code: int | None, number: int | None, out: Kept, err: Kept
) -> dict[str, object]:
    return {
        "exit_code": exit_code,
        "signal": number,
        "stdout": out.text,
        "stderr": err.text,
        "stdout_truncated": out.dropped > 0,
        "stderr_truncated": err.dropped > 0,
        "dropped_bytes": out.dropped + err.dropped,
        "duration_ms": facts.wall_ms,
        "tier": str(facts.job.spec.tier),
        "executor": str(Executor.TIER_C_LINUX),
        "sandbox_enforcement": "strict",
    }
