"""What Tier C costs: our run of /usr/bin/true beside a bare one-line bubblewrap and a plain subprocess.

The three take turns, so that a busy machine is as busy for each. Times are medians in milliseconds; ours
covers everything from the job to the outcome: checks, pins, plan, launcher, limits, read-back and reaping.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from sandbox.runners.base import CancelToken
from sandbox.runners.worker import RunnerPool
from sandbox.spec import BOOTSTRAP_POLICY, CallRequest, ToolLimits, resolve_spec
from sandbox.types import Executor, SandboxJob, SandboxRefusal, Status, Tier

ROUNDS = 200
TARGET = 2.0
BARE = ["bwrap", "--ro-bind", "/", "/", "--unshare-all", "/usr/bin/true"]


def main() -> int:
    pool = RunnerPool()
    probe = pool.start()
    if Executor.TIER_C_LINUX not in probe.executors:
        print("skipped:", "; ".join(finding.message for finding in probe.findings))
        return 0
    contenders: dict[str, Callable[[], None]] = {
        "plain subprocess": lambda: run_bare(["/usr/bin/true"]),
        "bare bubblewrap": lambda: run_bare(BARE),
        "palyra tier C": ours(pool),
    }
    medians = measure(contenders)
    pool.close()
    for name, median in medians.items():
        print(f"{name:18} {median:8.2f} ms  {median / medians['bare bubblewrap']:5.2f} x bare bubblewrap")
    report(medians["palyra tier C"], medians["bare bubblewrap"])
    return 0


def run_bare(command: list[str]) -> None:
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def ours(pool: RunnerPool) -> Callable[[], None]:
    tool = ToolLimits(tier=Tier.C, executor=Executor.TIER_C_LINUX, workspace_mode="scratch")
    spec = resolve_spec(BOOTSTRAP_POLICY, tool, CallRequest())
    if isinstance(spec, SandboxRefusal):
        raise spec
    job = SandboxJob("exe_benchmark", "process", spec, "process.run", {"command": "true"})

    def run() -> None:
        outcome = pool.run(job, deadline_ms=10_000, cancel=CancelToken())
        if outcome.status is not Status.SUCCEEDED:
            raise SystemExit(f"the run failed: {outcome.error_code} {outcome.message}")

    return run


def measure(contenders: dict[str, Callable[[], None]]) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(ROUNDS):
        for name, run in contenders.items():
            started = time.perf_counter()
            run()
            times[name].append((time.perf_counter() - started) * 1000)
    return {name: statistics.median(values) for name, values in times.items()}


def report(median: float, reference: float) -> None:
    ratio = round(median / reference, 2)
    row = {"benchmark": "sandbox_tier_c", "ours": round(median, 3), "reference": round(reference, 3)}
    print(json.dumps({**row, "ratio": ratio, "target": TARGET, "holds": ratio <= TARGET}))


if __name__ == "__main__":
    raise SystemExit(main())
