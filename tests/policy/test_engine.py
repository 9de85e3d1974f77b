"""The decision function over the shipped rules."""

from __future__ import annotations

from dataclasses import replace

import pytest

from policy.compilation import SourceFile, build_set, read_rules
from policy.types import (
    ApprovalFacts,
    Effect,
    EntityRef,
    PolicyEvaluationConfig,
    PolicyRequestContext,
    PolicySetRef,
    UserFacts,
)
from tests.policy.worlds import (
    AGENT,
    ALL_TOOLS,
    APPROVAL,
    BASELINE,
    NOW,
    OWNER,
    SCHEMA,
    SKILL,
    TOOLS,
    ask,
    ask_tool,
    compiled,
    deciding,
)

PERMIT_ALL = '@id("permit_all") permit (principal, action, resource);'
WORKSPACE = EntityRef("Workspace", "wsp_one")
PUBLIC_RULES = {
    "deny_sensitive_without_approval",
    "allow_read_only_actions",
    "allow_allowlisted_tool_execute",
    "allow_allowlisted_skill_execute",
    "allow_cron_management_actions",
    "allow_memory_actions",
    "allow_vault_actions",
    "allow_message_router_actions",
    "allow_attachment_metadata_actions",
}


def test_shipped_rules_are_those_of_the_table() -> None:
    others = {
        "allow_model_use",
        "deny_inactive_user",
        "deny_inactive_agent",
        "deny_inactive_device",
        "allow_governance_by_permission",
        "trifecta",
        "provenance",
    }
    assert set(BASELINE.rules) == PUBLIC_RULES | others


def test_allowlisted_harmless_tool_is_allowed_by_its_rule() -> None:
    decision = ask_tool("echo")
    assert (decision.effect, decision.reason_code) == (Effect.ALLOW, "policy.allowed")
    assert deciding(decision) == ["allow_allowlisted_tool_execute"]
    assert decision.obligations == ()
    assert decision.explanation.evaluated_with_cedar


def test_purging_memory_needs_approval_by_the_named_rule() -> None:
    decision = ask("memory.purge", WORKSPACE)
    assert (decision.effect, decision.reason_code) == (Effect.REQUIRE_APPROVAL, "policy.approval_required")
    assert deciding(decision) == ["deny_sensitive_without_approval"]


def test_known_action_without_permit_is_denied() -> None:
    decision = ask("attachment.download", EntityRef("Attachment", "att_1"))
    assert (decision.effect, decision.reason_code) == (Effect.DENY, "policy.no_permit")


def test_read_only_matches_exactly_and_never_by_prefix() -> None:
    server = EntityRef("Server", "palyra")
    assert ask("tool.read", server).effect is Effect.ALLOW
    assert ask("tool.read.write", server).effect is Effect.DENY


@pytest.mark.parametrize("name", ["fs.write", "process.run"])
def test_sensitive_tools_need_approval_of_high_risk(name: str) -> None:
    decision = ask_tool(name)
    assert decision.effect is Effect.REQUIRE_APPROVAL
    (obligation,) = decision.obligations
    assert (obligation.kind, obligation.risk, obligation.quorum) == ("approval", "high", 1)
    assert obligation.step_up
    assert obligation.policy_ids == ("deny_sensitive_without_approval",)


def test_critical_tool_needs_two_people() -> None:
    (obligation,) = ask_tool("process.run", tool=replace(TOOLS["process.run"], risk="critical")).obligations
    assert (obligation.risk, obligation.quorum) == ("critical", 2)


def test_sensitive_tool_off_the_allowlist_is_denied_without_asking_anybody() -> None:
    decision = ask_tool("http.fetch", config=PolicyEvaluationConfig())
    assert (decision.effect, decision.reason_code) == (Effect.DENY, "policy.tool_not_allowlisted")
    assert decision.obligations == ()


