"""What two weeks of answers recommend, and what they never do."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given, strategies as st

from policy.posture import scope_chain
from policy.recommendations import (
    FrictionFacts,
    PutOff,
    Recommendation,
    StoredOverride,
    recommend,
)
from policy.types import PostureRow, Risk, ToolFacts
from tests.policy.worlds import NOW, TOOLS

ASKS = replace(TOOLS["echo"], name="x.note", risk="medium", requires_approval=True)
OLD = NOW - timedelta(days=31)


def leaf(agent: str | None = "agt_1", session: str | None = "ses_1", **counts: int) -> FrictionFacts:
    """Facts of one session in which the tool asked; `counts` of answers make up the requests."""
    chain = scope_chain(workspace_id="wsp_1", agent_id=agent, session_id=session)
    return FrictionFacts(
        tool=ASKS.name,
        scope=chain,
        requested=sum(counts.values()),
        sessions=1 if sum(counts.values()) else 0,
        last_at=NOW,
        **counts,
    )


def advised(
    *facts: FrictionFacts,
    tool: ToolFacts = ASKS,
    stored: tuple[StoredOverride, ...] = (),
    answers: tuple[PutOff, ...] = (),
    now: datetime = NOW,
) -> list[Recommendation]:
    named = [replace(one, tool=tool.name) for one in facts]
    return list(recommend(named, stored, [tool], answers, now))


def stored(kind: str, state: str, since: datetime | None = OLD, **more: object) -> StoredOverride:
    chain = scope_chain(workspace_id="wsp_1", agent_id="agt_1", session_id="ses_1")
    until = [kind for kind, _ in chain].index(kind) + 1
    row = PostureRow(kind, chain[until - 1][1], state, **more)  # type: ignore[arg-type]  # fields by name
    return StoredOverride(ASKS.name, row, chain[:until], since)


IN_VAIN = (leaf(approved=3), leaf(session="ses_2", approved=2))


def test_five_approvals_in_two_sessions_loosen_for_their_agent() -> None:
    (found,) = advised(*IN_VAIN)
    assert found.id == "rec:loosen:agent:agt_1:x.note:always_allow"
    assert (found.current, found.target, found.facts.approved) == ("ask_each_time", "always_allow", 5)
    assert found.reason == "Allowed 5 times in 2 sessions and never refused, in 14 days."


def test_the_narrowest_scope_that_holds_all_requests_is_proposed() -> None:
    (two_agents,) = advised(leaf(approved=3), leaf("agt_2", "ses_2", approved=2))
    assert two_agents.scope == ("workspace", "wsp_1")
    (one_session,) = advised(leaf(denied=3))
    assert one_session.scope == ("session", "ses_1")
    (no_session,) = advised(leaf(session=None, approved=4), leaf(approved=1))
    assert no_session.scope == ("agent", "agt_1")
    (person,) = advised(leaf(None, "ses_9", approved=4), leaf(approved=1))
    assert person.scope == ("workspace", "wsp_1")


@pytest.mark.parametrize(
    "facts",
    [
        (leaf(approved=2), leaf(session="ses_2", approved=2)),
        (leaf(approved=9),),
        (*IN_VAIN, leaf(session="ses_3", denied=1)),
        (*IN_VAIN, leaf("agt_2", "ses_3", denied=1)),
        (*IN_VAIN, leaf(session="ses_3", expired=1)),
        (*IN_VAIN, leaf(session="ses_3", pending=1)),
    ],
)
def test_too_few_or_one_other_answer_recommends_nothing(facts: tuple[FrictionFacts, ...]) -> None:
    assert advised(*facts) == []


@pytest.mark.parametrize(
    "change", [{"risk": "high"}, {"risk": "critical"}, {"sinks": frozenset({"external_communication"})}]
)
def test_a_risky_tool_or_a_sink_is_never_loosened(change: dict[str, object]) -> None:
    assert advised(*IN_VAIN, tool=replace(ASKS, **change)) == []  # type: ignore[arg-type]  # fields by name


def test_three_denials_of_six_switch_off_whatever_the_risk() -> None:
    facts = (leaf(denied=3), leaf(session="ses_2", approved=3))
    (found,) = advised(*facts, tool=replace(ASKS, risk="critical"))
    assert found.id == "rec:tighten:agent:agt_1:x.note:disabled"
    assert found.reason == "Denied 3 of 6 times in 14 days."
    assert advised(leaf(denied=3), leaf(session="ses_2", approved=4)) == []
    assert advised(leaf(denied=2)) == []


def test_only_what_asks_now_and_would_change_is_recommended() -> None:
    assert advised(*IN_VAIN, tool=replace(ASKS, requires_approval=False)) == []
    for override in (
        stored("agent", "always_allow", NOW),
        stored("workspace", "disabled"),
        stored("workspace", "ask_each_time", overridable=False),
        stored("session", "ask_each_time"),
    ):
        assert advised(*IN_VAIN, stored=(override,)) == []
    (found,) = advised(*IN_VAIN, stored=(stored("workspace", "ask_each_time"),))
    assert found.scope == ("agent", "agt_1")


def test_an_always_allow_that_nobody_used_is_taken_back() -> None:
    allow = stored("agent", "always_allow")
    (found,) = advised(stored=(allow,))
    assert found.id == "rec:tighten:agent:agt_1:x.note:ask_each_time"
    assert advised(replace(leaf(), last_at=OLD), stored=(allow,))
    assert advised(leaf(), stored=(allow,)) == []
    assert advised(replace(leaf("agt_2")), stored=(allow,)) == [found]


@pytest.mark.parametrize(
    "override",
    [
        stored("agent", "always_allow", NOW - timedelta(days=29)),
        stored("agent", "always_allow", None),
        stored("agent", "always_allow", expires_at=NOW),
        stored("agent", "ask_each_time"),
        stored("agent", "disabled"),
    ],
)
def test_young_unjudged_ended_and_strict_rows_stay(override: StoredOverride) -> None:
    assert advised(stored=(override,)) == []


def test_what_was_put_off_is_hidden_until_then() -> None:
    (found,) = advised(*IN_VAIN)
    off = PutOff(found.id, NOW + timedelta(days=7))
    assert advised(*IN_VAIN, answers=(off,)) == []
    assert advised(*IN_VAIN, answers=(replace(off, until=NOW),)) == [found]
    assert advised(*IN_VAIN, answers=(replace(off, recommendation_id="rec:other"),)) == [found]


def test_a_tool_that_is_not_handed_in_is_not_spoken_of() -> None:
    assert recommend(IN_VAIN, (), (), (), NOW) == ()


COUNTS = st.integers(0, 6)
LEAVES = st.builds(
    lambda agent, session, counts: leaf(
        agent, session, **dict(zip(("approved", "denied", "expired", "pending"), counts, strict=True))
    ),
    st.sampled_from([None, "agt_1", "agt_2"]),
    st.sampled_from([None, "ses_1", "ses_2", "ses_3"]),
    st.tuples(COUNTS, COUNTS, COUNTS, COUNTS).filter(any),
)
FACTS = st.lists(LEAVES, max_size=6, unique_by=lambda one: one.scope)
FACTORS = st.builds(
    lambda risk, sinks: replace(ASKS, risk=risk, sinks=sinks),
    st.sampled_from([risk.value for risk in Risk]),
    st.sampled_from([frozenset[str](), frozenset({"destructive"})]),
)


@given(FACTS, FACTORS)
def test_loosening_needs_unanimous_answers_and_a_harmless_tool(
    facts: list[FrictionFacts], tool: ToolFacts
) -> None:
    for one in advised(*facts, tool=tool):
        if one.kind == "loosen":
            assert Risk(tool.risk).rank <= Risk.MEDIUM.rank
            assert not tool.sinks
            assert sum(fact.approved for fact in facts) >= 5
            assert not any(fact.denied or fact.expired or fact.pending for fact in facts)
            assert all(one.scope in fact.scope for fact in facts)


@given(FACTS, LEAVES)
def test_one_denial_anywhere_takes_a_loosening_away(facts: list[FrictionFacts], more: FrictionFacts) -> None:
    denied = replace(more, denied=more.denied + 1, requested=more.requested + 1)
    assert not [one for one in advised(*facts, denied) if one.kind == "loosen"]
