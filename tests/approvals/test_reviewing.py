from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from django.db import DatabaseError, transaction

from approvals.models import ApprovalRequest, Grant, GrantUse, Review
from approvals.selectors import (
    due_for_expiry,
    eligible_reviewers,
    facts_for_claim,
    outcome_of_call,
    pending_for,
    visible_to,
)
from approvals.services import cancel_request, expire_request, open_request, record_review
from identity.authentication import principal_of
from identity.models import Membership, User
from identity.roles import WorkspaceRole
from identity.types import AuthStrength
from kernel.errors import (
    AuthenticationError,
    ConflictError,
    InvalidError,
    NotFoundError,
    PreconditionFailedError,
    RefusedError,
)
from tests.approvals.asking import ALLOW, DENY, agent_actor, answer, ask, question, use
from tests.builders import RecordedEvents
from tests.cast import NOW, SYSTEM, Cast, make_cast, mint_for_agent, principal

pytestmark = pytest.mark.django_db
LATER = NOW + timedelta(seconds=5)


@pytest.fixture
def cast() -> Cast:
    return make_cast()


def test_a_question_waits_bound_to_its_action_and_keeps_its_context(cast: Cast) -> None:
    record = RecordedEvents()
    request = ask(cast, record=record)
    request.refresh_from_db()
    assert (request.status, request.version, request.expires_at) == (
        "pending",
        1,
        NOW + timedelta(seconds=600),
    )
    assert request.context["parameters_view"]["content"] == "a\0b"
    event = record.events[0]
    assert (event.event, event.subject, event.run, event.call) == (
        "approval.requested",
        request.pk,
        "run_1",
        "call_1",
    )


@pytest.mark.parametrize(
    "wrong",
    [{"risk": "none"}, {"subject_type": "anything"}, {"timeout_s": 0}, {"timeout_s": -1}],
)
def test_a_question_that_cannot_be_asked_is_refused(cast: Cast, wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidError):
        ask(cast, replace(question(cast), **wrong))  # type: ignore[arg-type]  # the point of the test
    assert not ApprovalRequest.objects.exists()


@pytest.mark.parametrize("quorum", [0, 6])
def test_a_quorum_outside_one_to_five_is_refused(cast: Cast, quorum: int) -> None:
    with pytest.raises(InvalidError):
        ask(cast, question(cast, quorum=quorum))


def test_an_identical_question_attaches_and_raises_the_version(cast: Cast) -> None:
    record = RecordedEvents()
    first = ask(cast)
    second = ask(cast, question(cast, "call_2"), record=record)
    assert (second.pk, second.version, record.names) == (first.pk, 2, ["approval.attached"])
    with pytest.raises(ConflictError):
        ask(cast, question(cast, "call_2"))


def test_a_twin_whose_time_is_over_is_expired_and_asked_anew(cast: Cast) -> None:
    record = RecordedEvents()
    first = ask(cast)
    second = ask(cast, question(cast, "call_2"), now=NOW + timedelta(seconds=600), record=record)
    assert second.pk != first.pk
    assert record.names == ["approval.expired", "approval.requested"]


def test_an_approver_allows_once(cast: Cast) -> None:
    record = RecordedEvents()
    request = ask(cast)
    outcome = answer(cast, cast.approver, request, record=record)
    assert (outcome.kind, outcome.covered_call_ids, outcome.single_operator) == (
        "allowed",
        ("call_1",),
        False,
    )
    assert outcome.request.status == "allowed"
    assert outcome.grant is not None
    assert outcome.grant.expires_at == LATER + timedelta(minutes=15)
    assert outcome.grant.uses_allowed == 1
    assert record.names == ["approval.reviewed", "approval.decided", "grant.created"]
    claim = facts_for_claim(request.pk, LATER)
    assert claim is not None
    assert claim.count == 1
    assert claim.deciders == {cast.approver.pk}
    assert claim.roles == {"approver"}


