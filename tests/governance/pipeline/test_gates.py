"""Each gate can stop a call: recorded, attested by the right stage, nothing run and nothing charged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from django.db import connection, transaction

from approvals.models import ApprovalRequest
from governance import checks, pipeline
from governance.gates import ON_ERROR, Gate
from governance.journal.ledger import record
from governance.journal.models import JournalEvent
from governance.models import Reservation, Run, ToolCall
from governance.operations import runs
from governance.proposals import Proposal
from governance.selectors import CallView
from identity import agents
from identity.models import Membership
from identity.roles import Permission
from kernel.clock import utc_now
from kernel.errors import ConflictError, NotFoundError
from sandbox.models import Execution, SandboxProbe
from sandbox.selection import Finding, Probe
from sandbox.skills.models import SkillBlob, SkillVersion
from sandbox.types import Executor
from tests.governance.pipeline.world import (
    ASKED,
    ECHO,
    World,
    allow_principal,
    announce,
    attested,
    calls_used,
    events_of,
    final_decisions,
    gate_row,
    owner_actor,
    redefine,
    set_posture,
    take_off_the_allowlist,
)

SKILL = "local.echo"
STAGES = {
    Gate.AUTHENTICATE: "tool_intake",
    Gate.RUN: "tool_intake",
    Gate.SCHEMA: "tool_intake",
    Gate.SKILL: "skill_gate",
    Gate.POSTURE: "policy",
    Gate.BACKEND: "policy",
    Gate.POLICY: "policy",
    Gate.BUDGET: "budget",
    Gate.APPROVAL: "approval",
}
"""journal part §3.10, written out so that the product's own table cannot agree with itself."""


def assert_stopped(view: CallView, gate: Gate, code: str) -> None:
    """The call ended at this gate with this code, and with everything that must then hold."""
    verdicts = [(row["gate"], row["verdict"]) for row in view.call.gates]
    place = list(Gate).index(gate)
    assert [name for name, _ in verdicts] == [known.value for known in Gate]
    assert all(verdict in ("pass", "ask") for _, verdict in verdicts[:place])
    assert verdicts[place][1] == "deny"
    assert all(verdict == "skipped" for _, verdict in verdicts[place + 1 :])
    assert (view.state, view.call.effect, view.call.reason_code) == ("denied", "deny", code)
    assert gate_row(view, gate)["reason_code"] == code
    assert not Execution.objects.filter(call_id=view.call.id).exists()
    assert not Reservation.objects.filter(call_id=view.call.id).exclude(state="released").exists()
    statement = attested(view).predicate
    assert (statement["verdict"], statement["outcome"], statement["reason_code"]) == ("deny", "denied", code)
    assert (statement["executor"], statement["sandbox_enforcement"]) == (STAGES[gate], "none")
    assert statement["output_digest"] is None
    assert [data["reason_code"] for data in final_decisions(view)] == [code]
    story = events_of(view)
    assert (story[0], story[-1]) == ("tool_call.proposed", "attestation.recorded")


def test_1_a_principal_without_the_permission(world: World) -> None:
    bare = replace(world.agent, permissions=world.agent.permissions - {Permission.TOOLS_PROPOSE})
    view = world.propose(run=world.open_run(), principal=bare)
    assert_stopped(view, Gate.AUTHENTICATE, "identity.insufficient_scope")


def test_2_a_run_that_is_somebody_elses(world: World) -> None:
    view = world.propose(run=world.open_run(), principal=world.person(world.owner))
    assert_stopped(view, Gate.RUN, "run.not_owned")


@pytest.mark.parametrize(
    ("tool", "arguments", "code"),
    [
        ("no.such.tool", {}, "schema.tool_unknown"),
        ("", {}, "schema.tool_unknown"),
        (ECHO, {}, "schema.input_invalid"),
        (ECHO, {"text": 7}, "schema.input_invalid"),
        (ECHO, {"text": "a", "more": 1}, "schema.input_invalid"),
        (ECHO, {"text": "a\0b"}, "schema.input_invalid"),
        (ECHO, {"text": "x" * 20_000}, "schema.input_too_large"),
        (ECHO, ["text"], "schema.input_not_object"),
        (ECHO, None, "schema.input_not_object"),
        (ECHO, "text", "schema.input_not_object"),
        ("http.fetch", {"url": "https://example.org/"}, "schema.runtime_unsupported"),
        (SKILL, {"more": 1}, "schema.input_invalid"),
    ],
)
def test_3_an_unknown_tool_or_an_input_that_does_not_fit(
    world: World, tool: str, arguments: object, code: str
) -> None:
    proposal = Proposal(run_id=world.open_run().id, tool=tool, input=arguments)
    view = pipeline.submit(proposal=proposal, principal=world.agent, now=utc_now())
    assert_stopped(view, Gate.SCHEMA, code)
    assert view.call.input == arguments


def test_3_a_resource_as_long_as_an_input_may_be_is_cut_and_recorded(world: World) -> None:
    redefine(world, resource_template="file:{text}")
    view = world.propose(ASKED, {"text": "x" * 2_000})
    assert view.state == "awaiting_approval"
    assert view.call.resource is not None
    assert view.call.resource.startswith("file:xxx")


def test_4_a_skill_whose_bytes_changed(world: World) -> None:
    version = SkillVersion.objects.get(skill__skill_id=SKILL)
    SkillBlob.objects.filter(pk=version.artifact_digest).update(bytes=b"\0asm other bytes")
    assert_stopped(world.propose(SKILL), Gate.SKILL, "skill.changed")


