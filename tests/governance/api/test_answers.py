"""What every answer has, whichever route gave it, and the shape of every problem."""

from __future__ import annotations

import re

import pytest
from rest_framework.test import APIRequestFactory

from governance.api.problems import handle
from governance.api.request_ids import trace_id_of
from governance.journal.envelope import parse
from governance.journal.models import JournalEvent
from kernel.errors import CODES
from tests.governance.api.routes import PRIVATE_ROUTES, Route
from tests.governance.api.world import Answer, World

MINTED = re.compile(r"req_[0-9A-Z]{26}")
MEMBERS = {"type", "title", "status", "detail", "instance", "code", "errors", "request_id", "trace_id"}


def assert_problem(answer: Answer, status: int, code: str) -> None:
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.content
    assert answer.headers["Content-Type"] == "application/problem+json"
    body = answer.json()
    assert set(body) >= MEMBERS
    assert body["status"] == status
    assert body["title"] == CODES[code]
    assert body["type"] == f"https://palyra.dev/errors/{code}"
    assert body["request_id"] == answer.headers["X-Request-Id"]


@pytest.mark.parametrize("path", ["whoami", "runs/x", "nowhere", "/healthz", "/readyz", "/api/schema/"])
def test_every_answer_has_the_headers(world: World, path: str) -> None:
    answer = world.agent.get(path)
    expected = {
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
        "Referrer-Policy": "no-referrer",
    }
    assert {name: answer.headers[name] for name in expected} == expected
    assert MINTED.fullmatch(answer.headers["X-Request-Id"])
    assert not [name for name in answer.headers if name.lower().startswith("access-control")]
    assert "Set-Cookie" not in answer.headers


@pytest.mark.parametrize("given", ["a", "Z" * 64, "01.02_03-04"])
def test_a_well_formed_request_id_comes_back(world: World, given: str) -> None:
    answer = world.agent.get("runs/x", X_Request_Id=given)
    assert answer.headers["X-Request-Id"] == given
    assert answer.json()["request_id"] == given


@pytest.mark.parametrize("given", ["", "Z" * 65, "a b", "ä", "a\nb", '"', "<script>"])
def test_any_other_request_id_is_replaced(world: World, given: str) -> None:
    answer = world.agent.get("whoami", X_Request_Id=given)
    assert MINTED.fullmatch(answer.headers["X-Request-Id"])


@pytest.mark.parametrize("path", ["/api/v1/nowhere", "/api/v1", "/api/v1/", "/api/v2/runs", "/nowhere"])
def test_an_unknown_path_is_a_problem(world: World, path: str) -> None:
    assert_problem(world.agent.get(path), 404, "not_found")


@pytest.mark.parametrize("route", PRIVATE_ROUTES, ids=str)
def test_a_trailing_slash_is_not_found_and_no_redirect(world: World, route: Route) -> None:
    assert_problem(world.owner.send(route.method, route.path + "/", b"{}"), 404, "not_found")


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "TRACE", "PROPFIND"])
@pytest.mark.parametrize("path", ["runs", "tool-calls", "approvals", "whoami"])
def test_another_method_is_not_allowed(world: World, method: str, path: str) -> None:
    answer = world.owner.send(method, path, b"{}")
    assert_problem(answer, 405, "method_not_allowed")
    assert "GET" in answer.headers["Allow"]


def test_head_answers_as_get_without_a_body(world: World) -> None:
    answer = world.agent.send("HEAD", "whoami", None)
    assert (answer.status_code, answer.content) == (200, b"")
    assert world.nobody.send("HEAD", "whoami", None).status_code == 401


def test_options_lists_methods_to_those_who_may_know(world: World) -> None:
    answer = world.agent.send("OPTIONS", "tool-calls", None)
    assert answer.status_code == 200
    assert {"GET", "POST"} <= set(answer.headers["Allow"].split(", "))
    assert world.nobody.send("OPTIONS", "tool-calls", None).status_code == 401
    assert world.stranger.send("OPTIONS", "tool-calls", None).status_code == 403


@pytest.mark.parametrize("accept", ["text/html", "application/xml", "image/png"])
def test_what_json_cannot_satisfy_is_not_acceptable(world: World, accept: str) -> None:
    assert_problem(world.agent.get("whoami", Accept=accept), 406, "not_acceptable")


@pytest.mark.parametrize(
    "kind",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/json; charset=utf-16",
        "application/json; charset=latin-1",
        "application/json; profile=x",
        "application/ld+json",
        "json",
    ],
)
def test_another_content_type_is_not_supported(world: World, kind: str) -> None:
    answer = world.agent.send("POST", "runs", b'{"purpose":"x"}', kind=kind)
    assert_problem(answer, 415, "unsupported_media_type")


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", 'application/json;charset="UTF-8"'])
def test_utf8_may_be_named(world: World, kind: str) -> None:
    assert world.agent.send("POST", "runs", b"{}", kind=kind).status_code == 201


def test_an_unknown_host_is_a_problem_too(world: World) -> None:
    assert_problem(world.agent.get("whoami", Host="evil.example"), 400, "malformed_request")


def test_more_query_parameters_than_anybody_sends_are_a_problem(world: World) -> None:
    answer = world.agent.get("tool-calls?" + "&".join(["state=queued"] * 1001))
    assert_problem(answer, 400, "malformed_request")


@pytest.mark.parametrize("path", ["runs", "runs/run_x", "tool-calls", "tools", "tools/echo", "whoami"])
def test_an_unknown_query_parameter_is_refused(world: World, path: str) -> None:
    answer = world.agent.get(f"{path}?verbose=1")
    assert_problem(answer, 400, "unknown_parameter")
    assert "'verbose'" in answer.json()["detail"]


def test_an_unexpected_error_says_nothing_about_itself(caplog: pytest.LogCaptureFixture) -> None:
    request = APIRequestFactory().get("/api/v1/a%0ab")
    answer = handle(RuntimeError("the password is hunter2"), {"request": request})
    assert answer.status_code == 500
    assert answer.data["code"] == "internal"
    assert "hunter2" not in str(answer.data)
    assert all("\n" not in entry.getMessage() for entry in caplog.records)


def test_liveness_and_readiness_name_parts_only(world: World) -> None:
    assert world.nobody.get("/healthz").json() == {"status": "ok"}
    ready = world.nobody.get("/readyz")
    assert (ready.status_code, ready.json()) == (200, {"status": "ok", "failing": [], "degraded": []})
    assert world.nobody.post("/healthz").status_code == 405


@pytest.mark.parametrize(
    ("traceparent", "trace_id"),
    [
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "4bf92f3577b34da6a3ce929d0e0e4736"),
        ("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what", "4bf92f3577b34da6a3ce929d0e0e4736"),
        ("00-00000000000000000000000000000000-00f067aa0ba902b7-01", None),
        ("00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01", None),
        ("somebody@example.com", None),
        ("", None),
    ],
)
def test_a_trace_is_taken_from_a_well_formed_header_only(traceparent: str, trace_id: str | None) -> None:
    assert trace_id_of(traceparent) == trace_id


def test_what_a_request_does_is_in_the_journal_under_its_id_and_trace(world: World) -> None:
    marks = {
        "X-Request-Id": "nightly-17",
        "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    }
    opened = world.agent.post("runs", {}, **marks).json()
    event = JournalEvent.objects.get(run_id=opened["id"], run_seq=1)
    said = parse(bytes(event.envelope))
    assert (said["request_id"], said["trace_id"]) == ("nightly-17", "4bf92f3577b34da6a3ce929d0e0e4736")
