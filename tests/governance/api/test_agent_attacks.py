"""What an agent might try with nothing but its token."""

from __future__ import annotations

import pytest
from django.db import transaction

from approvals.models import ApprovalRequest, Review
from governance.journal.models import JournalEvent
from identity.models import Agent, ApiToken, LoginFailure, RateBucket, RejectionTally
from kernel.clock import utc_now
from sandbox.models import Execution
from tests.governance.api.routes import PRIVATE_ROUTES
from tests.governance.api.test_answers import assert_problem
from tests.governance.api.world import Caller, World, mint_for_agent, owner_principal


def test_scopes_written_into_the_row_do_not_make_a_reviewer(world: World) -> None:
    call = world.ask()
    row = ApiToken.objects.get(lookup=world.agent.token.split("_")[2])
    row.scopes = [*row.scopes, "approvals.decide", "runs.cancel_any", "users.manage"]
    row.save()
    assert "approvals.decide" not in world.agent.get("whoami").json()["permissions"]
    path = f"approvals/{call['approval']['id']}/decision"
    for body in ({"decision": "allow"}, {"decision": "allow", "otp": "123456"}):
        assert_problem(world.agent.post(path, body), 403, "reviewer_is_agent")
    subject = call["approval"]["id"]
    assert JournalEvent.objects.filter(type="request.refused", subject=subject).count() == 2
    assert not Review.objects.exists()


def test_a_code_sent_by_an_agent_is_not_tried_on_anybody(world: World) -> None:
    call = world.ask("fs.write")
    body = {"decision": "allow", "otp": world.approver.code()}
    path = f"approvals/{call['approval']['id']}/decision"
    assert_problem(world.agent.post(path, body), 403, "reviewer_is_agent")
    assert not LoginFailure.objects.exists()
    assert world.approver.post(path, body).status_code == 200


def test_a_key_chosen_to_meet_a_reviewers_gets_nothing_of_theirs(world: World) -> None:
    call = world.ask()
    path = f"approvals/{call['approval']['id']}/decision"
    done = world.approver.post(path, {"decision": "allow"}, Idempotency_Key="guessed")
    stolen = world.agent.post(path, {"decision": "allow"}, Idempotency_Key="guessed")
    assert done.status_code == 200
    assert_problem(stolen, 409, "already_decided")
    assert "Idempotency-Replayed" not in stolen.headers


def test_an_allowed_input_does_not_carry_another_one(world: World) -> None:
    run = world.agent.open_run()
    body = {"run_id": run, "tool": "demo.wc", "input": {"path": "README.txt"}}
    call = world.agent.post("tool-calls", body, Idempotency_Key="k").json()
    world.approver.post(f"approvals/{call['approval']['id']}/decision", {"decision": "allow"})
    swapped = body | {"input": {"path": "data/numbers.csv"}}
    answer = world.agent.post("tool-calls", swapped, Idempotency_Key="k")
    assert_problem(answer, 422, "idempotency_key_reused")
    for later in (swapped, body):
        assert world.agent.post("tool-calls", later).json()["state"] == "awaiting_approval"
    assert Execution.objects.count() == 1


@pytest.mark.parametrize(
    "name", ["DEMO.WC", " demo.wc ", "palyra.process.run", "Process.Run", "palyra.palyra.process.run"]
)
def test_another_spelling_of_a_tool_is_asked_about_all_the_same(world: World, name: str) -> None:
    given = {"path": "README.txt"} if "wc" in name.lower() else {"command": "true"}
    call = world.agent.propose(name, given)
    assert call["state"] in ("awaiting_approval", "denied")
    assert not Execution.objects.exists()


def test_fields_of_a_decision_are_not_the_agents_to_send(world: World) -> None:
    run = world.agent.open_run()
    for extra in ("approval_id", "grant_id", "effect", "principal", "execute", "resource", "posture"):
        body = {"run_id": run, "tool": "demo.wc", "input": {"path": "README.txt"}, extra: "x"}
        assert_problem(world.agent.post("tool-calls", body), 400, "unknown_field")
    assert not ApprovalRequest.objects.exists()


@pytest.mark.parametrize(
    "header",
    [
        "X-HTTP-Method-Override",
        "X-Forwarded-For",
        "X-Original-URL",
        "X-Rewrite-URL",
        "X-Remote-User",
        "Remote-User",
        "X-Forwarded-User",
    ],
)
def test_headers_that_other_servers_trust_change_nothing(world: World, header: str) -> None:
    call = world.ask()
    value = {"X-HTTP-Method-Override": "POST"}.get(header, world.approver.id)
    sent = {header.replace("-", "_"): value}
    assert world.agent.get("whoami", **sent).json()["id"] == world.agent.id
    answer = world.agent.get(f"approvals/{call['approval']['id']}/decision", **sent)
    assert_problem(answer, 405, "method_not_allowed")
    assert not Review.objects.exists()


def test_a_flood_of_identical_questions_is_one_question(world: World) -> None:
    run = world.agent.open_run()
    asked = {
        world.agent.propose("demo.wc", {"path": "README.txt"}, run=run)["approval"]["id"] for _ in range(6)
    }
    assert len(asked) == 1
    shown = world.approver.get(f"approvals/{asked.pop()}").json()
    assert len(shown["call_ids"]) == 6


def test_an_agent_that_was_stopped_can_neither_ask_nor_look(world: World) -> None:
    call = world.ask()
    Agent.objects.filter(pk=world.agent.id).update(state="suspended")
    for route in PRIVATE_ROUTES:
        RateBucket.objects.all().delete()  # or the address would have to wait before all are tried
        assert world.agent.send(route.method, route.path, b"{}").status_code == 401
    assert world.agent.get(f"tool-calls/{call['id']}").status_code == 401


def test_a_token_of_another_agent_of_the_same_owner_is_a_stranger(world: World) -> None:
    now = utc_now()
    with transaction.atomic():
        twin = Agent.objects.get(pk=world.other_agent.id)
        sibling: Caller = mint_for_agent(twin, world.workspace, owner_principal(world, now), now=now)
    call = world.ask()
    assert_problem(sibling.post(f"tool-calls/{call['id']}/cancel"), 404, "not_found")
    assert_problem(sibling.get(f"approvals/{call['approval']['id']}"), 404, "not_found")


def test_codes_that_come_too_early_are_summed_and_leave_no_event(world: World) -> None:
    def tried(caller: Caller, times: int) -> int:
        for _ in range(times):
            assert_problem(caller.post("auth/step-up", {"otp": "000000"}), 401, "step_up_required")
        return JournalEvent.objects.filter(type="step_up.failed", subject=caller.id).count()

    counted = tried(world.approver, 5)
    assert tried(world.approver, 4) == counted == 5
    assert RejectionTally.objects.get(subject=world.approver.id, reason="waiting").count == 4