def test_principal_list_that_names_another_denies() -> None:
    config = replace(ALL_TOOLS, tool_execute_principal_allowlist=frozenset({"agt_other"}))
    assert ask_tool("echo", config=config).reason_code == "policy.principal_not_allowlisted"
    named = replace(ALL_TOOLS, tool_execute_principal_allowlist=frozenset({AGENT.id}))
    assert ask_tool("echo", config=named).effect is Effect.ALLOW


def test_channel_list_denies_a_call_without_channel() -> None:
    config = replace(ALL_TOOLS, tool_execute_channel_allowlist=frozenset({"ops"}))
    assert ask_tool("echo", config=config).reason_code == "policy.channel_not_allowlisted"
    context = PolicyRequestContext(now=NOW, channel="ops")
    assert ask_tool("echo", config=config, context=context).effect is Effect.ALLOW


def test_tool_that_is_off_or_cannot_run_is_not_permitted() -> None:
    for off in (replace(TOOLS["echo"], enabled=False), replace(TOOLS["echo"], runtime_supported=False)):
        assert ask_tool("echo", tool=off).reason_code == "policy.no_permit"


def test_explicit_posture_lets_a_sensitive_tool_run() -> None:
    decision = ask_tool("fs.write", config=replace(ALL_TOOLS, allow_sensitive_tools=True))
    assert decision.effect is Effect.ALLOW


def test_inactive_principals_are_denied_by_their_rule() -> None:
    decision = ask_tool("echo", principal=replace(AGENT, active=False))
    assert (decision.reason_code, deciding(decision)) == ("policy.denied", ["deny_inactive_agent"])
    person = ask_tool("echo", principal=replace(OWNER, active=False))
    assert deciding(person) == ["deny_inactive_user"]


def test_inactive_agent_is_denied_even_with_an_approval() -> None:
    decision = ask_tool("fs.write", principal=replace(AGENT, active=False), approval=APPROVAL)
    assert (decision.effect, deciding(decision)) == (Effect.DENY, ["deny_inactive_agent"])


def test_skill_runs_only_when_listed_and_active() -> None:
    resource = EntityRef("Skill", SKILL.skl_id)
    listed = PolicyEvaluationConfig(allowlisted_skills=frozenset({"skl_a"}))
    allowed = ask("skill.execute", resource, config=listed, skill=SKILL)
    assert (allowed.effect, deciding(allowed)) == (Effect.ALLOW, ["allow_allowlisted_skill_execute"])
    assert ask("skill.execute", resource, skill=SKILL).reason_code == "policy.skill_not_allowlisted"
    staged = replace(SKILL, status="staged")
    assert ask("skill.execute", resource, config=listed, skill=staged).reason_code == "policy.no_permit"


def test_skill_that_asks_for_approval_gets_the_obligation() -> None:
    listed = PolicyEvaluationConfig(allowlisted_skills=frozenset({"skl_a"}))
    asking = replace(SKILL, requires_approval=True)
    decision = ask("skill.execute", EntityRef("Skill", SKILL.skl_id), config=listed, skill=asking)
    assert decision.effect is Effect.REQUIRE_APPROVAL


@pytest.mark.parametrize(
    ("action", "kind"),
    [
        ("cron.create", "CronJob"),
        ("memory.search", "MemoryItem"),
        ("vault.use", "Secret"),
        ("message.reply", "Channel"),
        ("attachment.metadata.accept", "Attachment"),
        ("model.use", "Model"),
    ],
)
def test_only_members_of_the_workspace_use_what_is_in_it(action: str, kind: str) -> None:
    resource = EntityRef(kind, "one")
    assert ask(action, resource).effect is Effect.ALLOW
    foreign = ask(action, resource, principal=replace(AGENT, member=False))
    assert (foreign.effect, foreign.reason_code) == (Effect.DENY, "policy.no_permit")


def test_agent_of_another_workspace_executes_no_tool() -> None:
    decision = ask_tool("echo", principal=replace(AGENT, member=False))
    assert decision.reason_code == "policy.principal_not_allowlisted"


