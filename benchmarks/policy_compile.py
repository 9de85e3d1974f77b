"""What a large set costs: validation with places beside Cedar's own, and compiling 10,000 policies.

`ours` is `validate_files` on a valid set, with all its warnings; `reference` is `cedarpy.validate_policies`
on the same text and schema handle. Our cached type check is emptied before each round, so that both check.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import cedarpy

from benchmarks.measuring import report
from policy import type_errors
from policy.catalog import BUILTINS
from policy.compilation import CompiledSet, SourceFile, compile_set
from policy.schema import build_schema
from policy.validation import KnownNames, validate_files

POLICIES = 10_000
COMPARED = 300
ROUNDS = 3
TARGET = 3.0
COMPILE_SECONDS = 5.0
TOOLS = [tool.name for tool in BUILTINS]


def main() -> None:
    schema = build_schema({tool.name: tool.facts().input_schema for tool in BUILTINS})
    large = [
        SourceFile(f"team_{part}.cedar", _text(part * 1_000, 1_000)) for part in range(POLICIES // 1_000)
    ]
    small = [SourceFile("team.cedar", _text(0, COMPARED))]
    known = KnownNames(frozenset(TOOLS), frozenset(), frozenset())
    handle = cedarpy.Schema.from_str(schema.text)

    def compiled() -> None:
        if not isinstance(compile_set(large, schema), CompiledSet):
            raise SystemExit("the generated rules do not compile")

    def validated() -> None:
        if any(one.severity == "error" for one in validate_files(small, schema, known)):
            raise SystemExit("the generated rules are not valid")

    def plainly() -> None:
        if not cedarpy.validate_policies(small[0].text, handle).validation_passed:
            raise SystemExit("the generated rules are not valid")

    compiling, ours, reference = (_median(work) for work in (compiled, validated, plainly))
    print("seconds (median)")
    print(
        f"  compile {POLICIES} policies, types checked     {compiling:8.2f}   (target {COMPILE_SECONDS:.0f})"
    )
    print(f"  validate {COMPARED} policies, with places         {ours:8.3f}")
    print(f"  cedarpy.validate_policies on the same      {reference:8.3f}")
    report("policy_compile", ours=ours, reference=reference, target=TARGET, also=compiling <= COMPILE_SECONDS)


def _text(start: int, count: int) -> str:
    """Return rules about single agents and tools, as teams write them."""
    return "\n".join(_rule(number) for number in range(start, start + count))


def _rule(number: int) -> str:
    tool = TOOLS[number % len(TOOLS)]
    return (
        f'@id("agent_rule_{number}")\n@description("Keeps one agent within bounds.")\n'
        f'forbid (\n  principal == Palyra::Agent::"agt_{number}",\n'
        f'  action == Palyra::Action::"tool.execute:{tool}",\n  resource == Palyra::Tool::"{tool}"\n)\n'
        f'when {{ context.calls_in_run > {number % 100} && !context.labels.contains("internal") }};\n'
    )


def _median(work: Callable[[], None]) -> float:
    return statistics.median(_seconds(work) for _ in range(ROUNDS))


def _seconds(work: Callable[[], None]) -> float:
    type_errors.forget()
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
