"""From a module that was checked at claim to the job that the Tier A runner takes."""

from __future__ import annotations

from collections.abc import Mapping

from sandbox.runners.wasm import WasmJob
from sandbox.skills.types import SkillModule


def job_for(
    module: SkillModule, *, execution_id: str, tool_input: Mapping[str, object], timeout_ms: int
) -> WasmJob:
    """Return the job; `timeout_ms` (the server's or the call's) only shortens the manifest's wall time."""
    limits = module.limits
    return WasmJob(
        execution_id=execution_id,
        module=module.module,
        entrypoint=module.entrypoint,
        input=tool_input,
        output_schema=module.output_schema,
        fuel=limits.fuel,
        memory_bytes=limits.memory_bytes,
        wall_ms=min(limits.wall_ms, timeout_ms),
        output_bytes=limits.output_bytes,
    )
