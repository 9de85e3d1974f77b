"""Which grant covers a call: the narrowest that fits whole, and none when anything differs."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, strategies as st

from approvals import lookup
from approvals.lookup import resolve_cached_tool_approval_for_proposal
from approvals.matching import GrantProposal, Mismatch, mismatch
from approvals.models import Grant
from approvals.patterns import restored
from approvals.types import ReviewInput
from identity.models import Membership, User
from identity.roles import WorkspaceRole
from kernel.canonical import digest
from tests.approvals.asking import WRITE
from tests.approvals.test_grants import ALWAYS, DECIDED, SESSION, TEMPORARY, called, granted
from tests.cast import Cast

pytestmark = pytest.mark.django_db
LATER = DECIDED + timedelta(seconds=1)
SCOPES = {"session": SESSION, "temporary": TEMPORARY, "always": ALWAYS}
UNDER_NOTES = {
    "v": 1,
    "constraints": [{"pointer": "/path", "op": "path_prefix", "value": "notes"}],
    "rest": "equal",
}


@pytest.fixture
def cast(founded_cast: Cast, db: None) -> Cast:
    return founded_cast


def found(proposal: GrantProposal, **more: Any) -> str | None:
    match = resolve_cached_tool_approval_for_proposal(proposal=proposal, now=more.pop("now", LATER), **more)
    return match.grant.pk if match is not None else None


@pytest.mark.parametrize("scope", SCOPES)
def test_a_call_like_the_allowed_one_is_covered(cast: Cast, scope: str) -> None:
    grant = granted(cast, SCOPES[scope])
    assert found(called(grant)) == grant.pk


def test_a_grant_for_once_covers_the_call_that_waited_and_no_other(cast: Cast) -> None:
    grant = granted(cast, ReviewInput(verdict="allow"))
    assert found(called(grant, "call_1")) == grant.pk
    assert found(called(grant, "call_2")) is None
    for place in ({"tier": "B"}, {"egress_mode": "none"}):
        assert found(called(grant, "call_1", **place)) is None


OTHERWISE: dict[str, Any] = {
    "subject_type": "skill",
    "tool": "fs.read",
    "tool_definition_hash": digest("another tool"),
    "obligations_digest": digest("more"),
    "principal_id": "agt_other",
    "owner_id": "usr_other",
    "workspace_id": "wsp_other",
    "channel": "mail",
    "skill_id": "acme.pdf",
    "skill_digest": digest("another skill"),
    "tier": "B",
    "egress_mode": "none",
    "risk": "high",
    "parameters": {"path": "notes/b.md", "content": "a"},
}


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("field", OTHERWISE)
def test_whatever_differs_is_not_covered(cast: Cast, scope: str, field: str) -> None:
    grant = granted(cast, SCOPES[scope])
    assert found(called(grant, **{field: OTHERWISE[field]})) is None


@pytest.mark.parametrize("field", ["tier", "egress_mode", "risk", "tool_definition_hash", "tool"])
@pytest.mark.parametrize("value", ["", "unknown"])
def test_what_is_not_known_is_not_covered(cast: Cast, field: str, value: str) -> None:
    grant = granted(cast, ALWAYS)
    assert found(called(grant, **{field: value})) is None


def test_what_a_sole_operator_opened_for_their_own_agent_ends_with_a_second_holder(cast: Cast) -> None:
    User.objects.exclude(pk=cast.agent_owner.pk).update(is_active=False)
    Membership.objects.filter(user=cast.agent_owner).update(role=WorkspaceRole.OWNER)
    fresh = replace(ALWAYS, otp_verified_at=DECIDED)
    grant = granted(cast, fresh, person=cast.agent_owner)
    owners = frozenset({cast.agent_owner.pk})
    assert found(called(grant, parties=owners)) == grant.pk
    User.objects.filter(pk=cast.approver.pk).update(is_active=True)
    assert found(called(grant, parties=owners)) is None


def test_a_stronger_place_and_a_lower_risk_are_covered(cast: Cast) -> None:
    grant = granted(cast, ALWAYS)
    assert found(called(grant, tier="A")) == grant.pk
    assert found(called(grant, risk="low")) == grant.pk
    Grant.objects.filter(pk=grant.pk).update(egress_mode="preflight")
    assert found(called(grant, egress_mode="strict")) == grant.pk


def test_a_session_is_its_own_run_its_device_and_its_channel(cast: Cast) -> None:
    grant = granted(cast, SESSION, session_id="ses_1", device_id="dev_1")
    assert found(called(grant, run_id="run_other")) == grant.pk
    for differs in ({"session_id": "ses_2"}, {"session_id": ""}, {"device_id": "dev_2"}, {"device_id": ""}):
        assert found(called(grant, **differs)) is None
    alone = granted(cast, SESSION, name="call_alone")
    assert found(called(alone)) == alone.pk
    assert found(called(alone, run_id="run_other")) is None
    assert found(called(alone, session_id="ses_1", device_id="")) is None


def test_a_temporary_grant_belongs_to_a_device_and_a_lasting_one_to_none(cast: Cast) -> None:
    temporary = granted(cast, TEMPORARY, device_id="dev_1")
    assert found(called(temporary, device_id="")) is None
    assert found(called(temporary, run_id="run_other", session_id="ses_other")) == temporary.pk
    lasting = granted(cast, ALWAYS, name="call_2", device_id="dev_1")
    assert found(called(lasting, device_id="dev_2")) == lasting.pk


def test_the_narrowest_scope_then_the_narrowest_pattern_then_the_oldest_counts(cast: Cast) -> None:
    lasting = granted(cast, ALWAYS, name="call_a")
    wide = granted(cast, replace(TEMPORARY, pattern=UNDER_NOTES), name="call_b")
    narrow = granted(cast, TEMPORARY, name="call_c")
    younger = granted(cast, TEMPORARY, name="call_d")
    session = granted(cast, SESSION, name="call_e")
    proposal = called(session)
    order = [session.pk, *sorted([narrow.pk, younger.pk]), wide.pk, lasting.pk]
    for expected in order:
        assert found(proposal) == expected
        Grant.objects.filter(pk=expected).update(status="revoked")
    assert found(proposal) is None


@pytest.mark.parametrize("status", ["consumed", "expired", "revoked", "unknown"])
def test_a_grant_that_ended_covers_nothing(cast: Cast, status: str) -> None:
    grant = granted(cast, ALWAYS)
    Grant.objects.filter(pk=grant.pk).update(status=status)
    assert found(called(grant)) is None


def test_a_grant_counts_from_its_beginning_to_its_end_and_while_uses_are_left(cast: Cast) -> None:
    grant = granted(cast, TEMPORARY)
    tick = timedelta(microseconds=1)
    assert found(called(grant), now=grant.not_before - tick) is None
    assert found(called(grant), now=grant.not_before) == grant.pk
    assert found(called(grant), now=grant.expires_at - tick) == grant.pk
    assert found(called(grant), now=grant.expires_at) is None
    Grant.objects.filter(pk=grant.pk).update(uses=1_000)
    assert found(called(grant)) is None


@pytest.mark.parametrize("stored", [{}, {"v": 2}, [], None, "x", {"v": 1, "constraints": [], "rest": "any"}])
def test_a_pattern_that_was_tampered_with_covers_no_other_call(cast: Cast, stored: object) -> None:
    grant = granted(cast, ALWAYS)
    Grant.objects.filter(pk=grant.pk).update(pattern=stored or [])
    assert found(called(grant, parameters=WRITE | {"content": "b"})) is None
    Grant.objects.filter(pk=grant.pk).update(pattern_digest=digest(stored))
    assert found(called(grant, parameters=WRITE | {"content": "b"})) is None


def test_whoever_has_a_part_in_the_call_does_not_cover_it_with_their_answer(cast: Cast) -> None:
    grant = granted(cast, ALWAYS)
    assert found(called(grant, parties=frozenset({cast.owner.pk}))) == grant.pk
    assert found(called(grant, parties=frozenset({cast.approver.pk}))) is None


def test_an_answer_counts_while_its_giver_may_give_it(cast: Cast) -> None:
    grant = granted(cast, ALWAYS)
    Membership.objects.filter(user=cast.approver).delete()
    assert found(called(grant)) is None


def test_more_grants_than_are_searched_cover_nothing_and_raise_the_alarm(
    cast: Cast, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    grants = [granted(cast, ALWAYS, name=f"call_{number}") for number in range(3)]
    heard: list[int] = []
    monkeypatch.setattr(lookup, "MOST_CANDIDATES", 3)
    assert found(called(grants[0]), alarm=heard.append) == min(grant.pk for grant in grants)
    monkeypatch.setattr(lookup, "MOST_CANDIDATES", 2)
    assert found(called(grants[0]), alarm=heard.append) is None
    assert heard == [2]
    assert "more than 2 grants" in caplog.text


def test_grants_of_other_sessions_are_no_candidates(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    """An agent in many conversations does not run into the limit of the search."""
    for number in range(4):
        granted(cast, SESSION, name=f"call_{number}", session_id=f"ses_{number}")
    mine = granted(cast, SESSION, name="call_mine", session_id="ses_mine")
    monkeypatch.setattr(lookup, "MOST_CANDIDATES", 2)
    assert found(called(mine)) == mine.pk


words = st.text(max_size=4) | st.sampled_from(["once", "session", "temporary", "always", "C", "B", "strict"])
rows = st.fixed_dictionaries(dict.fromkeys(GrantProposal.__dataclass_fields__, words))


@pytest.mark.django_db(databases=[])
@given(rows, st.fixed_dictionaries({"scope": words, "tier_floor": words, "risk_ceiling": words}))
def test_the_comparison_is_total_and_only_a_known_scope_can_match(
    facts: dict[str, str], stored: dict[str, str]
) -> None:
    """Whatever stands in a row, there is an answer; a match means that each compared field is equal."""
    proposal = GrantProposal(**{**facts, "parameters": WRITE, "parties": frozenset()})  # type: ignore[arg-type]
    row = Grant(**{name: facts[name] for name in _COMPARED}, egress_mode=facts["egress_mode"], **stored)
    bound = restored({"v": 1, "constraints": [], "rest": "equal"}, digest(WRITE))
    assert bound is not None
    answer = mismatch(
        row, bound, proposal, owner_id=facts["owner_id"], covered_call_ids=frozenset({facts["call_id"]})
    )
    assert answer is None or answer in frozenset(Mismatch)
    if stored["scope"] not in ("once", "session", "temporary", "always"):
        assert answer is Mismatch.CALL


_COMPARED = (
    "subject_type",
    "tool",
    "tool_definition_hash",
    "obligations_digest",
    "principal_id",
    "workspace_id",
    "run_id",
    "session_id",
    "device_id",
    "channel",
    "skill_id",
    "skill_digest",
)
