"""The shipped packs, put to the engine with the facts of real tools."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from policy.compilation import CompiledSet, compile_set
from policy.shipped import PACKS_ON, baseline_files, pack_file, pack_names
from policy.types import Effect, PolicyDecision, PolicyEvaluationConfig, PolicyRequestContext
from tests.policy.worlds import ALL_TOOLS, APPROVAL, NOW, SCHEMA, TOOLS, ask_tool, deciding

UNTRUSTED, PRIVATE = "untrusted_content", "private_data"
EXTERNAL, DESTRUCTIVE = "external_communication", "destructive"
ALWAYS = replace(ALL_TOOLS, allow_sensitive_tools=True)
"""What an explicit always_allow posture makes of the configuration."""
FETCH = replace(TOOLS["http.fetch"], runtime_supported=True)
OFF = ("office_hours", "budget_of_calls", "egress_hosts")


def with_pack(name: str) -> CompiledSet:
    """Compile the baseline together with one more pack, as strictly as a set that is activated."""
    result = compile_set([*baseline_files(), pack_file(name)], SCHEMA)
    assert isinstance(result, CompiledSet), result
    return result


def fetch(
    *,
    labels: set[str],
    adds: set[str] = frozenset({UNTRUSTED}),  # type: ignore[assignment]  # a default nobody changes
    sinks: set[str] = frozenset({EXTERNAL}),  # type: ignore[assignment]  # a default nobody changes
    tainted: set[str] = frozenset(),  # type: ignore[assignment]  # a default nobody changes
    config: PolicyEvaluationConfig = ALWAYS,
    approved: bool = False,
) -> PolicyDecision:
    context = PolicyRequestContext(
        now=NOW,
        labels=frozenset(labels),
        adds_labels=frozenset(adds),
        sinks=frozenset(sinks),
        tainted_arguments=frozenset(tainted),
    )
    approval = APPROVAL if approved else None
    return ask_tool("http.fetch", tool=FETCH, config=config, context=context, approval=approval)


def test_the_baseline_holds_the_two_that_are_on_and_the_rest_is_shipped() -> None:
    names = {file.name for file in baseline_files()}
    assert {f"pack_{name}.cedar" for name in PACKS_ON} < names
    assert set(pack_names()) == {*PACKS_ON, *OFF}
    assert not names & {f"pack_{name}.cedar" for name in OFF}


@pytest.mark.parametrize("name", OFF)
def test_each_pack_that_is_off_validates_strictly_with_the_baseline(name: str) -> None:
    assert name in with_pack(name).rules


def test_fetching_with_all_three_needs_a_person_although_the_posture_is_always_allow() -> None:
    decision = fetch(labels={UNTRUSTED, PRIVATE})
    assert (decision.effect, deciding(decision)) == (Effect.REQUIRE_APPROVAL, ["trifecta"])
    assert (decision.obligations[0].risk, decision.obligations[0].step_up) == ("high", True)


def test_an_approval_clears_the_trifecta_and_nothing_else_does() -> None:
    assert fetch(labels={UNTRUSTED, PRIVATE}, approved=True).effect is Effect.ALLOW
    denied = fetch(labels={UNTRUSTED, PRIVATE}, config=replace(ALWAYS, allowlisted_tools=frozenset()))
    assert (denied.effect, denied.reason_code) == (Effect.DENY, "policy.tool_not_allowlisted")


@pytest.mark.parametrize(
    ("labels", "adds", "sinks"),
    [
        ({UNTRUSTED}, {UNTRUSTED}, {EXTERNAL}),
        ({PRIVATE}, {UNTRUSTED}, {EXTERNAL}),
        ({UNTRUSTED, PRIVATE}, {UNTRUSTED}, {DESTRUCTIVE}),
        ({UNTRUSTED, PRIVATE}, set(), set()),
        (set(), {UNTRUSTED, PRIVATE}, {EXTERNAL}),
    ],
)
def test_any_two_of_the_three_are_let_through(labels: set[str], adds: set[str], sinks: set[str]) -> None:
    assert fetch(labels=labels, adds=adds, sinks=sinks).effect is Effect.ALLOW


def test_private_data_that_the_call_itself_brings_in_counts() -> None:
    assert deciding(fetch(labels={UNTRUSTED}, adds={PRIVATE})) == ["trifecta"]


@pytest.mark.parametrize("sink", [EXTERNAL, DESTRUCTIVE])
def test_a_tainted_argument_needs_a_person_at_every_sink(sink: str) -> None:
    decision = fetch(labels={UNTRUSTED}, sinks={sink}, tainted={"url"})
    assert (decision.effect, deciding(decision)) == (Effect.REQUIRE_APPROVAL, ["provenance"])


@pytest.mark.parametrize(
    ("labels", "sinks", "tainted"),
    [
        (set(), {EXTERNAL}, {"url"}),
        ({PRIVATE}, {EXTERNAL}, {"url"}),
        ({UNTRUSTED}, set(), {"url"}),
        ({UNTRUSTED}, {EXTERNAL}, set()),
    ],
)
def test_provenance_asks_for_nothing_less(labels: set[str], sinks: set[str], tainted: set[str]) -> None:
    assert fetch(labels=labels, sinks=sinks, tainted=tainted).effect is Effect.ALLOW


def test_both_packs_name_themselves_when_both_decide() -> None:
    decision = fetch(labels={UNTRUSTED, PRIVATE}, tainted={"url"})
    assert set(deciding(decision)) == {"trifecta", "provenance"}


@pytest.mark.parametrize(
    ("hour", "effect"),
    [(6, Effect.REQUIRE_APPROVAL), (7, Effect.ALLOW), (18, Effect.ALLOW), (19, Effect.REQUIRE_APPROVAL)],
)
def test_office_hours_ask_before_seven_and_from_nineteen(hour: int, effect: Effect) -> None:
    at = datetime(2026, 3, 2, hour, 0, tzinfo=UTC)
    policies = with_pack("office_hours")
    sends = PolicyRequestContext(now=at, sinks=frozenset({EXTERNAL}))
    assert ask_tool("echo", policies=policies, context=sends).effect is effect
    harmless = PolicyRequestContext(now=at)
    assert ask_tool("echo", policies=policies, context=harmless).effect is Effect.ALLOW


@pytest.mark.parametrize(("calls", "effect"), [(19, Effect.ALLOW), (20, Effect.REQUIRE_APPROVAL)])
def test_a_run_that_made_twenty_calls_asks_for_each_further_one(calls: int, effect: Effect) -> None:
    context = PolicyRequestContext(now=NOW, calls_in_run=calls)
    assert ask_tool("echo", policies=with_pack("budget_of_calls"), context=context).effect is effect


@pytest.mark.parametrize(
    ("url", "effect"),
    [
        ("https://api.example.com/v1", Effect.ALLOW),
        ("https://API.EXAMPLE.com:8443/v1", Effect.ALLOW),
        ("https://api.example.com.evil.example/", Effect.DENY),
        ("https://evil.example/?api.example.com", Effect.DENY),
        ("https://evil.api.example.com/", Effect.DENY),
        ("https://api.example.com@evil.example/", Effect.DENY),
    ],
)
def test_a_host_that_is_not_listed_is_denied_whatever_a_person_says(url: str, effect: Effect) -> None:
    policies = with_pack("egress_hosts")
    for approval in (None, APPROVAL):
        decision = ask_tool(
            "http.fetch",
            tool=FETCH,
            config=ALWAYS,
            policies=policies,
            tool_input={"url": url},
            approval=approval,
        )
        assert decision.effect is effect, decision
    assert ask_tool("echo", policies=policies).effect is Effect.ALLOW
