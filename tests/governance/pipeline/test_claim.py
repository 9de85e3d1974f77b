"""What changed between the decision and the run is asked again, in the transaction that starts it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import transaction

from approvals.models import ApprovalRequest, Grant
from governance.journal.ledger import record
from governance.models import Reservation, ToolCall
from governance.operations import agents, people, sweeping, workspaces
from governance.runner import Worker, boot_id
from governance.selectors import CallView
from identity import revocation
from identity.models import ApiToken, FeatureFlag, Membership
from identity.rollout import FlagWishes, change_flag
from kernel.clock import utc_now
from kernel.errors import ConflictError
from sandbox.models import Execution
from sandbox.runners.worker import RunnerPool
from sandbox.selection import Probe
from sandbox.skills.models import SkillVersion
from sandbox.types import Executor
from tests.governance.pipeline.world import (
    ASKED,
    ECHO,
    SHELL,
    SLEEP,
    World,
    again,
    allow_principal,
    attested,
    calls_used,
    events_of,
    final_decisions,
    owner_actor,
    redefine,
    set_posture,
    take_off_the_allowlist,
)

SKILL = "local.echo"


def assert_refused(view: CallView, code: str, stage: str) -> None:
    """The claim refused the call: nothing ran, nothing is charged, no grant was used."""
    ended = again(view)
    assert (ended.state, ended.call.error["detail"]["code"]) == ("refused", code)
    assert events_of(ended)[-3:] == ["execution.refused", "reservation.released", "attestation.recorded"]
    assert "execution.started" not in events_of(ended)
    assert [data["effect"] for data in final_decisions(ended)] == ["allow"]
    assert calls_used(ended) == (1 if code == "approval.policy_changed" else 0)  # it was proposed anew
    assert not Grant.objects.exclude(uses=0).exists()
    statement = attested(ended).predicate
    assert (statement["verdict"], statement["outcome"]) == ("deny", "refused")
    assert (statement["executor"], statement["reason_code"]) == (stage, code)
    assert (statement["sandbox_enforcement"], statement["output_digest"]) == ("none", None)


def revoke_the_token(world: World, view: CallView) -> None:
    with transaction.atomic():
        revocation.revoke_token(
            token_id=view.call.token_id or "",
            reason="a test",
            actor=owner_actor(world),
            now=utc_now(),
            record=record,
        )


def let_the_token_expire(world: World, view: CallView) -> None:
    ApiToken.objects.filter(pk=view.call.token_id).update(expires_at=utc_now())


def suspend_the_agent(world: World, view: CallView) -> None:
    agents.suspend(
        principal=world.person(world.owner), agent_id=view.call.principal_id, reason="a test", now=utc_now()
    )


def give_the_agent_to_somebody_who_may_less(world: World, view: CallView) -> None:
    agents.change(
        principal=world.person(world.owner),
        agent_id=view.call.principal_id,
        changes={"owner": world.auditor.pk},
        now=utc_now(),
    )


def disable_the_owner(world: World, view: CallView) -> None:
    people.disable(
        principal=world.person(world.owner),
        user_id=world.agent_owner.pk,
        reason="a test",
        now=utc_now(),
    )


def take_the_owners_role(world: World, view: CallView) -> None:
    for membership in Membership.objects.filter(user=world.agent_owner):
        workspaces.remove(principal=world.person(world.owner), membership_id=membership.pk, now=utc_now())


def switch_off(key: str) -> None:
    wishes = FlagWishes(reason="asked for in a test", enabled=False, cascade=True)
    row = FeatureFlag.objects.filter(pk=key).first()
    seen = row.version if row else 0
    with transaction.atomic():
        change_flag(key=key, wishes=wishes, seen_version=seen, actor=SHELL, now=utc_now(), record=record)


def begin_safe_mode(world: World, view: CallView) -> None:
    switch_off("rbac")


def switch_tokens_off(world: World, view: CallView) -> None:
    switch_off("api_tokens")


@pytest.mark.parametrize(
    "end",
    [
        begin_safe_mode,
        switch_tokens_off,
        revoke_the_token,
        let_the_token_expire,
        suspend_the_agent,
        give_the_agent_to_somebody_who_may_less,
        disable_the_owner,
        take_the_owners_role,
    ],
)
@pytest.mark.parametrize("tool", [ECHO, SLEEP])
def test_a_principal_that_is_no_longer_live(
    world: World, end: Callable[[World, CallView], None], tool: str
) -> None:
    view = world.propose(tool)
    if tool == SLEEP:
        world.allowed(view)
    end(world, view)
    world.run(view)
    assert_refused(view, "identity.principal_not_live", "tool_intake")


def test_a_run_whose_time_is_over(world: World) -> None:
    run = world.open_run(ttl_seconds=60)
    view = world.propose(run=run)
    world.run(view, now=run.deadline_at)
    assert_refused(view, "run.closed", "tool_intake")


@pytest.mark.parametrize("tool", [ECHO, SLEEP])
@pytest.mark.parametrize(
    "changes",
    [
        {"input": {"text": "something else", "duration_ms": 1}},
        {"action_digest": "sha256:" + "0" * 64},
        {"tool_name": "fs.read", "input": {"path": "secret"}},
    ],
)
def test_a_call_that_was_tampered_with(world: World, tool: str, changes: dict[str, object]) -> None:
    view = world.propose(tool)
    if tool == SLEEP:
        world.allowed(view)
    if "input" in changes and "tool_name" not in changes:
        changes = {"input": {"text": "something else"} if tool == ECHO else {"duration_ms": 1}}
    ToolCall.objects.filter(id=view.call.id).update(**changes)
    world.run(view)
    code = again(view).call.error["detail"]["code"]
    assert code in ("approval.digest_mismatch", "approval.tool_changed", "schema.definition_drift")
    assert_refused(view, code, "tool_intake")


def test_an_execution_or_a_request_of_another_action(world: World) -> None:
    other = "sha256:" + "0" * 64
    queued, asked = world.propose(), world.allowed(world.ask())
    Execution.objects.filter(call_id=queued.call.id).update(action_digest=other)
    ApprovalRequest.objects.filter(id=asked.call.approval_id).update(action_digest=other)
    for view in (queued, asked):
        world.run(view)
        assert_refused(view, "approval.digest_mismatch", "tool_intake")


def test_a_spec_that_was_widened_in_the_queue(world: World) -> None:
    view = world.propose()
    execution = Execution.objects.get(call_id=view.call.id)
    execution.spec["wall_timeout_ms"] = 600_000
    execution.save(update_fields=["spec"])
    world.run(view)
    assert_refused(view, "approval.digest_mismatch", "tool_intake")


@pytest.mark.parametrize("answered", [False, True])
def test_a_tool_that_was_redefined(world: World, answered: bool) -> None:
    view = world.ask(ASKED)
    if answered:
        world.allowed(view)
        redefine(world, argv_template=("/usr/bin/printf", "%s!", "{text}"))
    else:
        redefine(world, argv_template=("/usr/bin/printf", "%s!", "{text}"))
        world.allowed(view)
    world.run(view)
    assert_refused(view, "approval.tool_changed", "tool_intake")


def test_a_tool_that_was_redefined_and_needed_nobody(world: World) -> None:
    set_posture(world, ASKED, "always_allow")
    view = world.propose(ASKED)
    assert view.state == "queued"
    redefine(world, description="Prints.", timeout_ms=9_000)
    world.run(view)
    assert_refused(view, "schema.definition_drift", "tool_intake")


def test_a_skill_that_is_no_longer_active(world: World) -> None:
    view = propose_skill(world)
    SkillVersion.objects.filter(skill__skill_id=SKILL).update(status="disabled")
    world.run(view)
    assert_refused(view, "skill.disabled", "skill_gate")


def test_a_posture_that_now_asks(world: World) -> None:
    view = world.propose()
    set_posture(world, ECHO, "ask_each_time")
    world.run(view)
    assert_refused(view, "approval.policy_changed", "approval")


@pytest.mark.parametrize("tool", [ECHO, SLEEP])
def test_a_posture_that_now_disables(world: World, tool: str) -> None:
    view = world.propose(tool)
    if tool == SLEEP:
        world.allowed(view)
    set_posture(world, tool, "disabled")
    world.run(view)
    assert_refused(view, "posture.disabled", "policy")


def test_a_posture_that_ran_out(world: World) -> None:
    set_posture(world, ASKED, "always_allow", life=timedelta(minutes=1))
    view = world.propose(ASKED)
    assert view.state == "queued"
    world.run(view, now=utc_now() + timedelta(minutes=2))
    assert_refused(view, "policy.changed", "policy")


def test_a_tool_taken_off_the_allowlist(world: World) -> None:
    view = world.allowed(world.ask())
    take_off_the_allowlist(world, SLEEP)
    world.run(view)
    assert_refused(view, "posture.locked", "policy")


def test_a_policy_that_no_longer_permits(world: World) -> None:
    view = world.allowed(world.ask())
    allow_principal(world, world.other_agent_row.pk)
    world.run(view)
    assert_refused(view, "policy.changed", "policy")


def test_a_policy_that_asks_for_more_than_was_allowed(world: World) -> None:
    view = world.allowed(world.ask(ASKED))
    Membership.objects.filter(user=world.approver).delete()
    world.run(view)
    assert_refused(view, "approval.policy_changed", "policy")


def test_a_worker_that_lost_its_backend(world: World) -> None:
    class Bare(RunnerPool):
        def probe(self) -> Probe:
            return Probe(executors=frozenset({Executor.BUILTIN}))

    view = world.allowed(world.ask(ASKED))
    world.run(view, worker=Worker("test:2", boot_id(), Bare()))
    assert_refused(view, "sandbox.backend_unavailable", "policy")


def test_a_reservation_that_is_gone(world: World) -> None:
    view = world.propose()
    now = utc_now()
    Reservation.objects.filter(call_id=view.call.id).update(state="expired", ended_at=now)
    world.run(view)
    ended = again(view)
    assert (ended.state, ended.call.error["detail"]["code"]) == ("refused", "budget.exceeded")
    assert attested(ended).predicate["executor"] == "budget"


def test_a_grant_that_expired(world: World) -> None:
    now = utc_now()
    view = world.allowed(world.ask(now=now), now=now)
    world.run(view, now=now + timedelta(minutes=15))
    assert_refused(view, "approval.grant_expired", "approval")


def test_a_grant_that_was_revoked(world: World) -> None:
    view = world.allowed(world.ask())
    Grant.objects.filter(id=view.call.grant_id).update(status="revoked")
    world.run(view)
    assert_refused(view, "approval.grant_revoked", "approval")


def test_a_grant_that_was_used_up(world: World) -> None:
    run = world.open_run()
    spent = world.allowed(world.ask(run=run))
    world.run(spent)
    view = world.allowed(world.ask(run=run))
    ToolCall.objects.filter(id=view.call.id).update(
        grant_id=spent.call.grant_id, approval_id=spent.call.approval_id
    )
    world.run(view)
    ended = again(view)
    assert (ended.state, ended.call.error["detail"]["code"]) == ("refused", "approval.grant_consumed")


def test_a_grant_of_another_request(world: World) -> None:
    first, second = world.allowed(world.ask()), world.allowed(world.ask())
    ToolCall.objects.filter(id=first.call.id).update(grant_id=second.call.grant_id)
    world.run(first)
    assert_refused(first, "approval.grant_revoked", "approval")


def test_an_allow_forged_in_the_call_alone(world: World) -> None:
    """Whoever can write the call's row but not the reviews gets nothing run."""
    view = world.ask()
    operations_before = Execution.objects.count()
    ToolCall.objects.filter(id=view.call.id).update(effect="allow")
    assert sweeping.sweep(utc_now())["answers_applied"] == 0
    assert Execution.objects.count() == operations_before


def test_a_call_that_no_worker_took_in_time(world: World) -> None:
    now = utc_now()
    view = world.propose(now=now)
    assert sweeping.sweep(now + timedelta(minutes=15))["executions_overdue"] == 0
    assert sweeping.sweep(now + timedelta(minutes=15, seconds=1))["executions_overdue"] == 1
    assert_refused(view, "sandbox.queue_timeout", "sweeper")


def test_a_refused_call_is_never_taken_again(world: World) -> None:
    view = world.propose()
    set_posture(world, ECHO, "disabled")
    world.run(view)
    set_posture(world, ECHO, "always_allow")
    with pytest.raises(ConflictError):
        world.run(view)
    assert_refused(view, "posture.disabled", "policy")


def propose_skill(world: World) -> CallView:
    """Propose the skill with an input that fits."""
    view = world.propose(SKILL, {"text": "hi"})
    assert view.state == "queued", view.call.gates
    return view
