"""The child of one Tier A execution: holds wasmtime and one module, nothing else.

Runs inside the sandbox of `wasm.py`; imports wasmtime and the standard library only. Speaks over stdin and
stdout in frames of a 4-byte big-endian length and that many bytes. It says hello (what the kernel says
about its confinement), reads a job and a module, runs it once, answers once and exits. Closing its stdin
while the module runs interrupts the module.
"""

from __future__ import annotations

import base64
import json
import os
import resource
import select
import struct
import sys
import threading
from typing import Any

sys.path.insert(0, "/palyra")

import wasmtime  # the sandbox has no site directory; wasmtime lies beside this file

MAX_FRAME = 32 * 1024 * 1024
HEADROOM = 512 * 1024 * 1024
MAX_STACK = 512 * 1024
GUARD = 64 * 1024
TABLES, TABLE_ELEMENTS = 4, 25_000
MAX_OPEN_FILES = 16
MAX_DESCRIPTOR = 1_024
CALL_FUEL = 1_000
MAX_ERROR, MAX_LINES, MAX_LINE = 4_096, 64, 1_024
INVALID, TOO_LARGE, LIMIT = -2, -4, -6
UNSIGNED = 0xFFFFFFFF
NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")


class OutOfFuel(Exception):  # noqa: N818  # an end of the guest, not a fault of the host
    """The guest could not pay for a host call."""


class End(Exception):  # noqa: N818  # an end of the guest, not a fault of the host
    """The execution is over; the fields say how."""

    def __init__(self, end: str, **facts: object) -> None:
        self.facts = {"end": end, **facts}
        super().__init__(end)


def main() -> None:
    send(hello())
    job = json.loads(receive())
    module = receive()
    limit_process(job)
    guest = Guest(job)
    try:
        facts = guest.execute(module)
    except End as end:
        facts = end.facts
    send({**facts, **guest.account()})


def receive() -> bytes:
    (length,) = struct.unpack(">I", read_exactly(4))
    if length > MAX_FRAME:
        raise ValueError("frame too large")
    return read_exactly(length)


def read_exactly(count: int) -> bytes:
    parts = bytearray()
    while len(parts) < count:
        chunk = os.read(0, min(count - len(parts), 1 << 20))
        if not chunk:
            raise EOFError
        parts += chunk
    return bytes(parts)


def send(message: dict[str, object]) -> None:
    body = json.dumps(message).encode()
    data = struct.pack(">I", len(body)) + body
    while data:
        data = data[os.write(1, data) :]


def hello() -> dict[str, object]:
    """Return what the kernel says about this process, read before any foreign byte is."""
    with open("/proc/self/status", encoding="ascii") as status:
        lines = dict(line.rstrip("\n").split(":", 1) for line in status)
    with open("/proc/self/uid_map", encoding="ascii") as table:
        uid_map = table.read().split()
    return {
        "uid": os.getuid(),
        "uid_map": [int(number) for number in uid_map],
        "no_new_privs": lines["NoNewPrivs"].strip() == "1",
        "capabilities": [lines[name].strip() for name in ("CapEff", "CapPrm", "CapBnd")],
        "seccomp": int(lines["Seccomp"]),
        "seccomp_filters": int(lines.get("Seccomp_filters", "0")),
        "namespaces": {name: os.stat(f"/proc/self/ns/{name}").st_ino for name in NAMESPACES},
        "interfaces": interfaces(),
        "descriptors": sorted(number for number in range(MAX_DESCRIPTOR) if is_open(number)),
        "root": sorted(os.listdir("/")),
    }


def is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def interfaces() -> list[str]:
    with open("/proc/self/net/dev", encoding="ascii") as table:
        return sorted(line.split(":")[0].strip() for line in table if ":" in line)


def limit_process(job: dict[str, Any]) -> None:
    seconds = -(-job["wall_ms"] // 1000) + 1
    for what, limit in (
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_AS, job["memory_bytes"] + HEADROOM),
        (resource.RLIMIT_NOFILE, MAX_OPEN_FILES),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (limit, limit))


