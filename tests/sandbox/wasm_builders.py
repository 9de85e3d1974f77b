"""Modules in text form, and one call of them through the real runner."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

import wasmtime

from sandbox.runners.base import CancelToken
from sandbox.runners.wasm import WasmJob, WasmRunner
from sandbox.types import Outcome

PAGE = 65_536
ANY_OBJECT: Mapping[str, object] = {"type": "object"}
SPIN = "(loop (br 0)) (i32.const 0)"
FOREVER = 10**15
READ_ALL = "(drop (call $input_read (i32.const 0) (i32.const 0) (call $input_len)))"

_IMPORTS = """
  (import "palyra" "input_len" (func $input_len (result i32)))
  (import "palyra" "input_read" (func $input_read (param i32 i32 i32) (result i32)))
  (import "palyra" "output_write" (func $output_write (param i32 i32) (result i32)))
  (import "palyra" "error_write" (func $error_write (param i32 i32) (result i32)))
  (import "palyra" "log" (func $log (param i32 i32 i32) (result i32)))
"""


def module(body: str, *, pages: int = 1, extra: str = "") -> bytes:
    """A module with every import of the ABI, exported memory and `run` with this body."""
    return compiled(
        f'(module {_IMPORTS} (memory (export "memory") {pages}) {extra}'
        f' (func (export "run") (result i32) {body}))'
    )


def compiled(text: str) -> bytes:
    return bytes(wasmtime.wat2wasm(text))


def saying(output: str) -> bytes:
    """A module whose output is this text."""
    data = "".join(f"\\{byte:02x}" for byte in output.encode())
    body = f"(drop (call $output_write (i32.const 0) (i32.const {len(output.encode())}))) (i32.const 0)"
    return module(body, extra=f'(data (i32.const 0) "{data}")')


def run(
    binary: bytes,
    *,
    cancel: CancelToken | None = None,
    output_schema: Mapping[str, object] = ANY_OBJECT,
    tool_input: Mapping[str, object] | None = None,
    fuel: int = 10_000_000,
    memory_bytes: int = 16 * 1024 * 1024,
    wall_ms: int = 5_000,
    output_bytes: int = 65_536,
) -> Outcome:
    job = WasmJob(
        execution_id="exe_test",
        module=binary,
        entrypoint="run",
        input=tool_input if tool_input is not None else {"text": "hello"},
        output_schema=output_schema,
        fuel=fuel,
        memory_bytes=memory_bytes,
        wall_ms=wall_ms,
        output_bytes=output_bytes,
    )
    return runner().run(job, deadline=time.monotonic() + 30, cancel=cancel or CancelToken())


def runner() -> WasmRunner:
    return WasmRunner(sandbox_uid=61184)


def descendants(pid: int) -> dict[int, str]:
    """Return the processes below `pid` with their command lines."""
    parents: dict[int, int] = {}
    for place in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = place.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        parents[int(place.parent.name)] = int(fields[1])
    found, edge = set[int](), {pid}
    while edge:
        edge = {child for child, parent in parents.items() if parent in edge} - found
        found |= edge
    return {child: _command(child) for child in found}


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def hosts_below(pid: int) -> list[int]:
    """Return the living Tier A children of a process, innermost last."""
    return sorted(child for child, command in descendants(pid).items() if "wasm_host.py" in command)


def running_guests() -> list[int]:
    """Return the interpreters of children whose control thread runs, so that the module does too."""
    commands = descendants(os.getpid())
    guests = [pid for pid, command in commands.items() if "python" in command.partition(" ")[0]]
    return [pid for pid in guests if "wasm_host.py" in commands[pid] and _threads(pid) > 1]


def _threads(pid: int) -> int:
    try:
        return len(list(Path(f"/proc/{pid}/task").iterdir()))
    except FileNotFoundError:
        return 0


def living_hosts() -> list[int]:
    return hosts_below(os.getpid())
