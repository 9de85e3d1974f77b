"""A person's answer: who may give it, what it opens, and when it comes too late."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from django.db import transaction

from approvals.models import Grant, GrantUse, Review
from governance.journal.ledger import record
from governance.journal.models import JournalEvent
from governance.journal.reading import open_data
from governance.operations import sweeping
from governance.selectors import CallView
from identity import memberships
from identity.models import Membership
from identity.roles import Permission, WorkspaceRole
from identity.types import Principal
from kernel.clock import utc_now
from kernel.errors import AuthenticationError, ConflictError, InvalidError, NotFoundError, RefusedError
from policy import services as policy
from policy.types import NO_SET, Effect, PolicyDecision, PolicyExplanation
from sandbox.models import Execution
from tests.governance.pipeline.world import (
    LAUNCH,
    World,
    again,
    attested,
    calls_used,
    events_of,
    final_decisions,
    gate_row,
    owner_actor,
    run_events,
)

ASKING = ["tool_call.proposed", "reservation.held", "approval.requested", "tool_call.decided"]
RUN = ["execution.started", "grant.used", "execution.finished", "reservation.settled", "attestation.recorded"]
ENDED = ["tool_call.decided", "tool_call.closed", "reservation.released", "attestation.recorded"]


def assert_ended_unrun(view: CallView, state: str, code: str) -> None:
    """The call ended at its question: nothing ran, nothing is charged, one final decision."""
    ended = again(view)
    assert (ended.state, ended.call.effect, ended.call.reason_code) == (state, "deny", code)
    assert gate_row(ended, "approval")["verdict"] == "deny"
    assert not Execution.objects.filter(call_id=view.call.id).exists()
    assert events_of(ended) == [*ASKING, *ENDED]
    assert [data["reason_code"] for data in final_decisions(ended)] == [code]
    assert calls_used(ended) == 0
    statement = attested(ended).predicate
    assert (statement["executor"], statement["verdict"]) == ("approval", "deny")
    assert (statement["outcome"], statement["reason_code"]) == (state, code)


def refusals(view: CallView) -> list[str]:
    """Return the codes of the refusals that the journal holds about the call's request."""
    rows = JournalEvent.objects.filter(subject=view.call.approval_id, type="request.refused")
    return [open_data(row)["code"] for row in rows.order_by("id")]


def test_allowed_once_it_runs_and_the_same_parameters_ask_again(world: World) -> None:
    run = world.open_run()
    first = world.ask(run=run)
    ended = world.run(world.allowed(first))
    assert ended.state == "succeeded"
    assert events_of(ended) == [*ASKING, "tool_call.decided", "execution.queued", *RUN]
    assert [data["effect"] for data in final_decisions(ended)] == ["allow"]
    grant = Grant.objects.get()
    assert (grant.id, grant.status, grant.uses) == (ended.call.grant_id, "consumed", 1)
    uses = attested(ended).predicate["approvals"]
    assert uses == [
        {
            "id": ended.call.approval_id,
            "grant": grant.id,
            "scope": "once",
            "reviewers": [world.approver.pk],
            "quorum": 1,
        }
    ]
    second = world.ask(run=run)
    assert second.call.approval_id != first.call.approval_id
    assert second.call.action_digest == first.call.action_digest


def test_the_runs_events_are_numbered_without_a_gap(world: World) -> None:
    run = world.open_run()
    world.run(world.allowed(world.ask(run=run)))
    numbers = JournalEvent.objects.filter(run_id=run.id).order_by("run_seq").values_list("run_seq", flat=True)
    assert list(numbers) == list(range(1, len(numbers) + 1))
    assert {"approval.reviewed", "approval.decided", "grant.created"} <= set(run_events(run))


def test_the_same_answer_again_changes_nothing(world: World) -> None:
    view = world.ask()
    now = utc_now()
    world.answer(view, now=now)
    events = events_of(view)
    assert world.answer(view, now=now).kind == "repeated"
    assert events_of(view) == events
    assert Review.objects.count() == 1


