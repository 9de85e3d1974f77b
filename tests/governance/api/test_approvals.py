"""Requests as reviewers see them, and every way an answer is taken or refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from celery import current_app
from django.db import OperationalError, connection, transaction

from approvals.models import Review
from governance.journal.models import JournalEvent
from governance.models import ToolCall
from governance.operations.sweeping import sweep
from identity.login_attempts import account_key
from identity.models import LoginFailure, User
from kernel.clock import utc_now
from sandbox.models import Execution
from tests.governance.api.test_answers import assert_problem
from tests.governance.api.world import Answer, Caller, World, mint_for_person

ALLOW = {"decision": "allow"}
DENY = {"decision": "deny", "comment": "not today"}


def request_of(world: World, tool: str = "demo.wc") -> str:
    return str(world.ask(tool)["approval"]["id"])


def decide(caller: Caller, request: str, body: dict[str, Any], **headers: str) -> Answer:
    return caller.post(f"approvals/{request}/decision", body, **headers)


def events(subject: str) -> list[str]:
    return list(JournalEvent.objects.filter(subject=subject).order_by("id").values_list("type", flat=True))


@contextmanager
def later(seconds: int) -> Iterator[None]:
    with time_machine.travel(utc_now() + timedelta(seconds=seconds), tick=False):
        yield


def test_a_reviewer_sees_the_question_and_whether_they_may_answer(world: World) -> None:
    call = world.ask()
    shown = world.approver.get(f"approvals/{call['approval']['id']}").json()
    assert shown["call_ids"] == [call["id"]]
    assert shown["requester"]["id"] == world.agent.id
    assert shown["context"]["parameters_view"] == {"path": "README.txt"}
    assert (shown["state"], shown["decision"], shown["decided_by"]) == ("pending", None, [])
    assert (shown["eligible"], shown["ineligible_reason"]) == (True, None)


@pytest.mark.parametrize(
    ("name", "tool", "reason"),
    [
        ("auditor", "demo.wc", "not_a_reviewer"),
        ("agent", "demo.wc", "reviewer_is_agent"),
        ("agent_owner", "demo.wc", "not_a_reviewer"),
        ("approver", "fs.write", "step_up_required"),
    ],
)
def test_the_reason_why_somebody_may_not_answer(world: World, name: str, tool: str, reason: str) -> None:
    shown = getattr(world, name).get(f"approvals/{request_of(world, tool)}").json()
    assert (shown["eligible"], shown["ineligible_reason"]) == (False, reason)


def test_an_unchanged_request_is_not_sent_again(world: World) -> None:
    path = f"approvals/{request_of(world)}"
    etag = world.approver.get(path).headers["ETag"]
    again = world.approver.get(path, If_None_Match=etag)
    assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", etag)
    assert world.approver.get(path, If_None_Match='"apr_x:1"').status_code == 200
    assert decide(world.approver, path.split("/")[1], ALLOW).status_code == 200
    changed = world.approver.get(path, If_None_Match=etag)
    assert (changed.status_code, changed.json()["decision"]) == (200, "allow")


def test_a_vote_of_an_open_quorum_is_seen_by_whoever_asks_again(world: World) -> None:
    request = request_of(world, "demo.launch")
    etag = world.approver.get(f"approvals/{request}").headers["ETag"]
    body = {**ALLOW, "comment": "go on", "otp": world.approver.code()}
    assert decide(world.approver, request, body).status_code == 202
    seen = world.second_approver.get(f"approvals/{request}", If_None_Match=etag)
    assert (seen.status_code, seen.json()["quorum"]) == (200, {"needed": 2, "allowed": 1})


def test_medium_risk_is_allowed_by_a_personal_token_alone(world: World) -> None:
    call = world.ask()
    answer = decide(world.approver, call["approval"]["id"], {**ALLOW, "scope": "once"})
    body = answer.json()
    assert (answer.status_code, body["state"], body["decision"]) == (200, "allowed", "allow")
    assert (body["grant"]["scope"], body["grant"]["uses_allowed"]) == ("once", 1)
    assert body["queued"] == [Execution.objects.get(call_id=call["id"]).id]
    assert body["single_operator"] is False
    assert world.agent.get(f"tool-calls/{call['id']}").json()["state"] == "queued"


def test_people_see_who_decided_and_agents_that_somebody_did(world: World) -> None:
    request = request_of(world)
    decide(world.approver, request, ALLOW)
    path = f"approvals/{request}"
    assert world.auditor.get(path).json()["decided_by"] == [world.approver.id]
    assert world.agent.get(path).json()["decided_by"] == ["approver"]
    assert world.approver.id not in world.agent.get(path).content.decode()


def test_a_deny_with_a_comment_ends_the_call(world: World) -> None:
    call = world.ask()
    answer = decide(world.approver, call["approval"]["id"], DENY)
    assert (answer.status_code, answer.json()["decision"], answer.json()["grant"]) == (200, "deny", None)
    ended = world.agent.get(f"tool-calls/{call['id']}").json()
    assert (ended["state"], ended["decision"]["reason_code"]) == ("denied", "approval.denied")
    assert ended["attestation"] is not None


@pytest.mark.parametrize("comment", [None, "", "  ", "no", "\t\n x "])
def test_a_deny_without_a_comment_is_no_answer(world: World, comment: str | None) -> None:
    request = request_of(world)
    body = {"decision": "deny"} | ({"comment": comment} if comment is not None else {})
    assert_problem(decide(world.approver, request, body), 422, "comment_required")
    assert not Review.objects.exists()


def test_high_risk_needs_a_code(world: World) -> None:
    request = request_of(world, "fs.write")
    refused = decide(world.approver, request, ALLOW)
    assert_problem(refused, 401, "step_up_required")
    assert refused.headers["WWW-Authenticate"] == (
        'Bearer realm="palyra", error="insufficient_user_authentication", max_age=300'
    )
    assert decide(world.approver, request, {**ALLOW, "otp": world.approver.code()}).status_code == 200


def test_critical_risk_needs_two_people_each_with_code_and_comment(world: World) -> None:
    request = request_of(world, "demo.launch")
    code = {"otp": world.approver.code()}
    assert_problem(decide(world.approver, request, {**ALLOW, "comment": "checked"}), 401, "step_up_required")
    assert_problem(decide(world.approver, request, ALLOW | code), 422, "comment_required")
    with later(60):
        body = {**ALLOW, "comment": "checked", "otp": world.approver.code()}
        first = decide(world.approver, request, body)
        assert (first.status_code, first.json()["state"]) == (202, "pending")
        assert first.json()["quorum"] == {"needed": 2, "allowed": 1}
        body = {**ALLOW, "comment": "seen it", "otp": world.second_approver.code()}
        second = decide(world.second_approver, request, body)
        assert (second.status_code, second.json()["state"]) == (200, "allowed")
        shown = world.auditor.get(f"approvals/{request}").json()
        assert shown["decided_by"] == [world.approver.id, world.second_approver.id]


def test_one_person_is_not_two(world: World) -> None:
    request = request_of(world, "demo.launch")
    body = {**ALLOW, "comment": "checked", "otp": world.approver.code()}
    assert decide(world.approver, request, body).status_code == 202
    with later(60):
        body = {**ALLOW, "comment": "and again", "otp": world.approver.code()}
        assert_problem(decide(world.approver, request, body), 409, "conflict")


@pytest.mark.parametrize(
    "otp", ["000000", "12345", "1234567", "abcdef", "\uff11\uff12\uff13\uff14\uff15\uff16", "-12345"]
)
def test_a_wrong_code_is_refused_and_counted(world: World, otp: str) -> None:
    request = request_of(world)
    assert_problem(decide(world.approver, request, {**ALLOW, "otp": otp}), 401, "step_up_required")
    assert LoginFailure.objects.get(account_key=account_key("approver"), network="127.0.0.0/24").count == 1
    assert events(world.approver.id)[-1] == "step_up.failed"
    assert not Review.objects.exists()


def test_after_five_wrong_codes_the_right_one_waits_too(world: World) -> None:
    request = request_of(world, "fs.write")
    for _ in range(5):
        decide(world.approver, request, {**ALLOW, "otp": "000000"})
    body = {**ALLOW, "otp": world.approver.code()}
    assert_problem(decide(world.approver, request, body), 401, "step_up_required")
    with later(31):
        body = {**ALLOW, "otp": world.approver.code()}
        assert decide(world.approver, request, body).status_code == 200


def test_a_code_is_good_for_one_answer(world: World) -> None:
    first, second = request_of(world, "fs.write"), request_of(world, "fs.write")
    body = {**ALLOW, "otp": world.approver.code()}
    assert decide(world.approver, first, body).status_code == 200
    assert_problem(decide(world.approver, second, body), 401, "step_up_required")


@pytest.mark.parametrize("scope", ["session", "temporary", "always"])
def test_what_is_critical_is_allowed_once_and_no_wider(world: World, scope: str) -> None:
    wide: dict[str, Any] = {**ALLOW, "scope": scope, "comment": "checked", "otp": world.approver.code()}
    wide |= {"ttl_ms": 60_000} if scope == "temporary" else {}
    answer = decide(world.approver, request_of(world, "demo.launch"), wide)
    assert_problem(answer, 403, "scope_not_offered")
    assert not Review.objects.exists()


def test_always_needs_a_comment(world: World) -> None:
    request = request_of(world)
    assert_problem(decide(world.approver, request, {**ALLOW, "scope": "always"}), 422, "comment_required")
    answer = decide(world.approver, request, {**ALLOW, "scope": "always", "comment": "a harmless count"})
    assert (answer.status_code, answer.json()["grant"]["scope"]) == (200, "always")


def test_a_duration_is_for_temporary_and_has_bounds(world: World) -> None:
    request = request_of(world)
    temporary: dict[str, Any] = {**ALLOW, "scope": "temporary"}
    assert_problem(decide(world.approver, request, temporary), 422, "ttl_required")
    for ttl in (0, -1, 59_999, 2_592_000_001):
        assert_problem(decide(world.approver, request, {**temporary, "ttl_ms": ttl}), 422, "ttl_out_of_range")
    assert decide(world.approver, request, {**temporary, "ttl_ms": 60_000}).status_code == 200


def test_once_takes_no_duration(world: World) -> None:
    answer = decide(world.approver, request_of(world), {**ALLOW, "ttl_ms": 1000})
    assert_problem(answer, 422, "ttl_not_allowed")
    assert answer.json()["errors"][0]["pointer"] == "/ttl_ms"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"decision": "maybe"},
        {"decision": True},
        {"decision": ["allow"]},
        {**ALLOW, "scope": "forever"},
        {**ALLOW, "ttl_ms": "1000"},
        {**ALLOW, "ttl_ms": 1.5},
        {**ALLOW, "ttl_ms": True},
        {**ALLOW, "pattern": "any"},
        {**ALLOW, "sas": 123456},
        {**ALLOW, "end_run": "yes"},
        {**ALLOW, "end_run": True},
        {**ALLOW, "comment": "x" * 2001},
        {**ALLOW, "comment": "a\0b"},
        {**ALLOW, "otp": 123456},
        {**ALLOW, "otp": "1" * 17},
        {**ALLOW, "otp": None},
    ],
)
def test_a_malformed_answer_is_invalid(world: World, body: dict[str, Any]) -> None:
    assert_problem(decide(world.approver, request_of(world), body), 422, "invalid")
    assert not Review.objects.exists()


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        ('{"decision": "allow", "scope": "temporary", "ttl_ms": NaN}', 400, "malformed_json"),
        ('{"decision": "allow", "scope": "temporary", "ttl_ms": Infinity}', 400, "malformed_json"),
        ('{"decision": "deny", "decision": "allow"}', 400, "malformed_json"),
        ('{"decision": "allow", "scopes": "always"}', 400, "unknown_field"),
        ('{"decision": "allow", "grant": {"scope": "always"}}', 400, "unknown_field"),
        ('{"decision": "deny", "comment": "%s"}' % ("x" * 1_048_576), 413, "body_too_large"),
    ],
    ids=["NaN", "infinity", "twice", "unknown", "nested", "one mebibyte"],
)
def test_what_is_no_answer_at_all_is_refused(world: World, sent: str, status: int, code: str) -> None:
    request = request_of(world)
    answer = world.approver.send("POST", f"approvals/{request}/decision", sent.encode())
    assert_problem(answer, status, code)
    assert not Review.objects.exists()


def test_a_broker_that_is_down_takes_no_answer_back(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    django_capture_on_commit_callbacks: Callable[..., AbstractContextManager[object]],
) -> None:
    call = world.ask()
    with monkeypatch.context() as down, django_capture_on_commit_callbacks(execute=True):
        down.setattr(current_app.conf, "broker_url", "redis://127.0.0.1:1/0")
        down.setattr(current_app.conf, "broker_write_url", "redis://127.0.0.1:1/0", raising=False)
        answer = decide(world.approver, call["approval"]["id"], ALLOW)
    assert (answer.status_code, answer.json()["state"]) == (200, "allowed")
    assert Execution.objects.get(call_id=call["id"]).state == "queued"
    rung: list[str] = []
    monkeypatch.setattr(current_app, "send_task", lambda name, **_: rung.append(name))
    sweep(utc_now())
    assert "governance.tasks.work" in rung


@contextmanager
def database_down(*statements: str) -> Iterator[None]:
    """Let every statement fail that names one of these, any at all when none is named."""

    def fails(execute: Callable[..., object], sql: str, *given: Any) -> object:
        transactional = sql.startswith(("SAVEPOINT", "RELEASE", "ROLLBACK"))
        if not transactional and (not statements or any(part in sql for part in statements)):
            raise OperationalError("server closed the connection at 10.0.0.5")
        return execute(sql, *given)

    with connection.execute_wrapper(fails):
        yield


@pytest.mark.parametrize(
    "statements",
    [(), ('INSERT INTO "approvals_review"',), ('INSERT INTO "approvals_grant"',), ('"sandbox_execution"',)],
    ids=["all", "the review", "the grant", "the execution"],
)
def test_without_its_database_an_answer_is_unavailable_and_leaves_nothing(
    world: World, statements: tuple[str, ...]
) -> None:
    call = world.ask()
    request = call["approval"]["id"]
    before = events(request)
    with database_down(*statements):
        answer = decide(world.approver, request, ALLOW)
    assert_problem(answer, 503, "database_unavailable")
    assert "Retry-After" in answer.headers
    assert b"10.0.0.5" not in answer.content
    assert events(request) == before
    assert not Review.objects.exists()
    assert not Execution.objects.filter(call_id=call["id"]).exists()
    assert decide(world.approver, request, ALLOW).status_code == 200


def test_without_its_database_no_call_is_taken(world: World) -> None:
    body = {"run_id": world.agent.open_run(), "tool": "demo.wc", "input": {"path": "README.txt"}}
    with database_down():
        assert_problem(world.agent.post("tool-calls", body), 503, "database_unavailable")
    with database_down('INSERT INTO "governance_toolcall"'):
        assert_problem(world.agent.post("tool-calls", body), 503, "database_unavailable")
    assert not ToolCall.objects.filter(run_id=body["run_id"]).exists()


def test_what_was_decided_stays_decided(world: World) -> None:
    request = request_of(world)
    decide(world.approver, request, ALLOW)
    late = decide(world.second_approver, request, DENY)
    assert events(request).count("approval.decided") == 1
    assert events(request)[-1] == "request.refused"
    assert_problem(late, 409, "already_decided")
    assert late.json()["outcome"]["decision"] == "allow"
    assert late.json()["outcome"]["resolved_at"].endswith("Z")
    assert decide(world.approver, request, ALLOW).status_code == 200
    assert Review.objects.count() == 1


def test_an_expired_request_says_so(world: World) -> None:
    call = world.ask()
    with later(601):
        answer = decide(world.approver, call["approval"]["id"], ALLOW)
        assert_problem(answer, 409, "already_decided")
        assert answer.json()["outcome"]["decision"] == "expired"
        assert world.agent.get(f"tool-calls/{call['id']}").json()["state"] == "expired"


def test_an_answer_to_an_older_version_is_refused(world: World) -> None:
    call = world.ask()
    request = call["approval"]["id"]
    etag = world.approver.get(f"approvals/{request}").headers["ETag"]
    twin = world.agent.propose("demo.wc", {"path": "README.txt"}, run=call["run_id"])
    assert twin["approval"]["id"] == request
    assert_problem(decide(world.approver, request, ALLOW, If_Match=etag), 412, "precondition_failed")
    etag = world.approver.get(f"approvals/{request}").headers["ETag"]
    assert decide(world.approver, request, ALLOW, If_Match=etag).status_code == 200


@pytest.mark.parametrize(
    "given",
    [
        "*",
        "",
        '"x"',
        "1",
        'W/"{id}:1"',
        '"{id}:1", "{id}:2"',
        '"{id}:-1"',
        '"apr_01JD0000000000000000000000:1"',
    ],
)
def test_a_malformed_precondition_is_refused(world: World, given: str) -> None:
    request = request_of(world)
    answer = decide(world.approver, request, ALLOW, If_Match=given.replace("{id}", request))
    assert_problem(answer, 400, "invalid_if_match")


@pytest.mark.parametrize(
    ("name", "status", "code"),
    [
        ("agent", 403, "reviewer_is_agent"),
        ("other_agent", 404, "not_found"),
        ("agent_owner", 403, "not_a_reviewer"),
        ("auditor", 403, "not_a_reviewer"),
        ("stranger", 404, "not_found"),
    ],
)
def test_who_may_not_answer_is_refused_and_the_attempt_is_journalled(
    world: World, name: str, status: int, code: str
) -> None:
    request = request_of(world)
    for body in (ALLOW, DENY):
        assert_problem(decide(getattr(world, name), request, body), status, code)
    assert events(request).count("request.refused") == 2
    assert not Review.objects.exists()


def test_the_agents_owner_does_not_answer_even_as_an_approver(world: World) -> None:
    request = request_of(world)
    owner_id = world.auditor.get(f"approvals/{request}").json()["requester"]["owner"]
    assert owner_id != world.owner.id
    call = world.owner.propose("demo.wc", {"path": "README.txt"})
    refused = decide(world.owner, call["approval"]["id"], ALLOW)
    assert_problem(refused, 403, "self_review")
    assert refused.json()["relation"] == "requester"


def test_a_personal_token_without_the_scope_does_not_answer(world: World) -> None:
    user = User.objects.get(pk=world.approver.id)
    with transaction.atomic():
        text = mint_for_person(user, world.workspace, now=utc_now(), scopes=("approvals.read",))
    reader = Caller(text, world.approver.id, world.approver.seed)
    body = {**ALLOW, "otp": reader.code()}
    assert_problem(decide(reader, request_of(world), body), 403, "not_a_reviewer")


def test_a_request_is_withdrawn_by_its_requester_once(world: World) -> None:
    call = world.ask()
    path = f"approvals/{call['approval']['id']}/cancel"
    ended = world.agent.post(path, {"reason": "changed my mind"})
    assert (ended.status_code, ended.json()["state"]) == (200, "cancelled")
    assert world.agent.get(f"tool-calls/{call['id']}").json()["state"] == "cancelled"
    assert_problem(world.agent.post(path), 409, "already_decided")


def test_an_auditor_only_looks(world: World) -> None:
    request = request_of(world)
    assert_problem(world.auditor.post(f"approvals/{request}/cancel"), 403, "role_required")
    assert world.auditor.get(f"approvals/{request}").json()["state"] == "pending"


def test_secrets_in_the_input_do_not_reach_reviewers_problems_or_logs(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    whole = world.other_agent.token  # a whole one in a body is refused before anybody sees it
    secret = whole[:-1] + ("0" if whole[-1] != "0" else "1")
    run = world.agent.open_run()
    world.agent.propose("fs.write", {"path": "a", "content": f"key {secret}"}, run=run)
    seen = world.approver.get("approvals")
    assert secret not in seen.content.decode()
    code = world.approver.code()
    request = seen.json()["data"][0]["id"]
    refused = decide(world.approver, request, {**ALLOW, "scope": "always", "otp": code})
    assert_problem(refused, 403, "scope_not_offered")
    everything = refused.content.decode() + "".join(entry.getMessage() for entry in caplog.records)
    assert not [text for text in (secret, code, world.approver.token) if text in everything]
