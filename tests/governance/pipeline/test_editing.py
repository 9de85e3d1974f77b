"""Edit and approve: a person changes what a call does, and the gates decide about that."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from approvals.editing import EditInput
from approvals.models import ApprovalRequest, Grant, Review
from governance.editing import Edited
from governance.journal.models import JournalEvent
from governance.journal.reading import open_data
from governance.models import Reservation, Run, ToolCall
from governance.operations import editing, runs
from governance.selectors import CallView, newest_of, view_of
from identity.models import Agent, User
from identity.roles import WorkspaceRole
from identity.types import Principal
from kernel.clock import utc_now
from kernel.errors import (
    AuthenticationError,
    ConflictError,
    InvalidError,
    NotFoundError,
    PalyraError,
    PreconditionFailedError,
    RefusedError,
)
from tests.governance.pipeline.test_freezes import freeze
from tests.governance.pipeline.world import (
    ASKED,
    LAUNCH,
    SLEEP,
    World,
    add_person,
    again,
    attested,
    calls_used,
    events_of,
    final_decisions,
    redefine,
    run_events,
    set_posture,
    snapshot,
    take_off_the_allowlist,
)

OTHER: dict[str, object] = {"duration_ms": 1}
WRITE = {"path": "a.txt", "content": "x"}
SAFER = {"path": "b.txt", "content": "x"}


def edit(
    world: World,
    view: CallView,
    given: object = None,
    *,
    by: User | None = None,
    principal: Principal | None = None,
    **said: Any,
) -> Edited:
    """Change a waiting call with a fresh code and a comment."""
    now = said.pop("now", None) or utc_now()
    words: dict[str, Any] = {"comment": "less of it", "otp_verified_at": now}
    return editing.edit_request(
        request_id=view.call.approval_id or "",
        new_input=OTHER if given is None else given,
        edit=EditInput(**(words | said)),
        principal=principal or world.person(by or world.approver, now=now),
        now=now,
    )


def refused(world: World, view: CallView, given: object = None, **how: Any) -> PalyraError:
    """Return the refusal of an edit, and check that the question still waits as it was."""
    before = ApprovalRequest.objects.get(id=view.call.approval_id)
    with pytest.raises(PalyraError) as refusal:
        edit(world, view, given, **how)
    after = ApprovalRequest.objects.get(id=view.call.approval_id)
    assert (after.status, after.version) == (before.status, before.version)
    assert again(view).state == view.state
    assert ToolCall.objects.filter(run_id=view.call.run_id).count() == 1
    return refusal.value


def test_an_edit_at_low_risk_is_the_editors_allow_of_another_call(world: World) -> None:
    view = world.ask()
    edited = edit(world, view)
    old, new = again(view), view_of(edited.after)
    assert (old.state, new.state) == ("superseded", "queued")
    assert old.call.superseded_by_id == new.call.id
    assert (new.call.edited_from_id, new.call.edited_by_id) == (old.call.id, world.approver.pk)
    assert new.call.action_digest != old.call.action_digest
    assert new.call.input == OTHER
    assert (new.call.principal_id, new.call.owner_id) == (old.call.principal_id, old.call.owner_id)
    assert (edited.asked.status, edited.asked.close_code) == ("cancelled", "superseded_by_edit")
    assert edited.request is not None
    assert edited.request.edited_from_id == edited.asked.id
    assert edited.request.edited_by_id == world.approver.pk
    review = Review.objects.get(request=edited.request)
    assert (review.reviewer_id, review.verdict, review.scope) == (world.approver.pk, "allow", "once")
    done = world.run(new)
    assert done.state == "succeeded"
    assert newest_of(old.call.id) == new.call.id


def test_the_grant_of_an_edit_covers_the_changed_arguments_and_no_others(world: World) -> None:
    view = world.ask()
    edited = edit(world, view)
    grant = Grant.objects.get(request=edited.request)
    assert (grant.scope, grant.action_digest) == ("once", edited.after.action_digest)
    assert world.ask(run=Run.objects.get(id=view.call.run_id)).state == "awaiting_approval"


def test_the_old_request_cannot_be_answered_any_more(world: World) -> None:
    view = world.ask()
    edit(world, view)
    for act in (lambda: world.answer(view), lambda: world.answer(view, "deny"), lambda: edit(world, view)):
        with pytest.raises(ConflictError) as late:
            act()
        assert late.value.code == "already_decided"
        assert late.value.extra["outcome"]["decision"] == "cancelled"  # type: ignore[index]  # plain JSON
    assert again(view).call.execution_id is None


def test_above_medium_risk_somebody_else_has_to_allow(world: World) -> None:
    view = world.propose("fs.write", WRITE)
    edited = edit(world, view, SAFER)
    new = view_of(edited.after)
    assert (again(view).state, new.state) == ("superseded", "awaiting_approval")
    assert not Review.objects.filter(request=edited.request).exists()
    with pytest.raises(RefusedError) as own:
        world.answer(new)
    assert (own.value.code, own.value.extra["relation"]) == ("self_review", "editor")
    world.answer(new, by=world.second_approver)
    assert again(new).state == "queued"


def test_an_editor_does_not_get_round_it_by_editing_once_more(world: World) -> None:
    view = world.propose("fs.write", WRITE)
    first = view_of(edit(world, view, SAFER).after)
    with pytest.raises(RefusedError) as own:
        edit(world, first, {"path": "c.txt", "content": "x"})
    assert (own.value.code, own.value.extra["relation"]) == ("self_review", "editor")


def test_an_editor_does_not_answer_for_what_somebody_else_edited_after_them(world: World) -> None:
    """Most of what is asked about may still be the first editor's words."""
    now = utc_now()
    third = add_person("third-approver", world.workspace, now, WorkspaceRole.APPROVER)
    first = view_of(edit(world, world.propose("fs.write", WRITE), SAFER).after)
    again_changed = {"path": "b.txt", "content": "y"}
    second = view_of(edit(world, first, again_changed, by=world.second_approver).after)
    for editor in (world.approver, world.second_approver):
        with pytest.raises(RefusedError) as own:
            world.answer(second, by=editor)
        assert (own.value.code, own.value.extra["relation"]) == ("self_review", "editor")
    assert world.answer(second, by=third).kind == "allowed"


