"""What one run may use: policy ∩ tool ∩ call, frozen when the call is decided."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass

from kernel.errors import Detail
from sandbox.types import ErrorKind, Executor, SandboxRefusal, Tier

MIB = 1024 * 1024

RANGES: dict[str, tuple[int, int]] = {
    "cpu_time_limit_ms": (100, 600_000),
    "memory_limit_bytes": (16 * MIB, 65_536 * MIB),
    "max_output_bytes": (1_024, 16 * MIB),
    "wall_timeout_ms": (100, 600_000),
    "max_processes": (1, 1_024),
    "max_file_bytes": (1, 65_536 * MIB),
    "max_open_files": (16, 4_096),
    "tmp_bytes": (4_096, 65_536 * MIB),
    "shm_bytes": (4_096, 1_024 * MIB),
}
"""Every numeric limit with its smallest and largest acceptable value."""

STRENGTH = {Tier.B: 0, Tier.B_PLUS: 1, Tier.C: 2, Tier.A: 3}
MODES = ("scratch", "bind_ro", "bind_rw")
_EXECUTABLE = re.compile(r"[A-Za-z0-9._+-]{1,64}|/[A-Za-z0-9._+/-]{1,1023}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessRunnerPolicy:
    """The operator's bounds for runs. An empty list of executables or hosts allows none."""

    enabled: bool = True
    tier: Tier = Tier.C
    allow_tier_b: bool = False
    workspace_mode: str = "bind_rw"
    allowed_executables: tuple[str, ...] = ()
    allow_interpreters: bool = False
    allowed_egress_hosts: tuple[str, ...] = ()
    address_space: str = "limited"
    cpu_time_limit_ms: int = 2_000
    memory_limit_bytes: int = 256 * MIB
    max_output_bytes: int = 65_536
    wall_timeout_ms: int = 10_000
    max_processes: int = 32
    max_file_bytes: int = 32 * MIB
    max_open_files: int = 256
    tmp_bytes: int = 32 * MIB
    shm_bytes: int = MIB
    allowed_env: tuple[str, ...] = ("LANG", "TZ")


_EVERYDAY_PROGRAMS = """
    awk basename bash cat cmp comm cp cut date diff dirname du echo env expr false find grep head id join ls
    md5sum mkdir mv nl od paste perl printf pwd python3 rm rmdir sed seq sh sha256sum sleep sort split stat
    tac tail tee test touch tr true uname uniq wc xargs
"""

