"""An explanation is the gate's own answer with its reasons, and what it proposes works."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from policy import explaining
from policy.changes import Question, applied
from policy.clauses import MAX_CLAUSES, Clause, Truth
from policy.compilation import CompiledSet, SourceFile, build_set, read_rules
from policy.explaining import MAX_RULES, Explained, decide, explain
from policy.installation import baseline_files
from policy.placement import EntityHandles
from policy.snapshot import tool_entity
from policy.types import (
    NO_SET,
    ApprovalFacts,
    Asked,
    Effect,
    EntityRef,
    PolicyDecision,
    PolicyEvaluationConfig,
    PolicyRequest,
    PolicyRequestContext,
    World,
)
from tests.policy.worlds import (
    AGENT,
    ALL_TOOLS,
    APPROVAL,
    BASELINE,
    INPUTS,
    NOW,
    OWNER,
    SCHEMA,
    SKILL,
    TOOLS,
    compiled,
    ref_of,
)

PACKS = Path(__file__).parents[2] / "policy" / "packs"
EVERY_PACK = compiled(
    *(file.text for file in baseline_files() if not file.name.startswith("pack_")),
    *(path.read_text(encoding="utf-8") for path in sorted(PACKS.glob("*.cedar"))),
)
CUSTOM = compiled(
    """
    @id("two_people") @obligation("approval") @quorum("2")
    permit (principal, action in Palyra::Action::"tool.execute", resource)
    when { resource.tier == "none" || resource.tier == "C" };
    @id("log_it") @obligation("log_input")
    permit (principal is Palyra::Agent, action in Palyra::Action::"tool.execute", resource);
    @id("no_private") forbid (principal, action, resource)
    when { context.labels.contains("private_data") };
    @id("no_process") forbid (principal, action == Palyra::Action::"tool.execute:process.run", resource)
    unless { context.input.command == "ls" };
    @id("not_from_chat") @obligation("step_up")
    forbid (principal, action, resource)
    when { context.channel == Palyra::Channel::"chat" };
    """
)
OVERFLOWING = """
@id("overflows") forbid (principal, action, resource) when { context.calls_in_run + 9223372036854775807 > 0 };
@id("anything") permit (principal, action, resource);
"""
SETS = (BASELINE, EVERY_PACK, CUSTOM, compiled(OVERFLOWING))


def tool_question(
    name: str,
    *,
    config: PolicyEvaluationConfig = ALL_TOOLS,
    context: PolicyRequestContext | None = None,
    enabled: bool = True,
    supported: bool = True,
    **more: Any,
) -> Asked:
    base = context or PolicyRequestContext(now=NOW)
    tool = replace(tool_entity(TOOLS[name]), enabled=enabled, runtime_supported=supported)
    principal = more.pop("principal", AGENT)
    return Asked(
        PolicyRequest(ref_of(principal), "tool.execute", EntityRef("Tool", name)),
        replace(base, tool_input=more.pop("tool_input", INPUTS.get(name, {})), **more),
        config,
        World("wsp_one", principal, tool=tool),
    )


def plain(decision: PolicyDecision) -> PolicyDecision:
    """Return a decision without how long it took."""
    return replace(decision, explanation=replace(decision.explanation, duration_us=0))


def ids(rules: tuple[Any, ...]) -> list[str]:
    return [rule.id for rule in rules]


def clauses(found: Explained, rule_id: str) -> dict[str, str]:
    """Return text and truth of every clause of a rule, however deep."""
    rules = (*found.determining, *found.near_misses, *found.outweighed)
    (rule,) = [one for one in rules if one.id == rule_id]
    flat: dict[str, str] = {}

    def walk(clause: Clause) -> None:
        flat[clause.text] = clause.value.value
        for part in clause.parts:
            walk(part)

    for condition in rule.conditions:
        walk(condition.clause)
    return flat


def test_an_allow_names_its_permit_and_needs_no_change() -> None:
    found = explain(tool_question("echo"), BASELINE)
    assert found.decision.effect is Effect.ALLOW
    assert ids(found.determining) == ["allow_allowlisted_tool_execute"]
    assert found.minimal_change == ()
    assert found.complete
    assert "permit" in found.determining[0].text
    assert clauses(found, "allow_allowlisted_tool_execute")["resource.enabled"] == "true"


def test_a_tool_that_is_not_listed_is_a_single_change_away() -> None:
    config = replace(ALL_TOOLS, allowlisted_tools=frozenset())
    found = explain(tool_question("echo", config=config), BASELINE)
    assert found.decision.reason_code == "policy.tool_not_allowlisted"
    assert found.determining == ()
    assert found.minimal_change == (("allowlist_tool",),)


def test_two_changes_when_one_is_not_enough() -> None:
    config = PolicyEvaluationConfig(tool_execute_principal_allowlist=frozenset({"agt_other"}))
    found = explain(tool_question("fs.read", config=config), BASELINE)
    assert found.decision.reason_code == "policy.principal_not_allowlisted"
    assert found.minimal_change == (("allowlist_tool", "allowlist_principal"),)


def test_three_changes_are_not_searched_for() -> None:
    config = PolicyEvaluationConfig(tool_execute_principal_allowlist=frozenset({"agt_other"}))
    assert explain(tool_question("fs.write", config=config), BASELINE).minimal_change == ()


def test_a_disabled_tool_is_a_near_miss_of_its_permit() -> None:
    found = explain(tool_question("echo", enabled=False), BASELINE)
    assert found.decision.reason_code == "policy.no_permit"
    assert found.near_misses[0].id == "allow_allowlisted_tool_execute"
    truths = clauses(found, "allow_allowlisted_tool_execute")
    assert truths["resource.enabled"] == "false"
    assert truths["resource.runtime_supported"] == "true"
    assert found.minimal_change == (("enable_tool",),)


def test_a_channel_that_is_not_listed_can_be_listed_and_a_missing_one_cannot() -> None:
    config = replace(ALL_TOOLS, tool_execute_channel_allowlist=frozenset({"ops"}))
    with_channel = explain(tool_question("echo", config=config, channel="chat"), BASELINE)
    assert with_channel.minimal_change == (("allowlist_channel",),)
    assert explain(tool_question("echo", config=config), BASELINE).minimal_change == ()


def test_an_empty_list_of_principals_is_never_proposed_to_be_narrowed() -> None:
    stranger = replace(AGENT, member=False)
    found = explain(tool_question("echo", principal=stranger), BASELINE)
    assert found.decision.reason_code == "policy.principal_not_allowlisted"
    assert found.minimal_change == ()


def test_trifecta_names_its_clauses_and_the_ways_out() -> None:
    context = PolicyRequestContext(
        now=NOW,
        labels=frozenset({"untrusted_content", "private_data"}),
        sinks=frozenset({"external_communication"}),
    )
    config = replace(ALL_TOOLS, allow_sensitive_tools=True)
    asked = tool_question("http.fetch", context=context, config=config)
    asked = replace(asked, context=replace(asked.context, adds_labels=frozenset()))
    found = explain(asked, with_trifecta())
    assert found.decision.reason_code == "policy.approval_required"
    assert ids(found.determining) == ["trifecta"]
    truths = clauses(found, "trifecta")
    assert truths['context.sinks.contains("external_communication")'] == "true"
    assert truths['context.adds_labels.contains("private_data")'] == "false"
    assert truths["context has approval"] == "false"
    assert found.minimal_change == (
        ("attach_approval",),
        ("clear_label:private_data",),
        ("clear_label:untrusted_content",),
        ("remove_forbid:trifecta",),
    )


def with_trifecta() -> CompiledSet:
    rules = (PACKS / "pack_trifecta.cedar").read_text(encoding="utf-8")
    core = [file.text for file in baseline_files() if not file.name.startswith("pack_")]
    return compiled(*core, rules)


def test_a_rule_that_raises_is_the_first_near_miss_and_its_clause_says_so() -> None:
    found = explain(tool_question("echo", calls_in_run=1), compiled(OVERFLOWING))
    assert found.decision.reason_code == "policy.evaluation_failed"
    assert found.near_misses[0].id == "overflows"
    assert found.near_misses[0].holds is Truth.ERROR
    assert set(clauses(found, "overflows").values()) == {"error"}
    assert ids(found.outweighed) == ["anything"]
    assert found.minimal_change == (("remove_forbid:overflows",),)


def test_a_guard_holds_alone_and_what_it_guards_raises_alone() -> None:
    guarded = build(
        '@id("guarded") permit (principal, action, resource)\n'
        'when { context has source_ip && context.source_ip.isLoopback() || context.channel like "x" };'
    )
    found = explain(tool_question("echo"), guarded)
    truths = clauses(found, "guarded")
    assert truths["context has source_ip && context.source_ip.isLoopback()"] == "false"
    assert truths["context.source_ip.isLoopback()"] == "error"
    assert truths['context.channel like "x"'] == "error"


def test_a_permit_that_a_forbid_outweighs_is_shown_as_held() -> None:
    found = explain(tool_question("process.run", tool_input={"command": "rm"}), CUSTOM)
    assert ids(found.determining) == ["no_process"]
    assert {"two_people", "log_it"} <= set(ids(found.outweighed))
    assert found.minimal_change == (("attach_approval", "remove_forbid:no_process"),)


def test_a_rule_that_decides_only_after_an_approval_is_shown_as_if_there_were_one() -> None:
    policies = compiled(
        """
        @id("ask") @obligation("approval") forbid (principal, action, resource)
        unless { context has approval };
        @id("never") forbid (principal, action, resource) when { context has approval };
        @id("all") permit (principal, action, resource);
        """
    )
    found = explain(tool_question("echo"), policies)
    assert (found.decision.reason_code, ids(found.determining)) == ("policy.denied", ["never"])
    assert found.determining[0].assuming_approval
    assert found.determining[0].holds is Truth.TRUE
    assert ids(found.near_misses) == []
    assert found.minimal_change == (("remove_forbid:ask",), ("attach_approval", "remove_forbid:never"))[:1]


def test_with_an_approval_clauses_see_it() -> None:
    weak = ApprovalFacts("apr_1", "once", "critical", 1, frozenset(), frozenset({"usr_two"}))
    found = explain(tool_question("echo", approval=weak), CUSTOM)
    assert found.decision.effect is Effect.REQUIRE_APPROVAL
    assert found.minimal_change == (("attach_approval",),)
    assert explain(tool_question("fs.write", approval=APPROVAL), BASELINE).decision.effect is Effect.ALLOW


def test_entities_come_with_their_parents() -> None:
    found = explain(tool_question("echo", session_id="ses_one"), BASELINE)
    parents = {one.uid: one.parents for one in found.entities}
    assert 'Palyra::ToolGroup::"allowlisted"' in parents['Palyra::Tool::"echo"']
    assert 'Palyra::Group::"workspace_members"' in parents['Palyra::Agent::"agt_one"']
    assert parents['Palyra::Session::"ses_one"'] == ('Palyra::Workspace::"wsp_one"',)


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        (tool_question("echo", tool_name="sleep"), "policy.resource_mismatch"),
        (tool_question("echo", tool_input={"text": 1}), "policy.input_unrepresentable"),
        (tool_question("echo", source_ip="nowhere"), "policy.invalid_context"),
        (tool_question("echo", principal=None), "policy.invalid_request"),
        (tool_question("echo", calls_in_run=-1), "policy.invalid_context"),
    ],
)
def test_what_cannot_be_put_is_denied_without_rules(asked: Asked, code: str) -> None:
    found = explain(asked, BASELINE)
    assert (found.decision.reason_code, found.determining, found.minimal_change) == (code, (), ())


def test_a_moment_that_no_calendar_has_is_a_denial_and_no_fault() -> None:
    eastward = timezone(timedelta(hours=14))
    asked = tool_question("echo", context=PolicyRequestContext(now=datetime(1, 1, 1, tzinfo=eastward)))
    found = explain(asked, BASELINE)
    assert (found.decision.reason_code, found.entities) == ("policy.evaluation_failed", ())


def test_an_unknown_action_has_entities_and_no_rules() -> None:
    asked = tool_question("echo")
    found = explain(replace(asked, request=replace(asked.request, action="no.such")), BASELINE)
    assert found.decision.reason_code == "policy.no_permit"
    assert found.near_misses == ()
    assert found.entities


def test_long_conditions_are_cut_and_say_so() -> None:
    chain = " && ".join(f'context.channel != Palyra::Channel::"c{index}"' for index in range(50))
    rules = [f'@id("long_{n}") permit (principal, action, resource) when {{ {chain} }};' for n in range(9)]
    found = explain(tool_question("echo"), compiled("\n".join(rules)))
    assert found.decision.effect is Effect.ALLOW
    assert not found.complete
    assert len(found.determining) == 9
    assert (
        sum(len(rule.conditions[0].clause.parts) for rule in found.determining if rule.conditions)
        <= MAX_CLAUSES
    )


def test_many_near_misses_are_cut_and_say_so() -> None:
    rules = "\n".join(
        f'@id("rule_{index}") permit (principal, action, resource) when {{ context.calls_in_run > 5 }};'
        for index in range(MAX_RULES + 1)
    )
    found = explain(tool_question("echo"), compiled(rules))
    assert len(found.near_misses) == MAX_RULES
    assert not found.complete


@pytest.mark.parametrize(("most", "rounds"), [(0, 0), (100, 1), (800, 8)])
def test_changes_are_tried_as_far_as_their_cost_goes_and_say_so(
    monkeypatch: pytest.MonkeyPatch, most: int, rounds: int
) -> None:
    tried: list[Question] = []

    def allows(question: Question, _: EntityHandles) -> bool:
        tried.append(question)
        return False

    monkeypatch.setattr(explaining, "MAX_TRIED", most)
    monkeypatch.setattr(explaining, "_allows", allows)
    forbids = "\n".join(f'@id("no_{index}") forbid (principal, action, resource);' for index in range(99))
    permit = '@id("permit_all") permit (principal, action, resource);'
    found = explain(tool_question("echo"), compiled(permit, forbids))
    assert (found.minimal_change, found.complete, len(tried)) == ((), False, rounds)


def test_an_explanation_leaves_the_set_and_its_caches_as_they_were() -> None:
    handles = EntityHandles(BASELINE.schema_handle)
    policies = compiled()
    explain(tool_question("fs.write", labels=frozenset({"a_label"})), policies, handles)
    assert len(handles._handles) == 1
    assert len(policies.slices._handles) <= 2
    assert decide(tool_question("fs.write"), policies).effect is Effect.REQUIRE_APPROVAL


def build(text: str) -> CompiledSet:
    """Compile without the type check, as nothing live ever is."""
    rules, findings = read_rules([SourceFile("f.cedar", text)])
    assert not findings
    return build_set(rules, SCHEMA, ref=NO_SET, catalog_digest="")


labels = st.frozensets(st.sampled_from(["untrusted_content", "private_data", "other_label"]))
lists = st.sampled_from(
    [frozenset(), frozenset({"agt_one"}), frozenset({"agt_two"}), frozenset({"usr_owner"})]
)
approvals = st.one_of(
    st.none(),
    st.builds(
        ApprovalFacts,
        id=st.just("apr_1"),
        scope=st.just("once"),
        risk=st.sampled_from(["low", "medium", "high", "critical"]),
        count=st.integers(0, 3),
        roles=st.sampled_from([frozenset(), frozenset({"approver"})]),
        deciders=st.just(frozenset({"usr_two"})),
    ),
)
contexts = st.builds(
    PolicyRequestContext,
    now=st.sampled_from([NOW, NOW + timedelta(hours=14), NOW + timedelta(days=5)]),
    channel=st.sampled_from([None, "ops", "chat", " "]),
    session_id=st.sampled_from([None, "ses_one"]),
    tool_name=st.sampled_from([None, None, None, "echo"]),
    labels=labels,
    adds_labels=labels,
    sinks=st.sampled_from([frozenset(), frozenset({"external_communication"}), frozenset({"destructive"})]),
    approval=approvals,
    tainted_arguments=st.sampled_from([frozenset(), frozenset({"url"})]),
    calls_in_run=st.sampled_from([0, 1, 31, 64, 2**63]),
    auth_method=st.sampled_from(["token", "session", "none"]),
    source_ip=st.sampled_from([None, "10.0.0.1", "::1", "nowhere"]),
)
configs = st.builds(
    PolicyEvaluationConfig,
    allowlisted_tools=st.frozensets(st.sampled_from(sorted(TOOLS))),
    allowlisted_skills=st.sampled_from([frozenset(), frozenset({"skl_a"})]),
    allow_sensitive_tools=st.booleans(),
    sensitive_tool_names=st.sampled_from([frozenset(), frozenset({"echo"})]),
    tool_execute_principal_allowlist=lists,
    tool_execute_channel_allowlist=st.sampled_from([frozenset(), frozenset({"ops"})]),
)
principals = st.sampled_from(
    [AGENT, AGENT, replace(AGENT, active=False), replace(AGENT, member=False), OWNER, None]
)
inputs = st.sampled_from([None, {}, {"url": "https://evil.example/"}, {"command": "rm"}, {"text": 2**70}])
others = st.sampled_from(
    [
        ("tool.read", EntityRef("Tool", "echo")),
        ("memory.purge", EntityRef("Workspace", "wsp_one")),
        ("policy.activate", EntityRef("Server", "palyra")),
        ("skill.execute", EntityRef("Skill", "skl_A")),
        ("no.such", EntityRef("Server", "palyra")),
        ("tool.read", EntityRef("Budget", "b")),
        ("vault.use", EntityRef("Secret", 'hostile"::\n')),
    ]
)


@st.composite
def questions(draw: st.DrawFn) -> Asked:
    """Anything the gate could be asked, well formed or not."""
    principal, config, context = draw(principals), draw(configs), draw(contexts)
    if draw(st.integers(0, 3)) == 0:
        action, resource = draw(others)
        world = World("wsp_one", principal, skill=SKILL)
        return Asked(PolicyRequest(ref_of(principal), action, resource), context, config, world)
    name, given_input = draw(st.sampled_from(sorted(TOOLS))), draw(inputs)
    return tool_question(
        name,
        config=config,
        context=context,
        principal=principal,
        enabled=draw(st.booleans()),
        supported=draw(st.sampled_from([True, True, False])),
        tool_input=INPUTS.get(name, {}) if given_input is None else given_input,
    )


@settings(max_examples=1_000, deadline=None)
@given(questions(), st.sampled_from(SETS))
def test_explain_is_the_gate_and_its_changes_allow(asked: Asked, policies: CompiledSet) -> None:
    gate = decide(asked, policies)
    found = explain(asked, policies)
    assert plain(found.decision) == plain(gate)
    assert ids(found.determining) == [one.id for one in gate.explanation.determining_policies]
    named = [*ids(found.determining), *ids(found.near_misses), *ids(found.outweighed)]
    assert len(named) == len(set(named))
    assert set(named) <= set(policies.rules)
    assert all(rule.holds is not Truth.TRUE for rule in found.near_misses)
    if gate.effect is Effect.ALLOW:
        assert found.minimal_change == ()
    for change in found.minimal_change:
        assert 1 <= len(change) <= 2
        assert allows(change, asked, policies)
        assert len(change) == 1 or not any(allows((one,), asked, policies) for one in change)


def allows(change: tuple[str, ...], asked: Asked, policies: CompiledSet) -> bool:
    changed = applied(change, Question(asked, policies))
    return decide(changed.asked, changed.policies).effect is Effect.ALLOW


@settings(max_examples=60, deadline=None)
@given(questions(), st.sampled_from(sorted(CUSTOM.rules)))
def test_a_set_without_a_rule_decides_as_if_it_had_never_held_it(asked: Asked, left_out: str) -> None:
    rules = [rule for rule in CUSTOM.rules.values() if rule.id != left_out]
    rebuilt = build_set(rules, SCHEMA, ref=NO_SET, catalog_digest="")
    assert plain(decide(asked, CUSTOM.without(frozenset({left_out})))) == plain(decide(asked, rebuilt))


@pytest.mark.parametrize("change", ["", "nothing", "allowlist_everything"])
def test_an_unknown_change_is_refused(change: str) -> None:
    with pytest.raises(ValueError, match="no such change"):
        applied((change,), Question(tool_question("echo"), BASELINE))
