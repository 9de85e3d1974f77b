"""Allowing alone in an emergency: who may, what it opens, and who looks at it afterwards."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from django.db import DatabaseError, transaction

from approvals.break_glass import overdue, record_finding, state_of, visible_reviews
from approvals.models import ApprovalRequest, BreakGlassReview
from approvals.selectors import facts_for_claim
from approvals.services import ReviewOutcome, record_review
from approvals.types import NewRequest, ReviewInput
from identity import rollout
from identity.authentication import principal_of
from identity.models import Agent, FeatureFlag, Membership, User
from identity.roles import WorkspaceRole
from identity.rollout import FlagWishes
from identity.types import AuthStrength
from kernel.errors import (
    AuthenticationError,
    ConflictError,
    InvalidError,
    NotFoundError,
    PalyraError,
    RefusedError,
)
from tests.approvals.asking import ALLOW, answer, ask, question
from tests.builders import RecordedEvents
from tests.cast import NOW, SYSTEM, Cast, make_cast, make_user, mint_for_agent, principal

pytestmark = pytest.mark.django_db
LATER = NOW + timedelta(seconds=5)
WHY = "the site is down and nobody else answers"
FORCE = replace(ALLOW, comment=WHY, break_glass=True, otp_verified_at=LATER)
TOMORROW = LATER + timedelta(hours=24)


@pytest.fixture
def cast() -> Cast:
    found = make_cast()
    switch(enabled=True)
    return found


def switch(*, enabled: bool) -> None:
    row = FeatureFlag.objects.filter(key="break_glass").first()
    with transaction.atomic():
        rollout.change_flag(
            key="break_glass",
            wishes=FlagWishes(reason="a test needs it", enabled=enabled, stage="general"),
            seen_version=row.version if row else 0,
            actor=SYSTEM,
            now=NOW,
            record=RecordedEvents(),
        )


def critical(cast: Cast) -> NewRequest:
    """Return a question for two people of a role that the owner does not have."""
    asked = question(cast, quorum=2, risk="critical")
    return replace(asked, obligation=replace(asked.obligation, role_sets=(frozenset({"admin"}),)))


def force(
    cast: Cast,
    request: ApprovalRequest,
    review: ReviewInput = FORCE,
    *,
    by: User | None = None,
    now: datetime = LATER,
    record: RecordedEvents | None = None,
) -> ReviewOutcome:
    return answer(cast, by or cast.owner, request, review, now=now, record=record)


def find(
    cast: Cast,
    person: User,
    finding: str = "justified",
    comment: str = "it was down indeed",
    *,
    now: datetime = LATER,
    record: RecordedEvents | None = None,
) -> BreakGlassReview:
    with transaction.atomic():
        return record_finding(
            review_id=BreakGlassReview.objects.get().pk,
            principal=principal(person, cast.default, strength=AuthStrength.MFA, now=now),
            finding=finding,
            comment=comment,
            now=now,
            record=record or RecordedEvents(),
        )


def test_an_owner_allows_alone_once_and_owes_an_account_of_it(cast: Cast) -> None:
    request, record = ask(cast, critical(cast)), RecordedEvents()
    outcome = force(cast, request, record=record)
    assert (outcome.kind, outcome.single_operator) == ("allowed", False)
    assert outcome.grant is not None
    assert (outcome.grant.scope, outcome.grant.uses_allowed) == ("once", 1)
    request.refresh_from_db()
    assert (request.break_glass, request.reviews.get().break_glass) == (True, True)
    opened = BreakGlassReview.objects.get()
    assert (opened.request_id, opened.by, opened.due_at) == (request.pk, cast.owner.pk, TOMORROW)
    assert record.names == ["approval.reviewed", "approval.break_glass", "approval.decided", "grant.created"]
    claim = facts_for_claim(request.pk, LATER)
    assert claim is not None
    assert claim.deciders == {cast.owner.pk}
    assert claim.single_operator


def test_the_rule_about_whose_agent_it_is_is_waived(cast: Cast) -> None:
    Agent.objects.filter(pk=cast.agent.pk).update(owner=cast.owner)
    own = replace(question(cast), requester_owner_id=cast.owner.pk, minter_id=cast.owner.pk)
    request = ask(cast, own)
    with pytest.raises(RefusedError, match="self_review"):
        answer(cast, cast.owner, request)
    assert force(cast, request).kind == "allowed"


@pytest.mark.parametrize(
    ("change", "relation"),
    [
        ({"requester_kind": "user", "requester_id": "{owner}"}, "requester"),
        ({"on_behalf_of_id": "{owner}"}, "on_behalf_of"),
        ({"edited_by_id": "{owner}", "risk": "high"}, "editor"),
    ],
)
def test_nobody_forces_what_they_ask_or_wrote_themselves(
    cast: Cast, change: dict[str, str], relation: str
) -> None:
    facts = {name: text.replace("{owner}", cast.owner.pk) for name, text in change.items()}
    with pytest.raises(RefusedError, match="self_review") as caught:
        force(cast, ask(cast, replace(question(cast), **facts)))  # type: ignore[arg-type]  # texts all
    assert caught.value.extra == {"relation": relation}


def test_nobody_forces_what_others_edited_after_them(cast: Cast) -> None:
    parties = {cast.owner.pk: "editor"}
    with pytest.raises(RefusedError, match="self_review"):
        force(cast, ask(cast, replace(question(cast), parties=parties, minter_id=cast.owner.pk)))


@pytest.mark.parametrize(
    ("change", "error", "code"),
    [
        ({"otp_verified_at": None}, AuthenticationError, "step_up_required"),
        ({"otp_verified_at": LATER - timedelta(seconds=1)}, AuthenticationError, "step_up_required"),
        ({"comment": "x" * 19}, InvalidError, "comment_required"),
        ({"comment": f" {'x' * 19} "}, InvalidError, "comment_required"),
        ({"comment": "x" * 2001}, InvalidError, "invalid"),
        ({"comment": f"{WHY}\0"}, InvalidError, "invalid"),
        ({"scope": "session"}, RefusedError, "scope_not_offered"),
        ({"scope": "always"}, RefusedError, "scope_not_offered"),
        ({"ttl_ms": 60_000}, InvalidError, "ttl_not_allowed"),
        ({"pattern": {"v": 1, "constraints": [], "rest": "any"}}, InvalidError, "invalid"),
        ({"verdict": "deny"}, InvalidError, "invalid"),
        ({"verdict": "perhaps"}, InvalidError, "invalid"),
    ],
)
def test_what_is_no_emergency_opens_nothing(
    cast: Cast, change: dict[str, object], error: type[PalyraError], code: str
) -> None:
    request = ask(cast)
    with pytest.raises(error, match=code):
        force(cast, request, replace(FORCE, **change))  # type: ignore[arg-type]  # the point of the test
    request.refresh_from_db()
    assert (request.status, request.break_glass) == ("pending", False)
    assert not BreakGlassReview.objects.exists()


def test_the_flag_is_off_unless_it_was_switched_on(cast: Cast) -> None:
    switch(enabled=False)
    with pytest.raises(RefusedError, match="not_a_reviewer"):
        force(cast, ask(cast))


def test_only_owners_force(cast: Cast) -> None:
    Membership.objects.filter(user=cast.second_approver).update(role=WorkspaceRole.ADMIN)
    request = ask(cast)
    for person in (cast.approver, cast.second_approver, cast.auditor):
        with pytest.raises(RefusedError, match="not_a_reviewer"):
            force(cast, request, by=person)
    minted = mint_for_agent(cast, "approvals.read")
    agent = principal_of(
        authorization=(f"Bearer {minted.text}",), client_ip="127.0.0.1", request_id="req_1", now=NOW
    )
    with pytest.raises(RefusedError, match="reviewer_is_agent"), transaction.atomic():
        record_review(
            request_id=request.pk, principal=agent, review=FORCE, now=LATER, record=RecordedEvents()
        )


def test_a_closed_or_expired_request_is_not_forced(cast: Cast) -> None:
    request = ask(cast)
    due = NOW + timedelta(seconds=600)
    assert force(cast, request, replace(FORCE, otp_verified_at=due), now=due).kind == "expired"
    with pytest.raises(ConflictError, match="already_decided"):
        force(cast, request, replace(FORCE, otp_verified_at=due), now=due)


def test_the_same_again_changes_nothing(cast: Cast) -> None:
    request = ask(cast)
    force(cast, request)
    assert force(cast, request).kind == "repeated"
    assert BreakGlassReview.objects.count() == 1
    with pytest.raises(ConflictError, match="already_decided"):
        force(cast, request, replace(FORCE, break_glass=False))


def test_an_overdue_account_keeps_the_glass_closed(cast: Cast) -> None:
    force(cast, ask(cast))
    again = ask(cast, replace(question(cast, "call_2"), timeout_s=86_400, run_id="run_2"), now=LATER)
    ApprovalRequest.objects.filter(pk=again.pk).update(expires_at=TOMORROW + timedelta(hours=1))
    assert not overdue(cast.owner.pk, TOMORROW - timedelta(microseconds=1)).exists()
    with pytest.raises(RefusedError, match="review_overdue"):
        force(cast, again, replace(FORCE, otp_verified_at=TOMORROW), now=TOMORROW)
    assert state_of(BreakGlassReview.objects.get(), TOMORROW) == "overdue"
    find(cast, cast.approver, now=TOMORROW)
    assert force(cast, again, replace(FORCE, otp_verified_at=TOMORROW), now=TOMORROW).kind == "allowed"


def test_somebody_else_says_once_whether_it_was_justified(cast: Cast) -> None:
    force(cast, ask(cast))
    record = RecordedEvents()
    found = find(cast, cast.approver, "unjustified", record=record)
    assert (found.reviewed_by, found.finding, state_of(found, LATER)) == (
        cast.approver.pk,
        "unjustified",
        "reviewed",
    )
    assert record.names == ["approval.break_glass_reviewed"]
    with pytest.raises(ConflictError):
        find(cast, cast.second_approver)


def test_who_had_a_part_in_it_does_not_review_it(cast: Cast) -> None:
    Membership.objects.filter(user=cast.agent_owner).update(role=WorkspaceRole.ADMIN)
    force(cast, ask(cast))
    for person, relation in ((cast.owner, "breaker"), (cast.agent_owner, "owner")):
        with pytest.raises(RefusedError, match="self_review") as caught:
            find(cast, person)
        assert caught.value.extra == {"relation": relation}
    with pytest.raises(RefusedError, match="not_a_reviewer"):
        find(cast, cast.auditor)
    with pytest.raises(NotFoundError):
        find(cast, cast.stranger)
    with pytest.raises(DatabaseError), transaction.atomic():
        BreakGlassReview.objects.update(reviewed_by=cast.owner.pk, reviewed_at=LATER, finding="justified")


@pytest.mark.parametrize(
    ("finding", "comment", "code"),
    [
        ("fine", "it was down indeed", "invalid"),
        ("", "it was down indeed", "invalid"),
        ("justified", " ok ", "comment_required"),
        ("justified", "x" * 2001, "invalid"),
        ("justified", "a\0bcd", "invalid"),
    ],
)
def test_a_finding_is_a_word_and_a_sentence(cast: Cast, finding: str, comment: str, code: str) -> None:
    force(cast, ask(cast))
    with pytest.raises(InvalidError, match=code):
        find(cast, cast.approver, finding, comment)


def test_agents_and_strangers_learn_nothing_of_it(cast: Cast) -> None:
    force(cast, ask(cast))
    agent = principal_of(
        authorization=(f"Bearer {mint_for_agent(cast, 'approvals.read').text}",),
        client_ip="127.0.0.1",
        request_id="req_1",
        now=NOW,
    )
    assert not visible_reviews(agent, LATER).exists()
    outsider = make_user("outsider", workspace=cast.default)
    assert not visible_reviews(principal(outsider, cast.default), LATER).exists()
    assert visible_reviews(principal(cast.auditor, cast.default), LATER).count() == 1