BOOTSTRAP_POLICY = ProcessRunnerPolicy(
    allow_interpreters=True, allowed_executables=tuple(_EVERYDAY_PROGRAMS.split())
)
"""The policy of a fresh installation. Interpreters are on because Tier C confines them by the kernel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolLimits:
    """A tool definition's own bounds; None leaves the policy's value."""

    tier: Tier
    executor: Executor
    workspace_mode: str | None = None
    allow_interpreters: bool = True
    egress_hosts: tuple[str, ...] = ()
    address_space: str = "limited"
    cpu_time_limit_ms: int | None = None
    memory_limit_bytes: int | None = None
    max_output_bytes: int | None = None
    wall_timeout_ms: int | None = None
    max_processes: int | None = None
    max_file_bytes: int | None = None
    max_open_files: int | None = None
    tmp_bytes: int | None = None
    shm_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRequest:
    """The only wishes a call may have: a shorter time and fewer hosts."""

    timeout_ms: int | None = None
    requested_egress_hosts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxSpec:
    """The frozen bounds of one run; `to_json` and `from_json` are inverse."""

    tier: Tier
    executor: Executor
    workspace_mode: str
    allowed_executables: tuple[str, ...]
    allow_interpreters: bool
    egress_mode: str
    egress_hosts: tuple[str, ...]
    address_space: str
    cpu_time_limit_ms: int
    memory_limit_bytes: int
    max_output_bytes: int
    wall_timeout_ms: int
    max_processes: int
    max_file_bytes: int
    max_open_files: int
    tmp_bytes: int
    shm_bytes: int
    allowed_env: tuple[str, ...]

    def to_json(self) -> dict[str, object]:
        """Return plain JSON with every field."""
        values = ((field.name, getattr(self, field.name)) for field in dataclasses.fields(self))
        return {
            name: list(value) if isinstance(value, tuple) else str(value) if isinstance(value, str) else value
            for name, value in values
        }

    @classmethod
    def from_json(cls, value: Mapping[str, object]) -> SandboxSpec:
        """Rebuild a stored spec; a missing, unknown or mistyped field is a ValueError."""
        fields = {field.name: field.type for field in dataclasses.fields(cls)}
        if set(value) != set(fields):
            raise ValueError(f"spec fields differ: {sorted(set(value) ^ set(fields))}")
        members = {name: _read(name, str(fields[name]), item) for name, item in value.items()}
        return cls(**members)  # type: ignore[arg-type]  # _read checked each member against its annotation


def _read(name: str, annotation: str, item: object) -> object:
    if annotation == "Tier":
        return Tier(str(item))
    if annotation == "Executor":
        return Executor(str(item))
    if annotation.startswith("tuple"):
        if isinstance(item, list) and all(isinstance(part, str) for part in item):
            return tuple(item)
    elif type(item).__name__ == annotation:
        return item
    raise ValueError(f"spec field {name} is not a {annotation}")


def check_policy(policy: ProcessRunnerPolicy) -> tuple[Detail, ...]:
    """Return what makes a policy unfit to be saved; an empty tuple means that it is fine."""
    found = [
        Detail(f"/{name}", "sandbox.limit_out_of_range", f"must be between {low} and {high}")
        for name, (low, high) in RANGES.items()
        if not low <= getattr(policy, name) <= high
    ]
    for index, name in enumerate(policy.allowed_executables):
        if not _EXECUTABLE.fullmatch(name):
            pointer = f"/allowed_executables/{index}"
            found.append(Detail(pointer, "sandbox.executable_invalid", "not a bare name or absolute path"))
    if policy.tier not in (Tier.C, Tier.B_PLUS, Tier.B):
        found.append(Detail("/tier", "sandbox.tier_invalid", "processes run in tier C, B+ or B"))
    if policy.workspace_mode not in MODES:
        found.append(Detail("/workspace_mode", "sandbox.mode_invalid", f"must be one of {', '.join(MODES)}"))
    if policy.address_space not in ("limited", "reserved"):
        found.append(Detail("/address_space", "sandbox.mode_invalid", "must be limited or reserved"))
    return tuple(found)


def resolve_spec(
    policy: ProcessRunnerPolicy, tool: ToolLimits, call: CallRequest
) -> SandboxSpec | SandboxRefusal:
    """Return the bounds of a run: none exceeds the policy's or the tool's, and the tier is no weaker."""
    refusal = _refusal(policy, tool, call)
    if refusal is not None:
        return refusal
    limits = {name: _least(name, policy, tool) for name in RANGES}
    if call.timeout_ms is not None:
        limits["wall_timeout_ms"] = min(limits["wall_timeout_ms"], call.timeout_ms)
    both_reserved = policy.address_space == tool.address_space == "reserved"
    return SandboxSpec(
        tier=_tier(policy, tool),
        executor=tool.executor,
        workspace_mode=_mode(policy, tool),
        allowed_executables=policy.allowed_executables,
        allow_interpreters=policy.allow_interpreters and tool.allow_interpreters,
        egress_mode="strict",
        egress_hosts=call.requested_egress_hosts,
        address_space="reserved" if both_reserved else "limited",
        allowed_env=policy.allowed_env,
        **limits,
    )


def _refusal(policy: ProcessRunnerPolicy, tool: ToolLimits, call: CallRequest) -> SandboxRefusal | None:
    if tool.tier is not Tier.NONE and not policy.enabled:
        return SandboxRefusal(ErrorKind.DISABLED, "sandbox.disabled", "Running processes is switched off.")
    if check_policy(policy):
        return SandboxRefusal(
            ErrorKind.DISABLED, "sandbox.policy_invalid", "The sandbox policy is not usable."
        )
    low, high = RANGES["wall_timeout_ms"]
    if call.timeout_ms is not None and not low <= call.timeout_ms <= high:
        return SandboxRefusal(
            ErrorKind.INVALID_INPUT,
            "sandbox.timeout_invalid",
            f"timeout_ms must be between {low} and {high}.",
        )
    if _tier(policy, tool) in (Tier.B, Tier.B_PLUS) and not policy.allow_tier_b:
        return SandboxRefusal(ErrorKind.DISABLED, "sandbox.tier_b_disabled", "Tier B is not allowed.")
    return _egress_refusal(policy, tool, call)


def _egress_refusal(
    policy: ProcessRunnerPolicy, tool: ToolLimits, call: CallRequest
) -> SandboxRefusal | None:
    allowed = set(policy.allowed_egress_hosts) & set(tool.egress_hosts)
    for host in call.requested_egress_hosts:
        if host not in allowed:
            return SandboxRefusal(
                ErrorKind.EGRESS_DENIED,
                "egress.host_not_allowed",
                f"{host} is not on this tool's allowlist",
                {"host": host, "allowed": sorted(allowed)},
            )
    return None


def _tier(policy: ProcessRunnerPolicy, tool: ToolLimits) -> Tier:
    if tool.tier is Tier.NONE:
        return Tier.NONE
    return max(policy.tier, tool.tier, key=STRENGTH.__getitem__)


def _mode(policy: ProcessRunnerPolicy, tool: ToolLimits) -> str:
    return min(policy.workspace_mode, tool.workspace_mode or policy.workspace_mode, key=MODES.index)


def _least(name: str, policy: ProcessRunnerPolicy, tool: ToolLimits) -> int:
    ceiling: int = getattr(policy, name)
    wanted: int | None = getattr(tool, name)
    return ceiling if wanted is None else min(ceiling, wanted)
