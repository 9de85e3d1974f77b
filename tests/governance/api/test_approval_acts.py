"""What else is done with requests: many at once, forced ones, runs that end with them, and reading them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.db import transaction

from approvals.models import ApprovalRequest, BreakGlassReview, Review
from governance.journal.models import JournalEvent
from governance.models import Run
from identity.models import User
from kernel.clock import utc_now
from tests.governance.api.stepping import fresh, switch_on
from tests.governance.api.test_answers import assert_problem
from tests.governance.api.test_approvals import ALLOW, DENY, decide, events, later, request_of
from tests.governance.api.world import Answer, Caller, World, mint_for_person

WHY = "production is down, nobody else answers"


def bulk(caller: Caller, requests: list[str], **body: Any) -> Answer:
    return caller.post("approvals/bulk-decision", {"requests": requests, "decision": "allow", **body})


def force(caller: Caller, request: str, **body: Any) -> Answer:
    return caller.post(f"approvals/{request}/break-glass", {"comment": WHY, **body})


def asks(world: World, count: int) -> list[str]:
    """Have the agent ask about so many different calls of one tool and one run."""
    run = world.agent.open_run()
    calls = [
        world.agent.propose("demo.wc", {"path": f"file-{number}.txt"}, run=run) for number in range(count)
    ]
    return [call["approval"]["id"] for call in calls]


def test_many_are_answered_with_one_comment_and_one_code(world: World) -> None:
    ids = asks(world, 3)
    answer = bulk(world.approver, ids, comment="all harmless", otp=world.approver.code())
    rows = answer.json()["data"]
    assert (answer.status_code, [row["status"] for row in rows]) == (200, [200, 200, 200])
    assert [row["outcome"]["grant"]["scope"] for row in rows] == ["once"] * 3
    for request in ids:
        assert events(request).count("approval.decided") == 1
    assert set(Review.objects.values_list("comment", flat=True)) == {"all harmless"}


def test_one_that_cannot_be_answered_keeps_no_other_waiting(world: World) -> None:
    ids = asks(world, 3)
    decide(world.second_approver, ids[0], DENY)
    stale, unknown = f"{ids[1]}:7", "apr_01JD0000000000000000000000"
    answer = bulk(fresh(world.approver), [ids[0], stale, unknown, f"{ids[2]}:1"])
    rows = answer.json()["data"]
    assert [row["status"] for row in rows] == [409, 412, 404, 200]
    assert rows[0]["error"]["outcome"]["decision"] == "deny"
    assert [row["error"] and row["error"]["code"] for row in rows] == [
        "already_decided",
        "precondition_failed",
        "not_found",
        None,
    ]
    assert events(ids[1]).count("request.refused") == 1


def test_many_are_denied_together(world: World) -> None:
    ids = asks(world, 2)
    answer = bulk(fresh(world.approver), ids, decision="deny")
    assert [row["error"]["code"] for row in answer.json()["data"]] == ["comment_required"] * 2
    answer = bulk(world.approver, ids, decision="deny", comment="not these")
    assert [row["outcome"]["decision"] for row in answer.json()["data"]] == ["deny"] * 2


def test_many_need_a_code(world: World) -> None:
    ids = asks(world, 1)
    assert_problem(bulk(world.approver, ids), 401, "step_up_required")
    assert_problem(bulk(world.approver, ids, otp="000000"), 401, "step_up_required")
    assert not Review.objects.exists()


def test_many_are_of_one_agent_one_tool_and_at_most_medium_risk(world: World) -> None:
    caller = fresh(world.approver)
    mine = request_of(world)
    of_another = world.other_agent.propose("demo.wc", {"path": "README.txt"})["approval"]["id"]
    risky = request_of(world, "fs.write")
    for chosen in ([mine, of_another], [mine, risky], [risky], [mine, mine]):
        assert_problem(bulk(caller, chosen), 422, "invalid")
    assert not Review.objects.exists()


@pytest.mark.parametrize(
    "body",
    [
        {"requests": []},
        {"requests": ["apr_01JD0000000000000000000000"] * 51},
        {"requests": ["apr_1"]},
        {"requests": ["apr_01JD0000000000000000000000:x"]},
        {"requests": "all"},
        {"scope": "session"},
        {"decision": "perhaps"},
    ],
)
def test_a_choice_of_many_that_means_nothing_is_invalid(world: World, body: dict[str, Any]) -> None:
    whole = {"requests": ["apr_01JD0000000000000000000000"], "decision": "allow"} | body
    assert_problem(fresh(world.approver).post("approvals/bulk-decision", whole), 422, "invalid")


def test_only_people_who_may_decide_answer_many(world: World) -> None:
    ids = asks(world, 1)
    for caller in (world.agent, world.auditor, world.agent_owner, world.stranger):
        assert bulk(caller, ids).status_code == 403
    assert not Review.objects.exists()


def test_a_retry_of_many_gets_the_same_answer(world: World) -> None:
    ids = asks(world, 2)
    body = {"requests": ids, "decision": "allow"}
    first = fresh(world.approver).post("approvals/bulk-decision", body, Idempotency_Key="k1")
    again = world.approver.post("approvals/bulk-decision", body, Idempotency_Key="k1")
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.json() == first.json()


def test_the_same_answer_again_needs_no_second_code(world: World) -> None:
    request = request_of(world, "fs.write")
    body = {**ALLOW, "otp": world.approver.code()}
    first = decide(world.approver, request, body)
    again = decide(world.approver, request, body)
    assert (first.status_code, again.status_code) == (200, 200)
    assert again.json()["grant"] == first.json()["grant"]
    assert Review.objects.count() == 1


def test_a_retry_with_a_new_code_is_the_same_request(world: World) -> None:
    request = request_of(world, "fs.write")
    decide(world.approver, request, {**ALLOW, "otp": world.approver.code()}, Idempotency_Key="k1")
    again = decide(world.approver, request, {**ALLOW, "otp": "000000"}, Idempotency_Key="k1")
    assert (again.status_code, again.headers["Idempotency-Replayed"]) == (200, "true")


def test_a_stepped_up_token_answers_high_risk_and_not_critical(world: World) -> None:
    caller = fresh(world.approver)
    assert decide(caller, request_of(world, "fs.write"), ALLOW).status_code == 200
    critical = decide(caller, request_of(world, "demo.launch"), {**ALLOW, "comment": "go on"})
    assert_problem(critical, 401, "step_up_required")


def test_a_deny_may_end_the_run_with_all_it_waits_for(world: World) -> None:
    ids = asks(world, 3)
    run = ApprovalRequest.objects.get(pk=ids[0]).run_id
    answer = decide(world.approver, ids[0], {**DENY, "end_run": True})
    assert (answer.status_code, answer.json()["decision"]) == (200, "deny")
    assert Run.objects.get(pk=run).state == "cancelled"
    rest = ApprovalRequest.objects.filter(pk__in=ids[1:])
    assert set(rest.values_list("status", "close_code")) == {("cancelled", "run_closed")}
    assert events(run)[-1] == "run.closed"
    again = decide(world.approver, ids[0], {**DENY, "end_run": True})
    assert again.status_code == 200
    assert JournalEvent.objects.filter(subject=run, type="run.closed").count() == 1


def test_ending_the_run_afterwards_is_not_the_same_answer(world: World) -> None:
    request = request_of(world)
    decide(world.approver, request, DENY)
    assert_problem(decide(world.approver, request, {**DENY, "end_run": True}), 409, "already_decided")
    assert Run.objects.get(pk=ApprovalRequest.objects.get(pk=request).run_id).state == "open"


def test_who_may_not_cancel_runs_does_not_end_one_by_denying(world: World) -> None:
    request = request_of(world)
    with transaction.atomic():
        text = mint_for_person(
            User.objects.get(pk=world.approver.id),
            world.workspace,
            now=utc_now(),
            scopes=("approvals.read", "approvals.decide"),
        )
    refused = decide(Caller(text), request, {**DENY, "end_run": True})
    assert_problem(refused, 403, "insufficient_scope")
    assert ApprovalRequest.objects.get(pk=request).status == "pending"


def test_the_glass_is_closed_unless_the_flag_is_on(world: World) -> None:
    request = request_of(world, "demo.launch")
    assert_problem(force(world.owner, request, otp=world.owner.code()), 403, "feature_disabled")
    assert events(request)[-1] == "request.refused"


def test_an_owner_forces_what_two_should_have_allowed(world: World) -> None:
    switch_on("break_glass")
    call = world.ask("demo.launch")
    request = call["approval"]["id"]
    assert_problem(force(world.owner, request), 401, "step_up_required")
    assert_problem(force(fresh(world.owner), request), 401, "step_up_required")
    forced = force(world.owner, request, otp=world.owner.code())
    assert (forced.status_code, forced.json()["state"]) == (200, "allowed")
    assert world.agent.get(f"tool-calls/{call['id']}").json()["state"] == "queued"
    shown = world.auditor.get(f"approvals/{request}").json()
    assert (shown["break_glass"], shown["votes"][0]["break_glass"]) == (True, True)
    assert events(request).count("approval.break_glass") == 1


def test_only_owners_force_and_a_short_reason_is_none(world: World) -> None:
    switch_on("break_glass")
    request = request_of(world)
    assert_problem(force(world.approver, request, otp=world.approver.code()), 403, "role_required")
    assert_problem(force(world.agent, request), 403, "reviewer_is_agent")
    assert_problem(force(world.stranger, request), 404, "not_found")
    short = force(world.owner, request, comment="because", otp=world.owner.code())
    assert_problem(short, 422, "comment_required")
    assert not BreakGlassReview.objects.exists()


def test_somebody_else_reviews_a_forced_decision(world: World) -> None:
    switch_on("break_glass")
    force(world.owner, request_of(world), otp=world.owner.code())
    (row,) = world.auditor.get("break-glass-reviews?state=open").json()["data"]
    assert (row["by"], row["finding"], row["state"]) == (world.owner.id, None, "open")
    assert world.agent.get("break-glass-reviews").json()["data"] == []
    path, body = f"break-glass-reviews/{row['id']}", {"finding": "justified", "comment": "it was down"}
    assert_problem(world.owner.post(path, body), 403, "self_review")
    assert_problem(world.auditor.post(path, body), 403, "role_required")
    assert_problem(world.approver.post(path, {**body, "finding": "fine"}), 422, "invalid")
    assert_problem(world.approver.post(path, {**body, "comment": " "}), 422, "comment_required")
    found = world.approver.post(path, body)
    assert (found.status_code, found.json()["reviewed_by"]) == (200, world.approver.id)
    assert_problem(world.second_approver.post(path, body), 409, "conflict")
    assert world.auditor.get("break-glass-reviews?state=open").json()["data"] == []


def test_a_request_shows_what_it_may_be_answered_with(world: World) -> None:
    shown = world.approver.get(f"approvals/{request_of(world, 'fs.write')}").json()
    options = shown["options"]
    assert (options["step_up"], options["comment_required"]) == ("fresh", False)
    assert [(one["scope"], one["offered"], one["reason"]) for one in options["scopes"]] == [
        ("once", True, None),
        ("session", True, None),
        ("temporary", True, None),
        ("always", False, "risk"),
    ]
    critical = world.approver.get(f"approvals/{request_of(world, 'demo.launch')}").json()["options"]
    assert (critical["step_up"], critical["comment_required"]) == ("each", True)
    assert [one["scope"] for one in critical["scopes"] if one["offered"]] == ["once"]


def test_people_read_votes_and_like_requests_and_the_agent_only_that_it_was_answered(world: World) -> None:
    before, request = request_of(world), request_of(world)
    decide(world.approver, before, DENY)
    decide(world.approver, request, {**ALLOW, "comment": "between us"})
    shown = world.auditor.get(f"approvals/{request}").json()
    assert [(vote["by"], vote["comment"]) for vote in shown["votes"]] == [(world.approver.id, "between us")]
    assert [(one["id"], one["decision"]) for one in shown["similar"]] == [(before, "deny")]
    told = world.agent.get(f"approvals/{request}").json()
    assert [(vote["by"], vote["comment"]) for vote in told["votes"]] == [("approver", None)]
    assert told["similar"] == []


def test_why_somebody_has_a_part_in_a_request_is_said(world: World) -> None:
    call = world.owner.propose("demo.wc", {"path": "README.txt"})
    shown = world.owner.get(f"approvals/{call['approval']['id']}").json()
    assert (shown["eligible"], shown["ineligible_reason"], shown["ineligible_relation"]) == (
        False,
        "self_review",
        "requester",
    )


def test_only_who_may_answer_has_seen_a_request(world: World) -> None:
    request = request_of(world, "fs.write")
    for caller in (world.agent, world.agent_owner, world.auditor):
        caller.get(f"approvals/{request}")
    world.approver.get("approvals")
    assert ApprovalRequest.objects.get(pk=request).seen_at is None
    world.approver.get(f"approvals/{request}")
    first = ApprovalRequest.objects.get(pk=request).seen_at
    assert first is not None
    with later(60):
        world.second_approver.get(f"approvals/{request}")
    assert ApprovalRequest.objects.get(pk=request).seen_at == first


def test_requests_are_found_by_decision_and_time(world: World) -> None:
    allowed, denied, pending = request_of(world), request_of(world), request_of(world)
    decide(world.approver, allowed, ALLOW)
    decide(world.approver, denied, DENY)

    def found(query: str) -> set[str]:
        answer = world.auditor.get(f"approvals?{query}")
        assert answer.status_code == 200, answer.content
        return {row["id"] for row in answer.json()["data"]}

    assert found("decision=allow") == {allowed}
    assert found("decision=allow&decision=deny") == {allowed, denied}
    assert found("decision=expired&decision=cancelled&decision=error") == set()
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    for request, seconds in ((allowed, -1), (denied, 0), (pending, 1)):
        ApprovalRequest.objects.filter(pk=request).update(requested_at=moment + timedelta(seconds=seconds))
    assert found("since=2026-01-01T00:00:00Z") == {denied, pending}
    assert found("until=2026-01-01T00:00:00Z") == {allowed}
    swapped = "since=2026-02-01T00:00:00Z&until=2026-01-01T00:00:00Z"
    for query in ("decision=maybe", "since=yesterday", swapped):
        assert_problem(world.auditor.get(f"approvals?{query}"), 400, "invalid_parameter")


def test_asking_too_often_is_denied_with_the_time_of_the_next_try(world: World) -> None:
    run, now = world.agent.open_run(), utc_now()
    with time_machine.travel(now, tick=False):
        for number in range(10):
            world.agent.propose("demo.wc", {"path": f"file-{number}.txt"}, run=run)
        body = {"run_id": run, "tool": "demo.wc", "input": {"path": "one-more.txt"}}
        answer = world.agent.post("tool-calls", body)
    denied = answer.json()
    assert (answer.status_code, denied["state"]) == (201, "denied")
    assert denied["decision"]["reason_code"] == "approval.rate_limited"
    assert answer.headers["Retry-After"] == "600"
    assert denied["error"]["detail"]["retry_after_seconds"] == 600
    assert denied["budget"] is None or denied["budget"]["held"] == []
