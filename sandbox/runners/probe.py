"""Finding out what this host can enforce, by doing it once."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
import subprocess
import time
from pathlib import Path

from sandbox.runners.base import CancelToken, NoSink
from sandbox.runners.cgroups import delegated
from sandbox.runners.landlock import landlock_abi
from sandbox.runners.link import RunnerOptions
from sandbox.runners.process import Borrow, BubblewrapRunner
from sandbox.runners.seccomp import load_filters
from sandbox.selection import Finding, Probe
from sandbox.spec import BOOTSTRAP_POLICY, CallRequest, SandboxSpec, ToolLimits, resolve_spec
from sandbox.types import Executor, Outcome, SandboxJob, SandboxRefusal, Status, Tier

NEEDED_OPTIONS = (
    *(
        "--args",
        "--bind-fd",
        "--ro-bind-fd",
        "--ro-bind-data",
        "--disable-userns",
        "--size",
        "--perms",
        "--file",
    ),
    *("--add-seccomp-fd", "--block-fd", "--json-status-fd", "--remount-ro", "--clearenv"),
)
DEGRADED = ("memory.polled", "cpu.polled")
_INSTALL = "Install it: apt-get install bubblewrap."
_USERNS = (
    "Allow unprivileged user namespaces (kernel.unprivileged_userns_clone=1, "
    "kernel.apparmor_restrict_unprivileged_userns=0 or an AppArmor profile for bwrap)."
)


def probe(options: RunnerOptions, borrow: Borrow) -> Probe:
    """Run the real plan with /usr/bin/true and report what held. Never raises for a lacking host."""
    executors = {Executor.BUILTIN}
    if platform.system() != "Linux":
        text = "Tier C needs Linux."
        return Probe(
            executors=frozenset(executors),
            findings=(Finding("error", "unsupported_platform", text, "Run the worker on Linux."),),
        )
    executors.add(Executor.BUILTIN_FS)
    finding = _bwrap_finding(options) or _trial(options, borrow)
    if finding is None:
        executors.add(Executor.TIER_C_LINUX)
    # A skill's child is confined by bubblewrap too: without it nothing could run one.
    if finding is None and importlib.util.find_spec("wasmtime") is not None:
        executors.add(Executor.TIER_A)
    version, digest = _identity(options.bwrap)
    return Probe(
        executors=frozenset(executors),
        findings=(finding,) if finding else (),
        degraded=DEGRADED,
        bwrap_version=version,
        bwrap_sha256=digest,
        kernel=platform.release(),
        cgroup=delegated(),
        landlock_abi=landlock_abi(),
    )


def _bwrap_finding(options: RunnerOptions) -> Finding | None:
    if not os.access(options.bwrap, os.X_OK):
        return Finding("error", "bwrap_missing", f"{options.bwrap} is missing.", _INSTALL)
    help_text = _ask(options.bwrap, "--help")
    lacking = [option for option in NEEDED_OPTIONS if f"{option} " not in help_text]
    if lacking:
        text = f"bubblewrap lacks {', '.join(lacking)}."
        return Finding("error", "bwrap_too_old", text, "Install bubblewrap 0.8 or newer.")
    if load_filters() is None:
        text = f"No intact system call filters for {platform.machine()}."
        return Finding("error", "seccomp_unavailable", text, "Reinstall Palyra on x86_64 or aarch64.")
    return None


def _trial(options: RunnerOptions, borrow: Borrow) -> Finding | None:
    filters = load_filters()
    job = SandboxJob(
        execution_id="probe",
        kind="process",
        spec=_trial_spec(),
        tool_name="probe",
        input={},
        argv=("/usr/bin/true",),
    )
    if filters is None:
        return None
    try:
        outcome = BubblewrapRunner(options, borrow, filters).run(
            job, deadline=time.monotonic() + 10, cancel=CancelToken(), sink=NoSink()
        )
    except SandboxRefusal as refusal:
        return Finding("error", "launcher_failed", refusal.message, "See the worker's log.")
    return None if outcome.status is Status.SUCCEEDED else finding_of(outcome)


def finding_of(outcome: Outcome) -> Finding:
    """Name the reason why a trial failed, from what bubblewrap said."""
    said = f"{outcome.detail.get('bwrap', '')} {outcome.detail.get('reason', '')}".strip()
    text = f"bubblewrap could not build the sandbox: {said or outcome.message}"
    lower = said.lower()
    if "proc" in lower and "mount" in lower:
        return Finding("error", "proc_mount_forbidden", text, "Run the worker outside a nested container.")
    if any(word in lower for word in ("namespace", "uid map", "userns")):
        return Finding("error", "userns_forbidden", text, _USERNS)
    return Finding("error", "sandbox_failed", text, "See the message of bubblewrap.")


def _trial_spec() -> SandboxSpec:
    tool = ToolLimits(tier=Tier.C, executor=Executor.TIER_C_LINUX, workspace_mode="scratch")
    spec = resolve_spec(BOOTSTRAP_POLICY, tool, CallRequest())
    if isinstance(spec, SandboxRefusal):
        raise spec
    return spec


def _identity(bwrap: str) -> tuple[str | None, str | None]:
    if not os.access(bwrap, os.X_OK):
        return None, None
    version = _ask(bwrap, "--version").strip().removeprefix("bubblewrap ") or None
    return version, "sha256:" + hashlib.sha256(Path(bwrap).read_bytes()).hexdigest()


def _ask(bwrap: str, option: str) -> str:
    try:
        answer = subprocess.run(
            [bwrap, option], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env={}, timeout=5, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout.decode("utf-8", "replace")