def test_governance_follows_the_permission_of_the_same_name() -> None:
    holder = UserFacts("usr_a", active=True, permissions=frozenset({"policy.activate"}))
    allowed = ask("policy.activate", WORKSPACE, principal=holder)
    assert deciding(allowed) == ["allow_governance_by_permission"]
    assert ask("policy.edit", WORKSPACE, principal=holder).reason_code == "policy.no_permit"


def test_agent_never_governs_whatever_its_owner_holds() -> None:
    owner = replace(OWNER, permissions=frozenset({"policy.activate"}), roles=frozenset({"owner"}))
    assert ask("policy.activate", WORKSPACE, principal=replace(AGENT, owner=owner)).effect is Effect.DENY


def test_agent_is_in_no_group_of_its_owner() -> None:
    rule = '@id("by_role") permit (principal in Palyra::Group::"role:owner", action, resource);'
    policies = compiled(rule)
    owner = replace(OWNER, roles=frozenset({"owner"}))
    assert ask_tool("echo", policies=policies, principal=owner).effect is Effect.ALLOW
    assert ask_tool("echo", policies=policies, principal=replace(AGENT, owner=owner)).effect is Effect.DENY


def test_two_permits_add_up_their_obligations() -> None:
    asking = (
        '@id("asking") @obligation("approval") @quorum("2") @approver_role("approver")'
        " permit (principal, action, resource);"
    )
    decision = ask_tool("echo", policies=compiled(PERMIT_ALL, asking))
    (obligation,) = decision.obligations
    assert decision.effect is Effect.REQUIRE_APPROVAL
    assert (obligation.quorum, obligation.approver_roles) == (2, ("approver",))


def test_obligation_that_asks_nobody_stays_on_an_allow() -> None:
    text = '@id("logged") @obligation("log_input") permit (principal, action, resource);'
    decision = ask_tool("echo", policies=compiled(text))
    assert (decision.effect, [item.kind for item in decision.obligations]) == (Effect.ALLOW, ["log_input"])


def test_forbid_without_obligation_denies_and_no_approval_cures_it() -> None:
    forbid = (
        '@id("no_processes") forbid (principal, action in Palyra::Action::"tool.execute", resource)'
        ' when { resource == Palyra::Tool::"process.run" };'
    )
    policies = compiled(PERMIT_ALL, forbid)
    for approval in (None, APPROVAL):
        decision = ask_tool("process.run", policies=policies, approval=approval)
        assert (decision.effect, deciding(decision)) == (Effect.DENY, ["no_processes"])


def test_what_approval_cannot_cure_is_named_first() -> None:
    config = replace(ALL_TOOLS, allowlisted_tools=frozenset({"echo"}))
    assert ask_tool("fs.write", config=config, approval=APPROVAL).reason_code == "policy.tool_not_allowlisted"


def test_good_approval_allows() -> None:
    decision = ask_tool("fs.write", approval=APPROVAL)
    assert (decision.effect, decision.obligations) == (Effect.ALLOW, ())


@pytest.mark.parametrize(
    "approval",
    [
        replace(APPROVAL, risk="medium"),
        replace(APPROVAL, count=0),
    ],
)
def test_approval_that_falls_short_does_not_allow(approval: ApprovalFacts) -> None:
    decision = ask_tool("fs.write", approval=approval)
    assert (decision.effect, decision.reason_code) == (Effect.REQUIRE_APPROVAL, "policy.approval_required")


def test_quorum_of_a_forbid_that_the_approval_switches_off_still_counts() -> None:
    forbid = (
        '@id("two_people") @obligation("approval") @quorum("2") forbid (principal, action, resource)'
        " unless { context has approval };"
    )
    policies = compiled(PERMIT_ALL, forbid)
    one = replace(APPROVAL, count=1)
    assert ask_tool("echo", policies=policies, approval=one).effect is Effect.REQUIRE_APPROVAL
    assert ask_tool("echo", policies=policies, approval=replace(APPROVAL, count=2)).effect is Effect.ALLOW


