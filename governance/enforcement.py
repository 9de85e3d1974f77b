"""What the hosts that could take a call enforce, and what they do not: read from their probes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from governance.evidence import ENFORCED_KEYS
from sandbox import selectors as sandbox_selectors
from sandbox.selection import Backend, Probe, select
from sandbox.spec import SandboxSpec
from sandbox.types import Executor

_IN_WASM = ("wasm_capabilities", "fuel", "memory", *ENFORCED_KEYS)
_NO_SANDBOX = "process_isolation"


@dataclass(frozen=True, slots=True)
class Enforcement:
    """Names of what holds on every host that could take the call, and of what fails on one of them."""

    enforced: tuple[str, ...]
    not_enforced: tuple[str, ...]


def enforcement_of(spec: SandboxSpec, now: datetime) -> Enforcement:
    """Return the weakest promise of the live hosts that could run this; with no host, none at all."""
    probes = [sandbox_selectors.as_probe(host) for host in sandbox_selectors.live_probes(now)]
    promises = [_promise(spec, probe) for probe in probes if isinstance(select(spec, probe), Backend)]
    if not promises:
        return Enforcement((), (_NO_SANDBOX,))
    everywhere = set.intersection(*(set(promise.enforced) for promise in promises))
    somewhere = {name for promise in promises for name in promise.not_enforced}
    somewhere |= {name for promise in promises for name in promise.enforced if name not in everywhere}
    return Enforcement(tuple(sorted(everywhere)), tuple(sorted(somewhere)))


def _promise(spec: SandboxSpec, probe: Probe) -> Enforcement:
    if spec.executor is Executor.TIER_C_LINUX:
        return Enforcement(ENFORCED_KEYS, probe.degraded)
    if spec.executor is Executor.TIER_A:
        return Enforcement(_IN_WASM, ())
    if spec.executor is Executor.BUILTIN_FS:
        landlock = ("landlock",) if probe.landlock_abi else ()
        lacking = () if landlock else ("landlock",)
        return Enforcement(("workspace_paths", *landlock), (*lacking, _NO_SANDBOX))
    return Enforcement((), (_NO_SANDBOX,))