def test_a_deny_closes_and_creates_no_grant(cast: Cast) -> None:
    outcome = answer(cast, cast.approver, ask(cast), DENY)
    assert (outcome.kind, outcome.request.close_code, outcome.grant) == ("denied", "denied", None)
    assert not Grant.objects.exists()
    found = outcome_of_call("call_1")
    assert found is not None
    assert found.state == "denied"


def test_the_owner_of_the_agent_may_not_answer_while_others_may(cast: Cast) -> None:
    Membership.objects.filter(user=cast.agent_owner).update(role=WorkspaceRole.ADMIN)
    with pytest.raises(RefusedError, match="self_review") as caught:
        answer(cast, cast.agent_owner, ask(cast))
    assert caught.value.extra == {"relation": "owner"}


def test_the_agent_itself_never_answers(cast: Cast) -> None:
    request = ask(cast)
    minted = mint_for_agent(cast, "approvals.read")
    agent = principal_of(
        authorization=(f"Bearer {minted.text}",), client_ip="127.0.0.1", request_id="req_1", now=NOW
    )
    with pytest.raises(RefusedError, match="reviewer_is_agent"), transaction.atomic():
        record_review(request_id=request.pk, principal=agent, review=ALLOW, now=NOW, record=RecordedEvents())


def test_an_auditor_may_look_but_not_answer(cast: Cast) -> None:
    request = ask(cast)
    assert visible_to(principal(cast.auditor, cast.default), NOW).get() == request
    with pytest.raises(RefusedError, match="not_a_reviewer"):
        answer(cast, cast.auditor, request)


def test_a_stranger_is_told_that_nothing_is_there(cast: Cast) -> None:
    request = ask(cast)
    assert not visible_to(principal(cast.stranger, cast.default), NOW).exists()
    assert not pending_for(principal(cast.stranger, cast.default), NOW).exists()
    with pytest.raises(NotFoundError):
        answer(cast, cast.stranger, request)
    with pytest.raises(NotFoundError):
        answer(cast, cast.approver, ApprovalRequest(pk="apr_none"))


def test_a_reviewer_who_was_demoted_after_signing_in_may_not_answer(cast: Cast) -> None:
    request = ask(cast)
    who = principal(cast.approver, cast.default)
    Membership.objects.filter(user=cast.approver).update(role=WorkspaceRole.AUDITOR)
    with pytest.raises(RefusedError, match="not_a_reviewer"), transaction.atomic():
        record_review(request_id=request.pk, principal=who, review=ALLOW, now=NOW, record=RecordedEvents())


def test_a_login_by_password_alone_may_not_answer(cast: Cast) -> None:
    with pytest.raises(AuthenticationError, match="step_up_required"):
        answer(cast, cast.approver, ask(cast), strength=AuthStrength.PASSWORD)


@pytest.mark.parametrize(("age", "taken"), [(None, False), (301, False), (-1, False), (0, True), (300, True)])
def test_high_risk_needs_a_code_of_the_last_five_minutes(cast: Cast, age: int | None, taken: bool) -> None:
    verified = None if age is None else LATER - timedelta(seconds=age)
    request = ask(cast, question(cast, risk="high"))
    review = replace(ALLOW, otp_verified_at=verified)
    if taken:
        assert answer(cast, cast.approver, request, review).kind == "allowed"
        return
    with pytest.raises(AuthenticationError, match="step_up_required"):
        answer(cast, cast.approver, request, review)


def test_critical_risk_needs_a_code_for_this_decision_a_comment_and_two_people(cast: Cast) -> None:
    request = ask(cast, question(cast, risk="critical", quorum=2))
    fresh = replace(ALLOW, otp_verified_at=LATER, comment="checked")
    with pytest.raises(AuthenticationError, match="step_up_required"):
        answer(cast, cast.approver, request, replace(fresh, otp_verified_at=LATER - timedelta(seconds=1)))
    with pytest.raises(InvalidError, match="comment_required"):
        answer(cast, cast.approver, request, replace(fresh, comment="  "))
    assert answer(cast, cast.approver, request, fresh).kind == "open"
    assert answer(cast, cast.approver, request, fresh).kind == "repeated"
    with pytest.raises(ConflictError, match="conflict"):
        answer(cast, cast.approver, request, replace(fresh, comment="other"))
    outcome = answer(cast, cast.second_approver, request, fresh)
    assert (outcome.kind, outcome.single_operator) == ("allowed", False)


