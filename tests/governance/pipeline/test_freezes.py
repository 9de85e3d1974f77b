"""A freeze stops what it names: at the gate, at the claim, in the queue, under a person's answer."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction

from approvals.editing import EditInput
from governance import freezes
from governance.freeze_scopes import FreezeScope, Standing, Work, covering, covers
from governance.journal.ledger import record
from governance.journal.models import JournalEvent
from governance.journal.reading import open_data
from governance.models import Freeze, Run
from governance.operations import editing, freezes as verbs, sweeping
from governance.operations.freezes import FreezeWishes
from governance.selectors import CallView
from identity import memberships
from identity.models import User, Workspace
from identity.roles import WorkspaceRole
from identity.types import Principal
from kernel.clock import utc_now
from kernel.errors import AuthenticationError, ConflictError, InvalidError, NotFoundError, RefusedError
from sandbox.models import Execution
from tests.governance.pipeline.world import (
    ASKED,
    ECHO,
    SHELL,
    SLEEP,
    World,
    add_person,
    again,
    attested,
    claim,
    events_of,
    final_decisions,
    gate_row,
    run_events,
)

REASON = "the agent runs wild"
SKILL = "local.echo"


def wishes(scope: str, scope_id: str = "", **more: Any) -> FreezeWishes:
    return FreezeWishes(scope=FreezeScope(scope), scope_id=scope_id, **({"reason": REASON} | more))


def freeze(
    world: World, scope: str, scope_id: str = "", *, by: Principal | None = None, **more: Any
) -> Freeze:
    """Have the owner of the installation, or `by`, set a freeze."""
    who = by or world.person(world.owner)
    return verbs.set_freeze(principal=who, wishes=wishes(scope, scope_id, **more), now=utc_now())


def lift(world: World, row: Freeze, *, by: Principal | None = None) -> Freeze:
    return verbs.lift(principal=by or world.person(world.owner), freeze_id=row.id, now=utc_now())


def second_owner(world: World) -> User:
    """Add somebody else with a role in `instance`."""
    with transaction.atomic():
        instance = Workspace.objects.get(slug="instance")
        person = add_person("second-owner", world.workspace, utc_now())
        memberships.grant_membership(
            user=person,
            workspace=instance,
            role=WorkspaceRole.OWNER,
            actor=SHELL,
            now=utc_now(),
            record=record,
        )
    return person


def assert_frozen_out(view: CallView) -> None:
    """The proposal was denied before anybody was asked, and nothing was charged."""
    assert (view.state, view.call.reason_code) == ("denied", "run.frozen")
    assert gate_row(view, "run")["verdict"] == "deny"
    assert view.call.approval_id is None
    assert view.reservation is None


def assert_refused(view: CallView) -> None:
    """What was queued ended as refused; nothing ran."""
    ended = again(view)
    assert (ended.state, ended.call.error["detail"]["code"]) == ("refused", "run.frozen")
    assert "execution.started" not in events_of(ended)
    assert [data["effect"] for data in final_decisions(ended)] == ["allow"]
    assert ended.reservation is not None
    assert (attested(ended).predicate["outcome"], ended.reservation.state) == ("refused", "released")


def test_a_freeze_of_everything_from_the_setting_to_the_lifting(world: World) -> None:
    """Allow is refused, deny works, the queue is refused; the setter lifts only while nobody else could."""
    run = world.open_run()
    queued, asked, other = world.propose(run=run), world.ask(run=run), world.ask(ASKED, run=run)
    row = freeze(world, "global")
    assert_refused(queued)
    assert_frozen_out(world.propose(run=run))
    with pytest.raises(RefusedError) as refused:
        world.answer(asked)
    assert refused.value.code == "frozen"
    assert again(asked).state == "awaiting_approval"
    assert world.answer(other, "deny").kind == "denied"
    second = second_owner(world)
    with pytest.raises(RefusedError) as refused:
        lift(world, row)
    assert refused.value.code == "four_eyes_required"
    lifted = lift(world, row, by=world.person(second))
    assert (lifted.state, lifted.lifted_by, lifted.single_operator) == ("lifted", second.pk, False)
    assert world.run(world.propose(run=run)).state == "succeeded"
    assert_refused(queued)
    assert world.run(world.allowed(asked)).state == "succeeded"
    told = run_events(run)
    assert (told.count("run.frozen"), told.count("run.unfrozen")) == (1, 1)


def test_alone_in_the_installation_the_setter_lifts(world: World) -> None:
    """An approver of one workspace holds `freeze.set` too, but could not lift this."""
    row = freeze(world, "global")
    with pytest.raises(RefusedError):
        lift(world, row, by=world.person(world.approver))
    assert lift(world, row).single_operator
    data = open_data(JournalEvent.objects.get(type="freeze.lifted", subject=row.id))
    assert (data["single_operator"], data["scope"]) == (True, "global")


def test_each_scope_stops_its_own_and_nothing_else(world: World) -> None:
    run, other = world.open_run(), world.open_run(world.other_agent)
    for scope, scope_id, stopped in (
        ("agent", world.agent_row.pk, {"mine", "slept", "skill"}),
        ("run", run.id, {"mine", "slept", "skill"}),
        ("tool", "palyra.Echo", {"mine", "theirs"}),
        ("tool", SKILL, {"skill"}),
        ("skill", SKILL, {"skill"}),
        ("global", "", {"mine", "slept", "theirs", "skill"}),
    ):
        row = freeze(world, scope, scope_id)
        views = {
            "mine": world.propose(run=run),
            "slept": world.propose(SLEEP, {"duration_ms": 1}, run=run),
            "theirs": world.propose(run=other, principal=world.other_agent),
            "skill": world.propose(SKILL, {"text": "hi"}, run=run),
        }
        found = {name for name, view in views.items() if view.call.reason_code == "run.frozen"}
        assert found == stopped, scope
        lift(world, row)


DEVICE = "dev_01JD0000000000000000000000"


def test_a_device_that_opened_a_run_is_frozen_by_its_id(world: World) -> None:
    run = world.open_run(replace(world.agent, device_id=DEVICE))
    assert run.device_id == DEVICE
    freeze(world, "device", DEVICE)
    assert_frozen_out(world.propose(run=run))
    assert world.propose().state == "queued"


def test_a_device_is_known_only_where_a_run_of_it_is(world: World) -> None:
    """Whoever holds the permission in one workspace learns of no device that another one uses."""
    run = world.open_run(replace(world.agent, device_id=DEVICE))
    Run.objects.filter(id=run.id).update(workspace_id="wsp_elsewhere")
    with pytest.raises(InvalidError) as refused:
        freeze(world, "device", DEVICE, by=world.person(world.approver))
    assert refused.value.errors[0].code == "unknown"
    assert freeze(world, "device", DEVICE).scope_id == DEVICE


@pytest.mark.parametrize("tool", ["Echo", " palyra.echo ", "ECHO"])
def test_no_spelling_of_a_frozen_tool_gets_through(world: World, tool: str) -> None:
    freeze(world, "tool", ECHO)
    assert_frozen_out(world.propose(tool, {"text": "x"}))


def test_a_call_that_a_person_would_be_asked_about_is_denied_before(world: World) -> None:
    freeze(world, "tool", ASKED)
    assert_frozen_out(world.propose(ASKED))


def test_the_claim_asks_again_even_when_the_queue_was_not_cleared(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A setter that died after its commit leaves a queue that fires neither now nor after the lifting."""
    views = [world.propose() for _ in range(3)]
    monkeypatch.setattr(verbs, "_each_run", lambda *args: None)
    monkeypatch.setattr(verbs, "_stop_run", lambda *args: None)
    row = freeze(world, "agent", world.agent_row.pk)
    world.run(views[0])
    assert_refused(views[0])
    lift(world, row)
    world.run(views[1])
    assert_refused(views[1])
    assert world.run(world.propose()).state == "succeeded"