@pytest.mark.parametrize(
    ("told", "effect"),
    [
        (None, Effect.ALLOW),
        ({"asks"}, Effect.ALLOW),
        ({"asks", "another"}, Effect.ALLOW),
        ({"another"}, Effect.REQUIRE_APPROVAL),
        (set(), Effect.REQUIRE_APPROVAL),
    ],
)
def test_an_approval_answers_for_the_rules_that_people_were_told_of(
    told: set[str] | None, effect: Effect
) -> None:
    asks = '@id("asks") @obligation("approval") permit (principal, action, resource);'
    approval = replace(APPROVAL, policy_ids=None if told is None else frozenset(told))
    assert ask_tool("echo", policies=compiled(asks), approval=approval).effect is effect


def test_an_approval_without_a_code_does_not_meet_a_rule_that_wants_one() -> None:
    asks = '@id("asks") @obligation("approval,step_up") @risk("low") permit (principal, action, resource);'
    low = replace(APPROVAL, risk="low")
    assert ask_tool("echo", policies=compiled(asks), approval=low).effect is Effect.REQUIRE_APPROVAL
    proved = replace(low, step_up=True)
    assert ask_tool("echo", policies=compiled(asks), approval=proved).effect is Effect.ALLOW


def test_named_role_must_be_among_the_reviewers() -> None:
    permit = (
        '@id("by_auditor") @obligation("approval") @approver_role("auditor")'
        " permit (principal, action, resource);"
    )
    policies = compiled(permit)
    assert ask_tool("echo", policies=policies, approval=APPROVAL).effect is Effect.REQUIRE_APPROVAL
    audited = replace(APPROVAL, roles=frozenset({"auditor"}))
    assert ask_tool("echo", policies=policies, approval=audited).effect is Effect.ALLOW


def test_approval_that_triggers_a_plain_forbid_is_denied() -> None:
    forbid = '@id("never") forbid (principal, action, resource) when { context has approval };'
    decision = ask_tool("echo", policies=compiled(PERMIT_ALL, forbid), approval=APPROVAL)
    assert (decision.effect, deciding(decision)) == (Effect.DENY, ["never"])


def test_error_in_any_rule_denies_even_beside_a_permit() -> None:
    text = PERMIT_ALL + '@id("broken") forbid (principal, action, resource) when { context.input.max > 5 };'
    rules, findings = read_rules([SourceFile("a.cedar", text)])
    assert findings == ()
    forced = build_set(rules, SCHEMA, ref=PolicySetRef("pol_1", 3, "sha256:1"), catalog_digest="")
    decision = ask_tool("echo", policies=forced)
    assert (decision.effect, decision.reason_code) == (Effect.DENY, "policy.evaluation_failed")
    assert "broken" in decision.explanation.diagnostics_errors[0]
    assert decision.explanation.policy_set.version == 3


def test_unknown_obligation_at_run_time_denies() -> None:
    text = '@id("strange") @obligation("dance") permit (principal, action, resource);'
    rules, _ = read_rules([SourceFile("a.cedar", text)])
    forced = build_set(rules, SCHEMA, ref=PolicySetRef(), catalog_digest="")
    assert ask_tool("echo", policies=forced).reason_code == "policy.obligation_unknown"


def test_argument_rule_reads_the_typed_input() -> None:
    forbid = (
        '@id("no_ftp") forbid (principal, action in Palyra::Action::"tool.execute", resource)'
        " when { context has input && context.input has url_host &&"
        ' context.input.url_host == "evil.example" };'
    )
    policies = compiled(PERMIT_ALL, forbid)
    evil = ask_tool("http.fetch", policies=policies, tool_input={"url": "https://EVIL.example:8443/x"})
    assert deciding(evil) == ["no_ftp"]
    assert ask_tool("http.fetch", policies=policies).effect is Effect.ALLOW
    assert ask_tool("echo", policies=policies).effect is Effect.ALLOW


def test_input_that_cedar_cannot_carry_denies() -> None:
    decision = ask_tool("sleep", tool_input={"duration_ms": 2**63})
    assert decision.reason_code == "policy.input_unrepresentable"