def test_where_everybody_has_edited_nobody_is_left_to_ask(world: World) -> None:
    first = view_of(edit(world, world.propose("fs.write", WRITE), SAFER).after)
    with pytest.raises(InvalidError) as nobody:
        edit(world, first, {"path": "c.txt", "content": "x"}, by=world.second_approver)
    assert nobody.value.errors[0].code == "approval.no_eligible_approver"
    assert again(first).state == "awaiting_approval"


def test_what_an_edit_makes_risky_is_not_the_editors_to_allow(world: World) -> None:
    """The risk that counts is that of the new arguments."""
    redefine(
        world,
        argv_template=("/usr/bin/printf", "%s", "{text}"),
        capabilities=frozenset({"process_exec"}),
        risk="high",
    )
    view = world.propose(ASKED, {"text": "a"})
    edited = edit(world, view, {"text": "b"})
    assert edited.request is not None
    assert (edited.request.risk, edited.request.status) == ("high", "pending")


def test_a_quorum_counts_an_edit_once(world: World) -> None:
    view = world.propose(LAUNCH)
    edited = edit(world, view, {"text": "less"})
    assert edited.request is not None
    assert (edited.request.quorum, edited.request.status) == (2, "pending")
    assert world.answer(view_of(edited.after), by=world.second_approver).kind == "open"


def test_the_allowance_of_the_run_is_charged_once(world: World) -> None:
    run = world.open_run(max_calls=1)
    view = world.ask(run=run)
    assert calls_used(view) == 1
    edited = edit(world, view)
    assert calls_used(view) == 1
    held = Reservation.objects.get(call_id=edited.after.id)
    assert held.state == "held"
    assert Reservation.objects.get(call_id=view.call.id).state == "released"
    world.run(view_of(edited.after))
    assert calls_used(view) == 1