def test_the_sweeper_takes_up_what_the_setter_left(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    queued, running = world.propose(), world.propose()
    claim(world, running)
    with monkeypatch.context() as patch:
        patch.setattr(verbs, "_each_run", lambda *args: None)
        freeze(world, "global", kill_running=True)
    assert sweeping.sweep(utc_now())["freezes_enforced"] == 2
    assert_refused(queued)
    assert Execution.objects.get(call_id=running.call.id).cancel_reason == "run.frozen"
    assert sweeping.sweep(utc_now())["freezes_enforced"] == 0


def test_lifting_clears_the_queue_first(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    view = world.propose()
    with monkeypatch.context() as patch:
        patch.setattr(verbs, "_each_run", lambda *args: None)
        row = freeze(world, "tool", ECHO)
    lift(world, row)
    assert_refused(view)


@pytest.mark.parametrize("kill", [False, True])
def test_what_runs_is_killed_only_when_that_was_asked(world: World, kill: bool) -> None:
    view = world.propose()
    claim(world, view)
    row = freeze(world, "agent", world.agent_row.pk, kill_running=kill)
    execution = Execution.objects.get(call_id=view.call.id)
    assert (execution.cancel_requested_at is not None, execution.cancel_reason) == (
        kill,
        "run.frozen" if kill else "",
    )
    told = JournalEvent.objects.get(type="run.frozen", subject=row.id, run_id=view.call.run_id)
    assert open_data(told) == {"scope": "agent", "refused": 0, "stopping": int(kill)}


def test_freeze_state_that_cannot_be_read_denies(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    queued = world.propose()

    def fault(*args: object) -> None:
        raise OSError("unreadable")

    monkeypatch.setattr(freezes, "_standing", fault)
    view = world.propose()
    assert (view.state, view.call.reason_code) == ("denied", "run.unavailable")
    world.run(queued)
    assert again(queued).state == "refused"


def test_an_allow_is_refused_under_every_scope_of_its_request(world: World) -> None:
    view = world.ask()
    for scope, scope_id in (("agent", world.agent_row.pk), ("run", view.call.run_id), ("tool", SLEEP)):
        row = freeze(world, scope, scope_id)
        with pytest.raises(RefusedError) as refused:
            world.answer(view)
        assert (refused.value.code, refused.value.extra) == ("frozen", {"freeze": row.id})
        lift(world, row)
    assert JournalEvent.objects.filter(type="request.refused", subject=view.call.approval_id).count() == 3
    assert world.run(world.allowed(view)).state == "succeeded"


def test_edited_arguments_go_through_the_gates_again(world: World) -> None:
    view = world.ask()
    freeze(world, "agent", world.agent_row.pk)
    with pytest.raises(RefusedError) as refused:
        editing.edit_request(
            request_id=view.call.approval_id or "",
            new_input={"duration_ms": 1},
            principal=world.person(world.approver),
            edit=EditInput(comment="shorter", otp_verified_at=utc_now()),
            now=utc_now(),
        )
    assert refused.value.code == "frozen"
    assert again(view).state == "awaiting_approval"


def test_a_stranger_learns_of_no_freeze_from_an_answer(world: World) -> None:
    view = world.ask()
    freeze(world, "global")
    with pytest.raises(NotFoundError):
        world.answer(view, by=world.stranger)


@pytest.mark.parametrize(("name", "code"), [("auditor", "role_required"), ("stranger", "role_required")])
def test_who_does_not_hold_the_permission_freezes_nothing(world: World, name: str, code: str) -> None:
    with pytest.raises(RefusedError) as refused:
        freeze(world, "agent", world.agent_row.pk, by=world.person(getattr(world, name)))
    assert refused.value.code == code
    with pytest.raises(RefusedError):
        freeze(world, "agent", world.agent_row.pk, by=world.agent)
    assert not Freeze.objects.exists()


def test_a_role_in_one_workspace_freezes_that_workspace(world: World) -> None:
    with pytest.raises(RefusedError) as refused:
        freeze(world, "global", by=world.person(world.approver))
    assert refused.value.code == "role_required"
    assert freeze(world, "tool", ECHO, by=world.person(world.approver)).workspace_id == world.workspace.pk
    wide = freeze(world, "tool", ECHO)
    assert wide.workspace_id == Workspace.objects.get(slug="instance").pk
    with pytest.raises(RefusedError):
        lift(world, wide, by=world.person(world.approver))


def test_an_old_code_freezes_and_lifts_nothing(world: World) -> None:
    stale = world.person(world.owner, now=utc_now() - timedelta(minutes=6))
    with pytest.raises(AuthenticationError) as refused:
        freeze(world, "global", by=stale)
    assert refused.value.code == "step_up_required"
    row = freeze(world, "global")
    with pytest.raises(AuthenticationError):
        lift(world, row, by=stale)


def test_a_scope_is_frozen_once(world: World) -> None:
    freeze(world, "tool", ECHO)
    with pytest.raises(ConflictError) as refused:
        freeze(world, "tool", "palyra.ECHO")
    assert refused.value.code == "conflict"


@pytest.mark.parametrize(
    ("scope", "scope_id"),
    [
        ("agent", "agt_01JD0000000000000000000000"),
        ("run", "run_01JD0000000000000000000000"),
        ("tool", "fs.wriet"),
        ("skill", "local.ecko"),
        ("device", "a phone"),
        ("device", "dev_01JD0000000000000000000009"),
        ("agent", ""),
        ("global", "agt_01JD0000000000000000000000"),
    ],
)
def test_a_freeze_of_nothing_is_refused(world: World, scope: str, scope_id: str) -> None:
    with pytest.raises(InvalidError) as refused:
        freeze(world, scope, scope_id)
    assert refused.value.errors[0].pointer == "/scope_id"
    assert not Freeze.objects.exists()


@pytest.mark.parametrize("reason", ["", "too short", "          padded          ", "x" * 1001])
def test_a_reason_says_something(world: World, reason: str) -> None:
    with pytest.raises(InvalidError) as refused:
        freeze(world, "global", reason=reason)
    assert refused.value.errors[0].pointer == "/reason"


def test_a_lifted_freeze_is_not_lifted_again(world: World) -> None:
    row = freeze(world, "tool", ECHO)
    lift(world, row)
    with pytest.raises(ConflictError) as refused:
        lift(world, row)
    assert refused.value.code == "state_changed"


def test_asking_for_the_end_of_a_freeze_is_kept_and_lifts_nothing(world: World) -> None:
    row = freeze(world, "global")
    who = world.person(world.auditor)
    verbs.request_lift(principal=who, freeze_id=row.id, reason="the agent was fixed", now=utc_now())
    (asked,) = freezes.lift_requests(row)
    assert (asked.by, asked.reason) == (world.auditor.pk, "the agent was fixed")
    with pytest.raises(ConflictError):
        verbs.request_lift(principal=who, freeze_id=row.id, reason="the agent was fixed", now=utc_now())
    row.refresh_from_db()
    assert row.state == "active"
    with pytest.raises(NotFoundError):
        verbs.request_lift(
            principal=world.person(world.stranger), freeze_id=row.id, reason="let me go on", now=utc_now()
        )


def test_an_agent_sees_what_may_stop_it_and_no_more(world: World) -> None:
    mine = freeze(world, "agent", world.agent_row.pk)
    theirs = freeze(world, "agent", world.other_agent_row.pk)
    tool = freeze(world, "tool", ECHO)
    assert set(freezes.visible_freezes(world.agent)) == {mine, tool}
    assert set(freezes.visible_freezes(world.other_agent)) == {theirs, tool}
    assert not freezes.visible_freezes(world.person(world.stranger)).exists()
    assert freezes.visible_freezes(world.person(world.auditor)).count() == 3


def test_a_scope_that_nobody_knows_stops_everything() -> None:
    assert covers(Standing("frz_1", "moon", "x"), Work("agt_1", "run_1"))
    assert covering((), Work("agt_1", "run_1")) is None


def test_an_empty_fact_is_covered_by_no_name() -> None:
    work = Work("agt_1", "run_1")
    for scope in ("tool", "skill", "device"):
        assert not covers(Standing("frz_1", scope, "x"), work)
