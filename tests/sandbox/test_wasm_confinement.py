"""The child process itself: confined as promised, ended when told, and never a way around it."""

from __future__ import annotations

import ast
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from sandbox.runners import wasm
from sandbox.runners.base import CancelToken
from sandbox.runners.wasm import REQUIRED_NAMESPACES, confinement_faults
from sandbox.runners.wasm_child import Child, Confinement
from sandbox.skills.builtin.echo import echo_module
from sandbox.types import ErrorKind, Outcome, SandboxRefusal, Status
from tests.sandbox.wasm_builders import (
    FOREVER,
    SPIN,
    hosts_below,
    living_hosts,
    module,
    run,
    runner,
    running_guests,
)

SOUND = Confinement(
    hello={
        "uid": 1000,
        "no_new_privs": True,
        "capabilities": ["0000000000000000"] * 3,
        "seccomp": 2,
        "seccomp_filters": 2,
        "interfaces": ["lo"],
        "descriptors": [0, 1, 2],
    },
    host_uid=61184,
    foreign_namespaces=REQUIRED_NAMESPACES,
)


def eventually(condition: Callable[[], object], seconds: float = 20.0) -> bool:
    give_up = time.monotonic() + seconds
    while time.monotonic() < give_up:
        if condition():
            return True
        time.sleep(0.01)
    return False


def crash(guests: list[int]) -> bool:
    """Send SIGSEGV. The engine's own handler shrugs off one that no instruction caused, so it is repeated."""
    for pid in guests:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSEGV)
    return False


def test_sound_confinement_has_no_fault() -> None:
    assert confinement_faults(SOUND, host_uid=61184) == ()


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"uid": 0}, "uid"),
        ({"no_new_privs": False}, "no_new_privs"),
        ({"capabilities": ["0000000000000000", "0000000000000000", "0000000000000001"]}, "capabilities"),
        ({"capabilities": []}, "capabilities"),
        ({"seccomp": 0}, "seccomp"),
        ({"seccomp_filters": 1}, "seccomp"),
        ({"interfaces": ["eth0", "lo"]}, "network"),
        ({"descriptors": [0, 1, 2, 7]}, "descriptors"),
    ],
)
def test_every_promise_that_is_not_kept_is_a_fault(changes: dict[str, object], fault: str) -> None:
    broken = replace(SOUND, hello={**SOUND.hello, **changes})
    assert confinement_faults(broken, host_uid=61184) == (fault,)


def test_wrong_uid_on_the_host_or_a_shared_namespace_is_a_fault() -> None:
    assert confinement_faults(replace(SOUND, host_uid=0), host_uid=61184) == ("host_uid",)
    assert confinement_faults(replace(SOUND, host_uid=0), host_uid=0) == ("host_uid",)
    for name in REQUIRED_NAMESPACES:
        shared = replace(SOUND, foreign_namespaces=REQUIRED_NAMESPACES - {name})
        assert confinement_faults(shared, host_uid=61184) == ("namespaces",)


def test_silent_child_confirms_nothing() -> None:
    nothing = Confinement(hello={}, host_uid=0, foreign_namespaces=frozenset())
    assert len(confinement_faults(nothing, host_uid=61184)) == 8


