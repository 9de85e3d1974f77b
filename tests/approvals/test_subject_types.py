"""Every kind of question can be asked and answered, also those whose part asks later."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from approvals.types import NewRequest, ReviewInput, SubjectType
from identity.roles import WorkspaceRole
from kernel.errors import InvalidError
from tests.approvals.asking import ALLOW, answer, ask, question
from tests.cast import NOW, Cast, make_cast, make_user

pytestmark = pytest.mark.django_db
OF_CALLS = frozenset({"tool", "skill", "channel_send", "secret_access", "browser_action", "node_capability"})
MORE_THAN_APPROVERS = {"policy_activation": WorkspaceRole.ADMIN, "erasure": WorkspaceRole.OWNER}
LATER = NOW + timedelta(seconds=5)
SAS = "481-923"


@pytest.fixture
def cast() -> Cast:
    return make_cast()


def about(cast: Cast, subject: str) -> NewRequest:
    """Ask about one subject: with a call where calls ask, without one elsewhere."""
    asked = replace(question(cast), subject_type=subject, subject_label=f"{subject}:x", tool="")
    if subject in OF_CALLS:
        return asked
    home = cast.instance if subject == "policy_activation" else cast.default
    sas = SAS if subject == "device_pairing" else ""
    return replace(asked, call_id=None, run_id=None, tool_definition_hash=None, workspace_id=home.pk, sas=sas)


def said(subject: str) -> ReviewInput:
    """An allow with all that any subject asks for."""
    sas = SAS if subject == "device_pairing" else ""
    return replace(ALLOW, comment="looked at it", otp_verified_at=LATER, sas=sas)


@pytest.mark.parametrize("subject", list(SubjectType))
def test_a_question_keeps_its_subject_and_opens_a_grant_only_for_calls(cast: Cast, subject: str) -> None:
    by = cast.approver
    if subject in MORE_THAN_APPROVERS:
        by = make_user("admin", MORE_THAN_APPROVERS[subject], workspace=cast.instance)
        make_user("second-admin", MORE_THAN_APPROVERS[subject], workspace=cast.instance)
    request = ask(cast, about(cast, subject))
    assert (request.subject_type, request.status) == (subject, "pending")
    outcome = answer(cast, by, request, said(subject), now=LATER)
    assert outcome.kind == "allowed"
    if subject in OF_CALLS:
        assert outcome.grant is not None
        assert (outcome.grant.subject_type, outcome.covered_call_ids) == (subject, ("call_1",))
    else:
        assert (outcome.grant, outcome.covered_call_ids) == (None, ())


@pytest.mark.parametrize("subject", ["", "Tool", "tools", "tool ", "budget", "anything"])
def test_nothing_else_can_be_asked_about(cast: Cast, subject: str) -> None:
    with pytest.raises(InvalidError):
        ask(cast, replace(question(cast), subject_type=subject))
