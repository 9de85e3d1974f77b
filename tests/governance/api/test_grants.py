"""Grants, remembered denials and offered patterns over HTTP."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import time_machine

from approvals.models import DenialMemory, Grant
from governance import grants as governed
from governance.journal.models import JournalEvent
from identity.models import Membership
from kernel.clock import utc_now
from tests.governance.api.stepping import fresh
from tests.governance.api.test_answers import assert_problem
from tests.governance.api.test_matrix import hold_every_scope
from tests.governance.api.world import Answer, World

TOOL = "fs.write"
UNDER_APP: dict[str, Any] = {
    "v": 1,
    "constraints": [
        {"pointer": "/content", "op": "any"},
        {"pointer": "/path", "op": "path_prefix", "value": "src/app"},
    ],
    "rest": "equal",
}
UNKNOWN = "grt_01JD0000000000000000000000"
REASON = {"comment": "the work is done"}


def ask(world: World, path: str = "src/app/a.py", *, run: str | None = None) -> dict[str, Any]:
    call = world.agent.propose(TOOL, {"path": path, "content": "first words"}, run=run)
    assert call["state"] == "awaiting_approval", call["decision"]
    return call


def decide(world: World, call: dict[str, Any], **body: Any) -> Answer:
    """Have the approver answer with a fresh code."""
    approval = call["approval"]["id"]
    return fresh(world.approver).post(f"approvals/{approval}/decision", {"decision": "allow"} | body)


def grant(world: World, call: dict[str, Any] | None = None, **body: Any) -> str:
    """Have a call allowed for its session, and return the id of the grant."""
    answer = decide(world, call or ask(world), **({"scope": "session"} | body))
    assert answer.status_code == 200, answer.content
    return str(answer.json()["grant"]["id"])


def deny(world: World, path: str = "src/app/no.py") -> str:
    call = ask(world, path)
    assert decide(world, call, decision="deny", comment="not there").status_code == 200
    return DenialMemory.objects.get(request_id=call["approval"]["id"]).pk


def test_a_grant_is_shown_in_words_and_without_the_parameters_it_holds_fixed(world: World) -> None:
    call = ask(world)
    grant_id = grant(world, call, pattern=UNDER_APP)
    shown = world.approver.get(f"grants/{grant_id}").json()
    assert (shown["object"], shown["state"], shown["scope"]) == ("grant", "active", "session")
    assert (shown["stale"], shown["stale_reason"]) == (False, None)
    assert (shown["agent"], shown["tool"], shown["run_id"]) == (world.agent.id, TOOL, call["run_id"])
    assert (shown["uses"], shown["uses_allowed"], shown["used_by"]) == (0, 100, [])
    assert shown["granted_by"] == [world.approver.id]
    assert shown["pattern"] == UNDER_APP
    assert "src/app" in shown["pattern_words"]
    assert b"first words" not in world.approver.get(f"grants/{grant_id}").content


@pytest.mark.parametrize(
    ("path", "state"),
    [
        ("src/app/x.py", "queued"),
        ("src/app/deep/er/x.py", "queued"),
        ("src/application/x.py", "awaiting_approval"),
        ("src/app/../etc", "awaiting_approval"),
        ("/src/app/x", "awaiting_approval"),
        ("src/other.py", "awaiting_approval"),
    ],
)
def test_a_session_grant_of_a_folder_covers_what_is_in_it(world: World, path: str, state: str) -> None:
    call = ask(world)
    grant(world, call, pattern=UNDER_APP)
    made = world.agent.propose(TOOL, {"path": path, "content": "other"}, run=call["run_id"])
    if made["state"] == "denied":
        assert made["decision"]["reason_code"].startswith(("schema.", "policy.", "sandbox."))
        assert state != "queued"
    else:
        assert made["state"] == state


def test_who_sees_a_grant(world: World) -> None:
    grant_id = grant(world)
    for one in (world.owner, world.agent_owner, world.approver, world.auditor):
        assert one.get(f"grants/{grant_id}").status_code == 200
    mine = world.agent.get(f"grants/{grant_id}").json()
    assert (mine["granted_by"], mine["revoke_reason"]) == (["approver"], None)
    assert_problem(world.other_agent.get(f"grants/{grant_id}"), 404, "not_found")
    assert world.other_agent.get("grants").json()["data"] == []
    stranger = hold_every_scope(fresh(world.stranger))
    assert stranger.get(f"grants/{grant_id}").status_code in (403, 404)


def test_grants_are_listed_by_state_agent_and_tool(world: World) -> None:
    kept, ended = grant(world), grant(world, ask(world, "b.txt"))
    assert fresh(world.approver).post(f"grants/{ended}/revoke", REASON).status_code == 200

    def listed(query: str) -> list[str]:
        return [row["id"] for row in world.approver.get(f"grants?{query}").json()["data"]]

    assert listed(f"state=active&agent={world.agent.id}&tool={TOOL}") == [kept]
    assert listed("state=revoked") == [ended]
    assert listed("state=active&state=revoked") == [ended, kept]
    assert listed(f"agent={world.other_agent.id}") == listed("tool=echo") == []
    assert_problem(world.approver.get("grants?state=forever"), 400, "invalid_parameter")
    assert_problem(world.approver.get("grants?who=me"), 400, "unknown_parameter")


def test_a_grant_whose_time_is_over_is_expired_everywhere(world: World) -> None:
    grant_id = grant(world, scope="temporary", ttl_ms=60_000)
    with time_machine.travel(utc_now() + timedelta(seconds=61), tick=False):
        assert world.approver.get(f"grants/{grant_id}").json()["state"] == "expired"
        assert world.approver.get("grants?state=active").json()["data"] == []
        assert [row["id"] for row in world.approver.get("grants?state=expired").json()["data"]] == [grant_id]
        assert_problem(fresh(world.approver).post(f"grants/{grant_id}/revoke", REASON), 409, "conflict")


def test_revoking_needs_a_comment_and_happens_once(world: World) -> None:
    grant_id = grant(world)
    revoker = fresh(world.approver)
    for body in ({}, {"comment": ""}, {"comment": "  ab  "}):
        assert_problem(revoker.post(f"grants/{grant_id}/revoke", body), 422, "comment_required")
    first = revoker.post(f"grants/{grant_id}/revoke", REASON, Idempotency_Key="once")
    assert (first.status_code, first.json()["state"]) == (200, "revoked")
    assert (first.json()["revoked_by"], first.json()["revoke_reason"]) == (
        world.approver.id,
        REASON["comment"],
    )
    again = revoker.post(f"grants/{grant_id}/revoke", REASON, Idempotency_Key="once")
    assert (again.status_code, again.headers["Idempotency-Replayed"]) == (200, "true")
    assert_problem(revoker.post(f"grants/{grant_id}/revoke", REASON), 409, "conflict")
    assert JournalEvent.objects.filter(type="grant.revoked", subject=grant_id).count() == 1


def test_a_used_up_grant_is_not_revoked(world: World) -> None:
    grant_id = grant(world, scope="once")
    Grant.objects.filter(pk=grant_id).update(status="consumed", uses=1)
    assert_problem(fresh(world.approver).post(f"grants/{grant_id}/revoke", REASON), 409, "conflict")


def test_who_may_not_revoke(world: World) -> None:
    grant_id = grant(world)
    for one in (world.agent, world.auditor):
        assert one.post(f"grants/{grant_id}/revoke", REASON).status_code == 403
    revoker = fresh(world.approver)
    assert_problem(revoker.post(f"grants/{UNKNOWN}/revoke", REASON), 404, "not_found")
    assert_problem(revoker.post("grants/nonsense/revoke", REASON), 400, "invalid_id")
    assert_problem(revoker.post(f"grants/{grant_id}/revoke", REASON | {"why": 1}), 400, "unknown_field")
    assert Grant.objects.get(pk=grant_id).status == "active"


def test_a_grant_of_people_who_may_no_longer_decide_is_shown_as_stale(world: World) -> None:
    grant_id = grant(world)
    Membership.objects.filter(user_id=world.approver.id).delete()
    shown = world.owner.get(f"grants/{grant_id}").json()
    assert (shown["state"], shown["stale_reason"]) == ("active", "reviewers_changed")


def test_a_denial_is_listed_and_forgotten_with_a_comment(world: World) -> None:
    denial_id = deny(world)
    shown = world.approver.get(f"denials/{denial_id}").json()
    assert (shown["object"], shown["agent"], shown["tool"]) == ("denial", world.agent.id, TOOL)
    assert [row["id"] for row in world.agent.get(f"denials?tool={TOOL}").json()["data"]] == [denial_id]
    assert world.other_agent.get("denials").json()["data"] == []
    again = world.agent.propose(TOOL, {"path": "src/app/no.py", "content": "first words"})
    assert again["decision"]["reason_code"] == "approval.denied_before"
    revoker = fresh(world.approver)
    assert_problem(revoker.send("DELETE", f"denials/{denial_id}", None), 422, "comment_required")
    assert revoker.send("DELETE", f"denials/{denial_id}?comment=by+mistake", None).status_code == 204
    assert JournalEvent.objects.filter(type="approval.denial_forgotten").count() == 1
    ask(world, "src/app/no.py")
    gone = revoker.send("DELETE", f"denials/{denial_id}?comment=by+mistake", None)
    assert_problem(gone, 404, "not_found")
    assert_problem(revoker.get(f"denials/{denial_id}"), 404, "not_found")


def test_who_may_not_forget_a_denial(world: World) -> None:
    denial_id = deny(world)
    for one in (world.agent, world.auditor):
        assert one.send("DELETE", f"denials/{denial_id}?comment=please", None).status_code == 403
    assert_problem(world.other_agent.get(f"denials/{denial_id}"), 404, "not_found")
    twice = fresh(world.approver).send("DELETE", f"denials/{denial_id}?comment=abc&comment=def", None)
    assert_problem(twice, 400, "invalid_parameter")
    assert DenialMemory.objects.filter(pk=denial_id).exists()


def test_patterns_are_offered_narrowest_first_and_none_covers_a_denied_ask(world: World) -> None:
    ask(world, "src/app/before.py")
    call = ask(world)
    approval = call["approval"]["id"]
    offered = world.approver.get(f"approvals/{approval}/patterns").json()["data"]
    assert offered[0]["covers"] == {"asks": 1, "matched": 0, "matched_denied": 0}
    assert offered[0]["pattern"]["constraints"] == []
    wide = [row for row in offered if row["covers"]["matched"] == 1]
    assert wide
    assert "src/app" in wide[0]["words"]
    deny(world)
    left = world.approver.get(f"approvals/{approval}/patterns").json()["data"]
    assert wide[0]["pattern"] not in [row["pattern"] for row in left]
    refused = decide(world, call, scope="session", pattern=wide[0]["pattern"])
    assert_problem(refused, 422, "pattern_covers_denied")


def test_a_denied_ask_is_not_forgotten_by_asking_often(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(governed, "HISTORY", 2)
    deny(world)
    for number in range(3):
        ask(world, f"src/app/{number}.py")
    refused = decide(world, ask(world), scope="session", pattern=UNDER_APP)
    assert_problem(refused, 422, "pattern_covers_denied")


def test_a_closed_question_offers_no_pattern_and_a_foreign_one_is_not_there(world: World) -> None:
    call = ask(world)
    approval = call["approval"]["id"]
    assert_problem(world.other_agent.get(f"approvals/{approval}/patterns"), 404, "not_found")
    grant(world, call)
    assert world.approver.get(f"approvals/{approval}/patterns").json()["data"] == []
