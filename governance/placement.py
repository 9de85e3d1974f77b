"""Where a call would run: the frozen sandbox spec, and a live worker that can enforce it."""

from __future__ import annotations

from datetime import datetime

from governance.proposals import Placement, Target
from policy.argv_template import expand
from sandbox import selectors as sandbox_selectors
from sandbox.argv import check_argv, read_request
from sandbox.spec import BOOTSTRAP_POLICY, CallRequest, SandboxSpec, ToolLimits, resolve_spec
from sandbox.types import Executor, SandboxRefusal, Tier


def place(target: Target, *, agent_id: str, now: datetime) -> Placement | SandboxRefusal:
    """Resolve policy ∩ tool ∩ call and find a worker for it, or say why nothing can run this.

    A call is never placed in a weaker tier than its tool asks for.
    """
    limits = _limits(target)
    spec = resolve_spec(BOOTSTRAP_POLICY, limits, _wishes(target))
    if isinstance(spec, SandboxRefusal):
        return spec
    refusal = _input_refusal(target, spec) or sandbox_selectors.backend_refusal(spec, now=now)
    if refusal is not None:
        return refusal
    return Placement(tier=spec.tier.value, executor=spec.executor.value, spec=spec)


def _limits(target: Target) -> ToolLimits:
    if target.skill is not None:
        return ToolLimits(
            tier=Tier.A,
            executor=Executor.TIER_A,
            workspace_mode="scratch",
            wall_timeout_ms=target.skill.limits.wall_ms,
        )
    if target.tool is None:
        raise ValueError("a target is a tool or a skill")
    tier = Tier(target.tool.tier)
    executor = Executor.TIER_C_LINUX if tier is Tier.C else Executor(target.tool.executor)
    return ToolLimits(tier=tier, executor=executor, wall_timeout_ms=target.tool.timeout_ms)


def argv_of(target: Target) -> tuple[str, ...] | None:
    """Return the expanded template of a custom tool, None for any other. Gate 3 has checked the values."""
    tool = target.tool
    if tool is None or tool.argv_template is None:
        return None
    return check_argv(expand(tool.argv_template, target.input, tool.input_schema))


def _input_refusal(target: Target, spec: SandboxSpec) -> SandboxRefusal | None:
    """What can be refused by reading alone is refused before anybody is asked."""
    try:
        if target.name == "process.run":
            read_request(target.input, allowed_env=spec.allowed_env)
        argv_of(target)
    except SandboxRefusal as refusal:
        return refusal
    return None


def _wishes(target: Target) -> CallRequest:
    """Only `process.run` has such fields in its schema; other tools cannot carry them."""
    timeout = target.input.get("timeout_ms") if target.name == "process.run" else None
    hosts = target.input.get("requested_egress_hosts") if target.name == "process.run" else None
    if timeout is not None and not isinstance(timeout, int):
        raise TypeError("timeout_ms passed its schema and must be an integer")
    return CallRequest(
        timeout_ms=timeout,
        requested_egress_hosts=tuple(str(host) for host in hosts) if isinstance(hosts, list) else (),
    )
