"""What was asked goes through text and back unchanged, and two answers compare by what they let through."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from policy.engine import refuse
from policy.placement import EntityHandles
from policy.replaying import (
    Direction,
    RecordError,
    compare,
    determining_ids,
    pack,
    read_snapshot,
    replay,
    unpack,
)
from policy.snapshot import tool_entity
from policy.types import (
    AgentFacts,
    ApprovalFacts,
    Asked,
    Code,
    Effect,
    EntityRef,
    Obligation,
    PolicyDecision,
    PolicyEvaluationConfig,
    PolicyRequest,
    PolicyRequestContext,
    SkillFacts,
    ToolEntity,
    UserFacts,
    World,
)
from tests.policy.worlds import ALL_TOOLS, BASELINE, INPUTS, TOOLS, ask_tool

words = st.text(max_size=12).filter(lambda text: not any("\ud800" <= one <= "\udfff" for one in text))
names = st.frozensets(words, max_size=4)
numbers = st.integers(-(2**53) + 1, 2**53 - 1)
inputs = st.dictionaries(
    words,
    st.recursive(
        st.none() | st.booleans() | words | numbers | st.floats(allow_nan=False, allow_infinity=False),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
        max_leaves=8,
    ),
    max_size=4,
)
users = st.builds(
    UserFacts, words, active=st.booleans(), member=st.booleans(), permissions=names, roles=names
)
agents = st.builds(AgentFacts, words, st.booleans(), st.booleans(), users)
tools = st.builds(ToolEntity, words, names, words, words, st.booleans(), st.booleans(), st.booleans())
skills = st.builds(SkillFacts, words, words, words, words, words, words, words, st.booleans())
moments = st.datetimes(
    timezones=st.just(UTC) | st.just(timezone(timedelta(hours=5, minutes=30))),
    min_value=datetime(1990, 1, 1),  # noqa: DTZ001  # the strategy adds the zone
)
references = st.builds(EntityRef, words, words)
askeds = st.builds(
    Asked,
    st.builds(PolicyRequest, references, words, references),
    st.builds(
        PolicyRequestContext,
        now=moments,
        device_id=st.none() | words,
        session_id=st.none() | words,
        labels=names,
        approval=st.none() | st.builds(ApprovalFacts, words, words, words, numbers, names, names),
        tool_input=inputs,
        calls_in_run=numbers,
        external_execution=st.booleans(),
    ),
    st.builds(
        PolicyEvaluationConfig,
        allowlisted_tools=names,
        allow_sensitive_tools=st.booleans(),
        sensitive_actions=names,
    ),
    st.builds(World, words, st.none() | users | agents, tool=st.none() | tools, skill=st.none() | skills),
)


def recorded(name: str = "http.fetch", **context: Any) -> Asked:
    """What the engine is given when the agent asks to execute one tool."""
    now = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
    return Asked(
        PolicyRequest(EntityRef("Agent", "agt_one"), "tool.execute", EntityRef("Tool", name)),
        replace(PolicyRequestContext(now=now, tool_input=INPUTS[name]), **context),
        ALL_TOOLS,
        World(
            "wsp_one", AgentFacts("agt_one", True, True, UserFacts("usr_o", True)), tool_entity(TOOLS[name])
        ),
    )


@given(askeds)
@settings(max_examples=80, deadline=None)
def test_what_was_asked_comes_back_equal(asked: Asked) -> None:
    packed = pack(asked)
    back = unpack(packed.request, read_snapshot(packed.entities))
    assert back == asked
    assert pack(back) == packed


def test_the_digest_is_that_of_world_and_configuration_alone() -> None:
    one = pack(recorded())
    assert one.digest == pack(recorded(tool_input={"url": "https://b.example/"})).digest
    assert one.digest != pack(recorded("echo")).digest
    other = replace(recorded(), config=replace(ALL_TOOLS, allow_sensitive_tools=True))
    assert one.digest != pack(other).digest


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        '{"v":1}',
        '{"v":2,"request":{},"context":{}}',
        '{"v":true,"request":{},"context":{}}',
        '{"v":1,"request":{},"context":{},"more":1}',
        '{"v":1,"request":[],"context":{}}',
        "[" * 100_000,
    ],
)
def test_a_text_of_another_shape_is_no_record(text: str) -> None:
    snapshot = read_snapshot(pack(recorded()).entities)
    with pytest.raises(RecordError):
        unpack(text, snapshot)
    with pytest.raises(RecordError):
        read_snapshot(text)


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("now", 5),
        ("now", "yesterday"),
        ("calls_in_run", "5"),
        ("calls_in_run", True),
        ("labels", "untrusted_content"),
        ("labels", [1]),
        ("external_execution", 1),
        ("tool_input", []),
        ("approval", "yes"),
        ("allow_sensitive_tools", True),
    ],
)
def test_a_value_of_another_type_is_refused_and_not_repeated(member: str, value: object) -> None:
    packed = pack(recorded())
    document = json.loads(packed.request)
    document["context"][member] = value
    with pytest.raises(RecordError) as caught:
        unpack(json.dumps(document), read_snapshot(packed.entities))
    assert "yesterday" not in str(caught.value)


@pytest.mark.parametrize(
    "principal", [{"AgentFacts": {}, "UserFacts": {}}, {"Root": {}}, [], {}, {"UserFacts": 5}]
)
def test_a_principal_is_a_person_or_an_agent(principal: object) -> None:
    document = json.loads(pack(recorded()).entities)
    document["world"]["principal"] = principal
    with pytest.raises(RecordError):
        read_snapshot(json.dumps(document))


def test_a_record_that_is_older_than_a_field_gets_its_default_and_never_an_unknown_one() -> None:
    packed = pack(recorded())
    document = json.loads(packed.request)
    del document["context"]["tainted_arguments"]
    snapshot = read_snapshot(packed.entities)
    assert unpack(json.dumps(document), snapshot) == recorded()
    del document["context"]["now"]
    with pytest.raises(RecordError):
        unpack(json.dumps(document), snapshot)


@pytest.mark.parametrize("name", sorted(INPUTS))
def test_a_replay_by_the_same_set_gives_the_same_answer(name: str) -> None:
    packed = pack(recorded(name))
    again = replay(
        unpack(packed.request, read_snapshot(packed.entities)),
        BASELINE,
        EntityHandles(BASELINE.schema_handle),
    )
    first = ask_tool(name)
    assert (again.effect, again.reason_code, again.obligations) == (
        first.effect,
        first.reason_code,
        first.obligations,
    )
    assert compare(first, again) is Direction.UNCHANGED


APPROVAL = Obligation("approval", "high", 2, ("approver", "owner"), True, ("one",))


def answer(effect: Effect, *obligations: Obligation, code: Code = Code.ALLOWED) -> PolicyDecision:
    return replace(refuse(code, ""), effect=effect, obligations=obligations)


def asking(**changes: Any) -> PolicyDecision:
    return answer(Effect.REQUIRE_APPROVAL, replace(APPROVAL, **changes), code=Code.APPROVAL_REQUIRED)


ORDER = (answer(Effect.DENY), asking(), answer(Effect.ALLOW))


@pytest.mark.parametrize("old", range(3))
@pytest.mark.parametrize("new", range(3))
def test_effects_are_ordered_from_deny_to_allow(old: int, new: int) -> None:
    expected = Direction.LOOSENED if new > old else Direction.TIGHTENED if new < old else Direction.UNCHANGED
    assert compare(ORDER[old], ORDER[new]) is expected


@pytest.mark.parametrize(
    "weaker",
    [
        asking(quorum=1),
        asking(risk="medium"),
        asking(approver_roles=("owner",)),
        asking(approver_roles=()),
        asking(step_up=False),
        answer(Effect.REQUIRE_APPROVAL, code=Code.APPROVAL_REQUIRED),
    ],
)
def test_a_weaker_obligation_is_a_loosening_and_a_stricter_one_a_tightening(weaker: PolicyDecision) -> None:
    assert compare(asking(), weaker) is Direction.LOOSENED
    assert compare(weaker, asking()) is Direction.TIGHTENED


def test_weaker_in_one_thing_and_stricter_in_another_is_a_loosening_both_ways() -> None:
    one, other = asking(quorum=1, risk="critical"), asking(quorum=3, risk="low")
    assert compare(one, other) is Direction.LOOSENED
    assert compare(other, one) is Direction.LOOSENED
    swapped = asking(approver_roles=("admin", "owner"))
    assert compare(asking(), swapped) is Direction.LOOSENED


def test_an_allow_that_no_longer_redacts_is_a_loosening() -> None:
    redacting = answer(Effect.ALLOW, replace(APPROVAL, kind="redact_output"))
    assert compare(redacting, answer(Effect.ALLOW)) is Direction.LOOSENED
    assert compare(answer(Effect.ALLOW), redacting) is Direction.TIGHTENED


def test_another_reason_or_another_rule_is_a_change_of_reason_only() -> None:
    assert compare(asking(), asking(policy_ids=("two",))) is Direction.REASON_ONLY
    denied, other = answer(Effect.DENY, code=Code.DENIED), answer(Effect.DENY, code=Code.NO_PERMIT)
    assert compare(denied, other) is Direction.REASON_ONLY
    assert determining_ids(asking(policy_ids=("two", "one"))) == ["one", "two"]


levels = st.sampled_from(["low", "medium", "high", "critical"])
obligations = st.builds(
    Obligation,
    st.sampled_from(["approval", "log_input"]),
    levels,
    st.integers(1, 5),
    st.sets(st.sampled_from(["owner", "admin"])).map(lambda found: tuple(sorted(found))),
    st.booleans(),
    st.just(("one",)),
)
answers = st.builds(
    lambda effect, found: answer(effect, *{one.kind: one for one in found}.values()),
    st.sampled_from(list(Effect)),
    st.lists(obligations, max_size=2),
)


@given(answers, answers)
@settings(max_examples=100, deadline=None)
def test_nothing_is_looser_than_itself_and_a_loosening_is_never_called_harmless(
    one: PolicyDecision, other: PolicyDecision
) -> None:
    assert compare(one, one) is Direction.UNCHANGED
    there, back = compare(one, other), compare(other, one)
    if there is Direction.TIGHTENED:
        assert back is Direction.LOOSENED
    if there in (Direction.UNCHANGED, Direction.REASON_ONLY):
        assert back is there
