"""What an earlier answer covers on the path of a call, and how it is used up."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction

from approvals import lookup
from approvals.editing import EditInput
from approvals.models import DenialMemory, Grant, GrantUse
from approvals.services import revoke_grant
from governance import recheck
from governance.journal.ledger import record
from governance.journal.models import JournalEvent
from governance.journal.reading import open_data
from governance.models import ToolCall
from governance.operations import agents, editing, people, sweeping
from governance.selectors import CallView, view_of
from governance.staleness import stale_because
from identity import minting
from identity.models import Membership, User
from identity.roles import WorkspaceRole
from identity.tokens import TokenKind
from kernel.clock import utc_now
from kernel.errors import ConflictError, InvalidError, RefusedError
from tests.governance.pipeline.test_new_rules import put_in_force
from tests.governance.pipeline.world import (
    ASKED,
    HOST,
    LAUNCH,
    SCOPES,
    SLEEP,
    World,
    again,
    announce,
    attested,
    authenticated,
    calls_used,
    claim,
    events_of,
    final_decisions,
    gate_row,
    owner_actor,
    redefine,
    set_posture,
)

pytestmark = pytest.mark.django_db
OTHER_RULE = """@id("somewhere_else")
forbid (principal, action == Palyra::Action::"tool.execute:http.fetch", resource);
"""
TWO_FOR_NOTES = """@id("two_for_notes")
@obligation("approval")
@quorum("2")
forbid (principal, action == Palyra::Action::"tool.execute:asked.note", resource)
unless { context has approval && context.approval.count >= 2 };
"""
NEVER_AGAIN = """@id("once_only")
forbid (principal, action == Palyra::Action::"tool.execute:asked.note", resource)
when { context has approval && context.approval.scope != "once" };
"""


def granted(world: World, scope: str = "session", *, tool: str = ASKED, **more: Any) -> CallView:
    """Have a call asked about and allowed with this scope; return it queued."""
    view = world.ask(tool, run=more.pop("run", None), now=more.get("now"))
    assert world.answer(view, scope=scope, **more).kind == "allowed"
    return again(view)


def grant_of(view: CallView) -> Grant:
    return Grant.objects.get(pk=view.call.grant_id)


def refusal_of(view: CallView) -> str:
    """Return why the claim refused the call."""
    ended = again(view)
    assert ended.state == "refused", ended.state
    assert "execution.started" not in events_of(ended)
    assert len(final_decisions(ended)) == 1
    return str(ended.call.error["detail"]["code"])


def test_allowed_once_the_same_parameters_ask_again(world: World) -> None:
    run = world.open_run()
    first = world.run(granted(world, "once", tool=SLEEP, run=run))
    assert first.state == "succeeded"
    assert world.propose(SLEEP, run=run).state == "awaiting_approval"


def test_a_session_grant_lets_the_same_call_go_on_and_stores_only_the_candidate(world: World) -> None:
    run = world.open_run()
    first = granted(world, run=run)
    second = world.propose(ASKED, run=run)
    assert (second.state, second.call.grant_id, second.call.approval_id) == (
        "queued",
        first.call.grant_id,
        None,
    )
    assert gate_row(second, "approval")["reason_code"] == "approval.allowed"
    assert (grant_of(second).uses, GrantUse.objects.count()) == (0, 0)
    assert "approval.requested" not in events_of(second)


def test_each_run_of_a_covered_call_is_one_use_and_attested_with_the_answer(world: World) -> None:
    run = world.open_run()
    first = granted(world, tool=SLEEP, run=run)
    second = world.run(world.propose(SLEEP, run=run))
    assert second.state == "succeeded"
    use = GrantUse.objects.get()
    assert (use.grant_id, use.call_id, use.execution_id) == (
        first.call.grant_id,
        second.call.id,
        second.call.execution_id,
    )
    assert [event for event in events_of(second) if event.startswith("grant.")] == ["grant.used"]
    assert attested(second).predicate["approvals"] == [
        {
            "id": first.call.approval_id,
            "grant": first.call.grant_id,
            "scope": "session",
            "reviewers": [world.approver.pk],
            "quorum": 1,
        }
    ]


def test_a_session_grant_covers_the_runs_of_its_session_and_no_other(world: World) -> None:
    inside, outside = world.open_run(session_key="a"), world.open_run(session_key="b")
    granted(world, run=inside)
    assert world.propose(ASKED, run=world.open_run(session_key="a")).state == "queued"
    assert world.propose(ASKED, run=outside).state == "awaiting_approval"
    assert world.propose(ASKED, run=world.open_run()).state == "awaiting_approval"


def test_without_a_session_it_is_the_run(world: World) -> None:
    run = world.open_run()
    grant = grant_of(granted(world, run=run))
    assert (grant.run_id, grant.session_id) == (run.id, "")
    assert grant.expires_at <= run.deadline_at
    assert world.propose(ASKED, run=run).state == "queued"
    assert world.propose(ASKED).state == "awaiting_approval"


def test_a_session_that_is_over_is_not_granted(world: World) -> None:
    view = world.ask(ASKED, run=world.open_run(ttl_seconds=60))
    with pytest.raises(ConflictError) as over:
        world.answer(view, scope="session", now=utc_now() + timedelta(seconds=61))
    assert over.value.code == "run.closed"
    assert again(view).state == "awaiting_approval"


def test_temporary_needs_a_duration_and_ends_with_it(world: World) -> None:
    view, now = world.ask(ASKED), utc_now()
    with pytest.raises(InvalidError) as missing:
        world.answer(view, scope="temporary", now=now)
    assert missing.value.code == "ttl_required"
    assert world.answer(view, scope="temporary", ttl_ms=60_000, now=now).kind == "allowed"
    assert world.propose(ASKED, now=now + timedelta(seconds=59)).state == "queued"
    assert world.propose(ASKED, now=now + timedelta(seconds=60)).state == "awaiting_approval"


def test_always_needs_a_comment_and_ends_when_it_is_revoked(world: World) -> None:
    view = world.ask(ASKED)
    with pytest.raises(InvalidError) as missing:
        world.answer(view, scope="always", comment=" ")
    assert missing.value.code == "comment_required"
    assert world.answer(view, scope="always", comment="reviewed the tool").kind == "allowed"
    grant = grant_of(again(view))
    assert (grant.scope, grant.uses_allowed, grant.run_id) == ("always", None, "")
    assert world.propose(ASKED).state == "queued"
    revoke(world, grant)
    assert world.propose(ASKED).state == "awaiting_approval"


def revoke(world: World, grant: Grant) -> None:
    with transaction.atomic():
        revoke_grant(
            grant_id=grant.pk, comment="enough", actor=owner_actor(world), now=utc_now(), record=record
        )


def test_critical_is_offered_once_and_no_more(world: World) -> None:
    view = world.ask(LAUNCH)
    with pytest.raises(RefusedError) as refused:
        world.answer(view, scope="session")
    assert refused.value.code == "scope_not_offered"


@pytest.mark.parametrize("arguments", [{"text": "hellO"}, {"text": "hello "}, {"text": ""}])
def test_other_parameters_than_the_granted_ones_ask(world: World, arguments: dict[str, str]) -> None:
    run = world.open_run()
    granted(world, run=run)
    assert world.propose(ASKED, arguments, run=run).state == "awaiting_approval"


def test_another_agent_is_not_covered(world: World) -> None:
    granted(world, "always")
    assert world.propose(ASKED, principal=world.other_agent).state == "awaiting_approval"


def test_a_grant_ends_with_the_standing_of_who_gave_it(world: World) -> None:
    granted(world, "always", tool=SLEEP)
    assert world.propose(SLEEP).state == "queued"
    people.disable(
        principal=world.person(world.owner), user_id=world.approver.pk, reason="left", now=utc_now()
    )
    assert world.propose(SLEEP).state == "awaiting_approval"


def test_nobody_covers_with_their_own_answer_what_they_could_propose_themselves(world: World) -> None:
    """The approver gets hold of the agent after allowing: what they allowed no longer speaks for it."""
    granted(world, "always")
    Membership.objects.filter(user=world.approver).update(role=WorkspaceRole.ADMIN)
    assert world.propose(ASKED).state == "queued"
    agents.change(
        principal=world.person(world.owner),
        agent_id=world.agent_row.pk,
        changes={"owner": world.approver.pk},
        now=utc_now(),
    )
    assert world.propose(ASKED).state == "awaiting_approval"


def test_a_token_minted_by_who_allowed_is_not_covered(world: World) -> None:
    granted(world, "always")
    assert world.propose(ASKED).state == "queued"
    Membership.objects.filter(user=world.approver).update(role=WorkspaceRole.ADMIN)
    token = minted_by(world, world.approver)
    assert world.propose(ASKED, principal=authenticated(token)).state == "awaiting_approval"


def minted_by(world: World, user: User) -> str:
    with transaction.atomic():
        return minting.mint_token(
            kind=TokenKind.AGENT,
            label="mine",
            scopes=SCOPES,
            expires_at=utc_now() + timedelta(days=1),
            workspace=world.workspace,
            agent=world.agent_row,
            minter=world.person(user),
            now=utc_now(),
            record=record,
        ).text


def test_a_redefined_tool_is_asked_about_anew(world: World) -> None:
    granted(world, "always")
    redefine(world, argv_template=("/usr/bin/printf", "%s!", "{text}"))
    assert world.propose(ASKED).state == "awaiting_approval"


def test_a_locked_posture_that_asks_each_time_asks(world: World) -> None:
    granted(world, "always", tool=SLEEP)
    set_posture(world, SLEEP, "disabled")
    assert world.propose(SLEEP).call.reason_code == "posture.disabled"


def test_rules_about_something_else_leave_it_and_the_claim_keeps_both_hashes(world: World) -> None:
    run = world.open_run()
    first = granted(world, tool=SLEEP, run=run)
    after = put_in_force(world, OTHER_RULE)
    second = world.run(world.propose(SLEEP, run=run))
    assert second.state == "succeeded"
    event = JournalEvent.objects.get(type="approval.revalidated", call_id=second.call.id)
    assert open_data(event) == {
        "grant": first.call.grant_id,
        "allowed_under": (first.call.policy_set or {})["hash"],
        "in_force": after.hash,
    }


def test_under_the_same_rules_nothing_is_said_about_them(world: World) -> None:
    view = world.run(granted(world, tool=SLEEP))
    assert view.state == "succeeded"
    assert "approval.revalidated" not in events_of(view)


def test_what_policy_would_refuse_with_the_grant_asks_a_person(world: World) -> None:
    run = world.open_run()
    granted(world, run=run)
    put_in_force(world, NEVER_AGAIN)
    view = world.propose(ASKED, run=run)
    assert (view.state, view.call.grant_id) == ("awaiting_approval", None)


def test_too_many_grants_are_not_searched_and_somebody_hears_of_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = world.open_run()
    grant = grant_of(granted(world, run=run))
    assert world.propose(ASKED, run=run).state == "queued"
    monkeypatch.setattr(lookup, "MOST_CANDIDATES", 2)
    for number in range(2):
        grant.pk = f"grt_{number}"
        grant.save(force_insert=True)
    view = world.propose(ASKED, run=run)
    assert view.state == "awaiting_approval"
    event = JournalEvent.objects.get(type="grant.lookup_exceeded", call_id=view.call.id)
    assert open_data(event) == {"principal": world.agent_row.pk, "tool": ASKED, "searched": 2}


def test_a_denied_call_is_denied_at_once_for_a_day_and_one_changed_byte_asks(world: World) -> None:
    now = utc_now()
    view = world.ask(ASKED, now=now)
    world.answer(view, "deny", now=now)
    term = timedelta(hours=24)
    announce(HOST, now=now + term)
    second = world.propose(ASKED, now=now + term - timedelta(seconds=1))
    assert (second.state, second.call.reason_code) == ("denied", "approval.denied_before")
    assert "approval.requested" not in events_of(second)
    assert world.propose(ASKED, {"text": "hellp"}).state == "awaiting_approval"
    assert world.propose(ASKED, principal=world.other_agent).state == "awaiting_approval"
    assert world.propose(ASKED, now=now + term).state == "awaiting_approval"


def test_a_denial_comes_before_a_grant_and_before_a_run_that_nobody_answers(world: World) -> None:
    now = utc_now()
    first, second = world.ask(ASKED, now=now), world.ask(ASKED, now=now)
    assert world.answer(first, scope="always", now=now).kind == "allowed"
    world.answer(second, "deny", now=now)
    assert world.propose(ASKED, now=now).call.reason_code == "approval.denied_before"
    silent = world.open_run(approval_channel="none")
    assert world.propose(ASKED, run=silent, now=now).call.reason_code == "approval.denied_before"


def test_a_run_that_nobody_answers_still_goes_on_by_a_grant(world: World) -> None:
    granted(world, "always")
    silent = world.open_run(approval_channel="none")
    assert world.propose(ASKED, run=silent).state == "queued"
    refused = world.propose(ASKED, {"text": "other"}, run=silent)
    assert refused.call.reason_code == "approval.channel_unavailable"


def test_the_sweeper_ends_what_is_over_and_tells_of_what_ends_soon(world: World) -> None:
    now = utc_now()
    short = grant_of(granted(world, "temporary", ttl_ms=60_000, now=now))
    long = grant_of(granted(world, "always", tool=SLEEP, now=now))
    world.answer(world.propose(ASKED, {"text": "no"}, now=now), "deny", now=now)
    later = now + timedelta(days=84)
    done = sweeping.sweep(later)
    assert (done["grants_expired"], done["grants_announced"], done["denials_forgotten"]) == (1, 1, 1)
    short.refresh_from_db()
    assert (short.status, DenialMemory.objects.count()) == ("expired", 0)
    told = JournalEvent.objects.get(type="grant.expiring")
    assert (told.subject, open_data(told)["owner"]) == (long.pk, world.agent_owner.pk)
    assert sweeping.sweep(later)["grants_announced"] == 0


def covered(world: World) -> CallView:
    """Return a queued call that runs by an earlier session answer."""
    run = world.open_run()
    granted(world, run=run)
    view = world.propose(ASKED, run=run)
    assert (view.state, view.call.approval_id) == ("queued", None)
    return view


def test_a_grant_that_was_revoked_meanwhile_refuses_the_covered_call(world: World) -> None:
    view = covered(world)
    revoke(world, grant_of(view))
    world.run(view)
    assert refusal_of(view) == "approval.grant_revoked"


def test_a_grant_that_is_over_meanwhile_refuses_the_covered_call(world: World) -> None:
    view = covered(world)
    Grant.objects.update(expires_at=utc_now())
    world.run(view)
    assert refusal_of(view) == "approval.grant_expired"


def test_a_grant_that_was_used_up_meanwhile_refuses_the_covered_call(world: World) -> None:
    view = covered(world)
    Grant.objects.update(uses_allowed=1)
    first = view_of(ToolCall.objects.exclude(pk=view.call.pk).get(grant_id=view.call.grant_id))
    claim(world, view)
    assert grant_of(view).status == "consumed"
    world.run(first)
    assert refusal_of(first) == "approval.grant_consumed"


def test_input_that_was_changed_in_the_queue_is_not_what_was_granted(world: World) -> None:
    view = covered(world)
    ToolCall.objects.filter(pk=view.call.pk).update(input={"text": "something else"})
    world.run(view)
    assert refusal_of(view) == "approval.digest_mismatch"


def test_a_grant_of_another_session_put_into_the_call_is_refused(world: World) -> None:
    other = grant_of(granted(world, run=world.open_run(session_key="elsewhere")))
    view = covered(world)
    ToolCall.objects.filter(pk=view.call.pk).update(grant_id=other.pk)
    world.run(view)
    assert refusal_of(view) == "approval.digest_mismatch"


def test_a_covered_call_of_a_redefined_tool_is_refused(world: World) -> None:
    view = covered(world)
    redefine(world, description="Prints.", timeout_ms=9_000)
    world.run(view)
    assert refusal_of(view) == "approval.tool_changed"


def test_a_reviewer_who_may_no_longer_decide_refuses_the_covered_call(world: World) -> None:
    run = world.open_run()
    granted(world, tool=SLEEP, run=run)
    view = world.propose(SLEEP, run=run)
    people.disable(
        principal=world.person(world.owner), user_id=world.approver.pk, reason="left", now=utc_now()
    )
    world.run(view)
    assert refusal_of(view) == "approval.policy_changed"


def test_a_claim_that_is_rolled_back_gives_the_use_back_and_a_lost_worker_does_not(world: World) -> None:
    view = covered(world)
    with transaction.atomic():
        assert recheck.claim(view.call.execution_id or "", world.worker, utc_now()) is not None
        assert grant_of(view).uses == 1
        transaction.set_rollback(True)
    assert (grant_of(view).uses, GrantUse.objects.count()) == (0, 0)
    claim(world, view)
    sweeping.sweep(utc_now() + timedelta(seconds=16))
    assert again(view).state == "ambiguous"
    assert (grant_of(view).uses, GrantUse.objects.count()) == (1, 1)


def test_stricter_rules_make_a_grant_stale_refuse_its_calls_and_have_people_asked_anew(world: World) -> None:
    view = covered(world)
    assert stale_because(grant_of(view), utc_now()) is None
    put_in_force(world, TWO_FOR_NOTES)
    assert stale_because(grant_of(view), utc_now()) == "obligations_changed"
    elsewhere = world.propose(ASKED, run=view.call.run)
    assert elsewhere.state == "awaiting_approval"
    world.run(view)
    before = again(view)
    assert refusal_of(before) == "approval.policy_changed"
    after = view_of(ToolCall.objects.get(pk=before.call.superseded_by_id))
    assert (after.state, after.call.input) == ("awaiting_approval", before.call.input)
    assert after.approval is not None
    assert (after.approval.quorum, after.approval.requester_id) == (2, world.agent_row.pk)
    assert JournalEvent.objects.get(type="tool_call.proposed_again").subject == before.call.id
    proposed = JournalEvent.objects.get(type="tool_call.proposed", call_id=after.call.id)
    assert proposed.actor == world.worker.actor().id
    assert after.call.approval_id == elsewhere.call.approval_id
    assert calls_used(after) == 3  # the first call that was allowed, the one that asked, and this one


def test_a_refusal_for_another_cause_asks_nobody(world: World) -> None:
    view = covered(world)
    revoke(world, grant_of(view))
    world.run(view)
    assert again(view).call.superseded_by_id is None
    assert not JournalEvent.objects.filter(type="tool_call.proposed_again").exists()


def test_a_posture_that_asks_by_now_has_people_asked(world: World) -> None:
    view = world.propose("echo")
    set_posture(world, "echo", "ask_each_time")
    world.run(view)
    assert view_of(ToolCall.objects.get(pk=again(view).call.superseded_by_id)).state == "awaiting_approval"


def test_a_grant_of_a_redefined_tool_is_stale_until_it_ends(world: World) -> None:
    grant = grant_of(granted(world, "always"))
    redefine(world, description="Prints.", timeout_ms=9_000)
    assert stale_because(grant, utc_now()) == "tool_changed"
    revoke(world, grant)
    grant.refresh_from_db()
    assert stale_because(grant, utc_now()) is None


def test_an_editor_does_not_cover_the_edited_call_with_their_own_answer(world: World) -> None:
    granted(world, "always")
    view = world.propose(ASKED, {"text": "other"})
    made = editing.edit_request(
        principal=world.person(world.approver),
        request_id=view.call.approval_id or "",
        new_input={"text": "hello"},
        edit=EditInput(comment="hello is enough", otp_verified_at=utc_now()),
        now=utc_now(),
    )
    assert made.after.approval_id is not None
    assert made.after.grant_id != grant_of(world.propose(ASKED)).pk