def test_the_record_says_who_changed_what_into_what(world: World) -> None:
    view = world.ask()
    edited = edit(world, view, comment="  not so long  ")
    event = JournalEvent.objects.get(type="approval.edited", subject=edited.asked.id)
    data = open_data(event)
    assert event.actor == world.approver.pk
    assert (data["call"], data["new_call"]) == (view.call.id, edited.after.id)
    assert data["request"] == edited.request.id if edited.request else None
    assert (data["comment"], data["action_digest"]) == ("not so long", edited.after.action_digest)
    assert "tool_call.superseded" in events_of(view)
    proposed = JournalEvent.objects.get(type="tool_call.proposed", call_id=edited.after.id)
    assert proposed.actor == world.approver.pk


def test_both_calls_end_once_and_are_attested(world: World) -> None:
    view = world.ask()
    edited = edit(world, view)
    new = world.run(view_of(edited.after))
    assert [data["reason_code"] for data in final_decisions(view)] == ["approval.superseded"]
    assert len(final_decisions(new)) == 1
    assert attested(view).predicate["outcome"] == "superseded"
    assert attested(new).predicate["outcome"] == "succeeded"


def test_other_calls_that_wait_on_the_question_end_with_it(world: World) -> None:
    run = world.open_run()
    first, second = world.ask(run=run), world.ask(run=run)
    edit(world, first)
    assert (again(first).state, again(second).state) == ("superseded", "cancelled")
    assert again(second).call.superseded_by_id is None


def test_arguments_that_do_not_fit_the_tool_leave_the_question_as_it_was(world: World) -> None:
    view = world.ask()
    bad: tuple[object, ...] = ({"duration_ms": 60_000}, {"duration_ms": "1"}, {}, {"more": 1}, 7, "x", [])
    for given in bad:
        refusal = refused(world, view, given)
        assert isinstance(refusal, InvalidError)
        assert refusal.errors[0].pointer == "/input"
        assert refusal.errors[0].code.startswith("schema.")


def test_the_same_arguments_are_no_edit(world: World) -> None:
    view = world.ask()
    for same in (dict(view.call.input), {"duration_ms": 0.0}):
        assert refused(world, view, same).errors[0].code == "unchanged"


def test_a_gate_that_denies_the_new_arguments_refuses_the_edit(world: World) -> None:
    view = world.propose("fs.write", WRITE)
    take_off_the_allowlist(world, "fs.write")
    assert isinstance(refused(world, view, SAFER), InvalidError)


def test_a_denied_edit_leaves_nothing_but_its_refusal(world: World) -> None:
    view = world.propose("fs.write", WRITE)
    take_off_the_allowlist(world, "fs.write")
    rows, told = snapshot(), run_events(view.call.run)
    refused(world, view, SAFER)
    changed = {label for label, kept in snapshot().items() if kept != rows[label]}
    assert {label for label in changed if not label.startswith("governance.Journal")} == set()
    assert run_events(view.call.run) == told


def test_a_tool_that_was_switched_off_meanwhile_is_not_edited_back_to_life(world: World) -> None:
    view = world.ask()
    set_posture(world, SLEEP, "disabled")
    assert refused(world, view).errors[0].code.startswith("posture.")


def test_arguments_that_the_agent_asks_about_itself_are_answered_there(world: World) -> None:
    run = world.open_run()
    view = world.ask(run=run)
    world.propose(SLEEP, OTHER, run=run)
    with pytest.raises(ConflictError) as twice:
        edit(world, view)
    assert twice.value.code == "conflict"
    assert again(view).state == "awaiting_approval"


def test_without_a_comment_nothing_is_changed(world: World) -> None:
    for comment in ("", "  ", "ab", "\u200b\u200b\u200b"):
        assert refused(world, world.ask(), comment=comment).code == "comment_required"


def test_an_agent_never_edits(world: World) -> None:
    assert refused(world, world.ask(), principal=world.agent).code == "reviewer_is_agent"


