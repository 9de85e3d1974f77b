"""Every decision of gate 7 is kept in the transaction that makes it, without secrets, for as long as told."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import DatabaseError
from hypothesis import given, settings, strategies as st

from governance import pipeline, readiness
from governance.journal.models import JournalEvent
from governance.journal.reading import open_data
from governance.models import Run, ToolCall
from governance.proposals import Proposal
from governance.recording import record_fault, redacted_input
from kernel.clock import utc_now
from kernel.record import system_actor
from policy import decisions
from policy.decision_records import sweep_records
from policy.engine import refuse
from policy.models import DecisionRecord, EntitySnapshot, PolicySet
from policy.placement import EntityHandles
from policy.replaying import read_snapshot, replay, unpack
from policy.runtime import current
from policy.types import Code, PolicyDecision
from tests.builders import RecordedEvents
from tests.governance.pipeline.world import ASKED, LAUNCH, SLEEP, World, again, take_off_the_allowlist

SECRET = "plr_agt_" + "0" * 20
KEY = "AKIAIOSFODNN7EXAMPLE"


def record_of(call: ToolCall) -> DecisionRecord:
    return DecisionRecord.objects.select_related("entities").get(call_id=call.id)


def replayed(record: DecisionRecord) -> PolicyDecision:
    engine = current().engine
    assert engine is not None
    asked = unpack(record.request, read_snapshot(record.entities.entities))
    return replay(asked, engine.compiled, EntityHandles(engine.compiled.schema_handle))


@pytest.mark.parametrize(
    ("tool", "effect"), [("echo", "allow"), (SLEEP, "allow"), (ASKED, "require_approval")]
)
def test_a_decision_is_kept_under_the_id_of_its_event_and_replays_alike(
    world: World, tool: str, effect: str
) -> None:
    view = world.propose(tool)
    record = record_of(view.call)
    event = JournalEvent.objects.get(call_id=view.call.id, type="tool_call.decided")
    assert (record.pk, record.decided_at, record.exact) == (event.pk, view.call.decided_at, True)
    assert (record.principal_id, record.resource_id) == (world.agent.id, tool)
    assert (record.workspace_id, record.effect) == (world.workspace.pk, effect)
    assert record.policy_set_id == (view.call.policy_set or {})["id"]
    again_decided = replayed(record)
    assert (again_decided.effect.value, str(again_decided.reason_code)) == (record.effect, record.reason_code)


def test_a_denial_of_gate_7_is_kept_and_one_of_an_earlier_gate_is_not(world: World) -> None:
    unknown = world.propose("no.such_tool")
    assert not DecisionRecord.objects.filter(call_id=unknown.call.id).exists()
    call = world.propose("echo", principal=world.other_agent).call
    assert record_of(call).principal_id == world.other_agent.id
    take_off_the_allowlist(world, ASKED)
    denied = world.propose(ASKED)
    assert denied.call.effect == "deny"


def test_an_answer_and_a_run_add_no_second_record(world: World) -> None:
    view = world.allowed(world.ask())
    world.run(view)
    assert DecisionRecord.objects.filter(call_id=view.call.id).count() == 1


def test_a_preview_leaves_nothing(world: World) -> None:
    run = world.open_run()
    before = DecisionRecord.objects.count(), EntitySnapshot.objects.count()
    pipeline.preview(
        proposal=Proposal(run_id=run.id, tool="echo", input={"text": "x"}),
        principal=world.agent,
        now=utc_now(),
    )
    assert (DecisionRecord.objects.count(), EntitySnapshot.objects.count()) == before


def test_a_decision_that_cannot_be_kept_is_not_made(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    run = world.open_run()
    calls = ToolCall.objects.count()

    def fail(*args: object, **more: object) -> None:
        raise DatabaseError("disk full")

    monkeypatch.setattr(DecisionRecord.objects, "create", fail)
    with pytest.raises(DatabaseError):
        world.propose("echo", run=run)
    assert ToolCall.objects.count() == calls
    assert Run.objects.get(id=run.id).calls_used == 0


def test_calls_of_one_agent_share_a_snapshot(world: World) -> None:
    first, second = world.propose("echo"), world.propose("echo", {"text": "other"})
    assert record_of(first.call).entities_id == record_of(second.call).entities_id
    other = world.propose("echo", principal=world.other_agent)
    assert record_of(other.call).entities_id != record_of(first.call).entities_id


def test_a_secret_among_the_arguments_is_cut_and_the_record_says_so(world: World) -> None:
    record = record_of(world.propose("echo", {"text": f"use {SECRET} now"}).call)
    assert SECRET not in record.request
    assert record.exact is False
    assert replayed(record).effect == record.effect


@pytest.mark.parametrize(
    ("given_input", "kept"),
    [
        ({"text": "hello"}, {"text": "hello"}),
        ({"password": "hunter22", "n": 1}, {"password": "[redacted:key]", "n": 1}),
        ({"pin": 1234}, {"pin": 0}),
        ({"secrets": {"a": ["x", 2, True, None]}}, {"secrets": {"a": ["x", 2, True, None]}}),
        ({"secret": {"a": ["x", 2, True, None]}}, {"secret": {"a": ["[redacted:key]", 0, True, None]}}),
        (
            {"url": "https://me:hunter22@host.example/x"},
            {"url": "https://me:redacted@host.example/x"},
        ),
        ({"list": [f"a {SECRET}"]}, {"list": ["a [redacted:palyra_token]"]}),
        ({"token_count": 5}, {"token_count": 5}),
    ],
)
def test_what_is_cut_keeps_its_type(given_input: dict[str, Any], kept: dict[str, Any]) -> None:
    cleaned = redacted_input(given_input)
    assert cleaned.value == kept
    assert cleaned.exact is (given_input == kept)


def test_a_secret_inside_json_inside_a_text_is_cut() -> None:
    cleaned = redacted_input({"body": json.dumps({"password": "hunter22", "q": 1})})
    assert "hunter22" not in str(cleaned.value)
    assert cleaned.exact is False


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["password", "a", "token", "pin"]), inner, max_size=3)
    ),
    max_leaves=10,
)


@given(st.dictionaries(st.sampled_from(["password", "body", "cookie"]), json_values, max_size=3))
@settings(max_examples=80, deadline=None)
def test_cutting_twice_changes_nothing_and_an_exact_record_is_the_input(value: dict[str, Any]) -> None:
    once = redacted_input(value)
    assert redacted_input(once.value).value == once.value
    if once.exact:
        assert once.value == value


def failing(*errors: str, code: Code = Code.EVALUATION_FAILED) -> PolicyDecision:
    return refuse(code, "", errors=errors, cedar=True)


def evaluate_as(monkeypatch: pytest.MonkeyPatch, decision: PolicyDecision) -> None:
    monkeypatch.setattr(decisions, "evaluate", lambda **more: decision)


PREFIX = "error while evaluating policy `no_ftp`: "


@pytest.mark.parametrize(
    "text",
    [
        "record does not have the attribute `max`",
        "integer overflow while attempting to add the values `9223372036854775807` and `4711`",
        "error while evaluating `ipaddr` extension function: invalid IP address: hunter22",
        "error while evaluating `decimal` extension function: `hunter22` is not a well-formed decimal value",
        'entity `Palyra::User::"hunter22"` does not exist',
        "a sentence of a later version with hunter22 and 4711",
    ],
)
def test_an_engine_error_names_the_rule_and_repeats_no_value(
    world: World, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    run = world.open_run()
    evaluate_as(monkeypatch, failing(PREFIX + text))
    view = world.propose("echo", run=run)
    assert (view.call.effect, view.call.reason_code) == ("deny", "policy.evaluation_failed")
    data = open_data(JournalEvent.objects.get(call_id=view.call.id, type="policy.engine_error"))
    assert (data["policy_ids"], data["reason_code"]) == (["no_ftp"], "policy.evaluation_failed")
    assert len(data["errors"]) == 1
    assert not {"hunter22", "4711", "9223372036854775807"} & set(
        str(data["errors"]).replace("`", " ").split()
    )


def test_a_failing_rule_degrades_readiness_for_a_while_and_until_another_set_is_in_force(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = utc_now()
    run = world.open_run()
    assert "policy_rules" not in readiness.failing_parts(now).degraded
    evaluate_as(monkeypatch, failing(PREFIX + "type error"))
    world.propose("echo", run=run)
    now = utc_now()
    assert "policy_rules" in readiness.failing_parts(now).degraded
    assert readiness.failing_parts(now).failing == ()
    assert "policy_rules" not in readiness.failing_parts(now + timedelta(minutes=16)).degraded
    PolicySet.objects.filter(state="active").update(activated_at=now + timedelta(seconds=1))
    assert "policy_rules" not in readiness.failing_parts(now).degraded


def test_without_a_set_in_force_the_fault_is_recorded_too(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = world.open_run()
    evaluate_as(monkeypatch, failing(code=Code.NO_ACTIVE_SET))
    view = world.propose("echo", run=run)
    data = open_data(JournalEvent.objects.get(call_id=view.call.id, type="policy.engine_error"))
    assert (data["reason_code"], data["policy_ids"]) == ("policy.no_active_set", [])


def test_a_rule_that_fails_at_the_claim_is_recorded_and_the_call_does_not_run(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = world.propose("echo")
    evaluate_as(monkeypatch, failing(PREFIX + "type error"))
    ended = world.run(view)
    assert ended.state == "refused"
    assert JournalEvent.objects.filter(call_id=view.call.id, type="policy.engine_error").count() == 1
    assert DecisionRecord.objects.filter(call_id=view.call.id).count() == 1
    assert again(view).call.result is None


def test_an_ordinary_denial_is_no_fault() -> None:
    events = RecordedEvents()
    for code in (Code.DENIED, Code.NO_PERMIT, Code.INPUT_UNREPRESENTABLE, Code.INVALID_REQUEST):
        record_fault(
            code=code,
            decision=failing(code=code),
            subject="call_1",
            run=None,
            actor=system_actor("shell"),
            now=utc_now(),
            record=events,
        )
    assert events.events == []


def aged(world: World, days: int, now: datetime) -> DecisionRecord:
    record = record_of(world.propose("echo", principal=world.agent).call)
    DecisionRecord.objects.filter(pk=record.pk).update(decided_at=now - timedelta(days=days))
    return record


def test_the_longer_of_both_terms_holds_and_snapshots_go_with_their_last_record(world: World) -> None:
    now = utc_now()
    other = record_of(world.propose(LAUNCH, principal=world.other_agent).call)
    DecisionRecord.objects.all().update(decided_at=now - timedelta(days=60))
    old = [aged(world, days, now).pk for days in (50, 40, 31)]
    young = aged(world, 29, now)
    month = now - timedelta(days=30)
    assert sweep_records(older_than=month, keep=100, limit=100) == 0
    assert sweep_records(older_than=month, keep=3, limit=1) == 1
    while sweep_records(older_than=month, keep=3, limit=100):
        pass
    kept = set(DecisionRecord.objects.values_list("pk", flat=True))
    assert young.pk in kept
    assert old[2] in kept
    assert len(kept) == 4  # the row at the edge stays
    assert not EntitySnapshot.objects.filter(pk=other.entities_id).exists()
    assert EntitySnapshot.objects.filter(pk=young.entities_id).exists()
    while sweep_records(older_than=month, keep=0, limit=100):
        pass
    assert set(DecisionRecord.objects.values_list("pk", flat=True)) == {young.pk}
