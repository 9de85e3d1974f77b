"""One decision of the shipped rules: our engine with cached handles, against parsing each time.

`ours` is `policy.engine.evaluate` on the baseline and the built-in catalog. `reference` is plain
cedarpy given policies, schema and entities as text on every call, as a caller without handles would.
Both answer the same request in the same process, in alternating rounds.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import cedarpy

from policy.catalog import BUILTINS
from policy.compilation import CompiledSet, SourceFile, compile_set
from policy.engine import evaluate
from policy.placement import EntityHandles, entities_of
from policy.requests import prepare
from policy.schema import build_schema
from policy.types import (
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

TARGET = 10.0
ROUNDS = 7
OURS_PER_ROUND = 300
TEXT_PER_ROUND = 10
BASELINE = Path(__file__).resolve().parent.parent / "policy" / "baseline" / "baseline.cedar"
NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)


def main() -> None:
    tools = {tool.name: tool.facts() for tool in BUILTINS}
    text = BASELINE.read_text(encoding="utf-8")
    schema = build_schema({name: tool.input_schema for name, tool in tools.items()})
    compiled = compile_set([SourceFile("baseline.cedar", text)], schema)
    if not isinstance(compiled, CompiledSet):
        raise SystemExit(f"the shipped rules do not compile: {compiled}")
    owner = UserFacts("usr_owner", active=True, member=True)
    world = World("wsp_one", AgentFacts("agt_one", True, True, owner), _entity(tools["echo"].name))
    request = PolicyRequest(EntityRef("Agent", "agt_one"), "tool.execute", EntityRef("Tool", "echo"))
    context = PolicyRequestContext(now=NOW, tool_input={"text": "hello"})
    config = PolicyEvaluationConfig(allowlisted_tools=frozenset(tools))
    handles = EntityHandles(compiled.schema_handle)

    prepared = prepare(request, context, config, world, compiled)
    wire = prepared.cedar(allow_sensitive=False, approval=None)
    entities_text = json.dumps(entities_of(prepared.placement))
    entities = handles.get(prepared.placement).handle

    def ours() -> bool:
        return (
            evaluate(
                request=request,
                context=context,
                config=config,
                world=world,
                policies=compiled,
                handles=handles,
            ).effect
            is Effect.ALLOW
        )

    def with_handles() -> bool:
        answer = cedarpy.is_authorized(wire, compiled.policy_handle, entities, schema=compiled.schema_handle)
        return bool(answer.allowed)

    def with_text() -> bool:
        return bool(cedarpy.is_authorized(wire, text, entities_text, schema=schema.text).allowed)

    measured = _rounds((ours, OURS_PER_ROUND), (with_handles, OURS_PER_ROUND), (with_text, TEXT_PER_ROUND))
    _print(*measured)


def _entity(name: str) -> ToolEntity:
    return ToolEntity(name, frozenset(), "none", "low", sensitive=False, enabled=True, runtime_supported=True)


def _rounds(*subjects: tuple[Callable[[], bool], int]) -> list[float]:
    """Return the median microseconds of one call of each subject, over alternating rounds."""
    samples: list[list[float]] = [[] for _ in subjects]
    for _ in range(ROUNDS):
        for index, (subject, repeats) in enumerate(subjects):
            started = time.perf_counter()
            allowed = [subject() for _ in range(repeats)]
            samples[index].append((time.perf_counter() - started) / repeats * 1e6)
            if not all(allowed):
                raise SystemExit("a subject did not allow the request")
    return [statistics.median(sample) for sample in samples]


def _print(ours: float, handles: float, text: float) -> None:
    ratio = text / ours
    print("one decision, baseline rules, microseconds (median of rounds)")
    print(f"  ours, cached handles           {ours:10.1f}")
    print(f"  plain cedarpy with handles     {handles:10.1f}   ours is {ours / handles:.2f} times that")
    print(f"  plain cedarpy, text each time  {text:10.1f}   {ratio:.1f} times ours")
    line = {
        "benchmark": "policy_decision",
        "ours": round(ours, 1),
        "reference": round(text, 1),
        "ratio": round(ratio, 2),
        "target": TARGET,
        "holds": ratio >= TARGET,
    }
    print(json.dumps(line))


if __name__ == "__main__":
    main()
