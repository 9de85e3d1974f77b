"""Postures over HTTP: scopes, what was seen, what loosening asks for, and what the history says."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from django.utils.http import urlencode

from governance.journal.models import JournalEvent
from governance.models import Session
from governance.operations import installation
from identity.models import TokenElevation, Workspace
from identity.roles import WorkspaceRole
from kernel.clock import utc_now, wire_time
from policy.models import PostureEvent, PostureOverride
from sandbox.models import SandboxProbe
from sandbox.selection import Probe
from sandbox.types import Executor
from tests.governance.api.stepping import fresh, switch_on
from tests.governance.api.test_answers import assert_problem
from tests.governance.api.test_matrix import row_of
from tests.governance.api.world import Answer, Caller, World, add_agent, add_person, owner_principal

REASON = "asked for in a test"


def scope(kind: str, identifier: str = "") -> dict[str, str]:
    return {"scope_kind": kind, **({"scope_id": identifier} if identifier else {})}


def put(
    caller: Caller, tool: str, where: dict[str, str], state: str, *, tag: str = "", **more: Any
) -> Answer:
    body = {**where, "state": state, "reason": REASON, **more}
    headers = {"If_Match": tag} if tag else {}
    return caller.send("PUT", f"posture/{tool}", json.dumps(body).encode(), **headers)


def shown(caller: Caller, tool: str, where: dict[str, str]) -> Answer:
    return caller.get(f"posture/{tool}?{urlencode(where)}")


def delete(caller: Caller, tool: str, where: dict[str, str], *, tag: str = "", **more: str) -> Answer:
    headers = {"If_Match": tag} if tag else {}
    return caller.send("DELETE", f"posture/{tool}?{urlencode({**where, **more})}", None, **headers)


def forget_code(caller: Caller) -> Caller:
    TokenElevation.objects.filter(token=row_of(caller)).delete()
    return caller


@pytest.fixture
def here(world: World) -> dict[str, str]:
    return scope("workspace", world.workspace.pk)


@pytest.fixture
def elsewhere(world: World) -> tuple[Workspace, Caller, Caller]:
    """Another workspace with its admin and its agent."""
    now = utc_now()
    owner = owner_principal(world, now)
    switch_on("team_mode")
    with transaction.atomic():
        place = Workspace.objects.create(
            id="wsp_01JD0000000000000000000000", slug="elsewhere", name="Elsewhere", created_at=now
        )
        admin = add_person("outsider", place, owner, WorkspaceRole.ADMIN, now=now)
        agent = add_agent("outer-agent", world.agent_owner.id, world.workspace, owner, now=now)
    return place, admin, agent


@pytest.fixture
def admin(world: World) -> Caller:
    """An admin of this workspace and of nothing else."""
    with transaction.atomic():
        now = utc_now()
        owner = owner_principal(world, now)
        return add_person("local-admin", world.workspace, owner, WorkspaceRole.ADMIN, now=now)


def test_everybody_with_a_role_reads_what_a_tool_may_do(world: World) -> None:
    for caller in (world.owner, world.approver, world.auditor, world.agent):
        listed = {one["tool"]: one for one in caller.get("posture").json()["data"]}
        assert listed["demo.ls"]["state"] == "always_allow"
        assert (listed["demo.ls"]["source_scope"], listed["demo.ls"]["explicit"]) == ("workspace", True)
        assert (listed["fs.write"]["state"], listed["fs.write"]["explicit"]) == ("ask_each_time", False)
        assert listed["fs.write"]["override"] is None
    for path in ("posture", "posture/echo", "posture/presets", "posture/recommendations", "posture/events"):
        assert_problem(world.stranger.get(path), 403, "role_required")
        assert_problem(world.nobody.get(path), 401, "unauthenticated")


def test_an_override_is_set_seen_changed_and_cleared(world: World, here: dict[str, str]) -> None:
    made = put(world.owner, "fs.write", here, "disabled")
    assert made.status_code == 200, made.content
    body, tag = made.json(), made.headers["ETag"]
    assert (body["state"], body["override"]["etag"], body["override"]["reason"]) == ("disabled", tag, REASON)
    assert shown(world.agent, "palyra.fs.write", here).json() == body
    assert_problem(put(world.owner, "fs.write", here, "disabled"), 428, "precondition_required")
    assert_problem(put(world.owner, "fs.write", here, "disabled", tag="*"), 400, "invalid_if_match")
    again = put(world.owner, "fs.write", here, "disabled", tag=tag, overridable=False)
    assert again.status_code == 200, again.content
    assert_problem(put(world.owner, "fs.write", here, "disabled", tag=tag), 412, "precondition_failed")
    fresh(world.owner)
    assert_problem(delete(world.owner, "fs.write", here), 428, "precondition_required")
    assert_problem(delete(world.owner, "fs.write", here, tag=tag), 412, "precondition_failed")
    gone = delete(world.owner, "fs.write", here, tag=again.headers["ETag"], reason="over")
    assert (gone.status_code, gone.content) == (204, b"")
    assert_problem(delete(world.owner, "fs.write", here, tag=tag), 404, "not_found")
    assert_problem(put(world.owner, "fs.write", here, "disabled", tag=tag), 412, "precondition_failed")
    names = JournalEvent.objects.filter(subject="fs.write", type__startswith="posture.").values_list(
        "type", flat=True
    )
    assert sorted(names) == ["posture.override_cleared", *["posture.override_set"] * 2]


def test_a_disabled_tool_is_refused_from_the_next_call_on(world: World, here: dict[str, str]) -> None:
    assert world.agent.propose("echo", {"text": "x"})["state"] != "denied"
    assert put(world.owner, "echo", scope("agent", world.agent.id), "disabled").status_code == 200
    call = world.agent.propose("echo", {"text": "x"})
    assert (call["state"], call["decision"]["reason_code"]) == ("denied", "posture.disabled")
    assert world.other_agent.propose("echo", {"text": "x"})["state"] != "denied"


def test_a_session_has_postures_of_its_own(world: World) -> None:
    run = world.agent.open_run(session_key="one")
    session = Session.objects.get(principal_id=world.agent.id, key="one")
    assert put(world.owner, "echo", scope("session", session.pk), "disabled").status_code == 200
    assert (
        world.agent.propose("echo", {"text": "x"}, run=run)["decision"]["reason_code"] == "posture.disabled"
    )
    other = world.agent.open_run(session_key="two")
    assert world.agent.propose("echo", {"text": "x"}, run=other)["state"] != "denied"
    chain = shown(world.owner, "echo", scope("session", session.pk)).json()
    assert [row["scope_kind"] for row in chain["chain"]] == ["session"]


@pytest.mark.parametrize(
    ("first", "second", "more"),
    [
        ("disabled", "ask_each_time", {}),
        ("disabled", "always_allow", {}),
        ("ask_each_time", "always_allow", {}),
        ("disabled", "disabled", {"expires_at": "soon"}),
    ],
)
def test_what_frees_a_tool_needs_a_fresh_code(
    world: World, here: dict[str, str], first: str, second: str, more: dict[str, str]
) -> None:
    forget_code(world.owner)
    tag = put(world.owner, "echo", here, first).headers["ETag"]
    if more:
        more = {"expires_at": wire_time(utc_now() + timedelta(minutes=1)) or ""}
    assert_problem(put(world.owner, "echo", here, second, tag=tag, **more), 401, "step_up_required")
    assert_problem(delete(world.owner, "echo", here, tag=tag), 401, "step_up_required")
    assert PostureOverride.objects.get(tool="echo").version == 1
    assert put(fresh(world.owner), "echo", here, second, tag=tag, **more).status_code == 200


def test_risky_tools_keep_their_limits(world: World, here: dict[str, str]) -> None:
    fresh(world.owner)
    days = {n: wire_time(utc_now() + timedelta(days=n)) for n in (2, 29, 31)}
    for tool, end in (
        ("fs.write", None),
        ("fs.write", days[31]),
        ("process.run", days[2]),
        ("demo.launch", days[2]),
    ):
        answer = put(world.owner, tool, here, "always_allow", expires_at=end)
        assert_problem(answer, 422, "posture_too_loose")
    assert put(world.owner, "fs.write", here, "always_allow", expires_at=days[29]).status_code == 200


def test_shadowed_and_locked_rows_are_conflicts(world: World, here: dict[str, str]) -> None:
    fresh(world.owner)
    assert put(world.owner, "echo", scope("global"), "disabled").status_code == 200
    assert_problem(put(world.owner, "echo", here, "ask_each_time"), 409, "posture_shadowed")
    locked = shown(world.owner, "browser.click", here).json()
    assert (locked["editable"], locked["state"]) == (False, "disabled")
    assert locked["lock_reason"]
    assert_problem(put(world.owner, "browser.click", here, "ask_each_time"), 409, "posture_locked")
    assert put(world.owner, "browser.click", here, "disabled").status_code == 200


def test_a_tool_whose_tier_no_host_has_is_locked(world: World, here: dict[str, str]) -> None:
    SandboxProbe.objects.all().delete()
    probe = Probe(executors=frozenset(Executor) - {Executor.TIER_C_LINUX})
    installation.announce_worker(host="test", boot="test", probe=probe, now=utc_now())
    assert shown(world.owner, "process.run", here).json()["lock_reason"].startswith("No host")
    assert shown(world.owner, "echo", here).json()["editable"]
    assert_problem(put(fresh(world.owner), "process.run", here, "ask_each_time"), 409, "posture_locked")


def test_an_admin_of_a_workspace_rules_there_and_not_beyond(
    world: World, admin: Caller, here: dict[str, str]
) -> None:
    fresh(admin)
    assert put(admin, "echo", here, "disabled").status_code == 200
    assert put(admin, "sleep", scope("agent", world.agent.id), "disabled").status_code == 200
    for answer in (
        put(admin, "echo", scope("global"), "disabled"),
        admin.post("posture/reset", {**scope("global"), "reason": REASON}),
        admin.post("posture/presets/lockdown/apply", {**scope("global"), "reason": REASON}),
    ):
        assert_problem(answer, 403, "role_required")
    assert shown(admin, "echo", scope("global")).status_code == 200
    for nobody in (world.approver, world.auditor, world.agent_owner, world.agent):
        assert put(nobody, "fs.read", here, "disabled").status_code == 403


def test_what_lies_in_another_workspace_does_not_exist(
    world: World, elsewhere: tuple[Workspace, Caller, Caller]
) -> None:
    place, outsider, _ = elsewhere
    fresh(outsider)
    world.agent.open_run(session_key="one")
    session = Session.objects.get(principal_id=world.agent.id)
    assert put(world.owner, "echo", scope("agent", world.agent.id), "disabled").status_code == 200
    event = PostureEvent.objects.latest("at")
    for where in (
        scope("workspace", world.workspace.pk),
        scope("agent", world.agent.id),
        scope("session", session.pk),
    ):
        assert_problem(shown(outsider, "echo", where), 404, "not_found")
        assert_problem(outsider.get(f"posture?{urlencode(where)}"), 404, "not_found")
        assert_problem(put(outsider, "echo", where, "disabled"), 404, "not_found")
        assert_problem(delete(outsider, "echo", where, tag='"posture-1:1"'), 404, "not_found")
        for verb in ("reset", "presets/lockdown/apply"):
            answer = outsider.post(f"posture/{verb}", {**where, "reason": REASON})
            assert_problem(answer, 404, "not_found")
        assert_problem(outsider.post("posture/presets/lockdown/preview", where), 404, "not_found")
    assert_problem(outsider.post(f"posture/undo/{event.pk}"), 404, "not_found")
    assert outsider.get("posture/events").json()["data"] == []
    assert put(outsider, "echo", scope("workspace", place.pk), "disabled").status_code == 200


@pytest.mark.parametrize(
    ("kind", "identifier", "status"),
    [
        ("agent", "agt_01JD0000000000000000000000", 404),
        ("session", "ses_01JD0000000000000000000000", 404),
        ("session", "a\0b", 404),
        ("workspace", "wsp_01JD0000000000000000000009", 404),
        ("workspace", "", 400),
        ("global", "x", 400),
        ("planet", "earth", 400),
        ("agent", "a\0b", 400),
    ],
)
def test_scopes_that_are_none(world: World, kind: str, identifier: str, status: int) -> None:
    query = urlencode({"scope_kind": kind, "scope_id": identifier})
    answer = world.owner.get(f"posture?{query}")
    assert answer.status_code == (400 if "\0" in identifier else status), answer.content
    body = {"scope_kind": kind, "scope_id": identifier}
    assert put(world.owner, "echo", body, "disabled").status_code in (404, 422)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"state": "maybe"}, 422),
        ({"state": None}, 422),
        ({"reason": "x" * 501}, 422),
        ({"reason": ""}, 422),
        ({"expires_at": "tomorrow"}, 422),
        ({"expires_at": "2020-01-01T00:00:00Z"}, 422),
        ({"overridable": "yes"}, 422),
        ({"source": "manual"}, 400),
        ({"otp_verified_at": "2030-01-01T00:00:00Z"}, 400),
    ],
)
def test_bad_bodies_change_nothing(
    world: World, here: dict[str, str], body: dict[str, object], status: int
) -> None:
    sent = {**here, "state": "disabled", "reason": REASON, **body}
    answer = world.owner.send("PUT", "posture/echo", json.dumps(sent).encode())
    assert answer.status_code == status, answer.content
    assert not PostureOverride.objects.filter(tool="echo").exists()


def test_unknown_tools_and_parameters_are_refused(world: World, here: dict[str, str]) -> None:
    assert_problem(put(world.owner, "no.such", here, "disabled"), 404, "tool_not_found")
    assert_problem(shown(world.owner, "no.such", here), 404, "tool_not_found")
    assert_problem(world.owner.get("posture?agent=x"), 400, "unknown_parameter")
    twice = "posture?scope_kind=global&scope_kind=agent"
    assert_problem(world.owner.get(twice), 400, "invalid_parameter")
    assert_problem(delete(world.owner, "echo", here, tag='"x:1"'), 400, "invalid_if_match")


def test_the_history_is_listed_and_filtered(world: World, here: dict[str, str]) -> None:
    put(world.owner, "echo", here, "disabled")
    put(world.owner, "sleep", scope("agent", world.agent.id), "disabled")
    listed = world.auditor.get("posture/events?limit=1").json()
    assert (listed["has_more"], listed["data"][0]["tool"]) == (True, "sleep")
    more = world.auditor.get(f"posture/events?limit=1&cursor={listed['next_cursor']}").json()
    assert more["data"][0]["tool"] == "echo"
    of_agent = world.auditor.get("posture/events?scope_kind=agent").json()["data"]
    assert [one["tool"] for one in of_agent] == ["sleep"]
    (event,) = world.auditor.get("posture/events?tool=echo").json()["data"]
    assert (event["action"], event["new_state"], event["reason"]) == ("override_set", "disabled", REASON)
    assert event["changes"][0]["after"]["state"] == "disabled"
    assert PostureEvent.objects.filter(pk=event["id"]).exists()
    assert JournalEvent.objects.filter(pk=event["id"], type="posture.override_set").exists()
