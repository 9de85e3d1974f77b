"""Pure parts of the path: state, digest, obligations, the view of parameters."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given, strategies as st

from governance.call_state import CallState, call_state
from governance.gates import Gate
from governance.obligations import build_obligation
from governance.prompts import MAX_VIEW, parameters_view
from governance.proposals import RISKS, Target, action_digest, highest_risk
from kernel.canonical import canonical
from policy.catalog import BUILTINS
from policy.types import Effect, Obligation, PolicyDecision, PolicyExplanation
from sandbox.attestation import refusing_stage
from sandbox.lifecycle import ExecutionState

EFFECTS = ("allow", "deny", "require_approval")
ECHO = next(tool for tool in BUILTINS if tool.name == "echo").facts()
SECRET = "plr_agt_0123456789ab_" + "x" * 49
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
TEXT = st.text(alphabet="abcde.", min_size=1, max_size=6)
PARTS = st.fixed_dictionaries(
    {
        "principal_id": TEXT,
        "owner_id": TEXT,
        "target": st.fixed_dictionaries({"tool": TEXT, "schema_version": TEXT, "resource": TEXT}),
        "operation": TEXT,
        "parameters": st.dictionaries(TEXT, JSON, max_size=3),
    }
)


@given(PARTS, PARTS)
def test_the_action_digest_is_the_same_for_the_same_action_only(one: dict, other: dict) -> None:  # type: ignore[type-arg]
    same = canonical(one) == canonical(other)
    assert (action_digest(**one) == action_digest(**other)) is same


@given(PARTS, st.sampled_from(["principal_id", "owner_id", "operation"]), TEXT)
def test_changing_any_part_changes_the_action_digest(parts: dict, name: str, text: str) -> None:  # type: ignore[type-arg]
    changed = parts | {name: parts[name] + text}
    assert action_digest(**changed) != action_digest(**parts)


@pytest.mark.parametrize(
    ("effect", "execution"), list(product((*EFFECTS, "", "maybe"), (None, *ExecutionState)))
)
def test_only_an_allow_with_an_execution_reads_as_one(effect: str, execution: str | None) -> None:
    state = call_state(effect=effect, reason_code="policy.denied", execution_state=execution)
    expected = CallState.AMBIGUOUS
    if execution is None:
        expected = {
            "deny": CallState.DENIED,
            "require_approval": CallState.AWAITING_APPROVAL,
        }.get(effect, CallState.AMBIGUOUS)
    elif effect == "allow":
        expected = CallState(execution)
    assert state is expected


@pytest.mark.parametrize(
    ("reason", "state"),
    [
        ("approval.expired", "expired"),
        ("approval.cancelled", "cancelled"),
        ("approval.superseded", "superseded"),
        ("approval.denied", "denied"),
        ("run.closed", "denied"),
    ],
)
def test_how_a_question_ended_shows_in_the_state(reason: str, state: str) -> None:
    assert call_state(effect="deny", reason_code=reason, execution_state=None) == state


def test_the_gates_stand_in_the_order_of_the_design() -> None:
    assert [gate.value for gate in Gate] == [
        "authenticate",
        "run",
        "schema",
        "skill",
        "posture",
        "backend",
        "policy",
        "budget",
        "approval",
    ]
    assert refusing_stage(1) == "tool_intake"


def target(risk: str) -> Target:
    """A call of a built-in that does nothing but return a text, rated as given."""
    return Target(
        name="x",
        version="1",
        definition_digest="d",
        operation="tool.execute",
        risk=risk,
        description="",
        capabilities=frozenset(),
        requires_approval=True,
        input={},
        resource=None,
        tool=ECHO,
    )


def asked(**changes: object) -> Obligation:
    values = {"kind": "approval", "risk": "low", "quorum": 1, "approver_roles": (), "step_up": False}
    return Obligation(**{**values, "policy_ids": ("p",), **changes})  # type: ignore[arg-type]  # a builder


def decision(*obligations: Obligation) -> PolicyDecision:
    explanation = PolicyExplanation(evaluated_with_cedar=True, reason="")
    return PolicyDecision(Effect.REQUIRE_APPROVAL, "policy.approval_required", "", obligations, explanation)


OBLIGATIONS = st.builds(
    asked,
    risk=st.sampled_from(RISKS),
    quorum=st.integers(1, 5),
    step_up=st.booleans(),
    approver_roles=st.lists(st.sampled_from(["admin", "approver", "owner"]), max_size=2).map(tuple),
)


@given(st.lists(OBLIGATIONS, max_size=4), st.sampled_from(RISKS))
def test_the_merged_obligation_is_at_least_as_strict_as_each_part(parts: list[Obligation], risk: str) -> None:
    merged, asked_risk = build_obligation(decision(*parts), target(risk))
    assert asked_risk == highest_risk(risk, *(part.risk for part in parts))
    for part in parts:
        assert merged.quorum >= part.quorum
        assert merged.step_up >= part.step_up
        assert {frozenset({role}) for role in part.approver_roles} <= set(merged.role_sets)
    if asked_risk == "critical":
        assert merged.quorum >= 2
        assert merged.comment
    assert merged.step_up or asked_risk in ("low", "medium")
    widest = {"low": "always", "medium": "always", "high": "temporary", "critical": "once"}
    assert merged.max_scope == widest[asked_risk]


def test_what_is_no_question_about_approval_asks_for_nothing() -> None:
    merged, risk = build_obligation(
        decision(asked(kind="log_input", quorum=5, risk="critical")), target("low")
    )
    assert (merged.quorum, risk) == (1, "low")


@given(st.dictionaries(st.text(max_size=12), JSON, max_size=8))
def test_a_view_always_fits_and_is_plain_json(parameters: dict[str, object]) -> None:
    view, _ = parameters_view(parameters)
    assert len(canonical(view)) <= MAX_VIEW


@given(st.integers(0, 120_000), st.integers(0, 4_000))
def test_a_secret_is_masked_wherever_the_cut_falls(before: int, after: int) -> None:
    view, warnings = parameters_view({"text": "a" * before + " " + SECRET + " " + "b" * after})
    assert "plr_agt_" not in canonical(view).decode()
    assert warnings


def test_values_under_secret_names_are_masked_at_any_depth() -> None:
    view, _ = parameters_view({"a": [{"password": "hunter2 hunter2"}], "api_key": ["k1", "k2"]})
    assert view == {"a": [{"password": "[masked]"}], "api_key": "[masked]"}


def test_names_that_are_secrets_are_masked() -> None:
    view, _ = parameters_view({"env": {SECRET: "1"}})
    assert SECRET not in canonical(view).decode()


def test_names_that_look_alike_both_stay() -> None:
    view, warnings = parameters_view({"a\u200b": 1, "a⟦U+200B⟧": 2})
    assert view == {"a⟦U+200B⟧": 1, "a⟦U+200B⟧⟦again⟧": 2}
    assert any("look alike" in warning for warning in warnings)


def test_what_cannot_be_shown_at_all_is_named_by_its_digest() -> None:
    view, warnings = parameters_view({f"name{number}": number for number in range(5_000)})
    assert isinstance(view, dict)
    assert view["_truncated"] is True
    assert any("too large" in warning for warning in warnings)