def test_two_identical_proposals_wait_on_one_request(world: World) -> None:
    run = world.open_run()
    first, second = world.ask(run=run), world.ask(run=run)
    assert first.call.approval_id == second.call.approval_id
    assert world.answer(second, seen_version=2).covered_call_ids == (first.call.id, second.call.id)
    assert [world.run(view).state for view in (first, second)] == ["succeeded"] * 2
    assert GrantUse.objects.count() == 2


def test_an_answer_that_did_not_see_the_second_call_covers_only_the_first(world: World) -> None:
    run = world.open_run()
    first, second = world.ask(run=run), world.ask(run=run)
    world.answer(first)
    assert again(first).state == "queued"
    assert (again(second).state, again(second).call.reason_code) == ("cancelled", "approval.cancelled")
    assert calls_used(second) == 1


def test_a_critical_call_needs_two_people(world: World) -> None:
    view = world.ask(LAUNCH)
    assert view.approval is not None
    assert (view.approval.risk, view.approval.quorum) == ("critical", 2)
    assert world.answer(view).kind == "open"
    assert again(view).state == "awaiting_approval"
    assert world.answer(view, by=world.second_approver).kind == "allowed"
    assert again(view).state == "queued"


def test_a_denied_call_ends(world: World) -> None:
    view = world.ask()
    assert world.answer(view, "deny").kind == "denied"
    assert_ended_unrun(view, "denied", "approval.denied")
    assert not Grant.objects.exists()
    with pytest.raises(ConflictError) as late:
        world.answer(view, by=world.second_approver)
    assert late.value.code == "already_decided"
    assert refusals(view) == ["already_decided"]


@pytest.mark.parametrize("comment", ["", "  ", "no"])
def test_a_deny_needs_a_comment(world: World, comment: str) -> None:
    view = world.ask()
    with pytest.raises(InvalidError) as refused:
        world.answer(view, "deny", comment=comment)
    assert refused.value.code == "comment_required"
    assert again(view).state == "awaiting_approval"


def test_the_owner_of_the_agent_does_not_decide_while_others_may(world: World) -> None:
    make_approver(world)
    view = world.ask()
    with pytest.raises(RefusedError) as refused:
        world.answer(view, by=world.agent_owner)
    assert refused.value.code == "self_review"
    assert again(view).state == "awaiting_approval"
    assert refusals(view) == ["self_review"]
    assert world.answer(view, by=world.approver).kind == "allowed"


def test_an_agent_never_decides_even_with_the_scope(world: World) -> None:
    view = world.ask()
    for principal in (world.agent, world.other_agent):
        with pytest.raises((RefusedError, NotFoundError)):
            world.answer(view, principal=with_scope(principal))
    assert again(view).state == "awaiting_approval"
    assert not Review.objects.exists()


def test_an_auditor_reads_and_does_not_decide_and_a_stranger_sees_nothing(world: World) -> None:
    view = world.ask()
    with pytest.raises(RefusedError) as refused:
        world.answer(view, by=world.auditor)
    assert refused.value.code == "not_a_reviewer"
    with pytest.raises(NotFoundError):
        world.answer(view, by=world.stranger)
    assert again(view).state == "awaiting_approval"


def test_the_only_person_who_may_decide_decides_alone_and_the_record_says_so(world: World) -> None:
    make_approver(world)
    Membership.objects.filter(user__in=[world.owner, world.approver, world.second_approver]).delete()
    view = world.ask()
    outcome = world.answer(view, by=world.agent_owner)
    assert (outcome.kind, outcome.single_operator) == ("allowed", True)
    decided = JournalEvent.objects.get(subject=view.call.approval_id, type="approval.decided")
    assert open_data(decided)["single_operator"] is True
    assert world.run(view).state == "succeeded"