@pytest.mark.parametrize("identifier", ["", "  ", "a\0b", "x" * 513, "\ud800"])
def test_unusable_identifiers_are_refused(identifier: str) -> None:
    decision = ask("memory.get", EntityRef("MemoryItem", identifier))
    assert (decision.effect, decision.reason_code) == (Effect.DENY, "policy.invalid_request")


@pytest.mark.parametrize(
    "identifier", ['a"b', "a\nb", "a::b", 'x"); permit(principal,action,resource);', "\\"]
)
def test_hostile_identifiers_stay_identifiers(identifier: str) -> None:
    item = EntityRef("MemoryItem", identifier)
    assert ask("memory.get", item).effect is Effect.ALLOW
    assert ask("memory.get", item, principal=replace(AGENT, member=False)).effect is Effect.DENY
    assert ask("memory.get", item, principal=replace(AGENT, id=identifier)).effect is Effect.ALLOW


def test_unknown_principal_is_refused() -> None:
    assert ask_tool("echo", principal=None).reason_code == "policy.invalid_request"


def test_resource_of_the_wrong_kind_is_refused() -> None:
    assert ask("memory.purge", EntityRef("Server", "x")).reason_code == "policy.invalid_request"


@pytest.mark.parametrize("action", ["", "mémoire", " "])
def test_unusable_action_is_refused(action: str) -> None:
    assert ask(action, WORKSPACE).reason_code == "policy.invalid_request"


def test_context_never_overrides_the_resource() -> None:
    context = PolicyRequestContext(now=NOW, tool_name="echo")
    assert ask_tool("fs.write", context=context).reason_code == "policy.resource_mismatch"
    alias = PolicyRequestContext(now=NOW, tool_name="palyra.echo")
    assert ask_tool("echo", context=alias).effect is Effect.ALLOW
    other = ask("tool.execute:echo", EntityRef("Tool", "sleep"))
    assert other.reason_code == "policy.resource_mismatch"


@pytest.mark.parametrize(
    "context",
    [
        PolicyRequestContext(now=NOW, source_ip="not an address"),
        PolicyRequestContext(now=NOW, calls_in_run=-1),
        PolicyRequestContext(now=NOW, calls_in_run=2**63),
        PolicyRequestContext(now=NOW.replace(tzinfo=None)),
        PolicyRequestContext(now=NOW, session_id="a\0"),
    ],
)
def test_unusable_context_is_refused(context: PolicyRequestContext) -> None:
    assert ask_tool("echo", context=context).reason_code == "policy.invalid_context"


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "fe80::1%eth0", "::ffff:10.1.2.3"])
def test_every_source_address_has_a_cedar_form(address: str) -> None:
    context = PolicyRequestContext(now=NOW, source_ip=address, session_id="ses_1", run_id="run_1")
    assert ask_tool("echo", context=context).effect is Effect.ALLOW


def test_request_cannot_hide_the_capabilities_of_the_tool() -> None:
    context = PolicyRequestContext(now=NOW, capabilities=frozenset({" Filesystem_Read "}))
    decision = ask_tool("process.run", context=context)
    assert decision.explanation.request_capabilities == ("filesystem_read", "process_exec")
    assert decision.effect is Effect.REQUIRE_APPROVAL


def test_explanation_names_facts_and_entities() -> None:
    explanation = ask_tool("echo").explanation
    assert explanation.is_allowlisted_tool
    assert not explanation.is_sensitive_action
    assert 'Palyra::Agent::"agt_one"' in explanation.constructed_entities
    assert explanation.requested_tool == "echo"
    assert 0 < explanation.slice_size < len(BASELINE.rules)


def test_panic_inside_the_engine_denies(monkeypatch: pytest.MonkeyPatch) -> None:
    class Panic(BaseException):
        pass

    def explode(*_: object, **__: object) -> None:
        raise Panic

    monkeypatch.setattr("cedarpy.is_authorized", explode)
    assert ask_tool("echo").reason_code == "policy.evaluation_failed"
