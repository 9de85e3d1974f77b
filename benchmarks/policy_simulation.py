"""How many decisions one core makes in a second when recorded ones are replayed (policy part, §3.6).

Each record is decided twice: by the draft and by the set in force. Records a second are half of that.
The records are distinct: 40 agents, five tools, a host, a path and a moment of its own in each. What is
timed is all of a simulation but the database: reading the stored texts, asking both sets, comparing the
answers and counting. Two drafts are measured: one that adds a rule for `http.fetch`, so that a fifth of the
questions meets other rules, and one that changes a rule every question meets, so that nothing is saved.
Beside them, the same records asked of one set twice without any of the simulation's shortcuts.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "palyra_site.settings")
django.setup()

from policy.catalog import BUILTINS, catalog_digest  # noqa: E402  # models need the settings first
from policy.comparing import Comparison, Tally  # noqa: E402  # as above
from policy.compilation import CompiledSet, SourceFile, compile_set  # noqa: E402  # as above
from policy.models import DecisionRecord  # noqa: E402  # as above
from policy.placement import EntityHandles  # noqa: E402  # as above
from policy.replaying import pack, read_snapshot, replay, unpack  # noqa: E402  # as above
from policy.runtime import Engine  # noqa: E402  # as above
from policy.schema import build_schema  # noqa: E402  # as above
from policy.shipped import baseline_files  # noqa: E402  # as above
from policy.snapshot import tool_entity  # noqa: E402  # as above
from policy.types import (  # noqa: E402  # as above
    AgentFacts,
    Asked,
    EntityRef,
    PolicyEvaluationConfig,
    PolicyRequest,
    PolicyRequestContext,
    UserFacts,
    World,
)

TARGET = 5_000
RECORDS = 5_000
ROUNDS = 5
AGENTS = 40
TOOLS = {tool.name: tool.facts() for tool in BUILTINS}
INPUTS: dict[str, dict[str, object]] = {
    "echo": {"text": "hello"},
    "fs.read": {"path": "a.md"},
    "fs.write": {"path": "a.md", "content": "x"},
    "process.run": {"command": "ls", "args": ["-la"]},
    "http.fetch": {"url": "https://a.example/x"},
}
ONE_TOOL = """@id("no_evil_host")
forbid(principal, action == Palyra::Action::"tool.execute:http.fetch", resource)
when { context.input.url_host == "evil.example" };"""
EVERY_CALL = """@id("not_too_many") forbid(principal, action in Palyra::Action::"tool.execute", resource)
when { context.calls_in_run > 900 };"""


def main() -> None:
    records, snapshots = _records()
    in_force = _engine()
    subjects = {
        "a draft with a rule for one tool": _simulation(records, snapshots, in_force, _engine(ONE_TOOL)),
        "a draft with a rule for every call": _simulation(records, snapshots, in_force, _engine(EVERY_CALL)),
        "each record asked twice, no shortcut": _plainly(records, snapshots, in_force),
    }
    rates = _rates(subjects)
    print(f"{RECORDS} records, both sets each, one core: records a second (median of {ROUNDS})")
    for name, rate in rates.items():
        print(f"  {name:38} {rate:8.0f}   decisions a second {2 * rate:8.0f}")
    slowest = 2 * rates["a draft with a rule for every call"]
    ours = 2 * rates["a draft with a rule for one tool"]
    print(f"  target {TARGET} decisions a second; {slowest / TARGET:.2f} of that where every rule differs")
    line = {
        "benchmark": "policy_simulation",
        "ours": round(ours, 1),
        "reference": TARGET,
        "ratio": round(ours / TARGET, 2),
        "target": 1.0,
        "holds": ours >= TARGET,
    }
    print(json.dumps(line))


def _records() -> tuple[list[DecisionRecord], dict[str, str]]:
    start = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
    config = PolicyEvaluationConfig(allowlisted_tools=frozenset(TOOLS))
    snapshots: dict[str, str] = {}
    records = []
    for at in range(RECORDS):
        packed = pack(_asked(at, start + timedelta(seconds=at), config))
        snapshots[packed.digest] = packed.entities
        record = DecisionRecord(
            id=f"evt_{at:026d}", request=packed.request, entities_id=packed.digest, exact=True, effect="allow"
        )
        records.append(record)
    return records, snapshots


def _asked(at: int, now: datetime, config: PolicyEvaluationConfig) -> Asked:
    name = list(INPUTS)[at % len(INPUTS)]
    owner = UserFacts(f"usr_{at % 7}", active=True, member=True, roles=frozenset({"operator"}))
    agent = AgentFacts(f"agt_{at % AGENTS}", active=True, member=True, owner=owner)
    given = INPUTS[name] | ({"url": f"https://h{at}.example/{at}"} if name == "http.fetch" else {})
    given = given | ({"path": f"notes/{at}.md"} if name.startswith("fs.") else {})
    tool = replace(tool_entity(TOOLS[name]), runtime_supported=True)
    context = PolicyRequestContext(
        now=now,
        run_id=f"run_{at}",
        session_id=f"ses_{at % 100}",
        tool_name=name,
        capabilities=TOOLS[name].capabilities,
        tool_input=given,
        calls_in_run=at % 32,
        auth_method="token",
        source_ip="192.0.2.7",
    )
    request = PolicyRequest(EntityRef("Agent", agent.id), "tool.execute", EntityRef("Tool", name))
    return Asked(request, context, config, World("wsp_one", agent, tool))


def _engine(*texts: str) -> Engine:
    schema = build_schema({name: tool.input_schema for name, tool in TOOLS.items()})
    added = [SourceFile(f"added_{at}.cedar", text) for at, text in enumerate(texts)]
    found = catalog_digest(TOOLS.values())
    compiled = compile_set([*baseline_files(), *added], schema, catalog_digest=found)
    if not isinstance(compiled, CompiledSet):
        raise SystemExit(f"the set does not compile: {compiled[0]}")
    return Engine(compiled, EntityHandles(compiled.schema_handle))


def _simulation(
    records: list[DecisionRecord], snapshots: dict[str, str], old: Engine, new: Engine
) -> Callable[[], int]:
    def run() -> int:
        comparison, tally = Comparison(old, new), Tally()
        comparison.snapshots.keep(snapshots)
        for one in comparison.replay(records):
            tally.add(one)
        return tally.total

    return run


def _plainly(records: list[DecisionRecord], snapshots: dict[str, str], engine: Engine) -> Callable[[], int]:
    def run() -> int:
        read = {digest: read_snapshot(text) for digest, text in snapshots.items()}
        for record in records:
            asked = unpack(record.request, read[record.entities_id])
            replay(asked, engine.compiled, engine.handles)
            replay(asked, engine.compiled, engine.handles)
        return len(records)

    return run


def _rates(subjects: dict[str, Callable[[], int]]) -> dict[str, float]:
    samples: dict[str, list[float]] = {name: [] for name in subjects}
    for _ in range(ROUNDS):
        for name, run in subjects.items():
            started = time.process_time()
            if run() != RECORDS:
                raise SystemExit("a record could not be read")
            samples[name].append(RECORDS / (time.process_time() - started))
    return {name: statistics.median(found) for name, found in samples.items()}


if __name__ == "__main__":
    main()