@pytest.mark.parametrize("status", ["disabled", "recalled"])
def test_4_a_skill_that_is_not_active(world: World, status: str) -> None:
    SkillVersion.objects.filter(skill__skill_id=SKILL).update(status=status)
    view = world.propose(SKILL)
    assert_stopped(view, Gate.SKILL, f"skill.{status}")
    assert "skill.gate_decided" in events_of(view)


def test_5_a_tool_that_is_switched_off(world: World) -> None:
    set_posture(world, ECHO, "disabled")
    assert_stopped(world.propose(), Gate.POSTURE, "posture.disabled")


def test_5_a_tool_that_is_not_on_the_allowlist(world: World) -> None:
    take_off_the_allowlist(world, ECHO)
    assert_stopped(world.propose(), Gate.POSTURE, "posture.locked")


def test_6_no_host_has_the_backend_and_nobody_is_asked(world: World) -> None:
    missing = Finding("error", "bwrap_missing", "bubblewrap is missing.", "Install bubblewrap.")
    announce(Probe(executors=frozenset({Executor.BUILTIN}), findings=(missing,)))
    view = world.propose(ASKED)
    assert_stopped(view, Gate.BACKEND, "sandbox.backend_unavailable")
    assert "Install bubblewrap." in view.call.reason
    assert not ApprovalRequest.objects.exists()


def test_6_no_worker_has_been_seen(world: World) -> None:
    SandboxProbe.objects.all().delete()
    assert_stopped(world.propose(), Gate.BACKEND, "sandbox.backend_unavailable")


def test_7_a_principal_that_policy_does_not_permit(world: World) -> None:
    allow_principal(world, world.other_agent_row.pk)
    view = world.propose()
    assert_stopped(view, Gate.POLICY, "policy.principal_not_allowlisted")
    assert view.call.policy_set is not None


def test_7_the_rules_that_forbid_are_named(world: World) -> None:
    run = world.open_run()
    known = world.agent
    with transaction.atomic():
        agents.suspend_agent(
            agent_id=known.id, reason="a test", actor=owner_actor(world), now=utc_now(), record=record
        )
    view = world.propose(run=run, principal=known)
    assert_stopped(view, Gate.POLICY, "policy.denied")
    assert [rule["id"] for rule in view.call.determining_policies] == ["deny_inactive_agent"]
    assert attested(view).predicate["determining_policies"] == ["deny_inactive_agent"]


def test_8_a_run_that_used_up_its_calls(world: World) -> None:
    run = world.open_run(max_calls=1)
    world.propose(run=run)
    view = world.propose(ASKED, run=run)
    assert_stopped(view, Gate.BUDGET, "budget.exceeded")
    assert calls_used(view) == 1
    assert not ApprovalRequest.objects.exists()


def test_9_a_run_with_nobody_to_ask(world: World) -> None:
    run = world.open_run(approval_channel="none")
    view = world.propose(ASKED, run=run)
    assert_stopped(view, Gate.APPROVAL, "approval.channel_unavailable")
    assert calls_used(view) == 0
    assert world.propose(run=run).state == "queued"


def test_9_nobody_may_answer(world: World) -> None:
    Membership.objects.filter(user__in=[world.owner, world.approver, world.second_approver]).delete()
    view = world.propose(ASKED)
    assert_stopped(view, Gate.APPROVAL, "approval.no_eligible_approver")
    assert calls_used(view) == 0


def raises(*_: object, **__: object) -> None:
    raise RuntimeError("secret detail of the fault")


def asks_a_table_that_is_not_there(*_: object, **__: object) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM no_such_table")


def writes_and_raises(*_: object, **__: object) -> None:
    Run.objects.update(purpose="written by a gate that failed")
    raise RuntimeError


@pytest.mark.parametrize("fault", [raises, asks_a_table_that_is_not_there, writes_and_raises])
@pytest.mark.parametrize("gate", list(Gate))
def test_a_gate_that_fails_denies_and_leaves_nothing_behind(
    world: World, monkeypatch: pytest.MonkeyPatch, gate: Gate, fault: Callable[..., None]
) -> None:
    run = world.open_run()
    monkeypatch.setattr(checks, "run_is_open" if gate is Gate.RUN else gate.value, fault)
    view = world.propose(ASKED, run=run)
    assert_stopped(view, gate, ON_ERROR[gate])
    assert calls_used(view) == 0
    assert not ApprovalRequest.objects.exists()
    run.refresh_from_db()
    assert run.purpose == ""
    assert "secret detail" not in str(view.call.gates)


def test_an_event_that_fails_inside_a_gate_undoes_the_gate(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "reserve_call", raises)
    assert_stopped(world.propose(), Gate.BUDGET, "budget.unavailable")


def test_a_closed_run_makes_no_call(world: World) -> None:
    run = world.open_run()
    runs.cancel_run(run_id=run.id, principal=world.agent, reason="", now=utc_now())
    events = JournalEvent.objects.count()
    with pytest.raises(ConflictError) as refused:
        world.propose(run=run)
    assert refused.value.code == "run.closed"
    assert not ToolCall.objects.exists()
    assert JournalEvent.objects.count() == events


def test_a_run_whose_time_is_over_makes_no_call(world: World) -> None:
    run = world.open_run(ttl_seconds=60)
    with pytest.raises(ConflictError) as refused:
        world.propose(run=run, now=run.deadline_at)
    assert refused.value.code == "run.closed"
    assert not ToolCall.objects.exists()


def test_another_agents_run_does_not_exist(world: World) -> None:
    run = world.open_run()
    with pytest.raises(NotFoundError) as refused:
        world.propose(run=run, principal=world.other_agent)
    assert refused.value.code == "run_not_found"
    assert not ToolCall.objects.exists()