def engine_config(memory_bytes: int) -> wasmtime.Config:
    """Return every switch of the engine; what usual toolchains do not emit is off."""
    config = wasmtime.Config()
    config.consume_fuel = True
    config.epoch_interruption = True
    for proposal in (
        "wasm_threads",
        "shared_memory",
        "wasm_memory64",
        "wasm_multi_memory",
        "gc_support",
        "wasm_gc",
        "wasm_function_references",
        "wasm_exceptions",
        "wasm_stack_switching",
        "wasm_tail_call",
        "wasm_custom_page_sizes",
        "wasm_component_model",
        "wasm_relaxed_simd",
        "wasm_wide_arithmetic",
        "parallel_compilation",
        "memory_init_cow",
    ):
        setattr(config, proposal, False)
    config.cranelift_nan_canonicalization = True
    config.max_wasm_stack = MAX_STACK
    config.memory_reservation = memory_bytes
    config.memory_reservation_for_growth = 0
    config.memory_guard_size = GUARD
    return config


class Guest:
    """One module, one store, one call of its entrypoint."""

    def __init__(self, job: dict[str, Any]) -> None:
        self._job = job
        self._input: bytes = base64.b64decode(job["input_b64"])
        self._output = bytearray()
        self._error = bytearray()
        self._lines: list[str] = []
        self._overflow = False
        self._memory_peak = 0
        self._memory: wasmtime.Memory | None = None
        self._engine = wasmtime.Engine(engine_config(job["memory_bytes"]))
        self._store = wasmtime.Store(self._engine)
        # All of this stands before instantiation, because a start function runs there.
        self._store.set_limits(
            memory_size=job["memory_bytes"],
            table_elements=min(TABLE_ELEMENTS, job["table_elements"]),
            instances=1,
            tables=TABLES,
            memories=1,
        )
        self._store.set_fuel(job["fuel"])
        self._store.set_epoch_deadline(1)

    def execute(self, binary: bytes) -> dict[str, object]:
        """Compile, check, instantiate and call; every way to end is in the answer or in End."""
        module = self._compile(binary)
        self._check_imports(module)
        self._check_exports(module)
        start_control(self._engine, self._job["wall_ms"])
        try:
            return self._call(module)
        except OutOfFuel:
            raise End("trap", trap="OUT_OF_FUEL") from None
        except wasmtime.Trap as trap:
            raise End("trap", trap=trap.trap_code.name if trap.trap_code else "UNKNOWN") from None
        except wasmtime.WasmtimeError as error:
            raise End("limit", resource=limited_resource(str(error))) from None

    def account(self) -> dict[str, object]:
        """Return what was produced and spent, whatever the end was."""
        if self._memory is not None:
            self._memory_peak = max(self._memory_peak, self._memory.data_len(self._store))
        return {
            "output_b64": "" if self._overflow else base64.b64encode(self._output).decode(),
            "output_overflow": self._overflow,
            "error_b64": base64.b64encode(self._error).decode(),
            "log": self._lines,
            "fuel": self._job["fuel"] - self._store.get_fuel(),
            "memory_peak": self._memory_peak,
            "max_rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            "cpu_ms": int(sum(os.times()[:2]) * 1000),
        }

    def _compile(self, binary: bytes) -> wasmtime.Module:
        # Module() would also accept the text format; only binaries are modules here.
        if not binary.startswith(b"\0asm\x01\0\0\0"):
            raise End("module_invalid")
        try:
            return wasmtime.Module(self._engine, binary)
        except wasmtime.WasmtimeError:
            raise End("module_invalid") from None

    def _check_imports(self, module: wasmtime.Module) -> None:
        granted = self._job["imports"]
        for wanted in module.imports:
            name = f"{wanted.module}.{wanted.name}"
            kind = signature(wanted.type)
            if kind is None or kind != granted.get(name):
                raise End("import_denied", name=name[:128])

    def _check_exports(self, module: wasmtime.Module) -> None:
        exports = {export.name: export.type for export in module.exports}
        if signature(exports.get(self._job["entrypoint"])) != [[], ["i32"]]:
            raise End("entrypoint_missing")
        if not isinstance(exports.get("memory"), wasmtime.MemoryType):
            raise End("memory_missing")

    def _call(self, module: wasmtime.Module) -> dict[str, object]:
        linker = wasmtime.Linker(self._engine)
        for wanted in module.imports:
            kind = wanted.type
            assert isinstance(kind, wasmtime.FuncType)
            function = getattr(self, f"_import_{wanted.name}")
            linker.define_func(wanted.module, str(wanted.name), kind, function, access_caller=True)
        instance = linker.instantiate(self._store, module)
        exports = instance.exports(self._store)
        memory, entrypoint = exports["memory"], exports[self._job["entrypoint"]]
        assert isinstance(memory, wasmtime.Memory)
        assert isinstance(entrypoint, wasmtime.Func)
        self._memory = memory
        return {"end": "returned", "code": entrypoint(self._store)}

    def _charge(self, count: int) -> None:
        left = self._store.get_fuel()
        if left < CALL_FUEL + count:
            self._store.set_fuel(0)
            raise OutOfFuel
        self._store.set_fuel(left - CALL_FUEL - count)

    def _import_input_len(self, caller: wasmtime.Caller) -> int:
        self._charge(0)
        return len(self._input)

    def _import_input_read(self, caller: wasmtime.Caller, dst: int, offset: int, count: int) -> int:
        """Copy at most `count` bytes; the answer is how many there were."""
        offset, count = offset & UNSIGNED, count & UNSIGNED
        target = self._span(caller, dst, count)
        if target is None:
            self._charge(0)
            return INVALID
        memory, start = target
        chunk = self._input[offset : offset + count]
        self._charge(len(chunk))
        if chunk:
            memory.write(caller, chunk, start)
        return len(chunk)

    def _import_output_write(self, caller: wasmtime.Caller, src: int, count: int) -> int:
        room = self._job["output_bytes"] - len(self._output)
        chunk = self._read(caller, src, count, room)
        if isinstance(chunk, int):
            self._overflow = self._overflow or chunk == TOO_LARGE
            return chunk
        self._output += chunk
        return len(chunk)

    def _import_error_write(self, caller: wasmtime.Caller, src: int, count: int) -> int:
        chunk = self._read(caller, src, count, MAX_ERROR - len(self._error))
        if isinstance(chunk, int):
            return chunk
        self._error += chunk
        return len(chunk)

    def _import_log(self, caller: wasmtime.Caller, level: int, src: int, count: int) -> int:
        chunk = self._read(caller, src, count, MAX_LINE)
        if isinstance(chunk, int):
            return chunk
        if len(self._lines) >= MAX_LINES:
            return LIMIT
        self._lines.append(chunk.decode("utf-8", "replace"))
        return len(chunk)

    def _read(self, caller: wasmtime.Caller, src: int, count: int, room: int) -> bytes | int:
        """Return guest bytes, or the result code that refuses them; the guest pays for what is copied."""
        source = self._span(caller, src, count)
        if source is None:
            self._charge(0)
            return INVALID
        if count & UNSIGNED > room:
            self._charge(0)
            return TOO_LARGE
        memory, start = source
        self._charge(count & UNSIGNED)
        return bytes(memory.read(caller, start, start + (count & UNSIGNED)))

    def _span(self, caller: wasmtime.Caller, pointer: int, count: int) -> tuple[wasmtime.Memory, int] | None:
        """Return memory and start when the whole range lies inside, in unsigned integers.

        wasmtime hands -16 for 0xFFFFFFF0, and its own accessors read that from the end or shorten.
        """
        memory = caller.get("memory")
        pointer, count = pointer & UNSIGNED, count & UNSIGNED
        if not isinstance(memory, wasmtime.Memory) or pointer + count > memory.data_len(caller):
            return None
        return memory, pointer


def signature(kind: object) -> list[list[str]] | None:
    """Return [params, results] of a function type, None for anything else."""
    if not isinstance(kind, wasmtime.FuncType):
        return None
    return [[str(item) for item in kind.params], [str(item) for item in kind.results]]


def limited_resource(message: str) -> str:
    """Name the store limit that instantiation met; wasmtime says it in words only."""
    first = message.splitlines()[0] if message else ""
    for word in ("memory", "table", "memories", "tables"):
        if f"{word} limit" in first or first.startswith(word) or f"{word} " in first:
            return {"memories": "memory", "tables": "table"}.get(word, word)
    return "instance"


def start_control(engine: wasmtime.Engine, wall_ms: int) -> None:
    """Interrupt the guest when its time is over or the broker closes stdin; then forbid new threads."""

    def wait() -> None:
        select.select([0], [], [], wall_ms / 1000)
        engine.increment_epoch()

    threading.Thread(target=wait, daemon=True).start()
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))


if __name__ == "__main__":
    main()
    # Not through interpreter shutdown: the control thread may still wait, and nothing is left to do.
    os._exit(0)
