"""Tier A: one WebAssembly call in one confined child process. This is the broker's side.

The child (`wasm_host.py`) sees no file of Palyra, no network and no environment. Nothing of a module is
ever compiled or run in this process, and no setting changes that.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from jsonschema import Draft202012Validator

from kernel.canonical import canonical, parse
from kernel.errors import MalformedError
from sandbox.runners.base import CancelToken
from sandbox.runners.seccomp import load_filters
from sandbox.runners.wasm_abi import (
    IMPORTS,
    MAX_MODULE,
    Judgement,
    Reply,
    frame,
    judge,
    output_invalid,
    parse_reply,
    reply_limit,
)
from sandbox.runners.wasm_child import Child, Confinement, Host
from sandbox.runners.wasm_plan import STAGE_POINTS, child_files
from sandbox.types import ErrorKind, Executor, Outcome, SandboxRefusal, Status

SPAWN_SECONDS = 10.0
ENFORCEMENT = "wasm_capabilities"
NO_CAPABILITY = "0000000000000000"
REQUIRED_NAMESPACES = frozenset({"ipc", "mnt", "net", "pid", "user", "uts"})


@dataclass(frozen=True, slots=True)
class WasmJob:
    """One call of a module whose bytes were already compared with the digest that was decided about."""

    execution_id: str
    module: bytes
    entrypoint: str
    input: Mapping[str, object]
    output_schema: Mapping[str, object]
    fuel: int
    memory_bytes: int
    wall_ms: int
    output_bytes: int
    table_elements: int = 25_000


class WasmRunner:
    """Runs skills. `sandbox_uid` is who the child is on the host when the worker is root."""

    executor = Executor.TIER_A

    def __init__(self, *, sandbox_uid: int) -> None:
        self._sandbox_uid = sandbox_uid
        self._proved = False

    def unavailable(self) -> SandboxRefusal | None:
        """Return why no skill can run here, or None once a real child has proved its confinement."""
        if self._proved:
            return None
        try:
            host = self._host()
            with Child(host) as child:
                _require_confined(host, child.greet(time.monotonic() + SPAWN_SECONDS))
        except SandboxRefusal as refusal:
            return _unavailable(refusal.message, cause=refusal.code)
        self._proved = True
        return None

    def run(self, job: WasmJob, *, deadline: float, cancel: CancelToken) -> Outcome:
        """Run a module once. `deadline` (monotonic clock) may only shorten the job's wall time.

        Raises SandboxRefusal before anything of the module ran; later all is told by the Outcome.
        """
        if len(job.module) > MAX_MODULE:
            raise SandboxRefusal(
                ErrorKind.INVALID_INPUT, "skill.module_too_large", "The module is too large."
            )
        host, started, begun = self._host(), datetime.now(UTC), time.monotonic()
        with Child(host) as child:
            confinement = child.greet(min(deadline, begun + SPAWN_SECONDS))
            _require_confined(host, confinement)
            until = min(deadline, time.monotonic() + job.wall_ms / 1000)
            body, stopped = child.exchange(_message(job), reply_limit(job.output_bytes), until, cancel)
            gone = child.end()
        reply = parse_reply(body) if body is not None else None
        judgement = judge(reply, stopped, job.memory_bytes) if gone else _SURVIVOR
        judgement, output = _settle(judgement, reply, job)
        return Outcome(
            status=judgement.status,
            executor=self.executor,
            started_at=started,
            finished_at=datetime.now(UTC),
            sandbox_enforcement=ENFORCEMENT,
            error_kind=judgement.kind,
            error_code=judgement.code,
            message=judgement.message,
            detail=judgement.detail,
            exit_code=judgement.exit_code,
            stderr=_text_of(reply),
            output=output,
            usage=_usage(reply, int((time.monotonic() - begun) * 1000)),
            enforcement=_enforcement(host, confinement, job),
        )

    def _host(self) -> Host:
        bubblewrap, filters, files = find_bubblewrap(), load_filters(), child_files()
        point = next((name for name in STAGE_POINTS if os.path.isdir(name)), None)
        if bubblewrap is None or filters is None or files is None or point is None:
            found = {"bubblewrap": bubblewrap, "seccomp filters": filters, "wasmtime": files, "/mnt": point}
            missing = sorted(name for name, thing in found.items() if thing is None)
            raise _unavailable(f"Running skills needs {', '.join(missing)} on this host.", missing=missing)
        uid = self._sandbox_uid if os.geteuid() == 0 else None
        return Host(bubblewrap, filters, files, uid, point)


_SURVIVOR = Judgement(
    Status.AMBIGUOUS, ErrorKind.AMBIGUOUS, "sandbox.survivor", "The child process could not be ended."
)


def find_bubblewrap() -> str | None:
    """Return the system's bubblewrap; the caller's PATH has no say."""
    return shutil.which("bwrap", path="/usr/bin:/bin:/usr/local/bin")


def confinement_faults(confinement: Confinement, *, host_uid: int) -> tuple[str, ...]:
    """Return every promise of the plan that kernel and child do not confirm; empty means confined."""
    hello = confinement.hello
    kept = {
        "uid": hello.get("uid") == 1000,
        "host_uid": confinement.host_uid == host_uid != 0,
        "no_new_privs": hello.get("no_new_privs") is True,
        "capabilities": hello.get("capabilities") == [NO_CAPABILITY] * 3,
        "seccomp": hello.get("seccomp") == 2 and hello.get("seccomp_filters") == 2,
        "namespaces": confinement.foreign_namespaces >= REQUIRED_NAMESPACES,
        "network": hello.get("interfaces") == ["lo"],
        "descriptors": hello.get("descriptors") == [0, 1, 2],
    }
    return tuple(name for name, holds in kept.items() if not holds)


def _require_confined(host: Host, confinement: Confinement) -> None:
    expected = os.geteuid() if host.sandbox_uid is None else host.sandbox_uid
    faults = confinement_faults(confinement, host_uid=expected)
    if faults:
        raise SandboxRefusal(
            ErrorKind.SPAWN_FAILED,
            "sandbox.enforcement_mismatch",
            "The sandbox of the skill is not what was asked for.",
            {"faults": list(faults)},
        )


def _unavailable(message: str, **detail: object) -> SandboxRefusal:
    return SandboxRefusal(ErrorKind.BACKEND_UNAVAILABLE, "sandbox.backend_unavailable", message, detail)


def _message(job: WasmJob) -> bytes:
    order = {
        "input_b64": base64.b64encode(canonical(dict(job.input))).decode(),
        "entrypoint": job.entrypoint,
        "imports": dict(IMPORTS),
        "fuel": job.fuel,
        "memory_bytes": job.memory_bytes,
        "wall_ms": job.wall_ms,
        "output_bytes": job.output_bytes,
        "table_elements": job.table_elements,
    }
    return frame(json.dumps(order).encode()) + frame(job.module)


def _settle(
    judgement: Judgement, reply: Reply | None, job: WasmJob
) -> tuple[Judgement, Mapping[str, object] | None]:
    """Return the final end and the output; only a run that succeeded has one, and it fits its schema."""
    if judgement.kind is not None or reply is None:
        return judgement, None
    try:
        output = parse(reply.output)
    except MalformedError:
        return output_invalid("The output is not acceptable JSON."), None
    if not isinstance(output, dict):
        return output_invalid("The output is not a JSON object."), None
    if not Draft202012Validator(dict(job.output_schema)).is_valid(output):
        return output_invalid("The output does not fit the tool's output schema."), None
    return judgement, output


def _text_of(reply: Reply | None) -> str:
    if reply is None:
        return ""
    error = reply.error.decode("utf-8", "replace")
    return "\n".join([*reply.log, error] if error else reply.log)


def _usage(reply: Reply | None, wall_ms: int) -> dict[str, int]:
    if reply is None:
        return {"wall_ms": wall_ms}
    usage = {
        "wall_ms": wall_ms,
        "cpu_ms": reply.cpu_ms,
        "max_rss": reply.max_rss,
        "output_bytes": len(reply.output),
        "memory_peak": reply.memory_peak,
    }
    # Interrupted code has not written its fuel counter back, so the number would be too small.
    return usage if reply.trap == "INTERRUPT" else {**usage, "fuel": reply.fuel}


def _enforcement(host: Host, confinement: Confinement, job: WasmJob) -> dict[str, object]:
    """Return requested and effective isolation; the effective values were read back, not assumed."""
    limits = {
        "fuel": job.fuel,
        "memory_bytes": job.memory_bytes,
        "wall_ms": job.wall_ms,
        "output_bytes": job.output_bytes,
    }
    return {
        "requested": {"tier": "A", "egress": "strict", "limits": limits},
        "effective": {
            "tier": "A",
            "executor": Executor.TIER_A.value,
            "namespaces": sorted(confinement.foreign_namespaces),
            "mount_root": "allowlist",
            "nnp": True,
            "caps": "none",
            "seccomp": host.filters.digest,
            "network": "isolated",
            "host_uid": confinement.host_uid,
            "imports": sorted(IMPORTS),
        },
        "degraded": [],
    }
