from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given, strategies as st

from sandbox.selection import Finding, Probe, select
from sandbox.spec import (
    BOOTSTRAP_POLICY,
    MODES,
    RANGES,
    STRENGTH,
    CallRequest,
    ProcessRunnerPolicy,
    SandboxSpec,
    ToolLimits,
    check_policy,
    resolve_spec,
)
from sandbox.types import Executor, SandboxRefusal, Tier
from tests.sandbox.process_builders import builtin_spec, tier_c_spec

HOSTS = st.lists(st.sampled_from(["a.test:443", "b.test:443", "c.test:443"]), unique=True).map(tuple)
NUMBERS = {name: st.integers(low, high) for name, (low, high) in RANGES.items()}
POLICIES = st.builds(
    ProcessRunnerPolicy,
    tier=st.sampled_from([Tier.B, Tier.B_PLUS, Tier.C]),
    allow_tier_b=st.booleans(),
    workspace_mode=st.sampled_from(MODES),
    allow_interpreters=st.booleans(),
    allowed_egress_hosts=HOSTS,
    address_space=st.sampled_from(["limited", "reserved"]),
    **NUMBERS,
)
TOOLS = st.builds(
    ToolLimits,
    tier=st.sampled_from([Tier.A, Tier.B, Tier.B_PLUS, Tier.C]),
    executor=st.just(Executor.TIER_C_LINUX),
    workspace_mode=st.none() | st.sampled_from(MODES),
    allow_interpreters=st.booleans(),
    egress_hosts=HOSTS,
    address_space=st.sampled_from(["limited", "reserved"]),
    **{name: st.none() | numbers for name, numbers in NUMBERS.items()},
)
CALLS = st.builds(CallRequest, timeout_ms=st.none() | st.integers(0, 700_000), requested_egress_hosts=HOSTS)


@given(policy=POLICIES, tool=TOOLS, call=CALLS)
def test_a_spec_never_exceeds_the_policy_or_the_tool(
    policy: ProcessRunnerPolicy, tool: ToolLimits, call: CallRequest
) -> None:
    spec = resolve_spec(policy, tool, call)
    if isinstance(spec, SandboxRefusal):
        return
    for name in RANGES:
        own = getattr(tool, name)
        assert getattr(spec, name) <= getattr(policy, name)
        assert own is None or getattr(spec, name) <= own
    assert call.timeout_ms is None or spec.wall_timeout_ms <= call.timeout_ms
    assert STRENGTH[spec.tier] >= max(STRENGTH[policy.tier], STRENGTH[tool.tier])
    assert MODES.index(spec.workspace_mode) <= MODES.index(policy.workspace_mode)
    assert set(spec.egress_hosts) <= set(policy.allowed_egress_hosts) & set(tool.egress_hosts)
    assert not spec.allow_interpreters or (policy.allow_interpreters and tool.allow_interpreters)
    assert spec.address_space == "limited" or policy.address_space == tool.address_space == "reserved"
    assert spec.egress_mode == "strict"


@given(policy=POLICIES, tool=TOOLS)
def test_a_spec_survives_storage(policy: ProcessRunnerPolicy, tool: ToolLimits) -> None:
    spec = resolve_spec(policy, tool, CallRequest())
    if isinstance(spec, SandboxSpec):
        assert SandboxSpec.from_json(spec.to_json()) == spec


@pytest.mark.parametrize(
    "change",
    [
        {"tier": "Z"},
        {"cpu_time_limit_ms": "5"},
        {"cpu_time_limit_ms": True},
        {"egress_hosts": "a"},
        {"egress_hosts": [1]},
        {"no_sandbox": True},
    ],
)
def test_a_stored_spec_that_is_not_one_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"spec|Tier"):
        SandboxSpec.from_json({**tier_c_spec().to_json(), **change})


def test_a_stored_spec_with_a_missing_field_is_refused() -> None:
    value = tier_c_spec().to_json()
    del value["max_processes"]

    with pytest.raises(ValueError, match="max_processes"):
        SandboxSpec.from_json(value)


@pytest.mark.parametrize(
    ("policy", "tool", "call", "code"),
    [
        ({"enabled": False}, {}, {}, "sandbox.disabled"),
        ({"max_processes": 0}, {}, {}, "sandbox.policy_invalid"),
        ({"tier": Tier.B}, {"tier": Tier.B}, {}, "sandbox.tier_b_disabled"),
        ({}, {}, {"timeout_ms": 99}, "sandbox.timeout_invalid"),
        ({}, {}, {"requested_egress_hosts": ("a.test:443",)}, "egress.host_not_allowed"),
        (
            {"allowed_egress_hosts": ("a.test:443",)},
            {},
            {"requested_egress_hosts": ("a.test:443",)},
            "egress.host_not_allowed",
        ),
    ],
)
def test_refusals_carry_their_code(
    policy: dict[str, Any], tool: dict[str, Any], call: dict[str, Any], code: str
) -> None:
    limits = ToolLimits(**{"tier": Tier.C, "executor": Executor.TIER_C_LINUX, **tool})

    refusal = resolve_spec(dataclasses.replace(BOOTSTRAP_POLICY, **policy), limits, CallRequest(**call))

    assert isinstance(refusal, SandboxRefusal)
    assert refusal.code == code


def test_built_ins_run_although_processes_are_switched_off() -> None:
    tool = ToolLimits(tier=Tier.NONE, executor=Executor.BUILTIN)

    assert isinstance(resolve_spec(ProcessRunnerPolicy(enabled=False), tool, CallRequest()), SandboxSpec)


def test_defaults_are_acceptable_and_each_bad_value_is_pointed_at() -> None:
    assert check_policy(ProcessRunnerPolicy()) == check_policy(BOOTSTRAP_POLICY) == ()
    bad = ProcessRunnerPolicy(
        tier=Tier.A,
        workspace_mode="all",
        address_space="any",
        wall_timeout_ms=0,
        allowed_executables=("ls", "a b", "../x", ""),
    )
    assert {detail.pointer for detail in check_policy(bad)} == {
        *("/tier", "/workspace_mode", "/address_space", "/wall_timeout_ms"),
        *("/allowed_executables/1", "/allowed_executables/2", "/allowed_executables/3"),
    }


ALL = frozenset(Executor)


def test_selection_gives_exactly_the_tier_that_was_asked_for() -> None:
    backend = select(tier_c_spec(), Probe(executors=ALL, degraded=("memory.polled",)))

    assert not isinstance(backend, SandboxRefusal)
    assert (backend.tier, backend.executor) == ("C", "sandbox_tier_c_linux_bubblewrap")
    assert backend.degraded == ("memory.polled",)
    assert getattr(select(builtin_spec(), Probe(executors=ALL, degraded=("x",))), "degraded", None) == ()


@pytest.mark.parametrize(
    "spec",
    [
        tier_c_spec(),
        tier_c_spec(tier=Tier.B),
        tier_c_spec(tier=Tier.A),
        tier_c_spec(executor=Executor.BUILTIN),
    ],
)
def test_selection_never_falls_back(spec: SandboxSpec) -> None:
    finding = Finding("error", "bwrap_missing", "bwrap is missing.", "Install it.")
    probe = Probe(executors=ALL - {Executor.TIER_C_LINUX}, findings=(finding,))

    refusal = select(spec, probe)

    assert isinstance(refusal, SandboxRefusal)
    assert (refusal.kind, refusal.code) == ("BackendUnavailable", "sandbox.backend_unavailable")
    assert "Install it." in refusal.message
