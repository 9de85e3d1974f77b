"""An approval clears an approval obligation and nothing else, whatever the rules are (policy part, §7.4)."""

from __future__ import annotations

from hypothesis import given, settings, strategies as st

from policy.engine import evaluate
from policy.snapshot import tool_entity
from policy.types import ApprovalFacts, Effect, EntityRef, PolicyRequest, PolicyRequestContext, World
from tests.policy.worlds import AGENT, ALL_TOOLS, INPUTS, NOW, TOOLS, compiled, ref_of

SCOPES = (
    "principal, action, resource",
    'principal, action in Palyra::Action::"tool.execute", resource',
    'principal is Palyra::Agent, action == Palyra::Action::"tool.execute:echo", resource',
    'principal, action, resource == Palyra::Tool::"echo"',
)
CONDITIONS = (
    "",
    "when { context has approval }",
    "unless { context has approval }",
    "when { context.is_sensitive_action && !context.allow_sensitive_tools }",
    "when { context.allow_sensitive_tools }",
    "when { context has approval && context.approval.count >= 2 }",
    'when { context.posture == "none" }',
)
ANNOTATIONS = (
    "",
    '@obligation("approval")',
    '@obligation("approval") @quorum("2")',
    '@obligation("step_up")',
)
rules = st.lists(
    st.tuples(
        st.sampled_from(("permit", "forbid")),
        st.sampled_from(SCOPES),
        st.sampled_from(CONDITIONS),
        st.sampled_from(ANNOTATIONS),
    ),
    min_size=1,
    max_size=5,
)
approvals = st.builds(
    ApprovalFacts,
    id=st.just("apr_1"),
    scope=st.just("once"),
    risk=st.sampled_from(("low", "medium", "high", "critical")),
    count=st.integers(0, 5),
    roles=st.frozensets(st.sampled_from(("owner", "admin", "approver")), max_size=3),
    deciders=st.frozensets(st.sampled_from(("usr_one", "usr_two")), max_size=2),
    step_up=st.booleans(),
)


@settings(max_examples=200, deadline=None)
@given(chosen=rules, approval=approvals, name=st.sampled_from(("echo", "process.run")))
def test_no_approval_turns_the_deny_of_a_plain_forbid_into_anything_else(
    chosen: list[tuple[str, str, str, str]], approval: ApprovalFacts, name: str
) -> None:
    text = "\n".join(
        f'@id("rule_{at}") {annotation} {effect} ({scope}) {condition};'
        for at, (effect, scope, condition, annotation) in enumerate(chosen)
    )
    policies = compiled(text)
    plain = {rule.id for rule in policies.rules.values() if not rule.needs_approval}
    request = PolicyRequest(ref_of(AGENT), "tool.execute", EntityRef("Tool", name))
    world = World("wsp_one", AGENT, tool_entity(TOOLS[name]))

    def ask(given_approval: ApprovalFacts | None) -> tuple[Effect, set[str]]:
        asked = PolicyRequestContext(now=NOW, tool_input=INPUTS[name], approval=given_approval)
        decision = evaluate(request=request, context=asked, config=ALL_TOOLS, world=world, policies=policies)
        forbids = {one.id for one in decision.explanation.determining_policies if one.effect == "forbid"}
        return decision.effect, forbids

    effect, forbids = ask(None)
    with_approval, _ = ask(approval)
    if effect is Effect.DENY and forbids & plain:
        assert with_approval is Effect.DENY
    if effect is Effect.DENY:
        assert with_approval is not Effect.ALLOW