def test_a_reviewer_demoted_before_the_quorum_closes_is_not_counted(cast: Cast) -> None:
    request = ask(cast, question(cast, quorum=2))
    answer(cast, cast.approver, request)
    Membership.objects.filter(user=cast.approver).delete()
    assert answer(cast, cast.second_approver, request).kind == "open"
    assert answer(cast, cast.owner, request).kind == "allowed"


def test_one_role_of_every_set_is_needed(cast: Cast) -> None:
    asked = question(cast)
    sets = (frozenset({"admin", "owner"}),)
    request = ask(cast, replace(asked, obligation=replace(asked.obligation, role_sets=sets)))
    with pytest.raises(RefusedError, match="not_a_reviewer"):
        answer(cast, cast.approver, request)
    assert answer(cast, cast.owner, request).kind == "allowed"


@pytest.mark.parametrize(
    ("change", "error", "code"),
    [
        ({"verdict": "perhaps"}, InvalidError, "invalid"),
        ({"scope": "session"}, RefusedError, "scope_not_offered"),
        ({"scope": "forever"}, RefusedError, "scope_not_offered"),
        ({"ttl_ms": 60_000}, InvalidError, "ttl_not_allowed"),
        ({"ttl_ms": 0}, InvalidError, "ttl_not_allowed"),
        ({"comment": "x" * 2001}, InvalidError, "invalid"),
        ({"comment": "a\0bc"}, InvalidError, "invalid"),
        ({"verdict": "deny", "comment": " ab "}, InvalidError, "comment_required"),
    ],
)
def test_an_answer_outside_the_rules_changes_nothing(
    cast: Cast, change: dict[str, object], error: type[Exception], code: str
) -> None:
    request = ask(cast)
    with pytest.raises(error, match=code):
        answer(cast, cast.approver, request, replace(ALLOW, **change))  # type: ignore[arg-type]  # the point
    request.refresh_from_db()
    assert request.status == "pending"
    assert not Review.objects.exists()


def test_a_closed_request_answers_with_its_outcome(cast: Cast) -> None:
    request = ask(cast)
    answer(cast, cast.approver, request, DENY)
    with pytest.raises(ConflictError, match="already_decided") as caught:
        answer(cast, cast.second_approver, request)
    outcome = {"decision": "deny", "resolved_at": "2026-03-02T09:30:05.000Z"}
    assert caught.value.extra == {"outcome": outcome}
    with pytest.raises(ConflictError, match="already_decided"):
        answer(cast, cast.approver, request)
    assert answer(cast, cast.approver, request, DENY).kind == "repeated"


def test_an_expiry_noticed_at_the_decision_is_kept_and_told(cast: Cast) -> None:
    request = ask(cast)
    due = NOW + timedelta(seconds=600)
    record = RecordedEvents()
    assert answer(cast, cast.approver, request, now=due, record=record).kind == "expired"
    assert record.names == ["approval.expired"]
    request.refresh_from_db()
    assert (request.status, request.close_code) == ("expired", "timeout")
    with pytest.raises(ConflictError) as caught:
        answer(cast, cast.approver, request, now=due)
    assert isinstance(caught.value.extra["outcome"], dict)
    assert caught.value.extra["outcome"]["decision"] == "expired"


def test_an_outdated_version_is_refused(cast: Cast) -> None:
    request = ask(cast)
    ask(cast, question(cast, "call_2"))
    with pytest.raises(PreconditionFailedError):
        answer(cast, cast.approver, request, replace(ALLOW, seen_version=1))


