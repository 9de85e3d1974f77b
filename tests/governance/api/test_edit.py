"""Edit and approve over HTTP: what the approver sends, and what the agent finds."""

from __future__ import annotations

from typing import Any

from tests.governance.api.world import Answer, Caller, World

OTHER = {"path": "OTHER.txt"}


def sent(
    who: Caller, call: dict[str, Any], given: object = None, comment: str = "less of it", **headers: str
) -> Answer:
    body = {
        "input": OTHER if given is None else given,
        "comment": comment,
        "otp": who.code() if who.seed else None,
    }
    chosen = {name: value for name, value in body.items() if value is not None}
    return who.post(f"approvals/{call['approval']['id']}/edit", chosen, **headers)


def test_the_agent_is_told_that_its_call_was_edited_and_what_ran(world: World) -> None:
    call = world.ask()
    answer = sent(world.approver, call)
    assert answer.status_code == 200, answer.content
    made = answer.json()
    assert (made["state"], made["decision"], made["close_code"]) == (
        "cancelled",
        "cancelled",
        "superseded_by_edit",
    )
    assert made["superseded_by"]["call_state"] == "queued"
    assert len(made["queued"]) == 1
    old = world.agent.get(f"tool-calls/{call['id']}").json()
    assert (old["state"], old["edited"], old["input"]) == ("superseded", False, call["input"])
    assert old["superseded_by"] == made["superseded_by"]["call_id"]
    new = world.agent.get(f"tool-calls/{old['superseded_by']}").json()
    assert (new["edited"], new["edited_from"], new["input"]) == (True, call["id"], OTHER)
    assert new["input_redacted"] is False
    assert world.approver.id not in world.agent.get(f"tool-calls/{new['id']}").content.decode()


def test_asking_with_wait_follows_to_the_call_that_took_its_place(world: World) -> None:
    call = world.ask()
    sent(world.approver, call)
    waited = world.agent.get(f"tool-calls/{call['id']}?wait=1").json()
    assert (waited["edited_from"], waited["edited"]) == (call["id"], True)


def test_approving_the_old_request_is_too_late(world: World) -> None:
    call = world.ask()
    sent(world.approver, call)
    late = world.second_approver.post(
        f"approvals/{call['approval']['id']}/decision",
        {"decision": "allow", "otp": world.second_approver.code()},
    )
    assert (late.status_code, late.json()["code"]) == (409, "already_decided")
    assert late.json()["outcome"]["decision"] == "cancelled"


def test_an_edit_of_high_risk_waits_for_somebody_else(world: World) -> None:
    call = world.ask("fs.write")
    answer = sent(world.approver, call, {"path": "b.txt", "content": "y"})
    assert answer.status_code == 202, answer.content
    new = answer.json()["superseded_by"]
    assert (new["approval_state"], new["risk"]) == ("pending", "high")
    shown = world.second_approver.get(f"approvals/{new['approval_id']}").json()
    assert shown["context"]["parameters_view"] == {"path": "b.txt", "content": "y"}
    assert (shown["edited_from"], shown["edited_by"]) == (call["approval"]["id"], world.approver.id)
    assert world.agent.get(f"approvals/{new['approval_id']}").json()["edited_by"] == "approver"
    own = world.approver.post(f"approvals/{new['approval_id']}/decision", {"decision": "allow"})
    assert (own.status_code, own.json()["code"], own.json()["relation"]) == (403, "self_review", "editor")


def test_the_same_key_gives_the_same_answer_and_edits_once(world: World) -> None:
    call = world.ask()
    first = sent(world.approver, call, Idempotency_Key="edit-1")
    again = world.approver.post(
        f"approvals/{call['approval']['id']}/edit",
        {"input": OTHER, "comment": "less of it"},
        Idempotency_Key="edit-1",
    )
    assert (again.status_code, again.json()) == (first.status_code, first.json())


def test_a_bad_body_changes_nothing(world: World) -> None:
    call = world.ask()
    bodies: tuple[tuple[dict[str, object], int, str], ...] = (
        ({"comment": "abc"}, 422, "invalid"),
        ({"input": None, "comment": "abc"}, 422, "invalid"),
        ({"input": OTHER}, 422, "invalid"),
        ({"input": OTHER, "comment": 7}, 422, "invalid"),
        ({"input": OTHER, "comment": "abc", "scope": "always"}, 400, "unknown_field"),
        ({"input": OTHER, "comment": "abc", "risk": "low"}, 400, "unknown_field"),
        ({"input": OTHER, "comment": ""}, 422, "comment_required"),
        ({"input": {"path": 7}, "comment": "abc"}, 422, "invalid"),
        ({"input": dict(call["input"]), "comment": "abc"}, 422, "invalid"),
    )
    for body, status, code in bodies:
        answer = world.approver.post(f"approvals/{call['approval']['id']}/edit", body)
        assert (answer.status_code, answer.json()["code"]) == (status, code), answer.content
    assert world.agent.get(f"tool-calls/{call['id']}").json()["state"] == "awaiting_approval"


def test_strangers_agents_and_owners_do_not_edit(world: World) -> None:
    call = world.ask()
    for who, status, code in (
        (world.agent, 403, "reviewer_is_agent"),
        (world.other_agent, 404, "not_found"),
        (world.stranger, 404, "not_found"),
        (world.auditor, 403, "not_a_reviewer"),
        (world.nobody, 401, "unauthenticated"),
    ):
        answer = sent(who, call)
        assert (answer.status_code, answer.json()["code"]) == (status, code), answer.content


def test_an_edit_of_what_changed_since_it_was_shown_is_refused(world: World) -> None:
    call = world.ask()
    approval = call["approval"]["id"]
    stale = sent(world.approver, call, If_Match=f'"{approval}:7"')
    assert (stale.status_code, stale.json()["code"]) == (412, "precondition_failed")
    assert sent(world.second_approver, call, If_Match=f'"{approval}:1"').status_code == 200
