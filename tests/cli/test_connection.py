"""One exchange: retries under one key, no redirects, and failures with their exit codes."""

from __future__ import annotations

import ssl

import httpx
import pytest

from tests.cli.servers import RealServer
from tests.cli.shell import CALL, RUN, TOKEN, Shell, answer, problem

OPENED = answer({"id": RUN, "object": "run", "state": "open"}, 201)
LOST = httpx.ReadTimeout("no answer")


def test_the_credential_travels_in_the_header_and_nowhere_else(shell: Shell) -> None:
    shell.replies = [answer({"id": "usr_1"})]
    result = shell("whoami", "-vv")
    assert result.requests[0].headers["Authorization"] == f"Bearer {TOKEN}"
    assert TOKEN not in result.out + result.err
    assert "GET http://127.0.0.1:8470/api/v1/whoami → 200" in result.err


@pytest.mark.parametrize(
    "failure",
    [
        LOST,
        httpx.ConnectError("refused"),
        httpx.ConnectTimeout("slow"),
        httpx.RemoteProtocolError("closed"),
        problem(503, "not_ready"),
        problem(429, "rate_limited"),
    ],
)
def test_a_post_is_repeated_with_its_first_key(shell: Shell, failure: httpx.Response | Exception) -> None:
    shell.replies = [failure, failure, OPENED]
    result = shell("runs", "open", "--json")
    keys = [request.headers["Idempotency-Key"] for request in result.requests]
    assert result.code == 0
    assert len(keys) == 3
    assert len(set(keys)) == 1
    assert keys[0].startswith("cli-")


def test_two_commands_have_two_keys(shell: Shell) -> None:
    shell.replies = [OPENED]
    first, second = shell("runs", "open"), shell("runs", "open")
    assert first.requests[0].headers["Idempotency-Key"] != second.requests[0].headers["Idempotency-Key"]


def test_a_given_key_is_sent_as_it_is(shell: Shell) -> None:
    shell.replies = [OPENED]
    request = shell("runs", "open", "--idempotency-key", "nightly-7").requests[0]
    assert request.headers["Idempotency-Key"] == "nightly-7"


@pytest.mark.parametrize("key", ["", "ü", "a\nb", "x" * 256])
def test_an_unusable_key_is_refused_before_anything_is_sent(shell: Shell, key: str) -> None:
    result = shell("runs", "open", "--idempotency-key", key)
    assert (result.code, result.requests) == (2, [])


def test_retries_end_after_three(shell: Shell) -> None:
    shell.replies = [LOST]
    result = shell("whoami")
    assert (result.code, len(result.requests), len(result.pauses)) == (4, 4, 3)
    assert result.err == "error[timeout] http://127.0.0.1:8470 did not answer in time.\n"


def test_retry_after_is_honoured(shell: Shell) -> None:
    shell.replies = [problem(429, "rate_limited", headers={"Retry-After": "42"}), answer({"id": "usr_1"})]
    result = shell("whoami")
    assert (result.code, result.pauses) == (0, [42.0])


def test_a_server_that_asks_for_hours_is_not_waited_for(shell: Shell) -> None:
    shell.replies = [problem(503, "not_ready", headers={"Retry-After": "7200"})]
    result = shell("whoami")
    assert (result.code, result.pauses) == (4, [])


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422, 500, 502])
def test_other_refusals_are_not_repeated(shell: Shell, status: int) -> None:
    shell.replies = [problem(status, "conflict")]
    assert len(shell("runs", "open").requests) == 1


def test_the_first_attempt_still_at_work_is_waited_for(shell: Shell) -> None:
    busy = problem(409, "idempotency_in_progress", headers={"Retry-After": "1"})
    shell.replies = [LOST, busy, OPENED]
    result = shell("runs", "open")
    assert (result.code, len(result.requests), result.pauses[1]) == (0, 3, 1.0)


def test_another_command_at_work_under_the_key_is_a_conflict(shell: Shell) -> None:
    shell.replies = [problem(409, "idempotency_in_progress")]
    result = shell("runs", "open", "--idempotency-key", "shared")
    assert (result.code, len(result.requests)) == (7, 1)


def test_a_change_without_a_key_is_not_repeated_when_its_answer_is_lost(shell: Shell) -> None:
    shell.replies = [LOST]
    result = shell("api", "PATCH", "/agents/x", "--yes")
    assert (result.code, len(result.requests)) == (4, 1)


def test_redirects_are_not_followed(shell: Shell) -> None:
    shell.replies = [httpx.Response(302, headers={"Location": "http://127.0.0.1:9/steal"})]
    result = shell("whoami")
    assert (result.code, len(result.requests)) == (1, 1)
    assert "redirects are not followed" in result.err


def test_no_server(shell: Shell) -> None:
    shell.replies = [httpx.ConnectError("refused")]
    result = shell("whoami")
    assert result.code == 4
    assert result.err == "error[connection] http://127.0.0.1:8470 refused; start it with make run\n"


def test_an_untrusted_certificate_is_not_retried(shell: Shell) -> None:
    untrusted = httpx.ConnectError("tls")
    untrusted.__cause__ = ssl.SSLCertVerificationError("self-signed")
    shell.replies = [untrusted]
    result = shell("whoami", "--url", "https://palyra.example")
    assert (result.code, len(result.requests)) == (4, 1)
    assert "error[tls]" in result.err


@pytest.mark.parametrize("body", [b"not json", b"[]", b'"text"', b"\xff\xfe", b""])
def test_an_answer_that_is_no_object_is_an_internal_error(shell: Shell, body: bytes) -> None:
    shell.replies = [httpx.Response(200, content=body, headers={"Content-Type": "application/json"})]
    result = shell("calls", "show", CALL, "--json")
    assert (result.code, result.out) == (1, "")
    assert "invalid_answer" in result.err


def test_a_problem_is_one_line_with_its_findings(shell: Shell) -> None:
    finding = {"pointer": "/purpose", "code": "max_length", "detail": "Too \x1b[31mlong."}
    shell.replies = [problem(422, "invalid", errors=[finding])]
    result = shell("runs", "open")
    assert result.err == (
        "error[invalid] About invalid. (request req_1)\n  /purpose max_length: Too \\x1b[31mlong.\n"
    )


def test_with_json_a_problem_is_json(shell: Shell) -> None:
    shell.replies = [problem(404, "not_found")]
    result = shell("--json", "runs", "show", RUN)
    assert (result.code, result.out) == (8, "")
    assert '"code": "not_found"' in result.err


def test_a_replay_is_noted_at_v(shell: Shell) -> None:
    shell.replies = [answer({"id": RUN}, 201, Idempotency_Replayed="true")]
    assert "Idempotency-Replayed: true" in shell("runs", "open", "-v").err
    assert shell("runs", "open").err == ""


def test_loopback_ignores_proxies(
    shell: Shell, real_server: RealServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    shell.real_network = True
    result = shell("whoami", "--url", real_server.url, "--json")
    assert (result.code, result.out) == (0, '{"id":"usr_1"}\n')


def test_another_machine_is_reached_through_the_proxy(
    shell: Shell, real_server: RealServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", real_server.url)
    shell.real_network = True
    assert shell("whoami", "--url", "http://palyra.invalid", "--insecure-http", "-q").out == "usr_1\n"
