"""The pure rules: tables of states, the count, the joined decision, who may answer."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import product

import pytest
from hypothesis import given, strategies as st

from approvals.eligibility import DECIDED_WITH, Question, Reviewer, may_review
from approvals.lifecycle import (
    GRANT_ALLOWED,
    REQUEST_ALLOWED,
    ApprovalOutcome,
    CountedReview,
    PolicyAnswer,
    TallyState,
    ToolVerdict,
    apply_tool_approval_outcome,
    decision_of,
    tally,
)
from approvals.scopes import grant_terms, unusable_because
from approvals.types import GrantStatus, RequestStatus, SubjectType
from identity.roles import Permission

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
texts = st.text(max_size=12)
outcomes = st.none() | st.builds(
    ApprovalOutcome,
    state=st.sampled_from(RequestStatus).map(str) | texts,
    approval_id=st.just("apr_1"),
    grant_id=st.just("grt_1"),
)


@given(st.sampled_from(PolicyAnswer).map(str) | texts, texts, outcomes)
def test_what_runs_was_permitted_and_where_asked_also_allowed(
    policy: str, reason: str, outcome: ApprovalOutcome | None
) -> None:
    decision = apply_tool_approval_outcome(policy, reason, outcome)
    allowed = outcome is not None and outcome.state == "allowed"
    runs = policy == "permit" or (policy == "permit_with_approval" and allowed)
    assert (decision.verdict is ToolVerdict.PERMIT) is runs
    if policy not in ("permit", "permit_with_approval"):
        assert (decision.verdict, decision.reason_code) == (ToolVerdict.DENY, reason)
    if runs:
        assert decision.reason_code == reason


@pytest.mark.parametrize(
    ("state", "verdict", "reason"),
    [
        (None, "deny", "approval.channel_unavailable"),
        ("pending", "awaiting_approval", "approval.pending"),
        ("allowed", "permit", "policy.approval_required"),
        ("denied", "deny", "approval.denied"),
        ("expired", "deny", "approval.expired"),
        ("cancelled", "deny", "approval.cancelled"),
        ("error", "deny", "approval.error"),
        ("ALLOWED", "deny", "approval.error"),
        ("", "deny", "approval.error"),
    ],
)
def test_the_table_of_outcomes(state: str | None, verdict: str, reason: str) -> None:
    outcome = None if state is None else ApprovalOutcome(state, "apr_1", "grt_1")
    decision = apply_tool_approval_outcome("permit_with_approval", "policy.approval_required", outcome)
    assert (decision.verdict, decision.reason_code) == (verdict, reason)
    assert decision.grant_id == ("grt_1" if state == "allowed" else None)


PERMITTED = ("permit", "policy.allowed", None, None)
FORBIDDEN = ("deny", "policy.allowed", None, None)
ASKED = {
    None: ("deny", "approval.channel_unavailable", None, None),
    "pending": ("awaiting_approval", "approval.pending", "apr_1", None),
    "allowed": ("permit", "policy.allowed", "apr_1", "grt_1"),
    "denied": ("deny", "approval.denied", "apr_1", None),
    "expired": ("deny", "approval.expired", "apr_1", None),
    "cancelled": ("deny", "approval.cancelled", "apr_1", None),
    "error": ("deny", "approval.error", "apr_1", None),
    "unheard of": ("deny", "approval.error", "apr_1", None),
}


@pytest.mark.parametrize("state", ASKED)
@pytest.mark.parametrize("policy", ["deny", "permit", "permit_with_approval", "", "PERMIT", "allow"])
def test_the_whole_truth_table_of_policy_and_answer(policy: str, state: str | None) -> None:
    outcome = None if state is None else ApprovalOutcome(state, "apr_1", "grt_1")
    found = apply_tool_approval_outcome(policy, "policy.allowed", outcome)
    expected = {"permit": PERMITTED, "permit_with_approval": ASKED[state]}.get(policy, FORBIDDEN)
    assert (found.verdict, found.reason_code, found.approval_id, found.grant_id) == expected


reviews = st.lists(
    st.builds(
        CountedReview, reviewer_id=st.sampled_from("abcdef"), verdict=st.sampled_from(["allow", "deny", "?"])
    ),
    max_size=8,
)


@given(reviews, st.integers(-1, 6), st.frozensets(st.sampled_from("abcdef")), st.randoms())
def test_the_count_does_not_depend_on_the_order(
    given_reviews: list[CountedReview], quorum: int, eligible: frozenset[str], random: object
) -> None:
    shuffled = list(given_reviews)
    random.shuffle(shuffled)  # type: ignore[attr-defined]  # hypothesis hands out a random.Random
    assert tally(given_reviews, quorum, eligible) == tally(shuffled, quorum, eligible)


@given(reviews, st.integers(-1, 6), st.frozensets(st.sampled_from("abcdef")))
def test_saying_it_twice_counts_once_and_whoever_may_not_decide_never(
    given_reviews: list[CountedReview], quorum: int, eligible: frozenset[str]
) -> None:
    count = tally(given_reviews, quorum, eligible)
    assert tally([*given_reviews, *given_reviews], quorum, eligible) == count
    stranger = CountedReview("z", "allow")
    assert tally([*given_reviews, stranger], quorum, eligible) == count


@given(reviews, st.integers(-1, 6), st.frozensets(st.sampled_from("abcdef")))
def test_one_deny_ends_it_and_an_allow_needs_distinct_eligible_people(
    given_reviews: list[CountedReview], quorum: int, eligible: frozenset[str]
) -> None:
    result = tally(given_reviews, quorum, eligible)
    denied = any(review.verdict != "allow" for review in given_reviews)
    people = {review.reviewer_id for review in given_reviews} & eligible
    assert (result.state is TallyState.DENIED) is denied
    if result.state is TallyState.ALLOWED:
        assert len(people) >= max(1, quorum)
    if result.state is TallyState.OPEN:
        assert result.missing == max(1, quorum) - len(people) > 0


@pytest.mark.parametrize("table", [REQUEST_ALLOWED, GRANT_ALLOWED])
def test_every_state_but_the_first_is_final(table: dict[str, frozenset[str]]) -> None:
    first, *others = table
    assert table[first] == frozenset(others)
    assert all(table[state] == frozenset() for state in others)


def test_the_wire_word_for_each_end() -> None:
    words = {status: decision_of(status, "") for status in RequestStatus}
    assert list(words.values()) == [None, "allow", "deny", "expired", "cancelled"]
    assert decision_of("cancelled", "error_notify") == "error"


def reviewer(**changes: object) -> Reviewer:
    facts: dict[str, object] = {
        "is_person": True,
        "id": "usr_1",
        "permitted": True,
        "roles": frozenset({"approver"}),
        "second_factor": True,
        "otp_verified_at": NOW,
        "sole_holder": False,
    }
    return Reviewer(**(facts | changes))  # type: ignore[arg-type]  # a test may pass anything


def question(**changes: object) -> Question:
    facts: dict[str, object] = {
        "requester_id": "agt_1",
        "requester_owner_id": "usr_9",
        "role_sets": (),
        "quorum": 1,
        "risk": "medium",
        "step_up": False,
        "reviewer_ids": frozenset(),
    }
    return Question(**(facts | changes))  # type: ignore[arg-type]  # a test may pass anything


FAULTS: list[tuple[str, dict[str, object], dict[str, object]]] = [
    ("reviewer_is_agent", {"is_person": False}, {}),
    ("not_a_reviewer", {"permitted": False}, {}),
    ("self_review", {}, {"requester_owner_id": "usr_1"}),
    ("conflict", {}, {"reviewer_ids": frozenset({"usr_1"})}),
    ("step_up_required", {"second_factor": False, "otp_verified_at": None}, {}),
]


@pytest.mark.parametrize("first", range(len(FAULTS)))
def test_the_first_fault_in_the_order_is_the_one_told(first: int) -> None:
    person = {key: value for _, changes, _ in FAULTS[first:] for key, value in changes.items()}
    asked = {key: value for _, _, changes in FAULTS[first:] for key, value in changes.items()}
    assert may_review(reviewer(**person), question(**asked), NOW).code == FAULTS[first][0]


@given(
    st.booleans(), st.booleans(), st.booleans(), st.sampled_from(["low", "medium", "high", "critical", "?"])
)
def test_neither_agents_nor_the_unpermitted_ever_answer(
    is_person: bool, permitted: bool, sole: bool, risk: str
) -> None:
    person = reviewer(is_person=is_person, permitted=permitted, sole_holder=sole)
    assert may_review(person, question(risk=risk), NOW).ok is (is_person and permitted)


@pytest.mark.parametrize(
    ("risk", "age"), list(product(["low", "medium", "high", "critical", "?"], [0, 1, 300, 301]))
)
def test_how_fresh_a_code_each_risk_asks_for(risk: str, age: int) -> None:
    longest = {"low": 10**6, "medium": 10**6, "high": 300}.get(risk, 0)
    person = reviewer(otp_verified_at=NOW - timedelta(seconds=age))
    assert may_review(person, question(risk=risk), NOW).ok is (age <= longest)


def test_an_obligation_can_ask_for_a_fresh_code_at_any_risk() -> None:
    person = reviewer(otp_verified_at=None)
    assert may_review(person, question(), NOW).ok
    assert may_review(person, question(step_up=True), NOW).code == "step_up_required"


def test_a_code_counts_as_second_factor_only_while_fresh() -> None:
    by_token = reviewer(second_factor=False)
    assert may_review(by_token, question(), NOW).ok
    assert may_review(by_token, question(), NOW + timedelta(seconds=301)).code == "step_up_required"


@pytest.mark.parametrize(
    "asked",
    [
        {"quorum": 2},
        {"role_sets": (frozenset({"owner"}),)},
        {"requester_owner_id": "usr_1"},
        {"excluded": frozenset({"usr_1"})},
    ],
)
def test_the_sole_holder_is_excused_with_a_mark_and_a_fresh_code(asked: dict[str, object]) -> None:
    found = may_review(reviewer(sole_holder=True), question(**asked), NOW)
    assert (found.ok, found.single_operator) == (True, True)
    stale = reviewer(sole_holder=True, otp_verified_at=None)
    assert may_review(stale, question(**asked), NOW).code == "step_up_required"


def test_who_had_a_part_in_what_is_asked_about_never_answers() -> None:
    asked = question(excluded=frozenset({"usr_1", "usr_2"}))
    found = may_review(reviewer(), asked, NOW)
    assert (found.code, found.relation) == ("self_review", "author")
    assert may_review(reviewer(id="usr_3"), asked, NOW).ok


def test_every_kind_of_question_names_the_permission_that_answers_it() -> None:
    assert set(DECIDED_WITH) == set(SubjectType)
    assert DECIDED_WITH[SubjectType.POLICY_ACTIVATION] is Permission.POLICY_ACTIVATE
    assert DECIDED_WITH[SubjectType.ERASURE] is Permission.JOURNAL_ERASE


def test_a_sole_holder_who_needs_no_excuse_leaves_no_mark() -> None:
    assert not may_review(reviewer(sole_holder=True), question(), NOW).single_operator


@given(st.integers(1, 50))
def test_once_is_one_use_per_call_for_a_quarter_of_an_hour(calls: int) -> None:
    terms = grant_terms(covered_calls=calls, now=NOW)
    assert (terms.uses_allowed, terms.expires_at - NOW) == (calls, timedelta(minutes=15))


def test_a_grant_for_nothing_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="at least one"):
        grant_terms(covered_calls=0, now=NOW)


@given(st.sampled_from(GrantStatus).map(str) | texts, st.integers(-5, 20), st.integers(0, 3))
def test_a_grant_is_usable_only_active_in_time_and_unused(status: str, minutes: int, uses: int) -> None:
    reason = unusable_because(
        status=status,
        not_before=NOW,
        expires_at=NOW + timedelta(minutes=15),
        uses=uses,
        uses_allowed=2,
        now=NOW + timedelta(minutes=minutes),
    )
    assert (reason is None) is (status == "active" and 0 <= minutes < 15 and uses < 2)
