"""What an answer opens: the terms of a grant, its uses and its end."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from approvals.answers import AskedCall
from approvals.denials import remembered_denial
from approvals.fields import ToolShape
from approvals.matching import GrantProposal
from approvals.models import ApprovalCall, DenialMemory, Grant, GrantUse
from approvals.services import (
    expire_grant,
    forget_denial,
    remind_of_grant,
    revoke_grant,
    sweep_denials,
)
from approvals.types import ReviewInput
from identity.models import User
from kernel.canonical import digest
from kernel.errors import ConflictError, InvalidError, NotFoundError, RefusedError
from tests.approvals.asking import DENY, WRITE, agent_actor, answer, ask, proposed, question, use
from tests.builders import RecordedEvents
from tests.cast import NOW, SYSTEM, Cast

pytestmark = pytest.mark.django_db
DECIDED = NOW + timedelta(seconds=5)
_TEXT = {"type": "string"}
SHAPE = ToolShape(
    {"type": "object", "properties": {"path": _TEXT, "content": _TEXT}, "additionalProperties": False},
    frozenset({"filesystem_write"}),
    (),
    "fs.write",
)
SESSION = ReviewInput(verdict="allow", scope="session", surface="console")
TEMPORARY = ReviewInput(verdict="allow", scope="temporary", ttl_ms=120_000, surface="console")
ALWAYS = ReviewInput(verdict="allow", scope="always", comment="looked at it", surface="console")


@pytest.fixture
def cast(founded_cast: Cast, db: None) -> Cast:
    return founded_cast


def asked_call() -> AskedCall:
    return AskedCall(parameters=WRITE, tool=SHAPE, tier="C", egress_mode="strict")


def granted(
    cast: Cast, review: ReviewInput, *, name: str = "call_1", person: User | None = None, **changes: Any
) -> Grant:
    """Ask about a write, have it allowed with this answer, and return the grant."""
    wanted = replace(question(cast, name), run_id=f"run_{name}", **changes)
    wanted = replace(wanted, obligation=replace(wanted.obligation, max_scope="always", max_uses=None))
    outcome = answer(cast, person or cast.approver, ask(cast, wanted), review, asked=asked_call())
    assert outcome.grant is not None
    return outcome.grant


def called(grant: Grant, call_id: str = "call_9", **changes: Any) -> GrantProposal:
    """Return a later call that fits the grant."""
    facts: dict[str, Any] = {
        "call_id": call_id,
        "subject_type": grant.subject_type,
        "tool": grant.tool,
        "tool_definition_hash": grant.tool_definition_hash,
        "obligations_digest": grant.obligations_digest,
        "principal_id": grant.principal_id,
        "owner_id": grant.request.requester_owner_id,
        "workspace_id": grant.workspace_id,
        "run_id": grant.request.run_id,
        "session_id": grant.request.session_id,
        "device_id": grant.request.device_id,
        "channel": grant.request.channel,
        "skill_id": grant.skill_id,
        "skill_digest": grant.skill_digest,
        "tier": grant.tier_floor,
        "egress_mode": grant.egress_mode,
        "risk": grant.risk_ceiling,
        "parameters": WRITE,
    }
    return GrantProposal(**facts | changes)


@pytest.mark.parametrize(
    ("review", "uses", "life"),
    [
        (SESSION, 100, timedelta(hours=12)),
        (TEMPORARY, 1_000, timedelta(minutes=2)),
        (ALWAYS, None, timedelta(days=90)),
        (ReviewInput(verdict="allow"), 1, timedelta(minutes=15)),
    ],
)
def test_each_scope_has_its_uses_and_its_end(
    cast: Cast, review: ReviewInput, uses: int | None, life: timedelta
) -> None:
    grant = granted(cast, review)
    assert (grant.scope, grant.uses_allowed) == (review.scope or "once", uses)
    assert (grant.not_before, grant.expires_at) == (DECIDED, DECIDED + life)
    assert (grant.tier_floor, grant.egress_mode, grant.breadth) == ("C", "strict", 0)
    assert ApprovalCall.objects.get().grant_id == grant.pk


def test_a_grant_holds_fixed_what_its_scope_says(cast: Cast) -> None:
    place: dict[str, Any] = {"session_id": "ses_1", "device_id": "dev_1", "channel": "chat"}
    found = {
        review.scope: granted(cast, review, name=f"call_{review.scope}", **place)
        for review in (SESSION, TEMPORARY, ALWAYS)
    }
    fixed = {
        scope: (grant.run_id, grant.session_id, grant.device_id, grant.channel)
        for scope, grant in found.items()
    }
    assert fixed == {
        "session": ("", "ses_1", "dev_1", "chat"),
        "temporary": ("", "", "dev_1", "chat"),
        "always": ("", "", "", "chat"),
    }


def test_a_grant_of_a_pattern_stores_its_constraints_and_no_other_value(cast: Cast) -> None:
    folder = {
        "v": 1,
        "constraints": [{"pointer": "/path", "op": "path_prefix", "value": "notes"}],
        "rest": "equal",
    }
    grant = granted(cast, replace(SESSION, pattern=folder))
    assert (grant.pattern, grant.pattern_digest) == (folder, digest(folder))
    assert grant.breadth > 0
    stored = repr(Grant.objects.values().get())
    assert "notes" in stored
    assert "a.md" not in stored


def test_without_the_call_nothing_wider_than_once_is_given(cast: Cast) -> None:
    with pytest.raises(RefusedError) as refused:
        answer(cast, cast.approver, ask(cast), SESSION)
    assert refused.value.code == "scope_not_offered"


def test_several_allows_agree_on_the_narrowest(cast: Cast) -> None:
    wanted = question(cast, quorum=2)
    wanted = replace(wanted, obligation=replace(wanted.obligation, max_scope="always", max_uses=None))
    request, call = ask(cast, wanted), asked_call()
    assert answer(cast, cast.approver, request, ALWAYS, asked=call).kind == "open"
    grant = answer(cast, cast.second_approver, request, TEMPORARY, asked=call).grant
    assert grant is not None
    assert (grant.scope, grant.expires_at) == ("temporary", DECIDED + timedelta(minutes=2))


def test_the_waiting_call_and_later_ones_use_the_same_grant(cast: Cast) -> None:
    grant, record = granted(cast, SESSION), RecordedEvents()
    use(cast, grant, proposal=called(grant, "call_1"), record=record)
    use(cast, grant, proposal=called(grant, "call_2"), record=record)
    grant.refresh_from_db()
    assert (grant.uses, grant.status) == (2, "active")
    assert record.names == ["grant.used", "grant.used"]
    assert [event.run for event in record.events] == ["run_call_1", "run_call_1"]


def test_a_call_uses_a_grant_once(cast: Cast) -> None:
    grant = granted(cast, SESSION)
    use(cast, grant, proposal=called(grant))
    with pytest.raises(ConflictError) as refused:
        use(cast, grant, proposal=called(grant))
    assert refused.value.extra == {"reason": "approval.grant_consumed"}
    grant.refresh_from_db()
    assert (grant.uses, GrantUse.objects.count()) == (1, 1)


@pytest.mark.parametrize("review", [SESSION, TEMPORARY, ALWAYS])
def test_a_call_that_does_not_fit_uses_nothing(cast: Cast, review: ReviewInput) -> None:
    grant = granted(cast, review)
    with pytest.raises(ConflictError) as refused:
        use(cast, grant, proposal=called(grant, parameters=WRITE | {"content": "b"}))
    assert refused.value.extra == {"reason": "approval.not_covered"}
    grant.refresh_from_db()
    assert (grant.uses, GrantUse.objects.count()) == (0, 0)


ONCE = ReviewInput(verdict="allow", surface="console")


@pytest.mark.parametrize("review", [ONCE, SESSION, ALWAYS])
@pytest.mark.parametrize("place", [{"tier": "B"}, {"tier": ""}, {"egress_mode": "none"}, {"egress_mode": ""}])
def test_a_call_that_waited_uses_nothing_in_a_lesser_place(
    cast: Cast, review: ReviewInput, place: dict[str, str]
) -> None:
    grant = granted(cast, review)
    with pytest.raises(ConflictError) as refused:
        use(cast, grant, proposal=called(grant, "call_1", **place))
    assert refused.value.extra == {"reason": "approval.not_covered"}
    grant.refresh_from_db()
    assert grant.uses == 0
    use(cast, grant, proposal=called(grant, "call_1", tier="A"))


def test_where_nobody_said_a_place_the_call_that_waited_runs_in_any(cast: Cast) -> None:
    outcome = answer(cast, cast.approver, ask(cast, question(cast)))
    assert outcome.grant is not None
    assert (outcome.grant.tier_floor, outcome.grant.egress_mode) == ("", "")
    use(cast, outcome.grant, proposal=called(outcome.grant, "call_1", tier="B", egress_mode="none"))


def test_an_unknown_grant_covers_nothing(cast: Cast) -> None:
    grant = granted(cast, SESSION)
    grant.pk = "grt_0"
    with pytest.raises(ConflictError) as refused:
        use(cast, grant, proposal=called(grant))
    assert refused.value.extra == {"reason": "approval.not_covered"}


def revoke(cast: Cast, grant: Grant, comment: str = "enough", record: RecordedEvents | None = None) -> Grant:
    return revoke_grant(
        grant_id=grant.pk,
        comment=comment,
        actor=agent_actor(cast),
        now=DECIDED,
        record=record or RecordedEvents(),
    )


def test_a_revoked_grant_is_used_no_more_and_revoked_once(cast: Cast) -> None:
    grant, record = granted(cast, ALWAYS), RecordedEvents()
    ended = revoke(cast, grant, "  enough ", record)
    assert (ended.status, ended.revoke_reason, ended.revoked_at) == ("revoked", "enough", DECIDED)
    assert record.events[0].data == {"scope": "always", "uses": 0, "comment": "enough"}
    with pytest.raises(ConflictError) as refused:
        use(cast, grant, proposal=called(grant))
    assert refused.value.extra == {"reason": "approval.grant_revoked"}
    with pytest.raises(ConflictError):
        revoke(cast, grant)


@pytest.mark.parametrize("comment", ["", " ", "ab", "a\u200bb", "x" * 2_001, "a\0bc"])
def test_a_revocation_says_why(cast: Cast, comment: str) -> None:
    grant = granted(cast, ALWAYS)
    with pytest.raises(InvalidError):
        revoke(cast, grant, comment)
    grant.refresh_from_db()
    assert grant.status == "active"


def test_a_consumed_and_an_absent_grant_are_not_revoked(cast: Cast) -> None:
    grant = granted(cast, ReviewInput(verdict="allow"))
    use(cast, grant)
    with pytest.raises(ConflictError) as refused:
        revoke(cast, grant)
    assert refused.value.code == "conflict"
    grant.pk = "grt_0"
    with pytest.raises(NotFoundError):
        revoke(cast, grant)


def test_a_grant_expires_when_it_is_due(cast: Cast) -> None:
    grant = granted(cast, TEMPORARY)
    with pytest.raises(ConflictError):
        expire_grant(
            grant_id=grant.pk, now=grant.expires_at - timedelta(microseconds=1), record=RecordedEvents()
        )
    record = RecordedEvents()
    expire_grant(grant_id=grant.pk, now=grant.expires_at, record=record)
    assert record.names == ["grant.expired"]
    with pytest.raises(ConflictError):
        expire_grant(grant_id=grant.pk, now=grant.expires_at, record=RecordedEvents())


def test_the_owner_is_told_once_that_a_lasting_grant_ends(cast: Cast) -> None:
    grant, record = granted(cast, ALWAYS), RecordedEvents()
    remind_of_grant(grant_id=grant.pk, now=DECIDED, record=record)
    assert record.events[0].data["owner"] == cast.agent_owner.pk
    with pytest.raises(ConflictError):
        remind_of_grant(grant_id=grant.pk, now=DECIDED, record=record)


def test_a_denial_is_remembered_for_the_action_alone_and_for_a_day(cast: Cast) -> None:
    request = ask(cast)
    answer(cast, cast.approver, request, DENY)
    one = {"principal_id": cast.agent.pk, "action_digest": request.action_digest}
    found = remembered_denial(**one, now=DECIDED + timedelta(hours=24) - timedelta(microseconds=1))
    assert found is not None
    assert found.request_id == request.pk
    assert remembered_denial(**one, now=DECIDED + timedelta(hours=24)) is None
    assert remembered_denial(**one | {"principal_id": "agt_other"}, now=DECIDED) is None
    assert remembered_denial(**one | {"action_digest": digest("other")}, now=DECIDED) is None


def test_a_second_denial_begins_the_day_anew(cast: Cast) -> None:
    answer(cast, cast.approver, ask(cast), DENY)
    later = DECIDED + timedelta(hours=23)
    again = ask(cast, replace(question(cast, "call_2"), run_id="run_2"), now=later)
    answer(cast, cast.approver, again, DENY, now=later + timedelta(seconds=1))
    found = DenialMemory.objects.get()
    assert (found.request_id, found.expires_at) == (again.pk, later + timedelta(seconds=1, hours=24))


def test_neither_an_allow_nor_a_question_without_a_call_is_remembered(cast: Cast) -> None:
    answer(cast, cast.approver, ask(cast))
    lone = replace(question(cast), call_id=None, subject_type="safety_release", run_id="run_2", tool="")
    answer(cast, cast.approver, ask(cast, lone), DENY)
    assert not DenialMemory.objects.exists()


def test_a_person_forgets_a_denial_once(cast: Cast) -> None:
    answer(cast, cast.approver, ask(cast), DENY)
    found, record = DenialMemory.objects.get(), RecordedEvents()
    forget_denial(denial_id=found.pk, comment="mistaken", actor=SYSTEM, now=DECIDED, record=record)
    assert record.names == ["approval.denial_forgotten"]
    assert not DenialMemory.objects.exists()
    with pytest.raises(NotFoundError):
        forget_denial(denial_id=found.pk, comment="mistaken", actor=SYSTEM, now=DECIDED, record=record)


def test_denials_are_swept_when_they_are_over(cast: Cast) -> None:
    answer(cast, cast.approver, ask(cast), DENY)
    over = DenialMemory.objects.get().expires_at
    assert sweep_denials(over - timedelta(microseconds=1), 10) == 0
    with pytest.raises(NotFoundError):
        forget_denial(
            denial_id=DenialMemory.objects.get().pk,
            comment="late",
            actor=SYSTEM,
            now=over,
            record=RecordedEvents(),
        )
    assert sweep_denials(over, 10) == 1


def test_the_helper_of_these_tests_describes_the_call_that_was_asked_about(cast: Cast) -> None:
    grant = granted(cast, SESSION)
    ours = proposed(cast, "call_9", run_id="run_call_1", obligations_digest=grant.obligations_digest)
    assert ours == called(grant)
