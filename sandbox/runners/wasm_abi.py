"""Host ABI 1 as the broker knows it: what a module may import, and what its child's answer means."""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from kernel.canonical import parse
from kernel.errors import MalformedError
from sandbox.types import ErrorKind, Status

ABI = 1
MAX_MODULE = 8 * 1024 * 1024

_I32 = "i32"
IMPORTS: Mapping[str, list[list[str]]] = MappingProxyType(
    {
        "palyra.input_len": [[], [_I32]],
        "palyra.input_read": [[_I32, _I32, _I32], [_I32]],
        "palyra.output_write": [[_I32, _I32], [_I32]],
        "palyra.error_write": [[_I32, _I32], [_I32]],
        "palyra.log": [[_I32, _I32, _I32], [_I32]],
    }
)
"""Imports that need no capability, with parameter and result types. Anything else is denied."""


class Stopped(StrEnum):
    """Who ended the run from outside, if anybody."""

    NO = "no"
    DEADLINE = "deadline"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Reply:
    """The child's one answer, checked for form. `end` says which of the other fields mean something."""

    end: str
    code: int
    trap: str
    resource: str
    name: str
    output: bytes
    output_overflow: bool
    error: bytes
    log: tuple[str, ...]
    fuel: int
    memory_peak: int
    max_rss: int
    cpu_ms: int


@dataclass(frozen=True, slots=True)
class Judgement:
    """How an execution ended. `kind` is None exactly when it succeeded."""

    status: Status
    kind: ErrorKind | None = None
    code: str | None = None
    message: str = ""
    detail: Mapping[str, object] = field(default_factory=dict)
    exit_code: int | None = None


def frame(body: bytes) -> bytes:
    """Return a frame: 4-byte big-endian length and the bytes."""
    return struct.pack(">I", len(body)) + body


def reply_limit(output_bytes: int) -> int:
    """Return how long the child's answer may be: both texts in base64, and the log escaped."""
    return 2 * output_bytes + 1024 * 1024


def parse_reply(body: bytes) -> Reply | None:
    """Return the answer, or None for anything a sound child would not say."""
    try:
        said = parse(body)
        return _reply(said) if isinstance(said, dict) else None
    except (MalformedError, KeyError, TypeError, ValueError, binascii.Error):
        return None


def judge(reply: Reply | None, stopped: Stopped, memory_bytes: int) -> Judgement:
    """Return what an execution came to. No reply means that the child died or was killed."""
    if stopped is Stopped.CANCELLED:
        return Judgement(Status.CANCELLED, ErrorKind.CANCELLED, "skill.cancelled", "The run was stopped.")
    if reply is not None and reply.output_overflow:
        return _quota("output")
    if reply is not None and reply.end == "returned":
        return _returned(reply.code)
    if stopped is Stopped.DEADLINE:
        return _timed_out()
    if reply is None:
        return _failed(ErrorKind.RUNTIME_FAILURE, "skill.host_crashed", "The WebAssembly host ended early.")
    return _trapped(reply, memory_bytes) if reply.end == "trap" else _never_ran(reply)


def output_invalid(message: str) -> Judgement:
    """Return the end of a run that succeeded by itself but gave an unusable output."""
    kind = ErrorKind.OUTPUT_INVALID
    return Judgement(Status.FAILED, kind, "skill.output_invalid", message, exit_code=0)


_TRAP_QUOTAS = {"OUT_OF_FUEL": "fuel", "STACK_OVERFLOW": "stack"}


def _trapped(reply: Reply, memory_bytes: int) -> Judgement:
    if reply.trap == "INTERRUPT":
        return _timed_out()
    if reply.trap in _TRAP_QUOTAS:
        return _quota(_TRAP_QUOTAS[reply.trap])
    if reply.memory_peak + memory_bytes // NEARLY_FULL > memory_bytes:
        return _quota("memory")
    return _failed(ErrorKind.RUNTIME_FAILURE, "skill.trapped", "The module trapped.", trap=reply.trap)


def _never_ran(reply: Reply) -> Judgement:
    if reply.end == "limit":
        return _quota(reply.resource)
    if reply.end == "import_denied":
        return _failed(
            ErrorKind.CAPABILITY_DENIED,
            "skill.import_denied",
            "The module imports something that it was not granted.",
            name=reply.name,
        )
    message = _DEFECTS.get(reply.end)
    if message is None:
        return _failed(ErrorKind.RUNTIME_FAILURE, "skill.host_crashed", "The WebAssembly host misbehaved.")
    return _failed(ErrorKind.RUNTIME_FAILURE, f"skill.{reply.end}", message)


NEARLY_FULL = 16
"""The engine answers a refused growth with -1 to the module and tells nobody else. A module that traps with
less than this fraction of its memory left is taken to have run out of it."""

_DEFECTS = {
    "module_invalid": "The module does not validate.",
    "entrypoint_missing": "The module does not export the entrypoint as a function without parameters.",
    "memory_missing": "The module does not export its memory.",
}


def _returned(code: int) -> Judgement:
    if code == 0:
        return Judgement(Status.SUCCEEDED, exit_code=0)
    return Judgement(
        Status.FAILED,
        ErrorKind.RUNTIME_FAILURE,
        "skill.exit_nonzero",
        "The skill reported a failure.",
        exit_code=code,
    )


def _timed_out() -> Judgement:
    return Judgement(Status.TIMED_OUT, ErrorKind.TIMED_OUT, "skill.timed_out", "The time was used up.")


def _quota(resource: str) -> Judgement:
    return _failed(
        ErrorKind.QUOTA_EXCEEDED,
        "skill.quota_exceeded",
        f"The {resource} limit was reached.",
        resource=resource,
    )


def _failed(kind: ErrorKind, code: str, message: str, **detail: object) -> Judgement:
    return Judgement(Status.FAILED, kind, code, message, detail)


def _reply(said: Mapping[str, object]) -> Reply:
    log = said["log"]
    if not isinstance(log, list):
        raise TypeError
    return Reply(
        end=_text(said["end"]),
        code=_int(said.get("code", 0)),
        trap=_text(said.get("trap", "")),
        resource=_text(said.get("resource", "")),
        name=_text(said.get("name", "")),
        output=base64.b64decode(_text(said["output_b64"]), validate=True),
        output_overflow=said["output_overflow"] is not False,
        error=base64.b64decode(_text(said["error_b64"]), validate=True),
        log=tuple(_text(line) for line in log),
        fuel=_int(said["fuel"]),
        memory_peak=_int(said["memory_peak"]),
        max_rss=_int(said["max_rss"]),
        cpu_ms=_int(said["cpu_ms"]),
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _int(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError
    return value
