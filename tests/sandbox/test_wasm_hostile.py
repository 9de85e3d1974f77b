"""Hostile modules, each in a real confined child: how the run ends, and that nothing stays behind."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sandbox.skills.builtin.echo import ECHO, echo_module
from sandbox.types import ErrorKind, Outcome, Status
from tests.sandbox.wasm_builders import FOREVER, READ_ALL, SPIN, compiled, living_hosts, module, run, saying

pytestmark = pytest.mark.sandbox

NEVER = '(func (export "run") (result i32) (i32.const 0))'


@pytest.fixture(autouse=True)
def _leaves_no_survivor() -> Iterator[None]:
    yield
    assert living_hosts() == []


def ended(outcome: Outcome) -> tuple[Status, ErrorKind | None, str | None]:
    return outcome.status, outcome.error_kind, outcome.error_code


def exceeded(outcome: Outcome, resource: str) -> bool:
    return (
        ended(outcome) == (Status.FAILED, ErrorKind.QUOTA_EXCEEDED, "skill.quota_exceeded")
        and outcome.detail["resource"] == resource
        and outcome.output is None
    )


def test_echo_returns_its_input_and_tells_what_it_spent() -> None:
    text = "héllo \u2603 \U0001f600\n\u0000"
    outcome = run(echo_module(), tool_input={"text": text}, output_schema=ECHO.tool.output_schema)
    assert (outcome.status, outcome.exit_code, outcome.output) == (Status.SUCCEEDED, 0, {"text": text})
    assert outcome.usage["fuel"] > 3_000
    assert outcome.usage["memory_peak"] == 65_536
    assert (outcome.executor, outcome.sandbox_enforcement) == ("sandbox_tier_a", "wasm_capabilities")


def test_echo_carries_its_largest_input() -> None:
    outcome = run(echo_module(), tool_input={"text": "\u0001" * 4096})
    assert outcome.output == {"text": "\u0001" * 4096}


def test_same_input_costs_the_same_fuel() -> None:
    assert len({run(echo_module()).usage["fuel"] for _ in range(3)}) == 1


def test_endless_loop_runs_out_of_fuel() -> None:
    outcome = run(module(SPIN))
    assert exceeded(outcome, "fuel")
    assert outcome.usage["fuel"] == 10_000_000


def test_endless_loop_with_endless_fuel_runs_out_of_time() -> None:
    outcome = run(module(SPIN), fuel=FOREVER, wall_ms=200)
    assert ended(outcome) == (Status.TIMED_OUT, ErrorKind.TIMED_OUT, "skill.timed_out")
    assert "fuel" not in outcome.usage


def test_start_function_is_bound_by_fuel_and_time_as_well() -> None:
    spinning = compiled(
        f'(module (memory (export "memory") 1) (func $spin (loop (br 0))) (start $spin) {NEVER})'
    )
    assert exceeded(run(spinning), "fuel")
    assert run(spinning, fuel=FOREVER, wall_ms=200).status is Status.TIMED_OUT


def test_growing_memory_stops_at_the_limit() -> None:
    hog = "(loop (br_if 0 (i32.ge_s (memory.grow (i32.const 1)) (i32.const 0)))) unreachable"
    outcome = run(module(hog))
    assert exceeded(outcome, "memory")
    assert outcome.usage["memory_peak"] == 16 * 1024 * 1024


def test_refused_growth_is_told_to_the_module_and_harms_nobody() -> None:
    outcome = run(module("(i32.eq (memory.grow (i32.const 60000)) (i32.const -1))"))
    assert (outcome.exit_code, outcome.usage["memory_peak"]) == (1, 65_536)


@pytest.mark.parametrize(
    ("declared", "resource"),
    [
        ('(memory (export "memory") 1000)', "memory"),
        ('(memory (export "memory") 1) (table 30000 funcref)', "table"),
        ('(memory (export "memory") 1)' + "(table 1 funcref)" * 5, "table"),
    ],
)
def test_initial_sizes_over_the_limits_never_run(declared: str, resource: str) -> None:
    assert exceeded(run(compiled(f"(module {declared} {NEVER})")), resource)


def test_growing_a_table_stops_at_the_limit() -> None:
    body = """(loop (br_if 0 (i32.ge_s (table.grow 0 (ref.null func) (i32.const 1)) (i32.const 0))))
              (i32.eq (table.size 0) (i32.const 25000))"""
    assert run(module(body, extra="(table 1 funcref)")).exit_code == 1


def test_deep_recursion_exhausts_the_stack() -> None:
    endless = '(func $f (export "run") (result i32) (i32.add (call $f) (i32.const 1)))'
    assert exceeded(run(compiled(f'(module (memory (export "memory") 1) {endless})')), "stack")


@pytest.mark.parametrize(
    ("body", "trap"),
    [
        ("unreachable", "UNREACHABLE"),
        ("(i32.load (i32.const -16))", "MEMORY_OUT_OF_BOUNDS"),
        ("(i32.div_s (i32.const 1) (i32.const 0))", "INTEGER_DIVISION_BY_ZERO"),
    ],
)
def test_traps_are_named(body: str, trap: str) -> None:
    outcome = run(module(body))
    assert ended(outcome) == (Status.FAILED, ErrorKind.RUNTIME_FAILURE, "skill.trapped")
    assert outcome.detail["trap"] == trap


FUNC = "(func (param i32 i32) (result i32))"


@pytest.mark.parametrize(
    ("imported", "name"),
    [
        (f'(import "env" "system" {FUNC})', "env.system"),
        (f'(import "wasi_snapshot_preview1" "fd_write" {FUNC})', "wasi_snapshot_preview1.fd_write"),
        (f'(import "palyra" "http_request" {FUNC})', "palyra.http_request"),
        ('(import "palyra" "input_len" (func (param i32) (result i32)))', "palyra.input_len"),
        (f'(import "palyra" "__init__" {FUNC})', "palyra.__init__"),
        ('(import "palyra" "other" (memory 1))', "palyra.other"),
        ('(import "palyra" "log" (global i32))', "palyra.log"),
    ],
)
def test_import_outside_the_table_is_denied_before_a_start_function_runs(imported: str, name: str) -> None:
    spin = "(func $spin (loop (br 0))) (start $spin)"
    binary = (
        compiled(f'(module {imported} (memory $own 1) (export "memory" (memory 0)) {spin} {NEVER})')
        if ("memory 1" not in imported)
        else compiled(f'(module {imported} (export "memory" (memory 0)) {spin} {NEVER})')
    )
    outcome = run(binary, fuel=FOREVER)
    assert ended(outcome) == (Status.FAILED, ErrorKind.CAPABILITY_DENIED, "skill.import_denied")
    assert outcome.detail["name"] == name
    assert outcome.usage["fuel"] == 0


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ('(module (memory (export "memory") 1))', "skill.entrypoint_missing"),
        (
            '(module (memory (export "memory") 1) (global (export "run") i32 (i32.const 0)))',
            "skill.entrypoint_missing",
        ),
        (
            '(module (memory (export "memory") 1) (func (export "run") (param i32)))',
            "skill.entrypoint_missing",
        ),
        (f"(module {NEVER})", "skill.memory_missing"),
        (f'(module (func (export "memory")) {NEVER})', "skill.memory_missing"),
    ],
)
def test_module_without_what_the_host_needs_never_runs(text: str, code: str) -> None:
    assert ended(run(compiled(text))) == (Status.FAILED, ErrorKind.RUNTIME_FAILURE, code)


@pytest.mark.parametrize(
    "binary",
    [
        b"",
        b"\0asm\x01\0\0\0garbage",
        b"(module)",
        b"\0asm\x0d\0\x01\0",
        echo_module()[:-3],
        compiled(f'(module (memory (export "memory") 1) (memory 1) {NEVER})'),
        compiled(f'(module (memory (export "memory") 1 2 shared) {NEVER})'),
        compiled(f'(module (memory (export "memory") i64 1) {NEVER})'),
        compiled(f'(module (memory (export "memory") 1) (table 1 externref) {NEVER})'),
    ],
    ids=["empty", "garbage", "text", "component", "cut", "two memories", "threads", "memory64", "externref"],
)
def test_bytes_that_are_not_a_module_of_our_features_are_refused(binary: bytes) -> None:
    assert ended(run(binary)) == (Status.FAILED, ErrorKind.RUNTIME_FAILURE, "skill.module_invalid")


POINTERS = ["-16", "-1", "65536", "65530", "-2147483648"]


@pytest.mark.parametrize("pointer", POINTERS)
@pytest.mark.parametrize(
    "call",
    [
        "(call $input_read (i32.const {p}) (i32.const 0) (i32.const 32))",
        "(call $output_write (i32.const {p}) (i32.const 32))",
        "(call $error_write (i32.const {p}) (i32.const 32))",
        "(call $log (i32.const 0) (i32.const {p}) (i32.const 32))",
    ],
)
def test_pointer_outside_memory_is_invalid_for_every_import(call: str, pointer: str) -> None:
    outcome = run(module(f"(i32.sub {call.format(p=pointer)} (i32.const -2))"))
    assert outcome.exit_code == 0
    assert outcome.error_kind is ErrorKind.OUTPUT_INVALID
    assert outcome.stderr == ""


@pytest.mark.parametrize("length", ["-1", "-2147483648", "65537"])
def test_length_beyond_memory_is_invalid(length: str) -> None:
    calls = [
        f"(call $input_read (i32.const 0) (i32.const 0) (i32.const {length}))",
        f"(call $output_write (i32.const 0) (i32.const {length}))",
        f"(call $error_write (i32.const 0) (i32.const {length}))",
        f"(call $log (i32.const 0) (i32.const 0) (i32.const {length}))",
    ]
    body = "".join(f"(if (i32.ne {call} (i32.const -2)) (then unreachable))" for call in calls)
    assert run(module(f"{body} (i32.const 0)")).error_kind is ErrorKind.OUTPUT_INVALID


def test_reading_beyond_the_input_gives_nothing() -> None:
    body = "(call $input_read (i32.const 0) (i32.const -1) (i32.const 8))"
    assert run(module(body)).error_code == "skill.output_invalid"


def test_empty_range_at_the_end_of_memory_is_inside() -> None:
    assert run(module("(call $output_write (i32.const 65536) (i32.const 0))")).exit_code == 0


def test_output_over_the_cap_is_a_quota_even_if_the_module_goes_on() -> None:
    body = "(drop (call $output_write (i32.const 0) (i32.const 101))) (i32.const 0)"
    assert exceeded(run(module(body), output_bytes=100), "output")
    write = "(call $output_write (i32.const 0) (i32.const 64))"
    flood = f"(loop (br_if 0 (i32.gt_s {write} (i32.const 0)))) (i32.const 0)"
    assert exceeded(run(module(flood), output_bytes=100), "output")


@pytest.mark.parametrize(
    "output",
    ["", "{", "null", "[1]", '{"a":1,"a":2}', '{"a":NaN}', '{"a":1e999}', '{"a":9007199254740993}', "{} {}"],
)
def test_output_that_is_not_one_strict_json_object_is_invalid(output: str) -> None:
    outcome = run(saying(output))
    assert ended(outcome) == (Status.FAILED, ErrorKind.OUTPUT_INVALID, "skill.output_invalid")
    assert outcome.output is None


def test_output_outside_the_schema_is_invalid() -> None:
    schema = {
        "type": "object",
        "required": ["text"],
        "additionalProperties": False,
        "properties": {"text": {}},
    }
    assert run(saying('{"text":1}'), output_schema=schema).output == {"text": 1}
    assert run(saying('{"text":1,"more":2}'), output_schema=schema).error_kind is ErrorKind.OUTPUT_INVALID
    assert run(saying("{}"), output_schema=schema).error_kind is ErrorKind.OUTPUT_INVALID


def test_exit_code_and_error_text_of_a_failing_skill_are_kept() -> None:
    body = f"{READ_ALL} (drop (call $error_write (i32.const 0) (i32.const 16))) (i32.const 7)"
    outcome = run(module(body))
    assert ended(outcome) == (Status.FAILED, ErrorKind.RUNTIME_FAILURE, "skill.exit_nonzero")
    assert (outcome.exit_code, outcome.stderr) == (7, '{"text":"hello"}')


def test_error_text_and_log_are_bounded() -> None:
    error = "(call $error_write (i32.const 0) (i32.const 4097))"
    line = "(call $log (i32.const 0) (i32.const 0) (i32.const 1025))"
    too_large = "".join(f"(if (i32.ne {call} (i32.const -4)) (then unreachable))" for call in (error, line))
    flood = """(local.set 0 (i32.const 64))
      (loop (drop (call $log (i32.const 0) (i32.const 0) (i32.const 1024)))
            (local.set 0 (i32.sub (local.get 0) (i32.const 1))) (br_if 0 (local.get 0)))
      (i32.ne (call $log (i32.const 0) (i32.const 0) (i32.const 1)) (i32.const -6))"""
    outcome = run(module(f"(local i32) {too_large} {flood}"))
    assert outcome.exit_code == 0
    assert len(outcome.stderr) == 64 * 1024 + 63


def test_host_calls_are_paid_in_fuel() -> None:
    body = "(loop (drop (call $input_len)) (br 0)) (i32.const 0)"
    assert exceeded(run(module(body), fuel=1_000_000), "fuel")
    copy = "(loop (drop (call $log (i32.const 0) (i32.const 0) (i32.const 1024))) (br 0)) (i32.const 0)"
    assert exceeded(run(module(copy), fuel=1_000_000), "fuel")


def test_compile_bomb_is_ended_with_the_time() -> None:
    bomb = module("(i32.const 0)", extra="(func $f) (func $g " + "(call $f)" * 400_000 + ")")
    outcome = run(bomb, wall_ms=100)
    assert outcome.status in {Status.TIMED_OUT, Status.FAILED}
    assert outcome.output is None