def test_a_critical_answer_needs_a_code_of_its_own(world: World) -> None:
    view = world.ask(LAUNCH)
    with pytest.raises(AuthenticationError) as refused:
        world.answer(view, otp_verified_at=utc_now() - timedelta(seconds=30))
    assert refused.value.code == "step_up_required"


def test_a_reviewer_demoted_before_the_second_answer_does_not_count(world: World) -> None:
    view = world.ask(LAUNCH)
    world.answer(view)
    Membership.objects.filter(user=world.approver).delete()
    assert world.answer(view, by=world.second_approver).kind == "open"
    assert again(view).state == "awaiting_approval"


def test_policy_has_its_word_on_the_answer_too(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    view = world.ask()
    no = PolicyDecision(
        Effect.DENY, "policy.no_permit", "no", (), PolicyExplanation(True, "no", policy_set=NO_SET)
    )
    monkeypatch.setattr(policy, "permit_governance", lambda **_: no)
    with pytest.raises(RefusedError):
        world.answer(view)
    assert again(view).state == "awaiting_approval"
    assert not Review.objects.exists()


def test_an_answer_at_the_end_of_the_time_comes_too_late(world: World) -> None:
    view = world.ask()
    assert view.approval is not None
    with pytest.raises(ConflictError) as late:
        world.answer(view, now=view.approval.expires_at)
    assert late.value.code == "already_decided"
    assert late.value.extra["outcome"]["decision"] == "expired"  # type: ignore[index]  # plain JSON
    assert_ended_unrun(view, "expired", "approval.expired")


def test_a_part_of_the_sweep_that_fails_keeps_no_other_waiting(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> tuple[str, ...]:
        raise RuntimeError("the database says no")

    view, rung = world.ask(), list[str]()
    monkeypatch.setattr(f"{sweeping.__name__}.reminders.unopened_ids", broken)
    monkeypatch.setattr(f"{sweeping.__name__}.sandbox_selectors.lost_ids", broken)
    monkeypatch.setattr(f"{sweeping.__name__}.jobs.queued_ids", lambda limit: ("job",))
    monkeypatch.setattr(f"{sweeping.__name__}.wakeup.ring_jobs", lambda: rung.append("jobs"))
    done = sweeping.sweep(view.call.run.deadline_at)
    assert (done["approvals_reminded"], done["executions_lost"], done["runs_expired"]) == (0, 0, 1)
    assert rung == ["jobs"]
    failed = [record.getMessage() for record in caplog.records if record.name == sweeping.__name__]
    assert failed == ["the sweep of approvals_reminded failed", "the sweep of executions_lost failed"]


def test_the_sweeper_ends_what_nobody_answered(world: World) -> None:
    view = world.ask()
    assert view.approval is not None
    due = view.approval.expires_at
    assert sweeping.sweep(due - timedelta(microseconds=1))["approvals_expired"] == 0
    assert sweeping.sweep(due)["approvals_expired"] == 1
    assert_ended_unrun(view, "expired", "approval.expired")
    assert sweeping.sweep(due)["approvals_expired"] == 0


def test_a_new_proposal_does_not_join_a_question_whose_time_is_over(world: World) -> None:
    run = world.open_run()
    first = world.ask(run=run)
    assert first.approval is not None
    late = first.approval.expires_at
    second = world.ask(run=run, now=late)
    assert second.call.approval_id != first.call.approval_id
    sweeping.sweep(late)
    assert (again(first).state, again(second).state) == ("expired", "awaiting_approval")


def make_approver(world: World) -> None:
    """Give the agent's owner the role that decides."""
    with transaction.atomic():
        memberships.grant_membership(
            user=world.agent_owner,
            workspace=world.workspace,
            role=WorkspaceRole.APPROVER,
            actor=owner_actor(world),
            now=utc_now(),
            record=record,
        )


def with_scope(principal: Principal) -> Principal:
    return replace(principal, permissions=principal.permissions | {Permission.APPROVALS_DECIDE})
