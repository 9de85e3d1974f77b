"""A skill from installation over the gate to its output, on real parts."""

from __future__ import annotations

import time

import pytest

from sandbox.runners.base import CancelToken
from sandbox.skills.builtin.echo import ECHO, echo_module
from sandbox.skills.execution import job_for
from sandbox.skills.selectors import gate, load_module
from sandbox.skills.services import install_builtin_skill
from sandbox.skills.types import SkillModule
from sandbox.types import Status
from tests.builders import RecordedEvents
from tests.sandbox.execution_builders import NOW, WORKER
from tests.sandbox.wasm_builders import runner


@pytest.mark.sandbox
@pytest.mark.django_db
def test_installed_echo_passes_the_gate_and_runs_with_its_manifests_limits() -> None:
    install_builtin_skill(skill=ECHO, module=echo_module(), actor=WORKER, now=NOW, record=RecordedEvents())
    decision = gate(tool_name="local.echo", raw_input={"text": "hi"}, workspace_id="wsp_x", now=NOW)
    assert decision.skl_id is not None
    assert decision.payload_digest is not None
    module = load_module(tool_name="local.echo", skl_id=decision.skl_id, payload=decision.payload_digest)

    job = job_for(module, execution_id="exe_1", tool_input={"text": "hi"}, timeout_ms=60_000)
    outcome = runner().run(job, deadline=time.monotonic() + 30, cancel=CancelToken())

    assert (job.wall_ms, job.fuel) == (ECHO.limits.wall_ms, ECHO.limits.fuel)
    assert (outcome.status, outcome.output) == (Status.SUCCEEDED, {"text": "hi"})


def test_shorter_timeout_wins() -> None:
    module = SkillModule("skl_1", "local.echo", "1.0.0", "sha256:x", b"", "run", ECHO.limits, {})
    assert job_for(module, execution_id="exe_1", tool_input={}, timeout_ms=750).wall_ms == 750
