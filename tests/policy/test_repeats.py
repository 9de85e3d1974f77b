"""One answer serves two questions only when no rule can tell them apart."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from functools import cache
from typing import Any

import cedarpy
import pytest
from hypothesis import given, settings, strategies as st

from policy.comparing import Comparison, answer_of
from policy.compilation import CompiledSet
from policy.placement import EntityHandles
from policy.repeats import WHOLE, likeness, paths_read
from policy.replaying import compare, determining_ids, pack
from policy.runtime import Engine
from policy.snapshot import tool_entity
from policy.types import Asked, EntityRef, PolicyRequest, PolicyRequestContext, World
from tests.policy.worlds import AGENT, ALL_TOOLS, APPROVAL, NOW, TOOLS, compiled

PERMIT = '@id("any_tool") permit(principal, action in Palyra::Action::"tool.execute", resource);'
CONDITIONS = (
    'context.input.url_host == "evil.example"',
    'context has input && context.input has body && context.input.body like "*x*"',
    "context.input has max_redirects && context.input.max_redirects > 2",
    "context.calls_in_run > 5",
    "context.calls_in_run + 9223372036854775800 > 5",
    'context.labels.contains("untrusted_content")',
    "context has session",
    'context has session_id && context.session_id == "ses_1"',
    'context.now > datetime("2026-03-02T09:31:00Z")',
    "context has approval",
    "context.allow_sensitive_tools",
    'context.channel in Palyra::ChannelGroup::"tool_execute_channels"',
    'context.input has headers && context.input.headers.contains({name: "a", value: "b"})',
    "resource.enabled",
    "principal is Palyra::Agent && principal.active && context.is_sensitive_action",
    'if context.input has body then context.input.body == "x" else context.external_execution',
    '[context.posture, "x"].contains(context.auth_method)',
)


@cache
def engine(*conditions: str) -> Engine:
    rules = [
        f'@id("rule_{at}") forbid(principal, action == Palyra::Action::"tool.execute:http.fetch", resource)'
        f" when {{ {condition} }};"
        for at, condition in enumerate(conditions)
    ]
    made: CompiledSet = compiled(PERMIT, *rules)
    return Engine(made, EntityHandles(made.schema_handle))


def asked(**context: Any) -> Asked:
    base = PolicyRequestContext(now=NOW, tool_input={"url": "https://a.example/x"})
    return Asked(
        PolicyRequest(EntityRef("Agent", AGENT.id), "tool.execute", EntityRef("Tool", "http.fetch")),
        replace(base, **context),
        ALL_TOOLS,
        World("wsp_one", AGENT, tool_entity(TOOLS["http.fetch"])),
    )


inputs = st.fixed_dictionaries(
    {
        "url": st.sampled_from(
            ["https://a.example/x", "https://evil.example/x", "http://evil.example:1", "none"]
        )
    },
    optional={
        "body": st.sampled_from(["", "x", "axb"]),
        "max_redirects": st.integers(0, 5),
        "headers": st.dictionaries(st.sampled_from("aA"), st.sampled_from("bc"), max_size=2),
    },
)
questions = st.builds(
    asked,
    now=st.integers(0, 3).map(lambda minutes: NOW + timedelta(minutes=minutes)),
    tool_input=inputs | st.just({}) | st.just({"url": 5}),
    calls_in_run=st.integers(-1, 10),
    labels=st.frozensets(st.sampled_from(["untrusted_content", "private_data"])),
    session_id=st.none() | st.sampled_from(["ses_1", "ses_2"]),
    channel=st.none() | st.just("here"),
    approval=st.none() | st.just(APPROVAL),
    source_ip=st.none() | st.sampled_from(["192.0.2.1", "no address"]),
    external_execution=st.booleans(),
    posture=st.sampled_from(["none", "always_allow"]),
    auth_method=st.sampled_from(["none", "token"]),
)
BOTH = (("calls_in_run",), ("external_execution",))
SETS = ((), CONDITIONS[5:6], *(CONDITIONS[at : at + 4] for at in range(0, len(CONDITIONS), 3)))


VARIED: tuple[dict[str, Any], ...] = (
    {},
    {"now": NOW + timedelta(minutes=3)},
    {"calls_in_run": 4},
    {"calls_in_run": 9},
    {"labels": frozenset({"untrusted_content"})},
    {"labels": frozenset({"private_data"})},
    {"session_id": "ses_1"},
    {"session_id": "ses_2"},
    {"channel": "here"},
    {"approval": APPROVAL},
    {"source_ip": "192.0.2.1"},
    {"source_ip": "no address"},
    {"external_execution": True},
    {"posture": "always_allow"},
    {"auth_method": "token", "posture": "token"},
    {"tool_input": {"url": "https://evil.example/x"}},
    {"tool_input": {"url": "http://evil.example:1/y"}},
    {"tool_input": {"url": "https://a.example/x", "body": "axb"}},
    {"tool_input": {"url": "https://a.example/x", "body": "x"}},
    {"tool_input": {"url": "https://a.example/x", "body": ""}},
    {"tool_input": {"url": "https://a.example/x", "max_redirects": 1}},
    {"tool_input": {"url": "https://a.example/x", "max_redirects": 4}},
    {"tool_input": {"url": "https://a.example/x", "headers": {"A": "b"}}},
    {"tool_input": {"url": "https://a.example/x", "headers": {"a": "c"}}},
    {"tool_input": {}},
    {"tool_input": {"url": 5}},
)
"""Questions that differ from the first in one thing each, so that any two are easily taken for one."""


def assert_same(one: Engine, other: Engine, asked_in_turn: Sequence[Asked]) -> None:
    """What one comparison answers to these questions is what each set answers to each of them alone."""
    comparison = Comparison(one, other)
    for question in asked_in_turn:
        was, becomes, direction = comparison._answer(pack(question).digest, question)
        for known, fresh in ((was, answer_of(one, question)), (becomes, answer_of(other, question))):
            assert (known.effect, known.reason_code, known.obligations) == (
                fresh.effect,
                fresh.reason_code,
                fresh.obligations,
            )
            assert determining_ids(known) == determining_ids(fresh)
        assert direction is compare(answer_of(one, question), answer_of(other, question))


@pytest.mark.parametrize("condition", CONDITIONS)
def test_questions_that_differ_in_one_thing_are_told_apart_by_the_rule_that_reads_it(condition: str) -> None:
    assert_same(engine(condition), engine(), [asked(**varied) for varied in VARIED])
    assert_same(engine(), engine(condition), [asked(**varied) for varied in reversed(VARIED)])


@given(st.sampled_from(SETS), st.sampled_from(SETS), st.lists(questions, min_size=2, max_size=12))
@settings(max_examples=40, deadline=None)
def test_what_comes_out_is_what_asking_every_question_of_both_sets_gives(
    old: tuple[str, ...], new: tuple[str, ...], asked_in_turn: list[Asked]
) -> None:
    assert_same(engine(*old), engine(*new), asked_in_turn)


@pytest.mark.parametrize(
    ("condition", "paths"),
    [
        ("true", ()),
        ("resource.enabled", ()),
        ('context.input.url_host == "x"', (("input", "url_host"),)),
        ('context has input && context.input.url == "x"', (("input",), ("input", "url"))),
        ("context.calls_in_run > 5 || context.external_execution", BOTH),
        ("context has approval && context.approval.count > 1", (("approval",),)),
        ("if context.external_execution then context.calls_in_run > 1 else false", BOTH),
        ("context == context", (WHOLE,)),
        ("[context].contains(context)", (WHOLE,)),
        ("{a: context}.a.calls_in_run > 5", (WHOLE,)),
        ("context.input == context.input", (("input",),)),
    ],
)
def test_the_paths_of_a_rule(condition: str, paths: tuple[tuple[str, ...], ...]) -> None:
    text = f'@id("x") permit(principal, action, resource) when {{ {condition} }} unless {{ false }};'
    bodies = json.loads(cedarpy.policies_to_json_str(text))["staticPolicies"].values()
    assert paths_read(bodies) == paths


def test_a_form_that_is_not_known_counts_as_reading_everything() -> None:
    assert paths_read([{"conditions": [{"kind": "when", "body": {"later": {"Var": "context"}}}]}]) == (WHOLE,)
    nameless = {".": {"left": {"Var": "context"}}}
    assert paths_read([{"conditions": [{"kind": "when", "body": nameless}]}]) == (WHOLE,)


def test_contexts_are_alike_when_what_is_read_and_the_shape_are_the_same() -> None:
    paths = (("input", "url"), ("calls_in_run",))
    base = {"input": {"url": "a", "body": "b"}, "calls_in_run": 1, "now": "x"}
    assert likeness(base, paths) == likeness({**base, "now": "y"}, paths)
    others = [
        {**base, "calls_in_run": 2},
        {**base, "input": {"url": "c", "body": "b"}},
        {**base, "input": {"url": "a"}},
        {**base, "session_id": "s"},
        {**base, "calls_in_run": True},
        {**base, "input": {"url": [[]], "body": "b"}},
    ]
    assert len({likeness(one, paths) for one in [base, *others]}) == len(others) + 1
    absent = likeness({"input": {}}, paths)
    assert absent != likeness({"input": {"url": None}, "calls_in_run": None}, paths)
    assert likeness(base, (WHOLE,)) != likeness({**base, "now": "y"}, (WHOLE,))
