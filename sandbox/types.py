"""Plain values of the sandbox: tiers, error kinds, a job and its outcome."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sandbox.spec import SandboxSpec


class Tier(StrEnum):
    """Where a tool runs. `NONE` is for built-ins, which start no foreign code."""

    A = "A"
    C = "C"
    B_PLUS = "B+"
    B = "B"
    NONE = "none"


class Executor(StrEnum):
    """Names that an attestation may carry for calls that ran on this machine."""

    TIER_A = "sandbox_tier_a"
    TIER_C_LINUX = "sandbox_tier_c_linux_bubblewrap"
    BUILTIN = "builtin"
    BUILTIN_FS = "builtin_fs"


class ErrorKind(StrEnum):
    """Why a run did not succeed; it reaches the caller unchanged."""

    DISABLED = "Disabled"
    UNSUPPORTED_PLATFORM = "UnsupportedPlatform"
    INVALID_INPUT = "InvalidInput"
    WORKSPACE_SCOPE_DENIED = "WorkspaceScopeDenied"
    EGRESS_DENIED = "EgressDenied"
    QUOTA_EXCEEDED = "QuotaExceeded"
    TIMED_OUT = "TimedOut"
    SPAWN_FAILED = "SpawnFailed"
    RUNTIME_FAILURE = "RuntimeFailure"
    BACKEND_UNAVAILABLE = "BackendUnavailable"
    AMBIGUOUS = "Ambiguous"
    CANCELLED = "Cancelled"
    SKILL_DENIED = "SkillDenied"
    CAPABILITY_DENIED = "CapabilityDenied"
    INTEGRITY_FAILED = "IntegrityFailed"
    OUTPUT_INVALID = "OutputInvalid"


class Status(StrEnum):
    """How a run ended. `AMBIGUOUS` means that nobody knows; such a run is never repeated."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"
    AMBIGUOUS = "ambiguous"


class SandboxRefusal(Exception):  # noqa: N818  # a refusal is an answer that may also be raised
    """A run that must not start. `message` is safe to show; `detail` is plain JSON."""

    def __init__(
        self, kind: ErrorKind, code: str, message: str, detail: Mapping[str, object] | None = None
    ) -> None:
        self.kind = kind
        self.code = code
        self.message = message
        self.detail = dict(detail or {})
        super().__init__(f"{kind} {code}: {message}")


@dataclass(frozen=True, slots=True)
class SandboxJob:
    """One approved call, ready to run.

    `input` already passed the tool's JSON Schema. `argv` is the expanded template of a custom tool and
    None for `process.run`. `workspace` is the absolute real path of the workspace root or None.
    `module` is the WebAssembly code of a skill. The two quotas bound what a writable workspace may hold
    in all: allocated bytes, and files and directories.
    """

    execution_id: str
    kind: str
    spec: SandboxSpec
    tool_name: str
    input: Mapping[str, object]
    argv: tuple[str, ...] | None = None
    workspace: str | None = None
    module: bytes | None = None
    quota_bytes: int = 1024**3
    quota_files: int = 50_000


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run did.

    `exit_code` and `signal` are never both set. `stdout` and `stderr` are bounded text (head and tail);
    the two digests cover every byte the tool wrote. `output` is the JSON answer for the caller.
    `usage` holds integers: cpu_ms, wall_ms, max_rss (bytes), output_bytes, and fuel for Tier A.
    `sandbox_enforcement` says what was really enforced: none, strict or wasm_capabilities.
    """

    status: Status
    executor: Executor
    started_at: datetime
    finished_at: datetime
    sandbox_enforcement: str = "none"
    error_kind: ErrorKind | None = None
    error_code: str | None = None
    message: str = ""
    detail: Mapping[str, object] = field(default_factory=dict)
    exit_code: int | None = None
    signal: int | None = None
    stdout: str = ""
    stderr: str = ""
    stdout_truncated: bool = False
    stderr_truncated: bool = False
    dropped_bytes: int = 0
    stdout_sha256: str | None = None
    stderr_sha256: str | None = None
    output: Mapping[str, object] | None = None
    usage: Mapping[str, int] = field(default_factory=dict)
    enforcement: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.exit_code is not None and self.signal is not None:
            raise ValueError("an outcome has an exit code or a signal, never both")
        if (self.status is Status.SUCCEEDED) is not (self.error_kind is None):
            raise ValueError("exactly the outcomes that did not succeed carry an error kind")
