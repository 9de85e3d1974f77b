"""How a run was confined: what was asked for beside what the launcher read back, and limits used."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from django.utils.safestring import SafeString

from governance.admin.charts import thin_bar
from governance.admin.words import NOTHING, milliseconds
from governance.safety.visible import shorten_id, size_in_words
from sandbox.models import Execution

NAMESPACES = ("userns", "pidns", "netns", "mountns", "ipcns", "utsns", "cgroupns")
DEGRADED = {
    "memory.polled": "Memory is watched by polling; this host gives no cgroup.",
    "cpu.polled": "CPU time is watched by polling; this host gives no cgroup.",
}


HELD = {
    "userns": "own users", "pidns": "own processes", "netns": "own network", "mountns": "own files",
    "ipcns": "own shared memory", "utsns": "own host name", "cgroupns": "own view of limits",
    "nnp": "no new privileges", "seccomp": "system calls filtered", "caps": "no capabilities",
    "cgroup": "limits by cgroup", "landlock": "paths by Landlock",
    "workspace_paths": "paths stay in the workspace",
    "process_isolation": "a process of its own in a sandbox", "wasm_capabilities": "only granted imports",
    "fuel": "bounded instructions", "memory": "bounded memory",
}  # fmt: skip
"""What a backend enforces, in words."""


def held_words(names: object) -> tuple[str, ...]:
    """Return a few words for each thing that a backend enforces or does not; an unknown name stays."""
    known = HELD | DEGRADED
    return tuple(known.get(str(one), str(one)) for one in names) if isinstance(names, list) else ()


@dataclass(frozen=True, slots=True)
class Property:
    """One property of the isolation in words; a dash stands for what was not asked or not read."""

    name: str
    requested: str
    effective: str


@dataclass(frozen=True, slots=True)
class Isolation:
    """`raw` is everything that was stored, for whoever needs more than the rows."""

    rows: tuple[Property, ...]
    degraded: tuple[str, ...]
    raw: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class LimitUse:
    """How much of a limit a run used, in words and as a bar."""

    name: str
    words: str
    bar: SafeString


def isolation_of(execution: Execution | None) -> Isolation | None:
    """Return the confinement of a run, or None when nothing was read back."""
    if execution is None or not execution.enforcement:
        return None
    stored: Mapping[str, object] = execution.enforcement
    asked, real = _member(stored, "requested"), _member(stored, "effective")
    limits = _member(asked, "limits")
    rows = (
        Property("Tier", _said(asked.get("tier")), _said(real.get("tier"))),
        Property("Network", _said(asked.get("egress")), _said(real.get("network"))),
        Property("Root", _said(limits.get("workspace_mode")), _said(real.get("mount_root"))),
        Property("Namespaces", NOTHING, _namespaces(real)),
        Property("Capabilities", NOTHING, _said(real.get("caps"))),
        Property("No new privileges", NOTHING, _said(real.get("nnp"))),
        Property("Seccomp", NOTHING, _seccomp(real)),
        Property("Memory", _bytes(limits), _said(real.get("memory"))),
        Property("CPU", _time(limits), _said(real.get("cpu"))),
        Property("Program", NOTHING, _said(_member(real, "executable").get("path"))),
        Property("Bubblewrap", NOTHING, _said(_member(real, "bwrap").get("version"))),
        Property("Kernel", NOTHING, _said(real.get("kernel"))),
    )
    told = tuple(row for row in rows if (row.requested, row.effective) != (NOTHING, NOTHING))
    return Isolation(told, degraded_words(stored.get("degraded")), stored)


def degraded_words(codes: object) -> tuple[str, ...]:
    """Return a sentence per weakness; an unknown code stands for itself."""
    return tuple(DEGRADED.get(str(code), str(code)) for code in codes) if isinstance(codes, list) else ()


def limits_used(execution: Execution | None) -> list[LimitUse]:
    """Return each measured usage beside the limit that bounded it."""
    if execution is None or not execution.usage:
        return []
    usage = execution.usage
    asked = _member(_member(execution.enforcement or {}, "requested"), "limits")
    limits = {**execution.spec, **asked}
    found = (
        _use("Wall time", usage.get("wall_ms"), _first(limits, "wall_ms", "wall_timeout_ms"), milliseconds),
        _use("CPU time", usage.get("cpu_ms"), _cpu(limits), milliseconds),
        _use("Memory", _first(usage, "memory_peak", "max_rss"), _memory(limits), size_in_words),
        _use("Output", usage.get("output_bytes"), _first(limits, "output_bytes", "max_output_bytes"),
             size_in_words),
        _use("Fuel", usage.get("fuel"), limits.get("fuel"), lambda value: f"{value:,}"),
    )  # fmt: skip
    return [use for use in found if use is not None]


def _use(name: str, used: object, limit: object, say: Callable[[int], str]) -> LimitUse | None:
    if not isinstance(used, int) or not isinstance(limit, int) or limit <= 0:
        return None
    part = used / limit
    tone = "bad" if part >= 0.95 else "warn" if part >= 0.75 else "info"
    words = f"{say(used)} of {say(limit)}"
    return LimitUse(name, words, thin_bar(part, tone=tone, label=f"{name}: {words}"))


def _cpu(limits: Mapping[str, object]) -> object:
    """WebAssembly is bounded by fuel and wall time; a CPU limit of the default spec is not its own."""
    return None if "fuel" in limits else limits.get("cpu_time_limit_ms")


def _memory(limits: Mapping[str, object]) -> object:
    return _first(limits, "memory_bytes", "memory_limit_bytes")


def _first(values: Mapping[str, object], *names: str) -> object:
    return next((values[name] for name in names if values.get(name) is not None), None)


def _member(values: Mapping[str, object], name: str) -> Mapping[str, object]:
    found = values.get(name)
    return found if isinstance(found, Mapping) else {}


def _namespaces(real: Mapping[str, object]) -> str:
    listed = real.get("namespaces")
    names = listed if isinstance(listed, list) else [name[:-2] for name in NAMESPACES if real.get(name)]
    return ", ".join(str(name) for name in names) or NOTHING


def _seccomp(real: Mapping[str, object]) -> str:
    digest = real.get("seccomp")
    return shorten_id(digest) if isinstance(digest, str) else NOTHING


def _bytes(limits: Mapping[str, object]) -> str:
    value = _memory(limits)
    return size_in_words(value) if isinstance(value, int) else NOTHING


def _time(limits: Mapping[str, object]) -> str:
    value = _cpu(limits)
    return milliseconds(value) if isinstance(value, int) else NOTHING


def _said(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return NOTHING if value is None or value == "" else str(value)