@pytest.mark.sandbox
class TestRealChild:
    def test_kernel_confirms_the_plan_and_the_host_is_out_of_sight(self) -> None:
        host = runner()._host()
        with Child(host) as child:
            confinement = child.greet(time.monotonic() + 10)
        expected = 61184 if os.geteuid() == 0 else os.geteuid()
        assert confinement_faults(confinement, host_uid=expected) == ()
        allowed = {"dev", "etc", "lib", "lib64", "palyra", "proc", "tmp", "usr"}
        interpreter = Path(host.files.python).parts[1]
        root = confinement.hello["root"]
        assert isinstance(root, list)
        assert set(root) <= allowed | {interpreter}
        assert living_hosts() == []

    def test_availability_is_proved_by_a_real_child(self) -> None:
        assert runner().unavailable() is None

    def test_missing_bubblewrap_is_a_refusal_and_nothing_runs(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(wasm, "find_bubblewrap", lambda: None)
        refusal = runner().unavailable()
        assert refusal is not None
        assert (refusal.kind, refusal.code) == (
            ErrorKind.BACKEND_UNAVAILABLE,
            "sandbox.backend_unavailable",
        )
        with pytest.raises(SandboxRefusal):
            run(echo_module())

    @pytest.mark.parametrize("missing", ["load_filters", "child_files"])
    def test_missing_filters_or_engine_are_a_refusal(
        self, monkeypatch: pytest.MonkeyPatch, missing: str
    ) -> None:
        monkeypatch.setattr(wasm, missing, lambda: None)
        with pytest.raises(SandboxRefusal) as caught:
            run(echo_module())
        assert caught.value.kind is ErrorKind.BACKEND_UNAVAILABLE

    def test_bubblewrap_that_fails_is_unavailable_at_the_gate_and_a_failed_spawn_in_a_run(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(wasm, "find_bubblewrap", lambda: "/bin/false")
        refusal = runner().unavailable()
        assert refusal is not None
        assert refusal.kind is ErrorKind.BACKEND_UNAVAILABLE
        with pytest.raises(SandboxRefusal) as caught:
            run(echo_module())
        assert (caught.value.kind, caught.value.code) == (ErrorKind.SPAWN_FAILED, "sandbox.spawn_failed")
        assert living_hosts() == []

    def test_sandbox_that_does_not_keep_its_promise_runs_nothing(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(wasm, "confinement_faults", lambda *_args, **_kwargs: ("network",))
        with pytest.raises(SandboxRefusal) as caught:
            run(echo_module())
        assert caught.value.code == "sandbox.enforcement_mismatch"
        assert living_hosts() == []

    def test_cancel_before_the_start_runs_nothing(self) -> None:
        cancel = CancelToken()
        cancel.cancel()
        outcome = run(module(SPIN), cancel=cancel)
        assert (outcome.status, outcome.error_kind) == (Status.CANCELLED, ErrorKind.CANCELLED)
        assert "fuel" not in outcome.usage

    def test_cancel_ends_a_spinning_module(self) -> None:
        cancel = CancelToken()
        outcomes: list[Outcome] = []
        thread = threading.Thread(
            target=lambda: outcomes.append(run(module(SPIN), fuel=FOREVER, wall_ms=60_000, cancel=cancel))
        )
        thread.start()
        assert eventually(running_guests)
        cancel.cancel()
        thread.join(timeout=20)
        assert [outcome.status for outcome in outcomes] == [Status.CANCELLED]
        assert living_hosts() == []

    def test_crash_of_the_host_ends_that_call_only(self) -> None:
        outcomes: list[Outcome] = []
        thread = threading.Thread(
            target=lambda: outcomes.append(run(module(SPIN), fuel=FOREVER, wall_ms=60_000))
        )
        thread.start()
        assert eventually(running_guests)
        assert eventually(lambda: crash(running_guests()) or not thread.is_alive())
        thread.join(timeout=20)
        assert [(outcome.status, outcome.error_kind) for outcome in outcomes] == [
            (Status.FAILED, ErrorKind.RUNTIME_FAILURE)
        ]
        assert outcomes[0].error_code == "skill.host_crashed"
        assert run(echo_module()).status is Status.SUCCEEDED

    def test_death_of_the_worker_takes_the_child_along(self) -> None:
        code = "from tests.sandbox.wasm_builders import *\nrun(module(SPIN), fuel=FOREVER, wall_ms=600_000)\n"
        worker = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[2])
        try:
            assert eventually(lambda: hosts_below(worker.pid))
            hosts = hosts_below(worker.pid)
        finally:
            worker.kill()
            worker.wait()
        assert eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in hosts))

    def test_module_over_the_size_cap_is_refused(self) -> None:
        with pytest.raises(SandboxRefusal) as caught:
            run(b"\0asm\x01\0\0\0" + bytes(8 * 1024 * 1024))
        assert caught.value.code == "skill.module_too_large"


def test_child_imports_nothing_but_wasmtime_and_the_standard_library() -> None:
    runners = Path(wasm.__file__).parent
    for name in ("wasm_host.py", "wasm_stage.py"):
        tree = ast.parse((runners / name).read_text())
        imported = {
            alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
        }
        imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        roots = {module_name.partition(".")[0] for module_name in imported}
        assert roots - set(sys.stdlib_module_names) <= {"wasmtime"}


def test_worker_side_never_imports_an_engine() -> None:
    runners = Path(wasm.__file__).parent
    for name in ("wasm.py", "wasm_child.py", "wasm_plan.py", "wasm_abi.py"):
        tree = ast.parse((runners / name).read_text())
        imported = {
            alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
        }
        imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert "wasmtime" not in imported
