"""Where a call would run: the frozen sandbox spec, and a live worker that can enforce it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from governance.proposals import Placement, Target
from policy.argv_template import expand
from policy.selectors import CallLimits, tool_call_config
from policy.types import ToolFacts
from sandbox import selectors as sandbox_selectors
from sandbox.argv import check_argv, read_request
from sandbox.skills.selectors import load_module
from sandbox.skills.types import SkillModule, SkillTool
from sandbox.spec import (
    BOOTSTRAP_POLICY,
    RANGES,
    CallRequest,
    ProcessRunnerPolicy,
    SandboxSpec,
    ToolLimits,
    resolve_spec,
)
from sandbox.types import ErrorKind, Executor, SandboxRefusal, Tier


def place(target: Target, *, agent_id: str, workspace_id: str, now: datetime) -> Placement | SandboxRefusal:
    """Resolve workspace ∩ policy ∩ tool ∩ call and find a worker for it, or say why nothing can run this.

    A call is never placed in a weaker tier than its tool asks for. Raises NotFoundError for a
    workspace without limits.
    """
    spec = _resolve(target, workspace_id)
    if isinstance(spec, SandboxRefusal):
        return spec
    refusal = _input_refusal(target, spec) or sandbox_selectors.backend_refusal(spec, now=now)
    if refusal is not None:
        return refusal
    return Placement(tier=spec.tier.value, executor=spec.executor.value, spec=spec)


def backing_refusal(target: Target, *, workspace_id: str, now: datetime) -> SandboxRefusal | None:
    """Return why nothing here could run this, whatever its input, or None when something can."""
    spec = _resolve(target, workspace_id)
    if isinstance(spec, SandboxRefusal):
        return spec
    return sandbox_selectors.backend_refusal(spec, now=now)


def _resolve(target: Target, workspace_id: str) -> SandboxSpec | SandboxRefusal:
    config = tool_call_config(workspace_id)
    refusal = _declared_refusal(target, config)
    if refusal is not None:
        return refusal
    return resolve_spec(_policy(target, config), _limits(target), _wishes(target))


def fitting_module(skill: SkillTool, payload: str, config: CallLimits) -> SkillModule:
    """Return a skill's module as the workspace's limits let it run.

    Raises SkillChangedError when it is not the one that was decided about, and SandboxRefusal when it
    is larger than the workspace takes.
    """
    module = load_module(tool_name=skill.id, skl_id=skill.skl_id, payload=payload)
    if len(module.module) > config.wasm_module_bytes:
        raise SandboxRefusal(
            ErrorKind.INVALID_INPUT,
            "skill.module_too_large",
            f"The module is larger than the {config.wasm_module_bytes} bytes of this workspace.",
        )
    limits = replace(
        module.limits,
        fuel=min(module.limits.fuel, config.wasm_fuel),
        memory_bytes=min(module.limits.memory_bytes, config.wasm_memory_bytes),
    )
    return replace(module, limits=limits)


def _declared_refusal(target: Target, config: CallLimits) -> SandboxRefusal | None:
    """What a definition asks for and nothing here provides is refused before anybody is asked."""
    if target.skill is not None:
        try:
            fitting_module(target.skill, target.definition_digest, config)
        except SandboxRefusal as refusal:
            return refusal
        return None
    tool = target.tool
    if tool is None:
        raise ValueError("a target is a tool or a skill")
    if tool.tier == Tier.B:
        return SandboxRefusal(
            ErrorKind.BACKEND_UNAVAILABLE,
            "sandbox.backend_unavailable",
            "No worker provides tier B.",
            {"remediation": "Register the tool for tier C."},
        )
    return _unbound_refusal(tool)


def _unbound_refusal(tool: ToolFacts) -> SandboxRefusal | None:
    if not tool.secrets:
        return None
    return SandboxRefusal(
        ErrorKind.BACKEND_UNAVAILABLE,
        "vault.slot_unbound",
        f"No secret is bound to the slot {tool.secrets[0].slot}.",
    )


def _policy(target: Target, config: CallLimits) -> ProcessRunnerPolicy:
    """Return the operator's bounds: those of the installation, narrowed by the workspace's limits."""
    own = replace(BOOTSTRAP_POLICY, wall_timeout_ms=config.execution_timeout_ms)
    if target.skill is not None or (target.tool is not None and target.tool.tier == Tier.A):
        memory = max(config.wasm_memory_bytes, RANGES["memory_limit_bytes"][0])
        return replace(own, enabled=config.wasm_enabled, memory_limit_bytes=memory)
    return replace(
        own,
        enabled=config.process_runner_enabled,
        tier=Tier(config.process_runner_tier),
        cpu_time_limit_ms=config.process_cpu_ms,
        memory_limit_bytes=config.process_memory_bytes,
        max_output_bytes=config.process_output_bytes,
    )


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
    return ToolLimits(
        tier=tier,
        executor=executor,
        wall_timeout_ms=target.tool.timeout_ms,
        egress_hosts=target.tool.egress_hosts,
    )


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
    """A custom tool wants all hosts of its definition; only `process.run` has wishes in its input."""
    if target.name != "process.run":
        return CallRequest(requested_egress_hosts=target.tool.egress_hosts if target.tool else ())
    timeout = target.input.get("timeout_ms")
    hosts = target.input.get("requested_egress_hosts")
    if timeout is not None and not isinstance(timeout, int):
        raise TypeError("timeout_ms passed its schema and must be an integer")
    return CallRequest(
        timeout_ms=timeout,
        requested_egress_hosts=tuple(str(host) for host in hosts) if isinstance(hosts, list) else (),
    )