def test_without_a_version_only_the_first_call_is_covered(cast: Cast) -> None:
    request = ask(cast)
    ask(cast, question(cast, "call_2"))
    outcome = answer(cast, cast.approver, request)
    assert (outcome.covered_call_ids, outcome.uncovered_call_ids) == (("call_1",), ("call_2",))
    left = outcome_of_call("call_2")
    assert left is not None
    assert left.state == "cancelled"
    assert outcome.grant is not None
    with pytest.raises(ConflictError) as caught:
        use(cast, outcome.grant, "call_2")
    assert caught.value.extra == {"reason": "approval.not_covered"}


def test_with_the_version_every_call_in_it_is_covered(cast: Cast) -> None:
    request = ask(cast)
    ask(cast, question(cast, "call_2"))
    outcome = answer(cast, cast.approver, request, replace(ALLOW, seen_version=2))
    assert outcome.covered_call_ids == ("call_1", "call_2")
    assert outcome.grant is not None
    use(cast, outcome.grant, "call_1")
    use(cast, outcome.grant, "call_2")
    outcome.grant.refresh_from_db()
    assert (outcome.grant.status, outcome.grant.uses) == ("consumed", 2)


def alone(cast: Cast) -> None:
    """Leave the owner of the agent as the only person who may decide."""
    User.objects.exclude(pk=cast.agent_owner.pk).update(is_active=False)
    Membership.objects.filter(user=cast.agent_owner).update(role=WorkspaceRole.OWNER)


def test_a_sole_operator_answers_their_own_agent_with_a_fresh_code(cast: Cast) -> None:
    alone(cast)
    request = ask(cast, question(cast, quorum=2))
    with pytest.raises(AuthenticationError, match="step_up_required"):
        answer(cast, cast.agent_owner, request)
    record = RecordedEvents()
    outcome = answer(cast, cast.agent_owner, request, replace(ALLOW, otp_verified_at=LATER), record=record)
    assert (outcome.kind, outcome.single_operator) == ("allowed", True)
    assert Review.objects.get().single_operator
    assert all(
        event.data["single_operator"] for event in record.events if event.event.startswith("approval.")
    )
    claim = facts_for_claim(request.pk, LATER)
    assert claim is not None
    assert claim.single_operator


def test_the_sole_operator_rule_ends_with_a_second_holder(cast: Cast) -> None:
    alone(cast)
    request = ask(cast)
    User.objects.filter(pk=cast.approver.pk).update(is_active=True)
    with pytest.raises(RefusedError, match="self_review"):
        answer(cast, cast.agent_owner, request, replace(ALLOW, otp_verified_at=LATER))


def test_a_sole_operator_who_needed_no_exception_leaves_no_mark(cast: Cast) -> None:
    User.objects.exclude(pk__in=[cast.approver.pk, cast.agent_owner.pk]).update(is_active=False)
    assert not answer(cast, cast.approver, ask(cast)).single_operator


def test_who_could_answer_is_known_before_asking(cast: Cast) -> None:
    def able(*sets: frozenset[str]) -> frozenset[str]:
        return eligible_reviewers(
            subject_type="tool",
            workspace_id=cast.default.pk,
            role_sets=sets,
            requester_id=cast.agent.pk,
            requester_owner_id=cast.agent_owner.pk,
            now=NOW,
        )

    assert able() == {cast.owner.pk, cast.approver.pk, cast.second_approver.pk}
    assert able(frozenset({"owner"})) == {cast.owner.pk}
    assert able(frozenset({"admin"})) == frozenset()
    alone(cast)
    assert able(frozenset({"admin"})) == {cast.agent_owner.pk}


