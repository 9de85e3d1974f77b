"""Presets, resets, undoing and recommendations over HTTP."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.db import transaction

from governance import postures
from governance.journal.ledger import record
from governance.models import ToolCall
from governance.operations import installation, postures as operations, sweeping
from identity.models import User
from identity.roles import WorkspaceRole
from kernel.clock import utc_now, wire_time
from kernel.errors import RefusedError
from kernel.record import system_actor
from policy import services as policy
from policy.models import PostureEvent, PostureOverride
from policy.types import AllowlistKind, ToolDefinition
from tests.cast import principal
from tests.governance.api.stepping import fresh
from tests.governance.api.test_answers import assert_problem
from tests.governance.api.test_posture import REASON, forget_code, put, scope, shown
from tests.governance.api.world import HOST, Answer, Caller, World, add_person, owner_principal

NOTE = ToolDefinition(
    name="x.note",
    description="Prints a text.",
    input_schema={
        "type": "object",
        "properties": {"text": {"type": "string"}},
        "required": ["text"],
        "additionalProperties": False,
    },
    argv_template=("/usr/bin/printf", "%s", "{text}"),
    capabilities=frozenset({"process_exec"}),
    risk="medium",
)
"""Asks by its posture, runs in Tier C, and sends nothing anywhere."""


@pytest.fixture
def here(world: World) -> dict[str, str]:
    return scope("workspace", world.workspace.pk)


@pytest.fixture
def note(world: World) -> World:
    shell = system_actor("shell")
    with transaction.atomic():
        policy.register_tool(definition=NOTE, actor=shell, now=utc_now(), record=record)
        policy.allowlist(
            workspace_id=world.workspace.pk,
            kind=AllowlistKind.TOOL,
            value=NOTE.name,
            actor=shell,
            now=utc_now(),
            record=record,
        )
    return world


def answered(world: World, *decisions: str, agent: Caller | None = None) -> None:
    """Have an agent ask once for each decision, in two sessions by turns, and a person answer."""
    who = agent or world.agent
    for number, decision in enumerate(decisions):
        run = who.open_run(session_key=f"s{number % 2}")
        call = who.propose(NOTE.name, {"text": f"{number}"}, run=run)
        assert call["state"] == "awaiting_approval", call["decision"]
        if decision == "wait":
            continue
        body = {"decision": decision, "comment": "a test"}
        path = f"approvals/{call['approval']['id']}/decision"
        answer = fresh(world.approver).post(path, body)
        assert answer.status_code == 200, answer.content


def recommended(world: World) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = world.auditor.get("posture/recommendations").json()["data"]
    return found


def answer(caller: Caller, recommendation: str, said: str = "accept", **more: str) -> Answer:
    return caller.post(f"posture/recommendations/{recommendation}/answer", {"answer": said, **more})


def test_the_presets_are_listed(world: World) -> None:
    listed = world.agent.get("posture/presets").json()["data"]
    assert [one["id"] for one in listed] == [
        "conservative_coding", "browser_assist", "read_mostly_research", "automation_review", "lockdown",
    ]  # fmt: skip
    assert listed[2]["says"]["process.run"] == "disabled"


def test_a_preview_writes_nothing_and_apply_does_what_it_said(world: World, here: dict[str, str]) -> None:
    preview = world.auditor.post("posture/presets/read_mostly_research/preview", here).json()
    rows = {row["tool"]: row for row in preview["rows"]}
    assert rows["process.run"] == {
        "tool": "process.run", "current": "ask_each_time", "proposed": "disabled", "changed": True,
        "locked": False, "lock_reason": None, "loosens": False,
    }  # fmt: skip
    assert not PostureOverride.objects.exclude(tool="demo.ls").exists()
    applied = world.owner.post(
        "posture/presets/read_mostly_research/apply", {**here, "reason": REASON}
    ).json()
    written = {change["tool"] for change in applied["event"]["changes"]}
    assert written == {name for name, row in rows.items() if row["changed"]}
    assert (
        shown(world.agent, "process.run", here).json()["override"]["source"] == "preset:read_mostly_research"
    )
    again = world.owner.post("posture/presets/read_mostly_research/apply", {**here, "reason": REASON}).json()
    assert again == {"object": "posture_act", "undo_id": None, "event": None}


def test_a_preset_is_undone_once_with_a_fresh_code(world: World, here: dict[str, str]) -> None:
    before = list(PostureOverride.objects.values_list("tool", "state"))
    forget_code(world.owner)
    path = "posture/presets/lockdown/apply"
    undo = world.owner.post(path, {**here, "reason": REASON}).json()["undo_id"]
    call = world.agent.propose("process.run", {"command": "ls"})
    assert call["decision"]["reason_code"] == "posture.disabled"
    assert_problem(world.owner.post(f"posture/undo/{undo}"), 401, "step_up_required")
    done = fresh(world.owner).post(f"posture/undo/{undo}", {"reason": "over"}, Idempotency_Key="k")
    assert done.status_code == 200, done.content
    assert done.json()["event"]["undoes"] == undo
    assert list(PostureOverride.objects.values_list("tool", "state")) == before
    again = world.owner.post(f"posture/undo/{undo}", {"reason": "over"}, Idempotency_Key="k")
    assert (again.headers["Idempotency-Replayed"], again.json()) == ("true", done.json())
    assert_problem(world.owner.post(f"posture/undo/{undo}"), 409, "state_changed")
    assert_problem(world.owner.post("posture/undo/evt_no"), 404, "not_found")


def test_a_preset_that_frees_or_is_too_loose_is_refused_whole(world: World, here: dict[str, str]) -> None:
    forget_code(world.owner)
    world.owner.post("posture/presets/lockdown/apply", {**here, "reason": REASON})
    count = PostureEvent.objects.count()
    path = "posture/presets/conservative_coding/apply"
    assert_problem(world.owner.post(path, {**here, "reason": REASON}), 401, "step_up_required")
    assert PostureEvent.objects.count() == count
    assert fresh(world.owner).post(path, {**here, "reason": REASON}).status_code == 200
    assert_problem(
        world.owner.post("posture/presets/party/apply", {**here, "reason": REASON}), 404, "not_found"
    )
    assert_problem(world.owner.post(path, {**here}), 422, "invalid")
    past = {**here, "reason": REASON, "expires_at": "2020-01-01T00:00:00Z"}
    assert_problem(world.owner.post(path, past), 422, "invalid")


def test_a_reset_takes_the_overrides_of_one_scope(world: World, here: dict[str, str]) -> None:
    fresh(world.owner)
    put(world.owner, "echo", here, "disabled")
    put(world.owner, "echo", scope("agent", world.agent.id), "disabled")
    done = world.owner.post("posture/reset", {**here, "reason": REASON}).json()
    assert {change["tool"] for change in done["event"]["changes"]} == {"echo", "demo.ls"}
    assert list(PostureOverride.objects.values_list("scope_kind", flat=True)) == ["agent"]
    assert world.owner.post("posture/reset", {**here, "reason": REASON}).json()["undo_id"] is None
    assert world.owner.post(f"posture/undo/{done['undo_id']}").status_code == 200
    assert PostureOverride.objects.count() == 3


def test_what_has_ended_is_swept_with_an_entry(world: World, here: dict[str, str]) -> None:
    end = wire_time(utc_now() + timedelta(minutes=5))
    put(world.owner, "echo", here, "disabled", expires_at=end)
    assert sweeping.sweep(utc_now())["postures_expired"] == 0
    later = utc_now() + timedelta(minutes=6)
    assert sweeping.sweep(later)["postures_expired"] == 1
    event = PostureEvent.objects.get(action="override_expired")
    assert (event.tool, event.previous_state, event.actor) == ("echo", "disabled", "system")
    assert not PostureOverride.objects.filter(tool="echo").exists()


def test_five_approvals_in_two_sessions_recommend_and_one_denial_takes_it_back(note: World) -> None:
    answered(note, *["allow"] * 4)
    assert recommended(note) == []
    answered(note, "allow")
    (found,) = recommended(note)
    assert (found["kind"], found["tool"], found["scope_kind"]) == ("loosen", NOTE.name, "agent")
    assert found["id"] == f"rec:loosen:agent:{note.agent.id}:{NOTE.name}:always_allow"
    assert (found["facts"]["approved"], found["facts"]["sessions"]) == (5, 2)
    answered(note, "deny", agent=note.other_agent)
    assert recommended(note) == []
    assert_problem(answer(fresh(note.owner), found["id"]), 409, "recommendation_stale")


def test_accepting_writes_the_override_and_the_next_call_does_not_ask(note: World) -> None:
    answered(note, *["allow"] * 5)
    (found,) = recommended(note)
    forget_code(note.owner)
    assert_problem(answer(note.owner, found["id"]), 401, "step_up_required")
    assert_problem(answer(note.auditor, found["id"]), 403, "role_required")
    done = answer(fresh(note.owner), found["id"])
    assert done.status_code == 200, done.content
    row = PostureOverride.objects.get(tool=NOTE.name)
    assert (row.source, row.state, row.scope_id) == (
        f"recommendation:{found['id']}", "always_allow", note.agent.id,
    )  # fmt: skip
    call = note.agent.propose(NOTE.name, {"text": "again"})
    assert call["state"] == "queued"
    assert recommended(note) == []
    assert_problem(answer(note.owner, found["id"]), 409, "recommendation_stale")
    assert note.owner.post(f"posture/undo/{done.json()['undo_id']}").status_code == 200
    assert [one["id"] for one in recommended(note)] == [found["id"]]


@pytest.mark.parametrize(
    ("said", "action"), [("dismiss", "recommendation_dismissed"), ("defer", "recommendation_deferred")]
)
def test_what_is_put_off_is_hidden_and_can_still_be_accepted(note: World, said: str, action: str) -> None:
    answered(note, *["allow"] * 5)
    (found,) = recommended(note)
    done = answer(note.owner, found["id"], said, reason="later")
    assert (done.json()["event"]["action"], done.json()["event"]["changes"]) == (action, [])
    assert recommended(note) == []
    assert answer(fresh(note.owner), found["id"]).status_code == 200


def test_what_is_deferred_comes_back_after_a_week_while_it_holds(note: World) -> None:
    answered(note, *["allow"] * 5)
    (found,) = recommended(note)
    answer(note.owner, found["id"], "defer")
    for days, expected in ((6.9, []), (7.1, [found["id"]]), (14.1, [])):
        with time_machine.travel(utc_now() + timedelta(days=days), tick=True):
            installation.announce_worker(host="test", boot="test", probe=HOST, now=utc_now())
            assert [one["id"] for one in recommended(note)] == expected


def test_a_pending_request_keeps_a_recommendation_back(note: World) -> None:
    answered(note, *["allow"] * 5, "wait")
    assert recommended(note) == []


def test_three_denials_recommend_to_switch_off(note: World) -> None:
    answered(note, "deny", "deny", "deny")
    (found,) = recommended(note)
    assert (found["kind"], found["target"], found["scope_kind"]) == ("tighten", "disabled", "agent")
    forget_code(note.owner)
    assert answer(note.owner, found["id"]).status_code == 200
    denied = note.agent.propose(NOTE.name, {"text": "x"})
    assert denied["decision"]["reason_code"] == "posture.disabled"


@pytest.mark.parametrize(
    ("identifier", "status", "code"),
    [
        ("nonsense", 404, "not_found"),
        ("rec:loosen:planet:x:echo:always_allow", 404, "not_found"),
        ("rec:loosen:global::echo:always_allow", 409, "recommendation_stale"),
        ("rec:loosen:global::no.such:always_allow", 409, "recommendation_stale"),
    ],
)
def test_a_recommendation_nobody_made_is_not_accepted(
    world: World, identifier: str, status: int, code: str
) -> None:
    for said in ("accept", "dismiss", "defer"):
        assert_problem(answer(fresh(world.owner), identifier, said), status, code)
    assert_problem(answer(world.owner, identifier, "maybe"), 422, "invalid")


def test_an_always_allow_that_nobody_used_is_recommended_back_and_global_ones_take_the_instance(
    world: World,
) -> None:
    assert put(fresh(world.owner), "echo", scope("global"), "always_allow").status_code == 200
    found = "rec:tighten:global::echo:ask_each_time"
    for days, expected in ((29, False), (31, True)):
        later = utc_now() + timedelta(days=days)
        installation.announce_worker(host="test", boot="test", probe=HOST, now=later)
        ids = {one.id for one in postures.recommendations(world.workspace.pk, later)}
        assert (found in ids) is expected
    with transaction.atomic():
        owner = owner_principal(world, utc_now())
        local = add_person("local-admin", world.workspace, owner, WorkspaceRole.ADMIN, now=utc_now())
    admin = principal(User.objects.get(pk=local.id), world.workspace, now=later)
    for said in operations.ANSWERS:
        with pytest.raises(RefusedError, match="role_required"):
            operations.answer(principal=admin, recommendation_id=found, answer=said, now=later)
    wide = principal(User.objects.get(pk=world.owner.id), world.workspace, now=later)
    operations.answer(principal=wide, recommendation_id=found, answer="accept", now=later)
    assert PostureOverride.objects.get(tool="echo").state == "ask_each_time"


def test_a_call_within_the_last_thirty_days_keeps_it(world: World) -> None:
    assert put(fresh(world.owner), "echo", scope("global"), "always_allow").status_code == 200
    later = utc_now() + timedelta(days=31)
    world.agent.propose("echo", {"text": "x"})
    ToolCall.objects.filter(tool_name="echo").update(created_at=later - timedelta(days=29))
    installation.announce_worker(host="test", boot="test", probe=HOST, now=later)
    assert not [one for one in postures.recommendations(world.workspace.pk, later) if one.tool == "echo"]
