"""An explanation of a call is what its gates said, and of a question what they would say."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from time import sleep
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from governance.explaining import RECORDED, Explanation, explain_call, explain_question
from governance.operations import policy_sets
from governance.selectors import CallView
from governance.supposing import Circumstances, Supposed
from identity.models import Workspace
from identity.roles import Permission
from kernel.clock import utc_now
from kernel.errors import InvalidError, NotFoundError, RefusedError
from policy import explain_selectors
from policy.compilation import CompiledSet, compile_set
from policy.epoch import raise_epoch
from policy.label_models import LabelHolder
from policy.models import AllowlistEntry, DecisionRecord, Tool
from policy.runtime import current
from policy.set_selectors import set_text
from policy.types import EntityRef, Finding
from tests.cast import principal
from tests.governance.pipeline.world import ASKED, ECHO, INPUTS, LAUNCH, NOTE, SLEEP, World

WRITES = ("INSERT", "UPDATE", "DELETE", "REPLACE")


def by_id(world: World, view: CallView, policy_set: str = "active") -> Explanation:
    now = utc_now()
    reader = world.person(world.owner, now=now)
    return explain_call(call_id=view.call.id, policy_set=policy_set, principal=reader, now=now)


def supposed(world: World, tool: str = ECHO, **context: Any) -> Supposed:
    given: dict[str, Any] = {"input": INPUTS.get(tool, NOTE)} | context
    return Supposed(
        EntityRef("Agent", world.agent.id), "tool.execute", EntityRef("Tool", tool), Circumstances(**given)
    )


def ask(world: World, question: Supposed, policy_set: str = "active") -> Explanation:
    now = utc_now()
    reader = world.person(world.owner, now=now)
    return explain_question(supposed=question, policy_set=policy_set, principal=reader, now=now)


def ids(found: Explanation) -> list[str]:
    return [rule.id for rule in found.explained.determining]


@pytest.mark.parametrize("tool", [ECHO, SLEEP, ASKED, LAUNCH])
def test_a_recorded_call_is_explained_as_its_gate_decided(world: World, tool: str) -> None:
    view = world.propose(tool)
    kept = DecisionRecord.objects.get(call_id=view.call.id)
    for policy_set in ("active", RECORDED, str(kept.policy_set_id)):
        found = by_id(world, view, policy_set)
        decision = found.explained.decision
        assert (decision.effect, str(decision.reason_code)) == (kept.effect, kept.reason_code)
        assert ids(found) == [policy["id"] for policy in view.call.determining_policies]
        assert found.outcome[0] == view.call.effect
        assert found.exact
        assert found.recorded is not None


@pytest.mark.parametrize("tool", [ECHO, SLEEP, ASKED, LAUNCH])
def test_a_question_is_answered_as_the_gates_then_do(world: World, tool: str) -> None:
    before = ask(world, supposed(world, tool))
    view = world.propose(tool)
    assert before.outcome[0] == view.call.effect
    assert ids(before) == [policy["id"] for policy in view.call.determining_policies]
    assert before.explained.decision.reason_code == (
        DecisionRecord.objects.get(call_id=view.call.id).reason_code
    )


def test_an_explanation_writes_nothing_and_holds_nothing(world: World) -> None:
    view = world.propose(ASKED)
    with CaptureQueriesContext(connection) as queries:
        by_id(world, view)
        ask(world, supposed(world, SLEEP, session_id="s1"))
    told = [query["sql"].upper() for query in queries]
    assert [sql for sql in told if sql.startswith(WRITES) or "FOR UPDATE" in sql] == []


def test_rules_come_with_their_place_and_their_own_text(world: World) -> None:
    found = ask(world, supposed(world))
    (rule,) = found.explained.determining
    assert rule.file.endswith(".cedar")
    assert rule.line > 1
    assert rule.column == 1
    assert rule.text.startswith('@id("allow_allowlisted_tool_execute")')


def test_a_call_that_ended_before_policy_is_explained_by_the_gate_that_stopped_it(world: World) -> None:
    view = world.propose(ECHO, {"text": 1})
    found = by_id(world, view)
    assert (found.outcome, found.explained.decision.reason_code) == (
        ("deny", "schema.input_invalid"),
        "schema.input_invalid",
    )
    assert [stop.gate for stop in found.stops] == ["schema"]
    assert not found.exact


def test_an_unknown_tool_is_stopped_at_the_schema_gate(world: World) -> None:
    found = ask(world, supposed(world, "no.such.tool"))
    assert found.outcome == ("deny", "schema.tool_unknown")
    assert found.explained.determining == ()


def test_a_tool_that_is_off_is_put_to_the_rules_all_the_same(world: World) -> None:
    Tool.objects.filter(name=ECHO).update(enabled=False)
    raise_epoch()
    found = ask(world, supposed(world))
    assert found.outcome == ("deny", "schema.tool_disabled")
    assert found.explained.minimal_change == (("enable_tool",),)
    assert found.explained.near_misses[0].id == "allow_allowlisted_tool_execute"


def test_a_tool_off_the_allowlist_is_one_change_away(world: World) -> None:
    AllowlistEntry.objects.filter(value=ECHO).delete()
    raise_epoch()
    found = ask(world, supposed(world))
    assert found.explained.decision.reason_code == "policy.tool_not_allowlisted"
    assert found.explained.minimal_change == (("allowlist_tool",),)
    assert [stop.reason_code for stop in found.stops] == ["posture.locked"]
    assert found.outcome == ("deny", "posture.locked")


def test_the_record_counts_and_not_the_facts_of_today(world: World) -> None:
    view = world.propose(ECHO)
    AllowlistEntry.objects.filter(value=ECHO).delete()
    raise_epoch()
    assert by_id(world, view).explained.decision.effect == "allow"
    DecisionRecord.objects.filter(call_id=view.call.id).delete()
    today = by_id(world, view)
    assert today.explained.decision.reason_code == "policy.tool_not_allowlisted"
    assert not today.exact


def test_a_redacted_input_is_put_back_from_the_call(world: World) -> None:
    view = world.propose(ECHO, {"text": "password=hunter2hunter2"})
    kept = DecisionRecord.objects.get(call_id=view.call.id)
    found = by_id(world, view)
    assert found.exact
    assert found.asked is not None
    assert found.asked.context.tool_input == view.call.input
    assert (kept.exact, "hunter2hunter2" in kept.request) == (False, False)


def test_what_is_supposed_reaches_the_rules(world: World) -> None:
    later = utc_now() + timedelta(days=1)
    run = world.open_run()
    found = ask(
        world,
        supposed(
            world,
            run_id=run.id,
            channel="ops",
            calls_in_run=7,
            auth_method="session",
            source_ip="10.0.0.9",
            device_id="dev_x",
            external_execution=True,
            now=later,
        ),
    )
    assert found.asked is not None
    context = found.asked.context
    assert (context.run_id, context.channel, context.calls_in_run, context.now) == (run.id, "ops", 7, later)
    assert (context.auth_method, context.source_ip, context.device_id) == ("session", "10.0.0.9", "dev_x")
    assert context.external_execution


def test_governance_is_explained_for_a_person(world: World) -> None:
    question = Supposed(
        EntityRef("User", world.approver.pk), "policy.activate", EntityRef("Server", "palyra")
    )
    found = ask(world, question)
    assert found.outcome == ("deny", "policy.no_permit")
    assert found.explained.near_misses[0].id == "allow_governance_by_permission"
    allowed = replace(question, principal=EntityRef("User", world.owner.pk))
    assert ask(world, allowed).outcome == ("allow", "policy.allowed")


@pytest.mark.parametrize(
    "who",
    [
        EntityRef("Agent", "agt_01JD0000000000000000000000"),
        EntityRef("User", "usr_01JD0000000000000000000000"),
        EntityRef("Agent", 'hostile"::\n\0'),
        EntityRef("User", "\0"),
    ],
)
def test_a_principal_that_does_not_exist_is_not_found(world: World, who: EntityRef) -> None:
    with pytest.raises(NotFoundError):
        ask(world, replace(supposed(world), principal=who))


@pytest.mark.parametrize("kind", ["Device", "Service", "Group", "", "user"])
def test_only_people_and_agents_ask(world: World, kind: str) -> None:
    with pytest.raises(InvalidError):
        ask(world, replace(supposed(world), principal=EntityRef(kind, world.agent.id)))


def test_a_run_of_another_agent_is_refused(world: World) -> None:
    run = world.open_run(world.other_agent)
    with pytest.raises(InvalidError):
        ask(world, supposed(world, run_id=run.id))


@pytest.mark.parametrize("session", ["ses_01JD0000000000000000000000", "a\0b"])
def test_a_session_of_nobody_is_refused(world: World, session: str) -> None:
    with pytest.raises((NotFoundError, InvalidError)):
        ask(world, supposed(world, session_id=session))


@pytest.mark.parametrize("kept", [True, False])
def test_rules_that_were_never_in_force_cannot_spell_out_a_secret(world: World, kept: bool) -> None:
    view = world.propose(ECHO, {"text": "password=hunter2hunter2"})
    if not kept:
        DecisionRecord.objects.filter(call_id=view.call.id).delete()
    now = utc_now()
    owner = principal(world.owner, Workspace.objects.get(slug="instance"), now=now)
    row = policy_sets.draft(principal=owner, name="Guessing", now=now)
    guess = """@id("guess") permit (principal, action == Palyra::Action::"tool.execute:echo", resource)
    when { context.input.text like "*hunter2h*" };"""
    policy_sets.put_file(
        principal=owner, set_id=row.pk, file_name="guess.cedar", text=guess, seen_version=1, now=now
    )
    found = by_id(world, view, row.pk)
    assert found.explained.decision.effect == "allow"
    assert not found.exact
    assert "guess" not in ids(found)
    assert "hunter2" not in repr(found.asked)


@pytest.mark.parametrize("wrong", [True, False])
def test_a_set_is_compiled_once_however_many_ask_for_it(
    world: World, monkeypatch: pytest.MonkeyPatch, wrong: bool
) -> None:
    now = utc_now()
    owner = principal(world.owner, Workspace.objects.get(slug="instance"), now=now)
    row = policy_sets.draft(principal=owner, name="Asked about", now=now)
    if wrong:
        policy_sets.put_file(
            principal=owner, set_id=row.pk, file_name="wrong.cedar", text="permit", seen_version=1, now=now
        )
    runtime, text, compiled = current(), set_text(row), []

    def compile_slowly(*args: Any, **more: Any) -> CompiledSet | tuple[Finding, ...]:
        compiled.append(args)
        sleep(0.05)
        return compile_set(*args, **more)

    monkeypatch.setattr(explain_selectors, "compile_set", compile_slowly)
    monkeypatch.setattr(explain_selectors, "set_text", lambda _: text)
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(explain_selectors._as_it_is, row, runtime) for _ in range(4)]
        failed = [one.exception() for one in asked]
    assert [isinstance(error, InvalidError) for error in failed] == [wrong] * 4
    assert len(compiled) == 1


def test_a_key_is_no_way_to_the_labels_of_somebody_else(world: World) -> None:
    other = world.other_agent.id
    LabelHolder.objects.create(pk=other, workspace_id="wsp_else", created_at=utc_now())
    with pytest.raises(NotFoundError):
        ask(world, supposed(world, session_id=other))


def test_a_record_of_another_version_counts_as_none(world: World) -> None:
    view = world.propose(ECHO)
    DecisionRecord.objects.filter(call_id=view.call.id).update(request='{"v":999}')
    found = by_id(world, view)
    assert (found.recorded, found.exact) == (None, False)
    assert found.explained.decision.effect == "allow"


@pytest.mark.parametrize("policy_set", ["pol_01JD0000000000000000000000", "", "no such", "a\0b"])
def test_an_unknown_set_is_not_found(world: World, policy_set: str) -> None:
    with pytest.raises(NotFoundError):
        ask(world, supposed(world), policy_set)


def test_without_policy_read_nothing_is_explained(world: World) -> None:
    now = utc_now()
    view = world.propose(ECHO)
    reader = world.person(world.owner, now=now)
    poorer = replace(reader, permissions=reader.permissions - {Permission.POLICY_READ})
    for refused in (poorer, world.person(world.stranger, now=now), world.agent):
        with pytest.raises(RefusedError):
            explain_call(call_id=view.call.id, policy_set="active", principal=refused, now=now)
        with pytest.raises(RefusedError):
            explain_question(supposed=supposed(world), policy_set="active", principal=refused, now=now)


def test_without_calls_read_a_call_is_not_found(world: World) -> None:
    now = utc_now()
    view = world.propose(ECHO)
    reader = world.person(world.owner, now=now)
    poorer = replace(reader, permissions=reader.permissions - {Permission.CALLS_READ})
    with pytest.raises(NotFoundError):
        explain_call(call_id=view.call.id, policy_set="active", principal=poorer, now=now)


def test_another_workspaces_agent_does_not_exist_for_a_reader_of_one(world: World) -> None:
    now = utc_now()
    reader = replace(world.person(world.owner, now=now), instance_roles=frozenset(), workspace_id="wsp_else")
    with pytest.raises((NotFoundError, RefusedError)):
        explain_question(supposed=supposed(world), policy_set="active", principal=reader, now=now)
