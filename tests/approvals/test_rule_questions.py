"""Questions about rules: no call waits, and who may answer is not who may answer about calls."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from approvals.selectors import has_eligible_reviewer, waiting_call_ids
from approvals.types import NewRequest
from identity.roles import WorkspaceRole
from kernel.errors import NotFoundError, RefusedError
from tests.approvals.asking import ALLOW, OBLIGATION, answer, ask, question
from tests.builders import RecordedEvents
from tests.cast import NOW, Cast, make_cast, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def cast() -> Cast:
    return make_cast()


def activation(cast: Cast, *authors: str) -> NewRequest:
    """Ask to put rules in force, as somebody of the instance does."""
    return replace(
        question(cast),
        subject_type="policy_activation",
        obligation=replace(OBLIGATION, excluded=frozenset(authors)),
        requester_kind="user",
        requester_id=cast.owner.pk,
        requester_owner_id=cast.owner.pk,
        workspace_id=cast.instance.pk,
        run_id=None,
        risk="critical",
        call_id=None,
    )


def test_a_question_about_rules_is_answered_with_the_permission_to_activate_them(cast: Cast) -> None:
    admin = make_user("admin", WorkspaceRole.ADMIN, workspace=cast.instance)
    writer = make_user("writer", WorkspaceRole.ADMIN, workspace=cast.instance)
    reader = make_user("reader", WorkspaceRole.APPROVER, workspace=cast.instance)
    request = ask(cast, activation(cast, cast.owner.pk, writer.pk))
    allow = replace(ALLOW, comment="looked at it")
    for person, code in ((cast.owner, "self_review"), (writer, "self_review"), (reader, "not_a_reviewer")):
        later = NOW + timedelta(seconds=5)
        with pytest.raises(RefusedError) as refused:
            answer(cast, person, request, replace(allow, otp_verified_at=later), now=later)
        assert refused.value.code == code
    fresh = replace(allow, otp_verified_at=NOW + timedelta(seconds=6))
    outcome = answer(cast, admin, request, fresh, now=NOW + timedelta(seconds=6))
    assert (outcome.kind, outcome.grant, outcome.single_operator) == ("allowed", None, False)


def test_a_local_administrator_is_no_second_person_for_the_rules_of_the_instance(cast: Cast) -> None:
    local = make_user("local", WorkspaceRole.ADMIN, workspace=cast.default)
    asked = activation(cast, cast.owner.pk)
    assert has_eligible_reviewer(asked, NOW)
    request = ask(cast, asked)
    now = NOW + timedelta(seconds=5)
    review = replace(ALLOW, comment="alone here", otp_verified_at=now)
    with pytest.raises(NotFoundError):
        answer(cast, local, request, review, now=now)
    assert answer(cast, cast.owner, request, review, now=now).single_operator


def test_the_same_question_without_a_call_is_asked_once(cast: Cast) -> None:
    record = RecordedEvents()
    first = ask(cast, activation(cast), record=record)
    again = ask(cast, activation(cast), record=record)
    assert (again.pk, again.version, len(record.names)) == (first.pk, 1, 1)
    assert waiting_call_ids(first.pk) == ()
