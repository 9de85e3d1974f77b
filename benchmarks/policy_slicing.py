"""What one decision costs as a set grows: ours with slices, beside plain cedarpy with cached handles.

The shipped rules stay; rules for single agents and single tools are added, as teams add them. A request
meets about ten of them by scope, however large the set is. All sizes are measured in one process, in
alternating rounds; slices and entities are warm.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import cedarpy

from policy.catalog import BUILTINS
from policy.compilation import CompiledSet, SourceFile, build_set, read_rules
from policy.engine import evaluate
from policy.placement import EntityHandles
from policy.requests import prepare
from policy.schema import CedarSchema, build_schema
from policy.types import (
    NO_SET,
    AgentFacts,
    Effect,
    EntityRef,
    PolicyEvaluationConfig,
    PolicyRequest,
    PolicyRequestContext,
    ToolEntity,
    UserFacts,
    World,
)

SIZES = (10, 100, 1_000, 10_000)
TARGET = 2.0
PLAIN_TARGET = 3.0
ROUNDS = 7
BASELINE = Path(__file__).resolve().parent.parent / "policy" / "baseline" / "baseline.cedar"
CONTEXT = PolicyRequestContext(now=datetime(2026, 3, 2, 9, 30, tzinfo=UTC), tool_input={"text": "hello"})
REQUEST = PolicyRequest(EntityRef("Agent", "agt_one"), "tool.execute", EntityRef("Tool", "echo"))
WORLD = World(
    "wsp_one",
    AgentFacts("agt_one", True, True, UserFacts("usr_owner", active=True, member=True)),
    ToolEntity("echo", frozenset(), "none", "low", sensitive=False, enabled=True, runtime_supported=True),
)


@dataclass(frozen=True, slots=True)
class Size:
    """The two ways to ask one set of a given size."""

    rules: int
    slice_size: int
    ours: Callable[[], bool]
    plain: Callable[[], bool]


def main() -> None:
    tools = {tool.name: tool.facts() for tool in BUILTINS}
    schema = build_schema({name: tool.input_schema for name, tool in tools.items()})
    config = PolicyEvaluationConfig(allowlisted_tools=frozenset(tools))
    sizes = [_size(number, schema, config) for number in SIZES]
    ours, plain = _measure(sizes)
    print("one decision, microseconds (median of rounds)")
    print(f"  {'rules':>7} {'slice':>6} {'ours':>9} {'plain with handles':>19}")
    for size, mine, theirs in zip(sizes, ours, plain, strict=True):
        print(f"  {size.rules:>7} {size.slice_size:>6} {mine:>9.1f} {theirs:>19.1f}")
    beside = ours[0] / plain[0]
    print(f"  at {SIZES[0]} rules ours is {beside:.2f} times plain cedarpy (target {PLAIN_TARGET})")
    print(f"  from {SIZES[0]} to {SIZES[-1]} rules plain cedarpy grows {plain[-1] / plain[0]:.0f}-fold")
    growth = ours[-1] / ours[0]
    line = {
        "benchmark": "policy_slicing",
        "ours": round(ours[-1], 1),
        "reference": round(ours[0], 1),
        "ratio": round(growth, 2),
        "target": TARGET,
        "holds": growth <= TARGET and beside <= PLAIN_TARGET,
    }
    print(json.dumps(line))


def _size(number: int, schema: CedarSchema, config: PolicyEvaluationConfig) -> Size:
    compiled = _compiled(number, schema)
    handles = EntityHandles(compiled.schema_handle)
    prepared = prepare(REQUEST, CONTEXT, config, WORLD, compiled)
    wire = prepared.cedar(allow_sensitive=False, approval=None)
    entities = handles.get(prepared.placement).handle

    def ask() -> bool:
        decision = evaluate(
            request=REQUEST, context=CONTEXT, config=config, world=WORLD, policies=compiled, handles=handles
        )
        return decision.effect is Effect.ALLOW

    def ask_plainly() -> bool:
        found = cedarpy.is_authorized(wire, compiled.policy_handle, entities, schema=compiled.schema_handle)
        return bool(found.allowed)

    decided = evaluate(
        request=REQUEST, context=CONTEXT, config=config, world=WORLD, policies=compiled, handles=handles
    )
    return Size(len(compiled.rules), decided.explanation.slice_size, ask, ask_plainly)


def _compiled(number: int, schema: CedarSchema) -> CompiledSet:
    """Return a set of at least `number` rules: the permit for tools, and rules for single agents."""
    shipped, _ = read_rules([SourceFile("baseline.cedar", BASELINE.read_text(encoding="utf-8"))])
    kept = shipped[: min(len(shipped), number)]
    text = "\n".join(_rule(at) for at in range(number - len(kept)))
    added, findings = read_rules([SourceFile("agents.cedar", text)])
    if findings:
        raise SystemExit(f"the generated rules do not parse: {findings[0]}")
    return build_set((*kept, *added), schema, ref=NO_SET, catalog_digest="")


def _rule(at: int) -> str:
    return (
        f'@id("agent_rule_{at}") forbid(principal == Palyra::Agent::"agt_{at}",'
        f' action in Palyra::Action::"tool.execute", resource == Palyra::Tool::"tool_{at % 50}")'
        f" when {{ context.calls_in_run > {at} }};"
    )


def _measure(sizes: list[Size]) -> tuple[list[float], list[float]]:
    ours: list[list[float]] = [[] for _ in sizes]
    plain: list[list[float]] = [[] for _ in sizes]
    for _ in range(ROUNDS):
        for index, size in enumerate(sizes):
            ours[index].append(_microseconds(size.ours, 200))
            plain[index].append(_microseconds(size.plain, 200 if size.rules <= 1_000 else 20))
    return [statistics.median(one) for one in ours], [statistics.median(one) for one in plain]


def _microseconds(ask: Callable[[], bool], repeats: int) -> float:
    started = time.perf_counter()
    allowed = [ask() for _ in range(repeats)]
    elapsed = time.perf_counter() - started
    if not all(allowed):
        raise SystemExit("a subject did not allow the request")
    return elapsed / repeats * 1e6


if __name__ == "__main__":
    main()
