"""Which backend runs a job: exactly the tier that was asked for, or a refusal. Never a weaker one."""

from __future__ import annotations

from dataclasses import dataclass

from sandbox.spec import SandboxSpec
from sandbox.types import ErrorKind, Executor, SandboxRefusal, Tier


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing a host lacks, in words that an operator can act on."""

    severity: str
    code: str
    message: str
    remediation: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What this host was seen to do. `executors` holds those whose probe passed."""

    executors: frozenset[Executor]
    findings: tuple[Finding, ...] = ()
    degraded: tuple[str, ...] = ()
    bwrap_version: str | None = None
    bwrap_sha256: str | None = None
    kernel: str = ""
    cgroup: bool = False
    landlock_abi: int = 0


@dataclass(frozen=True, slots=True)
class Backend:
    """The chosen executor and the weaknesses the host leaves in it."""

    tier: Tier
    executor: Executor
    degraded: tuple[str, ...] = ()


_TIER_OF = {
    Executor.TIER_A: Tier.A,
    Executor.TIER_C_LINUX: Tier.C,
    Executor.BUILTIN: Tier.NONE,
    Executor.BUILTIN_FS: Tier.NONE,
}


def select(spec: SandboxSpec, probe: Probe) -> Backend | SandboxRefusal:
    """Return the backend that can enforce the whole spec on the probed host."""
    if _TIER_OF[spec.executor] is not spec.tier:
        return _unavailable(f"{spec.executor} cannot provide tier {spec.tier}.", probe)
    if spec.executor not in probe.executors:
        return _unavailable(f"Tier {spec.tier} ({spec.executor}) is not available on this host.", probe)
    if spec.egress_hosts:
        return SandboxRefusal(
            ErrorKind.EGRESS_DENIED,
            "egress.not_enforceable",
            "No backend of this host can enforce an allowlist of hosts.",
            {"hosts": list(spec.egress_hosts)},
        )
    degraded = probe.degraded if spec.tier is Tier.C else ()
    return Backend(spec.tier, spec.executor, degraded)


def _unavailable(message: str, probe: Probe) -> SandboxRefusal:
    errors = [finding for finding in probe.findings if finding.severity == "error"]
    reasons = " ".join(f"{finding.message} {finding.remediation}" for finding in errors)
    return SandboxRefusal(
        ErrorKind.BACKEND_UNAVAILABLE,
        "sandbox.backend_unavailable",
        f"{message} {reasons}".strip(),
        {"findings": [finding.code for finding in errors]},
    )
