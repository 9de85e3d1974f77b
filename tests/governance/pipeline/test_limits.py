"""The limits of a workspace, where they bind: at the run, at the gates, in the frozen spec, in the worker."""

from __future__ import annotations

from typing import Any

import pytest

from governance.operations import limits
from governance.runner import job_of
from kernel.clock import utc_now
from kernel.errors import InvalidError
from policy.models import ToolCallConfig
from sandbox.runners.wasm import WasmJob
from sandbox.skills import selectors as skills
from sandbox.types import SandboxRefusal
from tests.governance.pipeline.test_claim import SKILL, assert_refused, propose_skill
from tests.governance.pipeline.world import ASKED, World, claim, gate_row

PROCESS = "process.run"


def limit(world: World, **values: Any) -> None:
    preset = values.pop("preset", None)
    limits.change(
        principal=world.person(world.owner),
        reason="a test",
        seen_version=ToolCallConfig.objects.get(workspace=world.workspace).version,
        preset=preset,
        values=values,
        now=utc_now(),
    )


def spec_of(world: World, *proposed: Any, **more: Any) -> dict[str, Any]:
    """Propose a call and return the bounds it was given."""
    spec = world.propose(*proposed, **more).call.spec
    assert isinstance(spec, dict)
    return spec


def test_a_new_run_gets_the_calls_of_its_workspace_and_no_more(world: World) -> None:
    open_before = world.open_run()
    limit(world, max_calls_per_run=2, soft_calls_per_run=1)
    run = world.open_run()
    assert (open_before.max_calls, run.max_calls) == (32, 2)
    with pytest.raises(InvalidError):
        world.open_run(max_calls=3)
    states = [world.propose(run=run).state for _ in range(3)]
    assert states == ["queued", "queued", "denied"]


def test_a_process_runs_within_the_limits_of_its_workspace(world: World) -> None:
    limit(
        world,
        execution_timeout_ms=750,
        process_cpu_ms=500,
        process_memory_bytes=64 * 1024 * 1024,
        process_output_bytes=4096,
    )
    spec = spec_of(world, PROCESS, {"command": "ls", "timeout_ms": 600_000})
    assert (spec["wall_timeout_ms"], spec["cpu_time_limit_ms"]) == (750, 500)
    assert (spec["memory_limit_bytes"], spec["max_output_bytes"]) == (64 * 1024 * 1024, 4096)
    assert (spec["tier"], spec["egress_mode"]) == ("C", "strict")


def test_more_time_for_a_workspace_is_more_time_for_its_built_ins(world: World) -> None:
    limit(world, execution_timeout_ms=60_000)
    spec = spec_of(world, PROCESS, {"command": "ls"})
    assert spec["wall_timeout_ms"] == 60_000
    shorter = spec_of(world, PROCESS, {"command": "ls", "timeout_ms": 20_000})
    assert shorter["wall_timeout_ms"] == 20_000
    own = spec_of(world, ASKED)
    assert own["wall_timeout_ms"] == 10_000


def test_the_limits_of_a_spec_are_those_of_its_decision(world: World) -> None:
    view = world.propose()
    limit(world, execution_timeout_ms=100)
    assert claim(world, view).spec.wall_timeout_ms == 10_000


def test_a_process_runner_that_is_off_runs_nothing(world: World) -> None:
    waiting = world.propose(PROCESS, {"command": "ls"})
    limit(world, process_runner_enabled=False)
    denied = world.propose(PROCESS, {"command": "ls"})
    assert (denied.state, denied.call.reason_code) == ("denied", "posture.locked")
    assert world.propose().state == "queued"
    world.run(world.allowed(waiting))
    assert_refused(waiting, "posture.locked", "policy")


def test_skills_that_are_off_run_nothing(world: World) -> None:
    queued = propose_skill(world)
    limit(world, wasm_enabled=False)
    denied = world.propose(SKILL, {"text": "hi"})
    assert (denied.state, denied.call.reason_code) == ("denied", "posture.locked")
    assert gate_row(denied, "posture")["reason"] == "WebAssembly is switched off."
    world.run(queued)
    assert_refused(queued, "posture.locked", "policy")


def test_a_skill_runs_within_the_limits_of_its_workspace(world: World) -> None:
    limit(world, wasm_fuel=5_000, wasm_memory_bytes=128 * 1024, wasm_table_elements=400)
    limit(world, execution_timeout_ms=900)
    job = job_of(claim(world, propose_skill(world)))
    assert isinstance(job, WasmJob)
    assert (job.fuel, job.memory_bytes, job.table_elements) == (5_000, 128 * 1024, 100)
    assert job.wall_ms == 900


def test_limits_above_those_of_a_skill_change_nothing(world: World) -> None:
    limit(world, wasm_fuel=1_000_000_000, wasm_memory_bytes=1024 * 1024 * 1024)
    skill = skills.resolve(SKILL)
    job = job_of(claim(world, propose_skill(world)))
    assert skill is not None
    assert isinstance(job, WasmJob)
    assert (job.fuel, job.memory_bytes) == (skill.limits.fuel, skill.limits.memory_bytes)


def test_a_module_that_is_too_large_asks_nobody_and_does_not_run(world: World) -> None:
    queued = propose_skill(world)
    claimed = claim(world, queued)
    ToolCallConfig.objects.filter(workspace=world.workspace).update(wasm_module_bytes=10)
    denied = world.propose(SKILL, {"text": "hi"})
    assert (denied.state, denied.call.reason_code) == ("denied", "skill.module_too_large")
    with pytest.raises(SandboxRefusal) as caught:
        job_of(claimed)
    assert caught.value.code == "skill.module_too_large"


def test_the_preset_minimal_leaves_four_calls_and_no_runner(world: World) -> None:
    limit(world, preset="minimal")
    run = world.open_run()
    assert run.max_calls == 4
    assert spec_of(world, run=run)["wall_timeout_ms"] == 750
    for tool, given in ((PROCESS, {"command": "ls"}), (SKILL, {"text": "hi"})):
        assert world.propose(tool, given, run=run).call.reason_code == "posture.locked"


def test_a_workspace_without_limits_runs_nothing(world: World) -> None:
    run = world.open_run()
    ToolCallConfig.objects.filter(workspace=world.workspace).delete()
    assert world.propose(run=run).call.reason_code == "posture.unavailable"