def test_cancelling_is_for_the_requester_its_owner_reviewers_and_the_instance(cast: Cast) -> None:
    request = ask(cast)
    stranger = principal(cast.stranger, cast.default).actor()
    record = RecordedEvents()
    with pytest.raises(NotFoundError), transaction.atomic():
        cancel_request(
            request_id=request.pk, close_code="requester_cancelled", actor=stranger, now=NOW, record=record
        )
    with pytest.raises(InvalidError), transaction.atomic():
        cancel_request(request_id=request.pk, close_code="denied", actor=SYSTEM, now=NOW, record=record)
    with transaction.atomic():
        cancel_request(
            request_id=request.pk,
            close_code="requester_cancelled",
            actor=agent_actor(cast),
            now=NOW,
            record=record,
        )
    assert record.names == ["approval.cancelled"]
    with pytest.raises(ConflictError, match="already_decided"), transaction.atomic():
        cancel_request(request_id=request.pk, close_code="run_closed", actor=SYSTEM, now=NOW, record=record)
    with pytest.raises(ConflictError, match="already_decided"):
        answer(cast, cast.approver, request)


def test_a_failure_of_ours_is_told_as_error(cast: Cast) -> None:
    request, record = ask(cast), RecordedEvents()
    with transaction.atomic():
        cancel_request(
            request_id=request.pk, close_code="error_internal", actor=SYSTEM, now=NOW, record=record
        )
    assert record.names == ["approval.failed"]


def test_only_what_is_due_expires_and_only_once(cast: Cast) -> None:
    request = ask(cast)
    due = NOW + timedelta(seconds=600)
    assert due_for_expiry(due - timedelta(microseconds=1), 10) == ()
    assert due_for_expiry(due, 10) == (request.pk,)
    with pytest.raises(ConflictError, match="conflict"), transaction.atomic():
        expire_request(request_id=request.pk, now=NOW, record=RecordedEvents())
    with transaction.atomic():
        assert expire_request(request_id=request.pk, now=due, record=RecordedEvents()).status == "expired"
    with pytest.raises(ConflictError, match="already_decided"), transaction.atomic():
        expire_request(request_id=request.pk, now=due, record=RecordedEvents())


def test_a_grant_is_used_once_and_says_why_it_cannot_be_used_again(cast: Cast) -> None:
    outcome = answer(cast, cast.approver, ask(cast))
    grant = outcome.grant
    assert grant is not None
    with pytest.raises(ConflictError) as caught:
        use(cast, grant, now=grant.expires_at)
    assert caught.value.extra == {"reason": "approval.grant_expired"}
    record = RecordedEvents()
    use(cast, grant, record=record)
    assert record.names == ["grant.used", "grant.consumed"]
    with pytest.raises(ConflictError) as caught:
        use(cast, grant)
    assert caught.value.extra == {"reason": "approval.grant_consumed"}
    assert GrantUse.objects.count() == 1


def test_a_use_whose_transaction_fails_is_given_back(cast: Cast) -> None:
    grant = answer(cast, cast.approver, ask(cast)).grant
    assert grant is not None

    def claim_that_fails() -> None:
        with transaction.atomic():
            use(cast, grant)
            raise LookupError

    with pytest.raises(LookupError):
        claim_that_fails()
    grant.refresh_from_db()
    assert (grant.uses, grant.status) == (0, "active")


@pytest.mark.parametrize("change", ["update", "delete"])
def test_a_review_stays_as_it_was_given(cast: Cast, change: str) -> None:
    answer(cast, cast.approver, ask(cast))
    rows = Review.objects.filter(reviewer_id=cast.approver.pk)
    with pytest.raises(DatabaseError), transaction.atomic():
        rows.update(verdict="deny") if change == "update" else rows.delete()
    assert Review.objects.get().verdict == "allow"


def test_no_event_no_effect(cast: Cast) -> None:
    def broken(**_: object) -> str:
        raise RuntimeError("journal")

    with pytest.raises(RuntimeError), transaction.atomic():
        open_request(request=question(cast), actor=agent_actor(cast), now=NOW, record=broken)
    assert not ApprovalRequest.objects.exists()