def test_whoever_may_not_answer_may_not_edit(world: World) -> None:
    view = world.ask()
    owner = refused(world, view, by=world.agent_owner)
    assert (owner.code, isinstance(owner, RefusedError)) == ("not_a_reviewer", True)
    assert refused(world, view, by=world.auditor).code == "not_a_reviewer"
    with pytest.raises(NotFoundError):
        edit(world, view, by=world.stranger)


def test_high_risk_needs_a_fresh_code(world: World) -> None:
    view = world.propose("fs.write", WRITE)
    now = utc_now()
    person = world.person(world.approver, now=now - timedelta(minutes=20))
    refusal = refused(world, view, SAFER, principal=person, otp_verified_at=None, now=now)
    assert isinstance(refusal, AuthenticationError)


def test_an_edit_of_another_version_than_the_one_shown_is_refused(world: World) -> None:
    run = world.open_run()
    view = world.ask(run=run)
    world.ask(run=run)
    with pytest.raises(PreconditionFailedError):
        edit(world, view, seen_version=1)
    assert again(view).state == "awaiting_approval"


def test_after_its_time_a_question_expires_and_is_not_edited(world: World) -> None:
    view = world.ask()
    late = utc_now() + timedelta(hours=1)
    with pytest.raises(ConflictError) as over:
        edit(world, view, now=late)
    assert over.value.extra["outcome"]["decision"] == "expired"  # type: ignore[index]  # plain JSON
    assert ApprovalRequest.objects.get(id=view.call.approval_id).status == "expired"


def test_a_cancelled_run_is_not_edited_back_to_life(world: World) -> None:
    view = world.ask()
    runs.cancel_run(run_id=view.call.run_id, principal=world.agent, reason="", now=utc_now())
    with pytest.raises(ConflictError):
        edit(world, view)
    assert ToolCall.objects.filter(run_id=view.call.run_id).count() == 1


def test_a_refused_edit_is_in_the_journal(world: World) -> None:
    view = world.ask()
    refused(world, view, principal=world.agent)
    event = JournalEvent.objects.get(type="request.refused", subject=view.call.approval_id)
    assert open_data(event)["code"] == "reviewer_is_agent"


def test_what_needs_nobody_after_the_edit_just_runs(world: World) -> None:
    view = world.ask()
    set_posture(world, SLEEP, "always_allow", life=timedelta(hours=1))
    edited = edit(world, view)
    assert edited.request is None
    assert world.run(view_of(edited.after)).state == "succeeded"


def test_under_a_freeze_nothing_is_edited_into_the_queue(world: World) -> None:
    view = world.ask()
    freeze(world, "tool", SLEEP)
    assert refused(world, view).code == "frozen"


def test_an_agent_that_was_suspended_gets_no_call_by_an_edit(world: World) -> None:
    view = world.ask()
    Agent.objects.filter(pk=world.agent_row.pk).update(state="suspended")
    assert refused(world, view).errors[0].code == "identity.principal_not_live"


def test_an_edit_is_no_question_of_the_agents(world: World) -> None:
    """Whoever asked as often as it may is still told what a person would rather have it do."""
    run = world.open_run(max_calls=32)
    views = [world.propose(SLEEP, {"duration_ms": n}, run=run) for n in range(1, 11)]
    assert views[-1].state == "awaiting_approval"
    assert world.propose(SLEEP, {"duration_ms": 50}, run=run).call.reason_code == "approval.rate_limited"
    assert view_of(edit(world, views[0], {"duration_ms": 51}).after).state == "queued"


def test_what_was_denied_before_is_not_edited_in(world: World) -> None:
    run = world.open_run()
    world.answer(world.propose(SLEEP, OTHER, run=run), "deny")
    view = world.ask(run=run)
    with pytest.raises(InvalidError) as before:
        edit(world, view, OTHER)
    assert before.value.errors[0].code == "approval.denied_before"
    assert again(view).state == "awaiting_approval"
